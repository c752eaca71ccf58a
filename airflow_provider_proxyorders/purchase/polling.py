"""When to look at a waiting order again: one set of rules for workers, sensors and the triggerer.

Young orders are looked at often, old ones rarely; a vendor that asks for a pause gets it; trouble grows the pause; a
little chance spreads many orders apart. Deadlines are moments, not durations, so they survive every restart.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    OrderNotFound,
    ProxyOrdersError,
    Throttled,
    UnreadableAnswer,
    VendorUnavailable,
)
from airflow_provider_proxyorders.vendors.base import Polling

#: A pause for a struggling vendor grows up to this, in seconds.
LONGEST_TROUBLE = 300.0
#: After a "slow down" calls are at least this far apart, in seconds, twice as far after the next one, and so on; every
#: answer takes a little of it back.
FIRST_GAP = 0.1


def look_pause(polling: Polling, age: float, ceiling: float | None, chance: Callable[[], float]) -> float:
    """Seconds until the next look at an order that is still pending: a tenth of its age, within the vendor's rhythm.

    :param age: seconds since the order was placed.
    :param ceiling: the user's ``poll_interval``, in seconds; never passed.
    :param chance: gives numbers from 0 to 1; spreads the pause by a tenth both ways, below a ceiling downwards only.
    """
    spread = chance()
    pause = min(max(polling.fastest, age / 10), polling.slowest) * (0.9 + 0.2 * spread)
    return min(pause, ceiling * (0.9 + 0.1 * spread)) if ceiling else pause


def trouble_pause(polling: Polling, trouble: int, chance: Callable[[], float]) -> float:
    """Seconds to leave a struggling vendor alone.

    :param trouble: how often in a row it could not be asked, from 1.
    """
    grown = min(polling.fastest * 2.0 ** min(trouble, 16), LONGEST_TROUBLE)
    return grown * (0.5 + 0.5 * chance())


@dataclass
class PollIntervals:
    """How long to wait before each next look at one order.

    :param polling: the vendor's rhythm.
    :param ceiling: the user's ``poll_interval``: never wait longer than this between two looks, in seconds, unless the vendor is
        in trouble.
    :param settle: how long a new order may be unknown to the vendor's reads, in seconds.
    """

    polling: Polling
    ceiling: float | None = None
    settle: float = 30.0
    chance: Callable[[], float] = field(default=random.random, repr=False)
    trouble: int = 0

    def first(self) -> float:
        """Seconds before the first look."""
        return self._bounded(self.polling.first)

    def after_look(self, age: float) -> float:
        """Seconds after a look that found the order still pending.

        :param age: seconds since the order was placed or the wait began; the pause is a tenth of it, within the vendor's rhythm.
        """
        self.trouble = 0
        return look_pause(self.polling, age, self.ceiling, self.chance)

    def after_trouble(self, error: ProxyOrdersError, age: float) -> float | None:
        """Seconds after a look that failed, None where looking again cannot help.

        A missing order is tolerated for the settle time, a refused key not at all, everything passing until the deadline.
        """
        if isinstance(error, (AuthenticationFailed, OrderingNotPermitted)):
            return None
        if isinstance(error, OrderNotFound):
            return self.after_look(age) if age < self.settle else None
        if not isinstance(error, (Throttled, VendorUnavailable, UnreadableAnswer)):
            return None
        self.trouble += 1
        return max(trouble_pause(self.polling, self.trouble, self.chance), error.retry_after or 0.0)

    def _bounded(self, pause: float) -> float:
        return min(pause, self.ceiling) if self.ceiling else pause


@dataclass
class Backoff:
    """How everybody who waits on one connection leaves a vendor in trouble alone, and comes back with care.

    Moments are seconds of whatever clock the caller goes by.

    :param together: calls at the same time while all is well; a vendor in trouble, or one that was never asked, is asked by one.
    """

    polling: Polling
    together: int
    chance: Callable[[], float] = field(default=random.random, repr=False)
    trouble: int = 0
    _well: bool = False
    _refused: float = float("-inf")
    _gap: float = 0.0
    _next: float = 0.0
    _quiet: float = 0.0

    @property
    def calls(self) -> int:
        """How many calls there may be at the same time now."""
        return self.together if self._well else 1

    @property
    def until(self) -> float:
        """Nobody asks before this moment."""
        return max(self._quiet, self._next)

    def allows(self, began: float, now: float) -> bool:
        """Whether a call that was begun at this moment, and stood in line since, may go out: nothing was learned meanwhile."""
        return now >= self._quiet and began > self._refused

    def asking(self, now: float) -> None:
        """A call begins."""
        self._next = now + self._gap

    def well(self, began: float) -> None:
        """A call was answered that began at this moment; one from before a refusal says nothing of the key as it is now."""
        if began <= self._refused:
            return
        self.trouble, self._well = 0, True
        if self._gap:
            self._gap = self._gap * 0.98 if self._gap > FIRST_GAP / 4 else 0.0

    def refused(self, now: float) -> None:
        """The key was not accepted; nothing new is begun while it is looked into, and the next call comes alone."""
        self._well, self._refused = False, now

    def failed(self, error: ProxyOrdersError, now: float) -> float:
        """A call failed; returns the seconds in which nobody asks: as long as the vendor says, else a growing time."""
        pause = getattr(error, "retry_after", None) or 0.0
        if now >= self._quiet:  # calls that were under way together fail together, and count once
            self.trouble += 1
            pause = max(pause, trouble_pause(self.polling, self.trouble, self.chance))
            if isinstance(error, Throttled) and self._well:  # else it is not our pace
                self._gap = min(max(2 * self._gap, FIRST_GAP), self.polling.slowest)
            self._well = False
        self._quiet = max(self._quiet, now + pause)
        return self._quiet - now
