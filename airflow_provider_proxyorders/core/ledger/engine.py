"""Opens the ledger's database: SQLite with full durability, or PostgreSQL.

One engine per process and address, since opening a connection costs more than a purchase's three commits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from airflow_provider_proxyorders.core.errors import LedgerError

#: Marks a connection that will not write, so that SQLite readers do not queue behind a writer.
READ_ONLY = "proxyorders_read_only"
ADVICE = (
    "Check [proxyorders] ledger_url: a writable file for SQLite (sqlite:////absolute/path.db), or "
    "postgresql+psycopg://user:password@host/database."
)


def engine_for(url: str) -> Engine:
    """The process's engine for an address.

    :raises LedgerError: when the address is no database this package supports.
    """
    return _engine(url, os.getpid())


@cache
def _engine(url: str, pid: int) -> Engine:
    del pid  # part of the key only: a forked child must not share its parent's connections
    try:
        address = make_url(url)
    except ArgumentError:
        raise LedgerError(f"the ledger's address is not a database URL. {ADVICE}", retry="never") from None
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    with speaking_of(address):
        if address.get_backend_name() == "sqlite":
            engine = create_engine(address, connect_args={"timeout": 30})
            event.listen(engine, "connect", _sqlite_connect)
            event.listen(engine, "begin", _sqlite_begin)
            return engine
        if address.get_backend_name() == "postgresql":
            return create_engine(address, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": 10})
    raise LedgerError(f"the ledger cannot live in {address.get_backend_name()!r}. {ADVICE}", retry="never")


@contextmanager
def speaking_of(url: URL) -> Iterator[None]:
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
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise LedgerError(
            f"the ledger at {url.render_as_string(hide_password=True)} cannot be used: {cause[0] if cause else error}. {ADVICE}"
        ) from error


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READ_ONLY)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
