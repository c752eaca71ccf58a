"""Triggers for orders: one for a waiting task, one for DAGs that start when an order ends.

Two rules. The row and the log of a trigger hold ids and moments only. Its event is a hint ("look now"): the worker reads the
order itself before it acts. Only a purely waiting task may end here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    ProxyOrdersError,
    VendorError,
)
from airflow_provider_proxyorders.domain.inputs import (
    conn_id_of,
    ids_of,
    moment_of,
    one_of,
    optional_body_of,
    order_id_of,
    required_moment,
    seconds_of,
)
from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
from airflow_provider_proxyorders.domain.names import LONGEST_ID
from airflow_provider_proxyorders.triggers import subscription
from airflow_provider_proxyorders.triggers.gate import KEY_LOOKED_UP, KEY_REFUSED
from airflow_provider_proxyorders.triggers.poller import waiting_on
from airflow_provider_proxyorders.triggers.subscription import Subscription, Update, loop_deadline, seconds_since

if TYPE_CHECKING:
    from airflow_provider_proxyorders.triggers.events import EndedOrder
    from airflow_provider_proxyorders.triggers.gate import Gate
    from airflow_provider_proxyorders.vendors import Vendor


class ProxyOrderTrigger(BaseTrigger):
    """Fires when an order has left its pending states, when its reads fail for good, or at the deadline.

    The event is ``{"order_id": ..., "outcome": "final" | "deadline" | "unreadable", "reason": ..., "at": ...}``. ``reason`` is
    the bare name of an error, and ``at`` the unix time of the event. An order that reads did not show has ``missed`` as well:
    their number, and the seconds over which they were made.

    :param order_id: the vendor's id.
    :param deadline: ISO time with zone; a moment, so it means the same after a restart.
    :param placed_at: ISO time of the purchase; young orders are looked at more often.
    :param poll_interval: the most seconds between two looks.
    :param kind: ``create``, or ``extend`` to wait until the expiry has grown.
    :param evidence: for an extension, the order as read before it.
    :param ends: statuses (ours, such as ``delivered``) for a success right here, without a worker and without a result. A worker
        judges every other status.
    :param backstop: wait for the vendor's webhook; without one, look this often, in seconds.
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
        ends: Sequence[str] = (),
        backstop: float | None = None,
    ):
        super().__init__()  # type: ignore[no-untyped-call]
        placed = moment_of("placed_at", placed_at, "UTC")
        self.conn_id, self.order_id = conn_id_of(conn_id), order_id_of(order_id)
        self.deadline = required_moment("deadline", deadline, "UTC").isoformat()
        self.placed_at = placed.isoformat() if placed else None
        self.poll_interval, self.backstop = seconds_of("poll_interval", poll_interval), seconds_of("backstop", backstop)
        self.kind = one_of("kind", kind, ("create", "extend"))
        self.evidence = dict(optional_body_of(evidence, "evidence") or {})
        self.ends = ids_of("ends", ends) or []

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
                "ends": self.ends,
                "backstop": self.backstop,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        update = await self._wait()
        if update.status is not None and update.status.value in self.ends:
            yield TaskSuccessEvent()
            return
        event: Any = {"order_id": self.order_id, "outcome": update.outcome, "reason": update.reason, "at": time.time()}
        if update.misses is not None:
            event["missed"] = [update.misses.count, update.misses.seconds]
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> Update:
        """Log updates until one ends the wait."""
        async with waiting_on(self.conn_id) as poller:
            try:
                vendor = await poller.gate.open()
            except ProxyOrdersError as error:
                await self.log.ainfo("%s", error)
                await asyncio.sleep(subscription.EARLIEST)
                return Update("unreadable", str(error), type(error).__name__)
            waiting = Subscription(
                self.order_id,
                deadline=loop_deadline(self.deadline),
                ceiling=self.poll_interval,
                age=seconds_since(self.placed_at),
                ended=partial(self._extended, vendor) if self.kind == "extend" else None,
                backstop=self.backstop,
            )
            poller.enter(waiting)
            try:
                while True:
                    update = await waiting.next_update()
                    many_waiting = poller.subscribers.many_waiting
                    if update.outcome is not None:
                        poller.leave(waiting)  # or the vendor would be asked while the line is written
                    await poller.lines.log_update(self.log, waiting, update, many_waiting)
                    if update.outcome is not None:
                        return update
            finally:
                poller.leave(waiting)

    def _extended(self, vendor: Vendor, order: VendorOrder) -> bool:
        lost = order.status in (OrderStatus.FAILED, OrderStatus.REFUNDED)
        return lost or not vendor.shows_extension(self.evidence) or vendor.extended(self.evidence, order)


