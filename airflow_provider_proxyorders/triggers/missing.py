"""Orders that reads do not show, in the triggerer. The rule is that of the worker; see ``purchase/polling.py``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.purchase.polling import Misses, miss_pause
from airflow_provider_proxyorders.triggers.subscription import Update

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
    from airflow_provider_proxyorders.triggers.gate import Gate
    from airflow_provider_proxyorders.triggers.schedule import PollSchedule
    from airflow_provider_proxyorders.triggers.subscribers import Subscribers

#: Missing orders are asked for again at moments this far apart, as a part of their pause: in one call again.
TOGETHER = 0.25


class MissingOrders:
    """The orders of one connection that reads did not show lately."""

    def __init__(self, gate: Gate, subscribers: Subscribers, schedule: PollSchedule):
        self._gate, self._subscribers, self.schedule = gate, subscribers, schedule
        self._misses: dict[str, Misses] = {}

    def forget(self, order_id: str) -> None:
        """A read has shown an order, or nobody waits for it any more."""
        if self._misses:
            self._misses.pop(order_id, None)

    def note(self, order_ids: Iterable[str], alone: bool, error: ProxyOrdersError | None = None) -> None:
        """Ask again for orders that a read did not show. The wait ends when they count as missing.

        :param alone: the call asked for this order only. An old order that a list left out is asked for alone at once.
        :param error: of that call; None where the answer left the order out.
        """
        now, vendor = self._gate.loop.time(), self._gate.vendor
        for order_id in self._subscribers.still_waiting(order_ids):
            subscriptions = self._subscribers.by_order[order_id]
            for subscription in subscriptions:
                subscription.looks += 1
            if not alone and max(each.age_at(now) for each in subscriptions) >= vendor.settle_time:
                self.schedule.plan_alone((order_id,))
                continue
            misses = self._misses.setdefault(order_id, Misses())
            misses.add(now)
            if not misses.prove_missing(vendor.settle_time):
                ceiling = min((each.ceiling for each in subscriptions if each.ceiling), default=None)
                pause = miss_pause(vendor.capabilities.polling, misses.count, vendor.settle_time, ceiling)
                part = TOGETHER * pause
                self.schedule.plan((order_id,), math.ceil((now + pause) / part) * part)
                continue
            text = f"{misses.count} reads over {misses.seconds:.0f} s did not show order {order_id}"
            reason = type(error).__name__ if error else "OrderNotFound"
            update = Update("unreadable", f"{text}: {error}" if error else text, reason, misses=misses)
            for subscription in subscriptions:
                subscription.tell(update)
