"""Who waits for an order in the triggerer, and what he is told.

Two rules: news that was not picked up yet is kept, in order, so nothing is lost between two looks; but the end is not kept
waiting by lines that only inform: those that nobody has picked up by then are left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder

#: A waiter is told that it still waits after this many seconds, then after twice as many, and so on.
STILL = 300.0


class Update(NamedTuple):
    """What a waiter is told.

    :param outcome: ``final``, ``deadline`` or ``unreadable``; None for a line in the log only.
    :param text: for the log; empty where there is nothing to say.
    :param reason: name of the error that ended the wait.
    :param status: how the order ended, as far as it did.
    """

    outcome: str | None
    text: str
    reason: str | None = None
    status: OrderStatus | None = None


class Subscription:
    """One trigger that waits for one order.

    :param deadline: seconds of the loop's clock.
    :param ceiling: the most seconds between two looks, None for the vendor's rhythm.
    :param backstop: the most seconds between two looks of one who waits for a webhook, in place of the vendor's rhythm.
    :param final: decides whether an order as read ends the wait.
    :param age: seconds since the order was placed, when the wait began.
    """

    __slots__ = (
        *("_news", "age", "backstop", "began", "ceiling", "deadline", "final", "gone"),
        *("hinted", "looks", "loop", "order_id", "pending", "status", "still"),
    )

    def __init__(
        self,
        order_id: str,
        *,
        deadline: float,
        ceiling: float | None,
        age: float,
        final: Callable[[VendorOrder], bool],
        backstop: float | None = None,
    ):
        self.loop = asyncio.get_running_loop()
        self.order_id, self.deadline, self.ceiling, self.age, self.final = order_id, deadline, ceiling, age, final
        self.backstop = backstop
        self.began = self.loop.time()
        #: when a webhook told of the order last, in seconds of the loop's clock
        self.hinted: float | None = None
        self.looks = 0
        self.gone = False
        self.status: str | None = None
        self.still = STILL
        self.pending: list[Update] | None = None
        self._news: asyncio.Future[Update] | None = None

    def age_at(self, now: float) -> float:
        """Age of the order at a moment of the loop's clock, in seconds."""
        return self.age + now - self.began

    def tell(self, news: Update) -> None:
        """Hand on news."""
        if self._news is not None and not self._news.done():
            self._news.set_result(news)
            return
        kept = self.pending or []
        if news.outcome is not None:
            kept = [earlier for earlier in kept if earlier.outcome is not None]
        self.pending = [*kept, news]

    def news(self) -> asyncio.Future[Update]:
        """To be awaited: the next news."""
        self._news = self.loop.create_future()  # and no coroutine around it: thousands wait here, most of the time
        if self.pending:
            first, *rest = self.pending
            self.pending = rest or None
            self._news.set_result(first)
        return self._news


def loop_deadline(deadline: str) -> float:
    """A moment in ISO form as seconds of the running loop's clock."""
    left = (datetime.fromisoformat(deadline) - datetime.now(timezone.utc)).total_seconds()
    return asyncio.get_running_loop().time() + left


def seconds_since(moment: str | None) -> float:
    """Age of a moment in ISO form, in seconds; 0 without one."""
    return max(0.0, time.time() - datetime.fromisoformat(moment).timestamp()) if moment else 0.0
