"""All waiting triggers of one connection, by order and by deadline.

Two rules. A trigger hears of its deadline at its moment, independently of the vendor. All triggers share one event loop, so
many of them are told some at a time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable
from itertools import islice

from airflow_provider_proxyorders.triggers.subscription import Subscription, Update

#: Triggers told in one turn of the loop. Each writes a line into its task's log, and Airflow warns of a held loop.
TOLD_AT_ONCE = 50
#: With more waiting triggers, lines about the usual course are left out: a triggerer's supervisor reads a handful of lines
#: between two rounds of database work, and starts the next triggers only then.
QUIET_ABOVE = 500


class Subscribers:
    """The subscriptions of one connection.

    :ivar count: how many there are.
    :ivar many_waiting: whether the triggerer's log has too little room for so many.
    :ivar by_order: the subscriptions of each order; each list holds at least one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.many_waiting = False
        self.by_order: dict[str, list[Subscription]] = {}
        self._loop = asyncio.get_running_loop()
        self._deadlines: list[tuple[float, int, Subscription]] = []
        self._number = itertools.count()  # orders deadlines of the same moment by their arrival
        self._timer: asyncio.TimerHandle | None = None

    def add(self, subscription: Subscription) -> None:
        """Begin to keep a subscription and its deadline."""
        self._count(+1)
        self.by_order.setdefault(subscription.order_id, []).append(subscription)
        moment = max(subscription.deadline, subscription.earliest)
        heapq.heappush(self._deadlines, (moment, next(self._number), subscription))
        self._arm()

    def remove(self, subscription: Subscription) -> bool:
        """Forget a subscription; returns whether it was the last one of its order."""
        subscription.gone = True
        self._count(-1)
        subscriptions = self.by_order[subscription.order_id]
        subscriptions.remove(subscription)
        if not subscriptions:
            del self.by_order[subscription.order_id]
        if len(self._deadlines) > 2 * self.count + 64:  # a deadline can be days away
            self._deadlines = [entry for entry in self._deadlines if not entry[2].gone]
            heapq.heapify(self._deadlines)
        return not subscriptions

    def _count(self, change: int) -> None:
        self.count += change
        self.many_waiting = self.count > QUIET_ABOVE

    def still_waiting(self, order_ids: Iterable[str]) -> list[str]:
        """Those of some orders with a subscription left, after a call."""
        return [order_id for order_id in order_ids if order_id in self.by_order]

    async def tell(self, order_ids: Iterable[str], update: Update) -> None:
        """Tell all subscriptions of these orders, some in each turn of the loop."""
        subscriptions = (subscription for order_id in order_ids for subscription in tuple(self.by_order.get(order_id, ())))
        while some := list(islice(subscriptions, TOLD_AT_ONCE)):
            for subscription in some:
                subscription.tell(update)
            await asyncio.sleep(0)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        """Come back at the earliest deadline."""
        if not self._deadlines:
            return
        moment = self._deadlines[0][0]
        if self._timer is not None:
            if self._timer.when() <= moment:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(moment, self._pass_deadlines)

    def _pass_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time()
        for _ in range(TOLD_AT_ONCE):
            if not self._deadlines or self._deadlines[0][0] > now:
                break
            subscription = heapq.heappop(self._deadlines)[2]
            if not subscription.gone:
                text = f"Order {subscription.order_id} was asked about {subscription.looks} times until the deadline"
                subscription.tell(Update("deadline", text))
        self._arm()
