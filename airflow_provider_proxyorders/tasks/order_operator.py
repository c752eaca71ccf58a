"""How a task takes an order from the desk to its result: wait in the worker or in the triggerer, then hand it on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, RetryPolicy, conf

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import LedgerError, OrderPending
from airflow_provider_proxyorders.domain.inputs import seconds_of
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.tasks.links import PAGE, OrderPageLink
from airflow_provider_proxyorders.tasks.retry_policy import OrderRetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.purchase.buyer import Buyer

#: Tries of a task beside its first, and the pause before one that no error of ours asks for. Safe, since a key never buys
#: twice, and needed: Airflow 3.3 sometimes marks a task failed while it is being resumed.
RETRIES = 2
RETRY_DELAY = timedelta(seconds=15)
RETRY_POLICY = OrderRetryPolicy()
#: A pause between two looks at an order is at least this long, in seconds.
SHORTEST_PAUSE = 0.05
#: What the triggerer could not read is looked at in the worker for so many seconds, before it is left to the triggerer again.
POLLED_IN_WORKER = 60.0


@cache
def default_deferrable() -> bool:
    """``[operators] default_deferrable``, read once a process: a DAG file may make a hundred tasks."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


class OrderOperator(BaseOperator):
    """Base of the operators that buy: one purchase, then waiting for it.

    :param conn_id: the Airflow connection that holds the wallet.
    :param wait_for_completion: wait until the order can be used, else hand it on as soon as it is placed.
    :param deferrable: wait in the triggerer, without holding a worker.
    :param poll_interval: never wait longer than this between two looks at the order, in seconds or as timedelta; None = the
        vendor's rhythm.
    :param timeout: how long one try waits, in seconds or as timedelta; None = the vendor's default. After it the order
        is still in the ledger and the next try waits for the same one.
    """

    operator_extra_links = (OrderPageLink(),)
    ui_color = "#d7ecd9"

    def __init__(
        self,
        *,
        conn_id: str,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        # named, and not put into kwargs here: Airflow looks at the signature for the defaults of mapped tasks
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        self.conn_id = conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds_of("poll_interval", poll_interval, least=SHORTEST_PAUSE)
        self.timeout = seconds_of("timeout", timeout)
        self.on_partial = "fail"

    @cached_property
    def hook(self) -> ProxyOrdersHook:
        """The hook of this task; one connection look-up, one HTTP session."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        return ProxyOrdersHook(self.conn_id)

    def finish(self, order: Purchase, buyer: Buyer, context: Context) -> dict[str, Any]:
        """Wait for an order as this task is told to, and return what it hands on."""
        self._leave_page(order, context)
        if not self.wait_for_completion:
            return self.result_of(order)
        patience = buyer.vendor.capabilities.polling.timeout if self.timeout is None else self.timeout
        deadline = datetime.now(timezone.utc) + timedelta(seconds=patience)
        if self.deferrable:
            order = self._glance(order, buyer)
            if order.step.value == "placed":
                self._defer(order, deadline)
        else:
            order = buyer.wait(order, deadline=deadline, poll_interval=self.poll_interval)
        return self._hand_on(order, buyer)

    def execute_complete(self, context: Context, event: Mapping[str, Any], order_key: str, deadline: str) -> dict[str, Any]:
        """Go on after the triggerer's hint: read the order at the vendor, and believe that.

        Where the triggerer could not read it and the worker can, it is waited for as before: no try is lost over it.
        """
        buyer = self.hook.buyer(context, self.log.info)
        order = buyer.ledger.find(order_key)
        if order is None:
            raise LedgerError(f"the ledger no longer knows {order_key!r}; is [proxyorders] ledger_url the same on every host?")
        order = buyer.refresh(order)
        if "at" in event:
            tags = {"vendor": buyer.vendor.name, "conn_id": self.conn_id}
            _compat.timing("resumed", max(0.0, time.time() - event["at"]), tags)
        self._leave_page(order, context)
        until = datetime.fromisoformat(deadline)
        waits_on = event.get("outcome") == "final"  # the hint was early; the read is the truth
        if order.step.value == "placed" and event.get("outcome") == "unreadable":
            order = self._poll_in_worker(order, buyer, event.get("reason"), until)
            waits_on = datetime.now(timezone.utc) < until
        if order.step.value == "placed" and waits_on:
            self._defer(order, until)
        return self._hand_on(order, buyer)

    def _hand_on(self, order: Purchase, buyer: Buyer) -> dict[str, Any]:
        order = buyer.require_usable(order, on_partial=self.on_partial)
        price = f", price {order.price}" if order.price else ""
        until = f", until {utc(order.expires_at)}" if order.expires_at else ""
        self.log.info("Order %s is %s%s%s", order.order_id, order.step.value, price, until)
        return self.result_of(order)

    def result_of(self, order: Purchase) -> dict[str, Any]:
        """What this task hands on about an order."""
        from airflow_provider_proxyorders.purchase.outcome import result_of

        return result_of(order, order.vendor)

    def _glance(self, order: Purchase, buyer: Buyer) -> Purchase:
        """A first look in the worker: many orders are ready at once, and a task that need not defer is not deferred."""
        first = min(buyer.vendor.capabilities.polling.first, 2.0)
        return self._watched(order, buyer, datetime.now(timezone.utc) + timedelta(seconds=first), first)

    def _poll_in_worker(self, order: Purchase, buyer: Buyer, reason: Any, deadline: datetime) -> Purchase:
        """Look at an order that the triggerer could not read, long enough that the two do not play ping-pong."""
        now = datetime.now(timezone.utc)
        until = max(now, min(deadline, now + timedelta(seconds=POLLED_IN_WORKER)))
        text = "The triggerer could not read order %s (%s), the worker can and looks at it for the next %.0f s"
        self.log.warning(text, order.order_id, reason, (until - now).total_seconds())
        return self._watched(order, buyer, until, self.poll_interval)

    def _watched(self, order: Purchase, buyer: Buyer, until: datetime, poll_interval: float | None) -> Purchase:
        """Look at an order until it is final, or until a moment."""
        try:
            return buyer.wait(order, deadline=until, poll_interval=poll_interval)
        except OrderPending:
            return buyer.ledger.find(order.order_key) or order

    def _defer(self, order: Purchase, deadline: datetime) -> None:
        from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

        assert order.order_id is not None
        self.log.info(
            "Order %s is %s; waiting in the triggerer until %s at the latest",
            order.order_id,
            order.vendor_status,
            utc(deadline, "seconds"),
        )
        evidence = order.evidence if order.kind == "extend" else {}
        self.defer(
            trigger=ProxyOrderTrigger(
                conn_id=self.conn_id,
                order_id=order.order_id,
                deadline=deadline.isoformat(),
                placed_at=(order.sent_at or order.created_at).isoformat(),
                poll_interval=self.poll_interval,
                kind=order.kind,
                evidence=evidence,
            ),
            method_name="execute_complete",
            kwargs={"order_key": order.order_key, "deadline": deadline.isoformat()},
        )

    def _leave_page(self, order: Purchase, context: Context) -> None:
        page = self.hook.order_page(order.order_id) if order.order_id else None
        if page:
            context["ti"].xcom_push(key=PAGE, value=page)
