"""A consistent copy of a ledger while Airflow runs, and what a restored ledger may do.

Two rules. A copy is of one moment, with the commits that SQLite keeps beside the file (``-wal``). A restored ledger misses
what was bought since, so it buys nothing from a wallet before that wallet was reconciled and unfrozen. The copy carries that
mark already.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import URL, Engine, create_engine, delete, func, select, text

from airflow_provider_proxyorders.domain.errors import ConfigError, LedgerError
from airflow_provider_proxyorders.ledger import facts, schema
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.engine import translated_errors
from airflow_provider_proxyorders.ledger.turns import RESTORED, why_restored

_PREFIX = facts.RECONCILED
_FORGET_RECONCILED = delete(schema.facts).where(func.substr(schema.facts.c.name, 1, len(_PREFIX)) == _PREFIX)
_FREEZE_ALL = text(
    "UPDATE proxyorders_wallets SET frozen = CASE WHEN frozen IS NULL THEN :why "
    "WHEN frozen LIKE '%this ledger is a backup of %' THEN frozen ELSE frozen || '; and ' || :why END"
)
_NOTE_FREEZES = text(
    "INSERT INTO proxyorders_wallet_steps (wallet, at, what, why, host) "
    "SELECT wallet, :at, 'frozen', :why, '' FROM proxyorders_wallets WHERE joined IS NULL"
)


@dataclass(frozen=True)
class Backup:
    """A copy of a ledger.

    :param purchases: how many purchases it holds.
    :param marked: whether it freezes its wallets until they are reconciled. A ledger of an older version gets no mark.
    """

    file: str
    at: datetime
    purchases: int
    marked: bool


def back_up(engine: Engine, file: str) -> Backup:
    """Write a consistent copy of a SQLite ledger to a new file, while other processes go on writing.

    :raises ConfigError: the file is there already, or its folder is missing. Nothing was written.
    :raises LedgerError: the ledger cannot be read, or the copy cannot be written.
    """
    if engine.dialect.name != "sqlite":
        raise ConfigError(
            "the ledger is a PostgreSQL database: back it up with pg_dump (consistent while Airflow runs). After a restore: "
            "proxyorders ledger restored, then reconcile each wallet."
        )
    file = os.path.abspath(file)
    if os.path.exists(file):
        raise ConfigError(f"{file} is there already; a backup replaces nothing. Nothing was written.")
    now, part = datetime.now(timezone.utc), f"{file}.part"
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"the backup cannot be written to {part}: {error.strerror}. Nothing was written.") from None
    try:
        with translated_errors(engine.url), closing(engine.raw_connection()) as source:
            purchases, marked = _copy(source.driver_connection, part, now)
        _put_in_place(part, file)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"the backup to {file} failed: {error}. The ledger is as it was.", retry="never") from None
    finally:
        os.unlink(part)
    return Backup(file, now, purchases, marked)


def _put_in_place(part: str, file: str) -> None:
    """Give a finished copy its name. Unlike a rename it never replaces a file."""
    try:
        os.link(part, file)
    except FileExistsError:
        raise
    except OSError:  # a mount without hard links
        with open(part, "rb") as finished, open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as new:
            shutil.copyfileobj(finished, new)
            new.flush()
            os.fsync(new.fileno())


def _copy(source: sqlite3.Connection | None, part: str, now: datetime) -> tuple[int, bool]:
    assert source is not None
    with closing(sqlite3.connect(part)) as target:
        source.backup(target)  # all pages in one step: one moment of the ledger
        target.execute("PRAGMA journal_mode=DELETE")  # one file, complete without a -wal
        verdict = target.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise LedgerError(f"the copy is damaged: {verdict}. The ledger itself should be checked.", retry="never")
        count = int(target.execute("SELECT COUNT(*) FROM proxyorders_purchases").fetchone()[0])
    engine = create_engine(URL.create("sqlite", database=part))
    try:
        with engine.connect() as connection:
            current = schema.version_of(connection) == schema.HEAD
        if current:
            mark_restored(engine, now)
    finally:
        engine.dispose()
    return count, current


def newest_moment(engine: Engine) -> datetime:
    """The last moment that a ledger knows of: a ledger that was restored is a backup of then at the earliest."""
    with translated_errors(engine.url), engine.connect() as connection:
        moment = connection.execute(select(func.max(schema.steps.c.at))).scalar()
    return datetime.fromisoformat(moment) if moment else datetime(2000, 1, 1, tzinfo=timezone.utc)


def mark_restored(engine: Engine, at: datetime) -> None:
    """Say of a ledger that it is a backup of a moment: nothing is bought from any wallet before it was reconciled.

    :raises LedgerError: the ledger cannot be written.
    """
    moment = stamp(at)
    with translated_errors(engine.url), engine.begin() as connection:
        row = {"name": RESTORED, "value": moment, "at": moment}
        connection.execute(insert_or_ignore(connection, schema.facts).values(row))
        connection.execute(schema.facts.update().where(schema.facts.c.name == RESTORED), {"value": moment, "at": moment})
        connection.execute(_FORGET_RECONCILED)
        connection.execute(_FREEZE_ALL, {"why": why_restored(moment)})
        connection.execute(_NOTE_FREEZES, {"at": row["at"], "why": why_restored(moment)})
