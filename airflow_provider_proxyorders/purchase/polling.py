"""The time of the next look at a waiting order: one set of rules for workers, sensors and the triggerer.

Young orders are read often, old orders rarely. A vendor that asks for a pause gets it. Trouble grows the pause. Chance spreads
many orders apart. Deadlines are moments and survive every restart.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import OrderNotFound, ProxyOrdersError, VendorError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Polling

#: The longest pause for a vendor in trouble, in seconds.
LONGEST_TROUBLE = 300.0


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

    def first(self) -> float:
        """Seconds before the first look."""
        return self._bounded(self.polling.first)

    def after_look(self, age: float) -> float:
        """Seconds after a look with the order still pending.

        :param age: seconds since the order was placed or the wait began.
        """
        self.trouble = 0
        return look_pause(self.polling, age, self.ceiling, self.chance())

    def after_trouble(self, error: ProxyOrdersError, age: float) -> float | None:
        """Seconds after a failed look; ``None``: another look is useless.

        Looks go on for the settle time if the order is missing, and until the deadline after a passing error. They stop at once
        if the key is refused.
        """
        if isinstance(error, OrderNotFound):
            return self.after_look(age) if age < self.settle else None
        if not (isinstance(error, VendorError) and error.passing):
            return None
        self.trouble += 1
        return max(trouble_pause(self.polling, self.trouble, self.chance), error.retry_after or 0.0)

    def _bounded(self, pause: float) -> float:
        return min(pause, self.ceiling) if self.ceiling else pause
