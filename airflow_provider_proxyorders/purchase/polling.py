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
)
from airflow_provider_proxyorders.vendors.base import Polling

#: A pause for a struggling vendor grows up to this, in seconds.
LONGEST_TROUBLE = 300.0


def look_pause(polling: Polling, age: float, ceiling: float | None, spread: float) -> float:
    """Seconds until the next look at an order that is still pending: a tenth of its age, within the vendor's rhythm.

    :param age: seconds since the order was placed.
    :param ceiling: the user's ``poll_interval``, in seconds; never passed.
    :param spread: from 0 to 1, by chance: spreads the pause by a tenth both ways, below a ceiling downwards only.
    """
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
        return look_pause(self.polling, age, self.ceiling, self.chance())

    def after_trouble(self, error: ProxyOrdersError, age: float) -> float | None:
        """Seconds after a look that failed, None where looking again cannot help.

        A missing order is tolerated for the settle time, a refused key not at all, everything passing until the deadline.
        """
        if isinstance(error, (AuthenticationFailed, OrderingNotPermitted)):
            return None
        if isinstance(error, OrderNotFound):
            return self.after_look(age) if age < self.settle else None
        if not error.passing:
            return None
        self.trouble += 1
        return max(trouble_pause(self.polling, self.trouble, self.chance), error.retry_after or 0.0)

    def _bounded(self, pause: float) -> float:
        return min(pause, self.ceiling) if self.ceiling else pause
