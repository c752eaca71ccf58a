"""Waits in the triggerer until an order is final.

Two rules: what is stored and logged about a trigger holds ids and moments only; and its event is a hint ("look now"),
since the worker reads the order itself before anything acts on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_proxyorders.triggers.readers import reader

if TYPE_CHECKING:
    from airflow_provider_proxyorders.core.model import VendorOrder
    from airflow_provider_proxyorders.triggers.readers import Reader
    from airflow_provider_proxyorders.vendors import Vendor

#: Airflow 3.3 may mark a task failed that is resumed while it is still being put aside; so nothing fires sooner, in seconds.
EARLIEST_EVENT = 2.0


class ProxyOrderTrigger(BaseTrigger):
    """Fires when an order has left its pending states, when it cannot be read any more, or at the deadline.

    The event is ``{"order_id": ..., "outcome": "final" | "deadline" | "unreadable", "reason": ...}``; ``reason`` is the
    name of an error, never its text.

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
        async with reader(self.conn_id) as shared:
            outcome, reason = await self._watch(shared)
        event: Any = {"order_id": self.order_id, "outcome": outcome, "reason": reason}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _watch(self, shared: Reader) -> tuple[str, str | None]:
        from airflow_provider_proxyorders.core.errors import ProxyOrdersError
        from airflow_provider_proxyorders.core.waiting import Pauses

        try:
            vendor = await shared.open()
        except ProxyOrdersError as error:
            await asyncio.sleep(EARLIEST_EVENT)
            return "unreadable", type(error).__name__
        settle = vendor.account.settings.get("settle")
        pauses = Pauses(
            vendor.capabilities.polling, self.poll_interval, vendor.capabilities.settle if settle is None else float(settle)
        )
        deadline = datetime.fromisoformat(self.deadline)
        began = datetime.fromisoformat(self.placed_at) if self.placed_at else datetime.now(timezone.utc)
        pause = max(EARLIEST_EVENT, pauses.first())
        looks, told, status = 0, 0.0, None
        while True:
            left = (deadline - datetime.now(timezone.utc)).total_seconds()
            await asyncio.sleep(max(0.0, min(pause, max(left, EARLIEST_EVENT if not looks else 0.0))))
            age = (datetime.now(timezone.utc) - began).total_seconds()
            looks += 1
            try:
                order = await shared.read(vendor.get(self.order_id))
            except ProxyOrdersError as error:
                again = pauses.after_trouble(error, age)
                if again is None:
                    return "unreadable", type(error).__name__
                pause = again
                self.log.info("Order %s cannot be read (%s), next look in %.0f s", self.order_id, type(error).__name__, pause)
            else:
                if self._final(vendor, order):
                    return "final", None
                pause = pauses.after_look(age)
                if order.vendor_status != status:
                    status = order.vendor_status
                    self.log.info("Order %s is %s", self.order_id, status)
                elif age - told >= 300:
                    told = age
                    self.log.info(
                        "Order %s is still %s, asked %d times, next look in %.0f s", self.order_id, status, looks, pause
                    )
            if datetime.now(timezone.utc) >= deadline:
                return "deadline", None

    def _final(self, vendor: Vendor, order: VendorOrder) -> bool:
        if self.kind != "extend":
            return order.status.final
        from airflow_provider_proxyorders.core.model import OrderStatus

        gone = order.status in (OrderStatus.FAILED, OrderStatus.REFUNDED)
        return gone or vendor.extended(self.evidence, order)
