"""Waits in the triggerer until an order is final.

Two rules: what is stored and logged about a trigger holds ids and moments only; and its event is a hint ("look now"),
since the worker reads the order itself before anything acts on it. Only a task that does nothing but wait may end here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_proxyorders.triggers.poller import EARLIEST, waiting_on
from airflow_provider_proxyorders.triggers.subscription import Subscription, Update, loop_deadline, seconds_since

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import VendorOrder
    from airflow_provider_proxyorders.triggers.poller import Poller
    from airflow_provider_proxyorders.vendors import Vendor

#: A refused key is shown to the vendor again after so many seconds, or as soon as a look-up this often finds another one.
KEY_REFUSED, KEY_LOOKED_UP = 3600.0, 60.0


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
    :param ends: statuses (ours, such as ``delivered``) with which the task ends well right here, without a worker and without a
        result; everything else is for the worker to judge.
    :param backstop: wait for the vendor's webhook, and look only this often without one, in seconds.
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
        self.conn_id, self.order_id, self.deadline, self.placed_at = conn_id, order_id, deadline, placed_at
        self.poll_interval, self.kind, self.evidence = poll_interval, kind, dict(evidence or {})
        self.ends = list(ends)
        self.backstop = backstop

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
        news = await self._wait()
        if news.status is not None and news.status.value in self.ends:
            yield TaskSuccessEvent()
            return
        event: Any = {"order_id": self.order_id, "outcome": news.outcome, "reason": news.reason, "at": time.time()}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> Update:
        """Log what is news until something ends the wait.

        A line goes through a pipe to the triggerer's supervisor, which reads it when it has nothing to write into its database;
        so it is written by a thread, a few at a time: thousands of them at once would hold the loop for seconds. Where many wait,
        nobody stands in line to write one: what an order ends with would come as late as the last of the lines.
        """
        from airflow_provider_proxyorders.domain.errors import ProxyOrdersError

        async with waiting_on(self.conn_id) as poller:
            try:
                vendor = await poller.open()
            except ProxyOrdersError as error:
                await self.log.ainfo("%s", error)
                await asyncio.sleep(EARLIEST)
                return Update("unreadable", str(error), type(error).__name__)
            subscription = Subscription(
                self.order_id,
                deadline=loop_deadline(self.deadline),
                ceiling=self.poll_interval,
                age=seconds_since(self.placed_at),
                final=partial(self._extended, vendor) if self.kind == "extend" else _final,
                backstop=self.backstop,
            )
            poller.enter(subscription)
            try:
                while True:
                    news = await subscription.news()
                    ended, many_waiting = news.outcome is not None, poller.many_waiting
                    if ended:
                        poller.leave(subscription)  # or it would be asked about while the line is written
                    if news.text and many_waiting and not ended:
                        poller.begin(self._write(poller, subscription, news))
                    elif news.text and not (many_waiting and poller.writing.locked()):
                        await self._write(poller, subscription, news)
                    if ended:
                        return news
            finally:
                poller.leave(subscription)

    async def _write(self, poller: Poller, subscription: Subscription, news: Update) -> None:
        """Write a line in its turn, unless it only informs and nobody waits any more."""
        async with poller.writing:
            if news.outcome is not None or not subscription.gone:
                await self.log.ainfo("%s", news.text)

    def _extended(self, vendor: Vendor, order: VendorOrder) -> bool:
        from airflow_provider_proxyorders.domain.model import OrderStatus

        gone = order.status in (OrderStatus.FAILED, OrderStatus.REFUNDED)
        return gone or vendor.extended(self.evidence, order)


def _final(order: VendorOrder) -> bool:
    return order.status.final


class OrderEventTrigger(BaseEventTrigger):
    """Fires for every order that ends, for ``AssetWatcher``: "an order finished" then starts a DAG.

    The event is ``{"conn_id": ..., "order_id": ..., "reference": ..., "status": ..., "vendor_status": ...}``, read at the vendor
    after its webhook; what the order yielded is not in it. One event an order, also over restarts and with several triggerers;
    where a triggerer ends within seconds of telling it, so that nobody knows whether Airflow has stored the event, it comes once
    more two minutes later. Orders that ended before the trigger was first used are not reported.

    :param conn_id: a connection whose vendor sends webhooks.
    """

    def __init__(self, *, conn_id: str):
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"conn_id": self.conn_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_provider_proxyorders.domain.errors import AuthenticationFailed, OrderingNotPermitted, ProxyOrdersError
        from airflow_provider_proxyorders.triggers.events import endings

        async with waiting_on(self.conn_id) as poller:
            async for hint in endings(self.conn_id, poller):
                try:
                    if (standing := await hint.standing()) != "free":
                        if standing == "held":
                            hint.later()
                        continue
                    order = await poller.read(hint.order_id)
                    if not order.status.final or not await hint.claim():
                        hint.later()
                        continue
                except (AuthenticationFailed, OrderingNotPermitted) as error:
                    hint.later()
                    self.log.error("Connection %s: %s It is asked again with another key, or in an hour.", self.conn_id, error)
                    await poller.other_key(KEY_LOOKED_UP, KEY_REFUSED)
                    continue
                except ProxyOrdersError as error:
                    what = "looking again later" if hint.later() else "giving up"
                    self.log.warning("Order %s was reported as ended, but cannot be told of, %s: %s", hint.order_id, what, error)
                    continue
                event: Any = {
                    "conn_id": self.conn_id,
                    "order_id": order.order_id,
                    "reference": hint.reference,
                    "status": order.status.value,
                    "vendor_status": order.vendor_status,
                }
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]
                hint.confirm()
