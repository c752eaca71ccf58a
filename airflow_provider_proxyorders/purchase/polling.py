"""The time of the next look at a waiting order: one set of rules for workers, sensors and the triggerer.

Young orders are read often, old orders rarely. A vendor that asks for a pause gets it. Trouble grows the pause. Chance spreads
many orders apart. Deadlines are moments and survive every restart.

A read that does not show an order is a miss. One miss proves nothing: reads lag, and one of the vendor's servers may answer
without knowing. The order is asked for again. It counts as missing after several misses in a row over the settle time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    ProxyOrdersError,
    VendorError,
)

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Polling

T = TypeVar("T")

#: The longest pause for a vendor in trouble, in seconds.
LONGEST_TROUBLE = 300.0
#: An order counts as missing after at least so many misses in a row.
LEAST_MISSES = 3
#: The shortest pause after a miss, in seconds.
SHORTEST_MISS = 0.05


def look_pause(polling: Polling, age: float, ceiling: float | None, spread: float) -> float:
    """Seconds until the next look at a pending order: a tenth of its age, within the vendor's rhythm.

    :param age: seconds since the order was placed.
    :param ceiling: the user's ``poll_interval``, the longest pause in seconds.
    :param spread: from 0 to 1, by chance: spreads the pause by a tenth both ways, below a ceiling downwards only.
    """
    pause = min(max(polling.fastest, age / 10), polling.slowest) * (0.9 + 0.2 * spread)
    return min(pause, ceiling * (0.9 + 0.1 * spread)) if ceiling else pause


def trouble_pause(polling: Polling, trouble: int, chance: Callable[[], float]) -> float:
    """Seconds of pause for a vendor in trouble.

    :param trouble: number of failed calls in a row, from 1.
    """
    grown = min(polling.fastest * 2.0 ** min(trouble, 16), LONGEST_TROUBLE)
    return grown * (0.5 + 0.5 * chance())


# -- orders that a read does not show ------------------------------------------------------------------------------


def is_miss(error: BaseException) -> bool:
    """Whether a failed read leaves open that the vendor has the order: it is not found, or this read of it is refused.

    A refused key is no miss, since every other read is refused as well. Passing trouble is none either.
    """
    lasting = isinstance(error, VendorError) and not error.passing
    return lasting and not isinstance(error, (AuthenticationFailed, OrderingNotPermitted))


def miss_pause(polling: Polling, misses: int, settle: float, ceiling: float | None = None) -> float:
    """Seconds until the next look at an order after a miss: short at first, since most misses are passing.

    :param misses: number of misses in a row, from 1.
    :param settle: seconds until reads show an order.
    :param ceiling: the user's ``poll_interval``, in seconds.
    """
    grown = min(polling.fastest * 2.0 ** min(misses - 1, 16), polling.slowest, settle / (LEAST_MISSES - 1))
    return max(SHORTEST_MISS, min(grown, ceiling) if ceiling else grown)


@dataclass(slots=True)
class Misses:
    """The misses of one order in a row. A read that shows the order ends them.

    :ivar since: the moment of the first, in seconds of the caller's clock.
    :ivar until: the moment of the last.
    """

    count: int = 0
    since: float = 0.0
    until: float = 0.0

    def add(self, now: float) -> None:
        """Note a miss."""
        if not self.count:
            self.since = now
        self.count += 1
        self.until = now

    def clear(self) -> None:
        """Note a read that shows the order."""
        self.count = 0

    @property
    def seconds(self) -> float:
        """How long the order has been missing."""
        return self.until - self.since if self.count else 0.0

    def prove_missing(self, settle: float) -> bool:
        """Whether the order counts as missing. Then it is told, and the next look is left to the next try."""
        return self.count >= LEAST_MISSES and self.seconds >= settle


@dataclass
class PollIntervals:
    """The pauses between the looks at one order.

    :param polling: the vendor's rhythm.
    :param ceiling: the user's ``poll_interval``: the longest pause in seconds, as long as the vendor is well.
    :param settle: how long a new order may be missing in the vendor's reads, in seconds.
    """

    polling: Polling
    ceiling: float | None = None
    settle: float = 30.0
    chance: Callable[[], float] = field(default=random.random, repr=False)
    trouble: int = 0
    misses: Misses = field(default_factory=Misses)

    def first(self) -> float:
        """Seconds before the first look."""
        return self._bounded(self.polling.first)

    def after_look(self, age: float) -> float:
        """Seconds after a look with the order still pending.

        :param age: seconds since the order was placed or the wait began.
        """
        self.trouble = 0
        self.misses.clear()
        return look_pause(self.polling, age, self.ceiling, self.chance())

    def after_trouble(self, error: ProxyOrdersError, age: float) -> float | None:
        """Seconds after a failed look; ``None``: another look is useless.

        Looks go on until the order counts as missing, and until the deadline after a passing error. They stop at once if the key
        is refused.

        :param age: seconds since the order was placed or the wait began.
        """
        if is_miss(error):
            self.misses.add(age)
            if self.misses.prove_missing(self.settle):
                return None
            return miss_pause(self.polling, self.misses.count, self.settle, self.ceiling)
        if not (isinstance(error, VendorError) and error.passing):
            return None
        self.trouble += 1
        return max(trouble_pause(self.polling, self.trouble, self.chance), error.retry_after or 0.0)

    def _bounded(self, pause: float) -> float:
        return min(pause, self.ceiling) if self.ceiling else pause


def ask_until_shown(
    read: Callable[[], T],
    intervals: PollIntervals,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Read something about an order. While the vendor does not show the order, it is asked again.

    :param read: one read, which may be repeated.
    :param intervals: the pauses; afterwards they hold the misses.
    :param clock: seconds, from any start.
    :raises VendorError: the last miss, when the order counts as missing; any other error at once.
    """
    began = clock()
    while True:
        try:
            return read()
        except VendorError as error:
            pause = intervals.after_trouble(error, clock() - began) if is_miss(error) else None
            if pause is None:
                raise
            say(f"{error} Asking again in {pause:.0f} s")
            sleep(pause)