class OrderEventTrigger(BaseEventTrigger):
    """Fires for every ended order, for ``AssetWatcher``: "an order finished" then starts a DAG.

    The event is ``{"conn_id": ..., "order_id": ..., "reference": ..., "status": ..., "vendor_status": ...}``, read at the vendor
    after its webhook, without the delivery. Each order gives one event, also over restarts and with several triggerers. A
    triggerer may end within seconds of an event, before it can confirm the receipt in Airflow; such an event comes once more two
    minutes later. After several events within a minute the last one comes once more, for a run of the DAG with those that Airflow
    left behind. Orders from before the first use of the trigger are left out.

    :param conn_id: a connection to a vendor with webhooks.
    """

    def __init__(self, *, conn_id: str):
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id_of(conn_id)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"conn_id": self.conn_id}

    def verify_events(self, events: Iterable[Any]) -> list[dict[str, Any]]:
        """The orders behind asset events, each once, as the vendor reports them now. Call it in a task that acts on them.

        Everybody with the right to create asset events can write one by hand. An order that no trigger has reported, by the
        ledger, is left out with a warning.

        :param events: as in ``triggering_asset_events``.
        :returns: objects such as those of the trigger's events.
        :raises VendorError: an order cannot be read now.
        """
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
        from airflow_provider_proxyorders.triggers.events import payload_of, was_reported

        hook, verified = ProxyOrdersHook(self.conn_id), list[dict[str, Any]]()
        for order_id in dict.fromkeys(str(payload_of(event).get("order_id"))[: LONGEST_ID + 1] for event in events):
            if was_reported(hook.ledger, self.conn_id, order_id):
                verified.append(self._event(hook.get_order(order_id)))
            else:
                self.log.warning("An event about order %r is left out: no trigger has reported this order", order_id)
        return verified

    def _event(self, order: VendorOrder) -> dict[str, Any]:
        return {
            "conn_id": self.conn_id,
            "order_id": order.order_id,
            "reference": order.traits.get("reference"),
            "status": order.status.value,
            "vendor_status": order.vendor_status,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_provider_proxyorders.triggers.events import Burst, ended_orders

        burst = Burst()
        async with waiting_on(self.conn_id) as poller:
            async for ended in ended_orders(self.conn_id, poller.gate):
                if (again := burst.repeat()) is not None:
                    yield TriggerEvent(again)  # type: ignore[no-untyped-call]
                if ended is None:
                    continue
                try:
                    order = await self._take(poller.gate, ended)
                except (AuthenticationFailed, OrderingNotPermitted) as error:
                    await ended.come_back()
                    self.log.error("Connection %s: %s It is asked again with another key, or in an hour.", self.conn_id, error)
                    await poller.gate.wait_for_other_key(KEY_LOOKED_UP, KEY_REFUSED)
                    continue
                except ProxyOrdersError as error:
                    back = await ended.come_back(unknown=isinstance(error, VendorError) and not error.passing)
                    plan = "looking again later" if back else "giving up"
                    self.log.warning("The report of the end of order %s failed, %s: %s", ended.order_id, plan, error)
                    continue
                if order is None:
                    continue
                event = self._event(order)
                burst.add(event)
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]
                ended.confirm()

    async def _take(self, gate: Gate, ended: EndedOrder) -> VendorOrder | None:
        """The order, if this trigger is to report its end now."""
        state = await ended.state()
        if state == "free":
            order = await gate.ask(lambda vendor: vendor.get(ended.order_id))
            if order.status.final and await ended.claim():
                return order
        if state != "reported":
            await ended.come_back()
        return None
