"""Opens the ledger's database: SQLite with full durability, or PostgreSQL.

Six rules. Only its owner may read a new SQLite file. A process has one engine for each address, because opening a connection
costs more than a purchase's three commits. A connection is tested only after a pause: a test before every use would be a third of
a purchase's trips to PostgreSQL. Every wait ends: PostgreSQL breaks off idle transactions and long waits for a lock. No statement
has a name in the server, so a pooler may stand in between. A connection to a server that only reads, or shuts down, is replaced
with all of its age: the next one finds the new primary.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidatePoolError, NoSuchModuleError, SQLAlchemyError

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import trips
from airflow_provider_proxyorders.ledger.address import (
    ADVICE,
    connect_arguments,
    file_of,
    read_address,
    redact,
    without_password,
)
from airflow_provider_proxyorders.ledger.clock import DatabaseClock, database_clock

#: Marks a SQLite connection that works without ``BEGIN``: each statement is a transaction, and a read waits for no writer.
AUTOCOMMIT = "proxyorders_autocommit"
#: Seconds after which an idle connection is tested before its use: a firewall or a restart may have ended it.
IDLE = 1.0
USED = "proxyorders_used"
#: Seconds for which a statement waits in PostgreSQL for rows that another process is writing.
LONGEST_LOCK_WAIT = 30.0
#: Seconds after which PostgreSQL breaks off a transaction that stands still: fewer, so that a waiting process gets its turn.
LONGEST_STANDSTILL = 20.0
#: Connections of a process to PostgreSQL at most. A thread that needs another one waits for it.
MOST_CONNECTIONS = 2
_engines: dict[tuple[str, int], Engine] = {}
_LOCK_NOT_AVAILABLE, _TRANSACTION_STOOD_STILL = "55P03", "25P03"
#: The server only reads by now, shuts down, or begins: another one may be the primary.
_NO_PRIMARY = frozenset({"25006", "57P01", "57P02", "57P03"})


def engine_for(url: str) -> Engine:
    """The process's engine for an address.

    :raises LedgerError: the package does not support such a database.
    """
    key = url, os.getpid()  # a forked child opens connections of its own
    engine = _engines.get(key)
    return engine if engine is not None else _engines.setdefault(key, _new(url))


def close() -> None:
    """Close this process's idle connections to every ledger. The next use opens a new connection.

    A ledger in memory lives in its connection and stays open.
    """
    for (_, pid), engine in list(_engines.items()):
        if pid == os.getpid() and engine.url.database:
            engine.dispose()


def autocommitting(engine: Engine) -> Engine:
    """The same database for single statements: without ``BEGIN`` and ``COMMIT`` around them, two trips less for each."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    return engine.execution_options(**{AUTOCOMMIT: True})


def _new(url: str) -> Engine:
    address = read_address(url)
    with translated_errors(address):
        if address.get_backend_name() == "sqlite":
            engine = create_engine(address, connect_args={"timeout": 30})
            event.listen(engine, "do_connect", _create_private(address))
            event.listen(engine, "connect", _sqlite_connect)
            event.listen(engine, "begin", _sqlite_begin)
            return engine
        if address.get_backend_name() == "postgresql":
            # the sums of the limits need READ COMMITTED, whatever the server's default is
            connect_arguments(address)
            engine = create_engine(address, pool_size=MOST_CONNECTIONS, max_overflow=0, isolation_level="READ COMMITTED")
            event.listen(engine, "do_connect", _postgres_open(engine))
            event.listen(engine, "connect", _postgres_connect(database_clock(engine)))
            event.listen(engine, "checkin", _note_use)
            event.listen(engine, "checkout", _test_idle(engine))
            event.listen(engine, "handle_error", _leave_server)
            return engine
    raise LedgerError(f"the ledger must be SQLite or PostgreSQL, got {address.get_backend_name()!r}. {ADVICE}", retry="never")


