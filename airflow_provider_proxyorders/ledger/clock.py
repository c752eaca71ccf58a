"""The time of a ledger: one clock for all its workers.

Rule: a moment in the ledger is compared with moments of other workers, so all come from one clock. A SQLite file belongs to one
host, and that host's clock counts. A PostgreSQL database belongs to many hosts with clocks of their own, so its clock counts. A
worker with a wrong clock can then neither end another worker's time too early nor make its own too long.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Engine

from airflow_provider_proxyorders.domain.errors import LedgerError

#: Seconds after which the database is asked for its time again.
FRESH = 60.0
#: A host's two clocks drift apart by so many seconds only after it was suspended or its time was set. Then the database is asked.
APART = 0.5


def host_clock() -> datetime:
    """This host's time of day."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Reading:
    """One reading of the database's time, with this host's clocks at that moment.

    :param ticks: of the monotonic clock, in seconds.
    """

    moment: datetime
    ticks: float
    host: datetime


class DatabaseClock:
    """The time of a PostgreSQL database, carried on by this host's monotonic clock between readings."""

    def __init__(self) -> None:
        self._reading: Reading | None = None

    def note(self, ask: Callable[[], datetime]) -> None:
        """Keep a reading.

        :param ask: asks the database for its time.
        """
        before = time.monotonic()
        moment = ask()
        ticks = (before + time.monotonic()) / 2
        self._reading = Reading(moment.astimezone(timezone.utc), ticks, host_clock())

    def now(self, ask: Callable[[], datetime]) -> datetime:
        """The database's time now.

        :param ask: asks the database for its time.
        :raises LedgerError: the database was never reached.
        """
        if self._reading is None:
            self.note(ask)
        elif _is_stale(self._reading):
            with contextlib.suppress(LedgerError):  # a database that is away leaves the last reading
                self.note(ask)
        reading = self._reading
        assert reading is not None
        return reading.moment + timedelta(seconds=max(_seconds_since(reading)))


def _seconds_since(reading: Reading) -> tuple[float, float]:
    """By the monotonic clock and by the time of day."""
    return time.monotonic() - reading.ticks, (host_clock() - reading.host).total_seconds()


def _is_stale(reading: Reading) -> bool:
    by_ticks, by_day = _seconds_since(reading)
    return by_ticks > FRESH or abs(by_day - by_ticks) > APART


_clocks: WeakKeyDictionary[Dialect, DatabaseClock] = WeakKeyDictionary()


def database_clock(engine: Engine) -> DatabaseClock:
    """The clock of an engine's database; all parts of a process that use the engine share it."""
    return _clocks.setdefault(engine.dialect, DatabaseClock())
