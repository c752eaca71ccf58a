"""Waits in the triggerer until an order is final.

Two rules: what is stored and logged about a trigger holds ids and moments only; and its event is a hint ("look now"),
since the worker reads the order itself before anything acts on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_proxyorders.triggers.poller import EARLIEST, Waiter, loop_deadline, seconds_since, waiting_on

if TYPE_CHECKING:
    from airflow_provider_proxyorders.core.model import VendorOrder
    from airflow_provider_proxyorders.vendors import Vendor


class ProxyOrderTrigger(BaseTrigger):
    """Fires when an order has left its pending states, when it cannot be read any more, or at the deadline.

    The event is ``{"order_id": ..., "outcome": "final" | "deadline" | "unreadable", "reason": ..., "at": ...}``; ``reason`` is
    the name of an error, never its text, and ``at`` the unix time of the look that decided.

    :param order_id: the vendor's id.
    :param deadline: ISO time with zone; a moment, so it means the same after a restart.
    :param placed_at: ISO time of the purchase; young orders are looked at more often.
    :param poll_interval: never wait longer than this between two looks, in seconds.
    :param kind: ``create``, or ``extend`` to wait until the expiry has grown.
    :param evidence: for an extension, what was read of the order before it.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        order_id: str,
        deadline: str,
        placed_at: str | None = None,
        poll_interval: float | None = None,
        kind: str = "create",
        evidence: Mapping[str, Any] | None = None,
    ):
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id, self.order_id, self.deadline, self.placed_at = conn_id, order_id, deadline, placed_at
        self.poll_interval, self.kind, self.evidence = poll_interval, kind, dict(evidence or {})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "conn_id": self.conn_id,
                "order_id": self.order_id,
                "deadline": self.deadline,
                "placed_at": self.placed_at,
                "poll_interval": self.poll_interval,
                "kind": self.kind,
                "evidence": self.evidence,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        outcome, reason = await self._wait()
        event: Any = {"order_id": self.order_id, "outcome": outcome, "reason": reason, "at": time.time()}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> tuple[str, str | None]:
        from airflow_provider_proxyorders.core.errors import ProxyOrdersError

        async with waiting_on(self.conn_id) as poller:
            try:
                vendor = await poller.open()
            except ProxyOrdersError as error:
                self.log.info("%s", error)
                await asyncio.sleep(EARLIEST)
                return "unreadable", type(error).__name__
            waiter = Waiter(
                self.order_id,
                deadline=loop_deadline(self.deadline),
                ceiling=self.poll_interval,
                age=seconds_since(self.placed_at),
                final=lambda order: self._final(vendor, order),
            )
            poller.enter(waiter)
            try:
                while True:
                    news = await waiter.news()
                    self.log.info("%s", news.text)
                    if news.outcome is not None:
                        return news.outcome, news.reason
            finally:
                poller.leave(waiter)

    def _final(self, vendor: Vendor, order: VendorOrder) -> bool:
        if self.kind != "extend":
            return order.status.final
        from airflow_provider_proxyorders.core.model import OrderStatus

        gone = order.status in (OrderStatus.FAILED, OrderStatus.REFUNDED)
        return gone or vendor.extended(self.evidence, order)