@contextmanager
def translated_errors(url: URL) -> Iterator[None]:
    """Turn the database library's errors into ours, naming the database without its password."""
    try:
        yield
    except (ImportError, NoSuchModuleError) as error:
        raise LedgerError(
            f"the ledger at {without_password(url)} needs a missing driver ({error}). "
            "For PostgreSQL: pip install 'airflow-provider-proxyorders[postgres]'.",
            retry="never",
        ) from None
    except SQLAlchemyError as error:
        place, origin = without_password(url), getattr(error, "orig", None)
        if getattr(origin, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise LedgerError(
                f"another process held the ledger at {place} for longer than its lock_timeout. This write was taken back."
            ) from error
        if getattr(origin, "sqlstate", None) == _TRANSACTION_STOOD_STILL:
            raise LedgerError(
                f"this process stood still during a write to the ledger at {place}, for longer than "
                "idle_in_transaction_session_timeout. Other processes got their turn, and this write was taken back."
            ) from error
        cause = redact(url, str(origin or error)).strip().splitlines()
        clean = error if redact(url, str(error)) == str(error) else None  # a traceback shows the chain
        raise LedgerError(
            f"the ledger at {place} cannot be used: {cause[0] if cause else type(error).__name__}. {ADVICE}"
        ) from clean


def _create_private(url: URL) -> Callable[..., None]:
    """Make a missing SQLite file with mode 0600. SQLite gives its ``-wal`` and ``-shm`` the same mode."""

    def before_connect(*_: Any) -> None:
        path = file_of(url)
        if path and url.query.get("mode", "rwc") == "rwc":
            with suppress(OSError):  # it exists already, or SQLite tells the reason
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    return before_connect


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin below, instead of by the driver's guess
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(AUTOCOMMIT):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres_open(engine: Engine) -> Callable[..., Any]:
    """Open connections with the arguments of the engine's address, the same as the connection that listens has."""

    def opened(dialect: Dialect, _record: Any, _arguments: Any, _options: Any) -> Any:
        connect = trips.connection_class().connect if dialect.driver == trips.DRIVER else dialect.connect
        return connect(**connect_arguments(engine.url))

    return opened


def _postgres_connect(clock: DatabaseClock) -> Callable[[Any, Any], None]:
    """Set time limits and isolation of a new connection, and read the database's time. All in one trip.

    Limits of the server, the role or the address stay. This is a statement, because poolers such as pgbouncer refuse the same
    settings as connection options.
    """
    limits = {"lock_timeout": LONGEST_LOCK_WAIT, "idle_in_transaction_session_timeout": LONGEST_STANDSTILL}
    parts = [
        f"CASE WHEN current_setting('{name}') = '0' THEN set_config('{name}', '{seconds * 1000:.0f}', false) END"
        for name, seconds in limits.items()
    ]
    isolation = "set_config('default_transaction_isolation', 'read committed', false)"
    statement = f"SELECT clock_timestamp(), {isolation}, {', '.join(parts)}"

    def connected(connection: Any, _record: Any) -> None:
        connection.autocommit = True  # one trip, and a setting survives the rollback of a later transaction
        with connection.cursor() as cursor:
            clock.note(lambda: cursor.execute(statement).fetchone()[0])
        connection.autocommit = False

    return connected


def _note_use(_connection: Any, record: Any) -> None:
    record.info[USED] = time.monotonic()


def _test_idle(engine: Engine) -> Callable[[Any, Any, Any], None]:
    """Test a connection after a pause. If it is gone, or only reads, the pool replaces it and all connections of its age."""

    def before_use(connection: Any, record: Any, _proxy: Any) -> None:
        used = record.info.get(USED)
        if used is None or time.monotonic() - used < IDLE:
            return
        try:
            good = takes_writes(connection)
        except engine.dialect.loaded_dbapi.Error:
            good = False
        if not good:
            raise InvalidatePoolError

    return before_use


def takes_writes(connection: Any) -> bool:
    """Whether the server behind a connection of the driver is a primary, in one trip.

    :raises Exception: the driver's error, for a connection that is gone.
    """
    connection.autocommit = True  # no transaction around it
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_read_only")
            return bool(cursor.fetchone()[0] == "off")
    finally:
        if not connection.closed:
            connection.autocommit = False


def _leave_server(context: Any) -> None:
    """Throw all connections away after an error that another server would not have."""
    if getattr(context.original_exception, "sqlstate", None) in _NO_PRIMARY:
        context.is_disconnect = True
