"""One ledger database, as every part of the ledger uses it: an engine, a clock, and two kinds of connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from airflow_provider_proxyorders.ledger import clock as clocks
from airflow_provider_proxyorders.ledger import trips
from airflow_provider_proxyorders.ledger.engine import autocommitting, translated_errors


def clock_of(engine: Engine) -> Callable[[], datetime]:
    """The clock that counts for a ledger: PostgreSQL's own, or that of SQLite's one host."""
    if engine.dialect.name != "postgresql":
        return lambda: clocks.host_clock()  # looked up at each call, so a test can change it

    def ask() -> datetime:
        with translated_errors(engine.url), autocommitting(engine).connect() as connection:
            moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            return moment

    return lambda: clocks.database_clock(engine).now(ask)


class Database:
    """The database behind a part of the ledger.

    :param clock: gives the current time, aware; None: the clock that all workers of the ledger share. Tests inject one.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime] | None = None):
        self.engine = engine
        self._autocommitting = autocommitting(engine)
        self.clock = clock or clock_of(engine)

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection without an enclosing transaction: each statement is one by itself, in one trip.

        :raises LedgerError: the database cannot be used.
        """
        with translated_errors(self.engine.url), self._autocommitting.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection with one transaction, committed at the end and taken back after an error.

        :raises LedgerError: the database cannot be used.
        """
        with translated_errors(self.engine.url), trips.transaction(self.engine, self._autocommitting) as connection:
            yield connection
