"""The pauses that all calls of one connection leave to a vendor in trouble.

Three rules. The pause is as long as the vendor asks for; otherwise it grows with each failure. One call alone finds out whether
the vendor is well again. After a "slow down" calls keep a distance, because bursts between two pauses are throttled for ever.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError, Throttled
from airflow_provider_proxyorders.purchase.polling import trouble_pause

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Polling

#: Seconds between two calls after a "slow down". The next one doubles them, and every answer takes a little of them back.
FIRST_GAP = 0.1
#: Seconds below which the gap is over.
LEAST_GAP = FIRST_GAP / 4


@dataclass
class Backoff:
    """The condition of one connection's vendor, as its calls found it.

    Moments are seconds of the caller's clock.

    :param together: calls at the same time while the vendor is well. A vendor in trouble gets one call at a time, and so does a
        vendor before its first answer.
    :ivar trouble: failures in a row. Failures of simultaneous calls count once.
    :ivar calls: how many calls may be under way at the same time now.
    :ivar until: the next call begins at this moment at the earliest.
    :ivar gap: seconds between the begins of two calls; 0 until a "slow down".
    :ivar quiet_until: every request waits for this moment, also the next one of a running call.
    :ivar refused_at: the moment of the last refusal of the key. Earlier calls stop before their next request.
    """

    polling: Polling
    together: int
    chance: Callable[[], float] = field(default=random.random, repr=False)
    trouble: int = field(default=0, init=False)
    calls: int = field(default=1, init=False)
    until: float = field(default=0.0, init=False)
    quiet_until: float = field(default=0.0, init=False)
    refused_at: float = field(default=float("-inf"), init=False)
    gap: float = field(default=0.0, init=False)

    def begin(self, now: float) -> None:
        """Record the begin of a call; the next one keeps its distance."""
        self.until = max(self.quiet_until, now + self.gap)

    def succeed(self, began: float) -> None:
        """Record an answer.

        :param began: the moment when its call began. Before a refusal, the call proves nothing about the present key.
        """
        if began <= self.refused_at:
            return
        self.trouble, self.calls = 0, self.together
        if self.gap:
            self.gap = self.gap * 0.98 if self.gap > LEAST_GAP else 0.0

    def refuse(self, now: float) -> None:
        """Record a refused key: calls in line stay here, and the next call comes alone."""
        self.calls, self.refused_at = 1, now

    def fail(self, error: ProxyOrdersError, now: float) -> float:
        """Record a failed call; returns the vendor's seconds of quiet."""
        pause = error.retry_after or 0.0
        if now >= self.quiet_until:  # calls that were under way together fail together
            self.trouble += 1
            pause = max(pause, trouble_pause(self.polling, self.trouble, self.chance))
            if isinstance(error, Throttled) and self.calls > 1:  # one call alone cannot be too fast
                self.gap = min(max(2 * self.gap, FIRST_GAP), self.polling.slowest)
            self.calls = 1
        self.quiet_until = max(self.quiet_until, now + pause)
        self.until = max(self.until, self.quiet_until)
        return self.quiet_until - now
