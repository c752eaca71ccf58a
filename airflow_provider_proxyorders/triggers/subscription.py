"""One waiting trigger: its updates, and the moment of its next look.

Two rules. Updates wait in order until the trigger picks them up, so all arrive. The last update goes first: it replaces lines
still waiting for the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_proxyorders.purchase.polling import look_pause

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
    from airflow_provider_proxyorders.purchase.polling import Misses
    from airflow_provider_proxyorders.vendors.contract import Polling

#: Seconds that every wait takes at least. Airflow 3.3 may fail a task that resumes while it is still being deferred, see RETRIES
#: of the operators.
EARLIEST = 2.0
#: Seconds until the log calls the order still pending; the next line comes after twice as many, and so on.
STILL_PENDING = 300.0
NEVER = float("inf")


class Update(NamedTuple):
    """A message for a waiting trigger.

    :param outcome: ``final``, ``deadline`` or ``unreadable`` end the wait. None is a line for the log.
    :param text: for the log; may be empty.
    :param reason: name of the error behind an unreadable order.
    :param status: the status of a final order.
    :param misses: the reads in a row that did not show the order, where these ended the wait.
    """

    outcome: str | None
    text: str
    reason: str | None = None
    status: OrderStatus | None = None
    misses: Misses | None = None


class Subscription:
    """One waiting trigger and its order.

    Thousands of these live in one triggerer, most of the time asleep, so they are kept small.

    :param deadline: seconds of the loop's clock.
    :param ceiling: the most seconds between two looks; None means the vendor's rhythm.
    :param backstop: in a wait for a webhook, the most seconds between two looks, in place of the vendor's rhythm.
    :param age: seconds since the order was placed, when the wait began.
    :param ended: decides whether an order as read ends the wait; None means a final status does.
    :ivar hinted: the moment of the order's last webhook, in seconds of the loop's clock.
    :ivar gone: the wait is over.
    """

    __slots__ = (
        *("_ended", "_kept", "_next", "_order", "_still_at", "age", "backstop", "began", "ceiling", "deadline", "gone"),
        *("hinted", "looks", "order_id"),
    )

    def __init__(
        self,
        order_id: str,
        *,
        deadline: float,
        ceiling: float | None,
        age: float,
        ended: Callable[[VendorOrder], bool] | None = None,
        backstop: float | None = None,
    ):
        self.order_id, self.deadline, self.ceiling, self.age, self._ended = order_id, deadline, ceiling, age, ended
        self.backstop = backstop
        self.began = asyncio.get_running_loop().time()
        self.hinted: float | None = None
        self.looks = 0
        self.gone = False
        self._order: VendorOrder | None = None
        self._still_at = STILL_PENDING
        self._kept: list[Update] | None = None
        self._next: asyncio.Future[Update] | None = None

    @property
    def earliest(self) -> float:
        """The earliest end of the wait, in seconds of the loop's clock."""
        return self.began + EARLIEST

    def first_look(self, polling: Polling) -> float:
        """The moment of the first look, in seconds of the loop's clock."""
        return self.began + max(EARLIEST, min(polling.first - self.age, self.ceiling or NEVER))

    def age_at(self, now: float) -> float:
        """Age of the order at a moment of the loop's clock, in seconds."""
        return self.age + now - self.began

    def show(self, order: VendorOrder, polling: Polling, now: float, spread: float, quiet: bool) -> float:
        """Take in the order as just read; returns the seconds until the next look.

        :param spread: from 0 to 1; see :meth:`pause`.
        :param quiet: leave out lines about the usual course: pending at first, and then ended.
        """
        self.looks += 1
        previous, self._order = self._order, order
        if order is not previous:  # a repeated answer gives the same object
            if order.status.final if self._ended is None else self._ended(order):
                text = "" if quiet else f"Order {order.order_id} is {order.vendor_status}"
                self.tell(Update("final", text, status=order.status))
                return NEVER
            if previous is None or order.vendor_status != previous.vendor_status:
                if not (quiet and previous is None):
                    self.tell(Update(None, f"Order {order.order_id} is {order.vendor_status}"))
                return self.pause(polling, now, spread)
        pause = self.pause(polling, now, spread)
        waited = now - self.began
        if waited >= self._still_at:
            self._still_at = 2 * waited
            text = f"Order {order.order_id} is still {order.vendor_status}, asked {self.looks} times"
            self.tell(Update(None, f"{text}, next look in {pause:.0f} s"))
        return pause

    def pause(self, polling: Polling, now: float, spread: float) -> float:
        """Seconds until the next look at a pending order.

        :param spread: from 0 to 1, by chance; keeps many orders apart.
        """
        if self.backstop is None:
            return look_pause(polling, self.age + now - self.began, self.ceiling, spread)
        pause = self.backstop * (0.9 + 0.1 * spread)
        if self.hinted is None:
            return pause
        # A webhook was quicker than the vendor's reads: look again soon, and then less and less often.
        return min(pause, max(now - self.hinted, polling.fastest))

    def tell(self, update: Update) -> None:
        """Hand an update on."""
        if self._next is not None and not self._next.done():
            self._next.set_result(update)
            return
        kept = self._kept or []
        if update.outcome is not None:
            kept = [earlier for earlier in kept if earlier.outcome is not None]
        self._kept = [*kept, update]

    def next_update(self) -> asyncio.Future[Update]:
        """The next update, to be awaited.

        One future per waiting trigger saves the queue and the broadcast of Airflow's shared streams, and a coroutine.
        """
        self._next = asyncio.get_running_loop().create_future()
        if self._kept:
            first, *rest = self._kept
            self._kept = rest or None
            self._next.set_result(first)
        return self._next


def loop_deadline(deadline: str) -> float:
    """A moment in ISO form as seconds of the running loop's clock."""
    left = (datetime.fromisoformat(deadline) - datetime.now(timezone.utc)).total_seconds()
    return asyncio.get_running_loop().time() + left


def seconds_since(moment: str | None) -> float:
    """Age of a moment in ISO form, in seconds; 0 without one."""
    return max(0.0, time.time() - datetime.fromisoformat(moment).timestamp()) if moment else 0.0
