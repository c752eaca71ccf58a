"""Opens the ledger's database: SQLite with full durability, or PostgreSQL.

One engine per process and address, since opening a connection costs more than a purchase's three commits. A connection
that was used a moment ago is not asked whether it still lives: that would be a third of a purchase's trips to PostgreSQL. And no
process holds up the others for ever: PostgreSQL ends who stands still in the middle of a write, and ends long waits as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, NoSuchModuleError, SQLAlchemyError

from airflow_provider_proxyorders.domain.errors import LedgerError

#: Marks a connection that only reads, one statement at a time, so it begins no transaction and queues behind no writer.
AUTOCOMMIT = "proxyorders_read_only"
#: Seconds after which an idle connection is tried before it is used: a firewall or a restart may have ended it.
IDLE = 1.0
USED = "proxyorders_used"
#: Seconds for which PostgreSQL lets a statement wait for rows that somebody else is writing.
LOCK_WAIT = 30.0
#: Seconds after which PostgreSQL ends who began to write and does not go on; less, so that who waits for it gets its turn.
STANDSTILL = 20.0
_engines: dict[tuple[str, int], Engine] = {}
_LOCK_NOT_AVAILABLE, _STOOD_STILL = "55P03", "25P03"
ADVICE = (
    "Check [proxyorders] ledger_url: a writable file for SQLite (sqlite:////absolute/path.db), or "
    "postgresql+psycopg://user:password@host/database."
)


def engine_for(url: str) -> Engine:
    """The process's engine for an address.

    :raises LedgerError: when the address is no database this package supports.
    """
    key = url, os.getpid()  # a forked child must not share its parent's connections
    engine = _engines.get(key)
    return engine if engine is not None else _engines.setdefault(key, _new(url))


def close() -> None:
    """Close this process's idle connections to every ledger; who goes on with a ledger opens a new one.

    One in memory stays open, since its connection is all there is of it.
    """
    for (_, pid), engine in list(_engines.items()):
        if pid == os.getpid() and engine.url.database:
            engine.dispose()


def autocommitting(engine: Engine) -> Engine:
    """The same database for single reading statements: no transaction around them, so two trips to it less for each."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    return engine.execution_options(**{AUTOCOMMIT: True})


def _new(url: str) -> Engine:
    try:
        address = make_url(url)
    except ArgumentError:
        raise LedgerError(f"the ledger's address is not a database URL. {ADVICE}", retry="never") from None
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    with translated_errors(address):
        if address.get_backend_name() == "sqlite":
            engine = create_engine(address, connect_args={"timeout": 30})
            event.listen(engine, "connect", _sqlite_connect)
            event.listen(engine, "begin", _sqlite_begin)
            return engine
        if address.get_backend_name() == "postgresql":
            # The limits are reckoned with READ COMMITTED, whatever the server's default is.
            engine = create_engine(address, pool_size=2, connect_args={"connect_timeout": 10}, isolation_level="READ COMMITTED")
            event.listen(engine, "connect", _postgres_connect)
            event.listen(engine, "checkin", _note_use)
            event.listen(engine, "checkout", _try_idle(engine))
            return engine
    raise LedgerError(f"the ledger cannot live in {address.get_backend_name()!r}. {ADVICE}", retry="never")


@contextmanager
def translated_errors(url: URL) -> Iterator[None]:
    """Turn the database library's errors into ours, naming the database without its password."""
    try:
        yield
    except (ImportError, NoSuchModuleError) as error:
        raise LedgerError(
            f"the ledger at {url.render_as_string(hide_password=True)} needs a driver that is not installed ({error}). "
            "For PostgreSQL: pip install 'airflow-provider-proxyorders[postgres]'.",
            retry="never",
        ) from None
    except SQLAlchemyError as error:
        place, origin = url.render_as_string(hide_password=True), getattr(error, "orig", None)
        if getattr(origin, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise LedgerError(
                f"the ledger at {place} was held by another process for longer than its lock_timeout; nothing was written now."
            ) from error
        if getattr(origin, "sqlstate", None) == _STOOD_STILL:
            raise LedgerError(
                f"this process stood still while it wrote to the ledger at {place}, for longer than "
                "idle_in_transaction_session_timeout, so others were given their turn; what it was writing is taken back."
            ) from error
        cause = str(origin or error).strip().splitlines()
        raise LedgerError(f"the ledger at {place} cannot be used: {cause[0] if cause else error}. {ADVICE}") from error


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(AUTOCOMMIT):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres_connect(connection: Any, _record: Any) -> None:
    """Once a connection, and as a statement: poolers such as pgbouncer refuse the same as options of the connection.

    Limits that the server, the role or the address sets are kept.
    """
    limits = {"lock_timeout": LOCK_WAIT, "idle_in_transaction_session_timeout": STANDSTILL}
    parts = [
        f"CASE WHEN current_setting('{name}') = '0' THEN set_config('{name}', '{seconds * 1000:.0f}', false) END"
        for name, seconds in limits.items()
    ]
    connection.autocommit = True  # in one trip; and what a transaction sets would be gone if it were taken back
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT set_config('default_transaction_isolation', 'read committed', false), {', '.join(parts)}")
    connection.autocommit = False


def _note_use(_connection: Any, record: Any) -> None:
    record.info[USED] = time.monotonic()


def _try_idle(engine: Engine) -> Callable[[Any, Any, Any], None]:
    """A connection that was idle for a while is tried; where it is gone the pool replaces it, and all that are as old."""

    def before_use(connection: Any, record: Any, _proxy: Any) -> None:
        used = record.info.get(USED)
        if used is None or time.monotonic() - used < IDLE:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise InvalidatePoolError from None

    return before_use
