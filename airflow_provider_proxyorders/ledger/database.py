"""One ledger database, as every part of the ledger uses it: an engine, a clock, and two kinds of connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from sqlalchemy import Connection, Engine

from airflow_provider_proxyorders.ledger.engine import autocommitting, translated_errors


class Database:
    """The database behind a part of the ledger.

    :param clock: gives the current time, aware; tests inject one.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime] | None = None):
        self.engine = engine
        self._autocommitting = autocommitting(engine)
        self.clock = clock or (lambda: datetime.now(timezone.utc))

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
        with translated_errors(self.engine.url), self.engine.begin() as connection:
            yield connection
