"""Looks at orders and says what they are: refresh, wait, usable. Nothing here can spend.

Two rules: the vendor's read is the truth and the ledger learns from it; at a deadline the order stays where it is and
the next try waits for the same one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from airflow_provider_proxyorders.domain.errors import OrderNotUsable, OrderPending, OutcomeUnknown, ProxyOrdersError, Retry
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import STEP_OF, UNRESOLVED, Actor, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger, StaleClaim
from airflow_provider_proxyorders.purchase.polling import PollIntervals
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor


class OrderTracker:
    """Reads orders of one account and keeps the ledger up to date.

    :param actor: who is asking, for the ledger's history.
    :param say: receives the story of the order, a line a step.
    """

    def __init__(
        self,
        vendor: Vendor,
        http: Http,
        ledger: Ledger,
        *,
        actor: Actor | None = None,
        say: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.vendor, self.http, self.ledger = vendor, http, ledger
        self.account = vendor.account
        self.actor = actor or Actor()
        self._say = say or logging.getLogger(__name__).info
        self._sleep = sleep

    @property
    def settle_time(self) -> float:
        """Seconds after which a purchase that was taken shows up in reads; a setting of the connection, else the vendor's."""
        own = self.account.settings.get("settle")
        return float(own) if own is not None else self.vendor.capabilities.settle

    # -- reading ---------------------------------------------------------------------------------------------------

    def refresh(self, order: Purchase) -> Purchase:
        """Read an order at the vendor and bring the ledger up to date.

        :raises VendorError: when it cannot be read; the ledger stays as it is.
        """
        if order.order_id is None:
            raise OutcomeUnknown(f"{order.order_key!r} has no order id yet ({order.step.value})", order_key=order.order_key)
        return self.record_reading(order, self.http.run(self.vendor.get(order.order_id)))

    def record_reading(self, order: Purchase, vendor_order: VendorOrder) -> Purchase:
        """Write down what a read of an order showed, where it is news."""
        step = self._step(order, vendor_order)
        if step is order.step and vendor_order.vendor_status == order.vendor_status and _same_facts(order, vendor_order):
            return order
        try:
            after = self.ledger.record(
                order, step, f"the vendor says {vendor_order.vendor_status!r}", self.actor, vendor_order=vendor_order
            )
        except StaleClaim:
            return self.ledger.find(order.order_key) or order  # somebody else wrote the news first
        if vendor_order.vendor_status != order.vendor_status:
            self._say(f"Order {after.order_id}: {order.vendor_status} -> {after.vendor_status} ({after.step.value})")
        return after if after.price == order.price else self.alarm_on_overcharge(after)

    def wait(self, order: Purchase, *, deadline: datetime, poll_interval: float | None = None) -> Purchase:
        """Look at an order until it is final or the deadline has passed.

        :param deadline: aware; a moment, not a duration.
        :raises OrderPending: at the deadline; the order stays in the ledger, the next try waits for the same one.
        """
        pauses = PollIntervals(self.vendor.capabilities.polling, poll_interval, self.settle_time)
        began = order.sent_at or order.created_at
        looks, told = 0, 0.0
        pause = pauses.first() if (self.ledger.clock() - began).total_seconds() < pauses.first() else 0.0
        while order.step is Step.PLACED:
            self._sleep(pause)
            now = self.ledger.clock()
            age = (now - began).total_seconds()
            looks += 1
            try:
                order = self.refresh(order)
                pause = pauses.after_look(age)
            except ProxyOrdersError as error:
                again = pauses.after_trouble(error, age)
                if again is None:
                    raise
                pause = again
                self._say(f"Order {order.order_id}: {error} Looking again in {pause:.0f} s")
            if order.step is not Step.PLACED:
                break
            if now + timedelta(seconds=pause) > deadline:
                if now >= deadline:
                    raise self.pending(order)
                pause = max(0.0, (deadline - now).total_seconds())
            if age - told >= 60:
                told = age
                self._say(f"Order {order.order_id}: still {order.vendor_status}, asked {looks} times, next look in {pause:.0f} s")
        return order

    def pending(self, order: Purchase) -> OrderPending:
        """What to say at the deadline."""
        return OrderPending(
            f"order {order.order_id} ({order.order_key}) is still {order.vendor_status!r} at {self.vendor.title}. It was taken"
            f"{f' for {order.price}' if order.price else ''}; the next try waits for the same order and buys nothing."
        )

    def require_usable(self, order: Purchase, *, on_partial: str = "fail") -> Purchase:
        """Hand an order on where it can be used, else raise what became of it and of the money.

        :param on_partial: ``fail`` or ``accept`` an order that was delivered in part.
        :raises OrderNotUsable: it ended badly; nothing is bought in its place.
        :raises OrderPending: it is not finished.
        """
        if order.step is Step.PLACED:
            raise self.pending(order)
        if order.step in UNRESOLVED:
            raise self._unknown(order, f"it is {order.step.value}")
        self._judge(order.order_id, order.order_key, order.step, order.vendor_status, order.reason, order.delivered, on_partial)
        return order

    def _judge(
        self,
        order_id: str | None,
        order_key: str | None,
        step: Step,
        vendor_status: str | None,
        reason: str,
        delivered: int | None,
        on_partial: str,
    ) -> None:
        if step is Step.DELIVERED or (step is Step.PARTIAL and on_partial == "accept"):
            return
        name = f"order {order_id}{f' ({order_key})' if order_key else ''}"
        if step is Step.PLACED:
            raise OrderPending(f"{name} is still {vendor_status!r} at {self.vendor.title}; it stays there as it is.")
        money = {
            Step.PARTIAL: f"{delivered} units were delivered, the vendor refunds the rest",
            Step.REFUNDED: "the vendor says the money was returned",
            Step.FAILED: "it was charged; its page at the vendor tells whether the money came back",
            Step.EXPIRED: "its paid term is over",
        }.get(step, "")
        given = f" Reason given: {reason}." if reason else ""
        accept = " Set on_partial='accept' to go on with what was delivered." if step is Step.PARTIAL else ""
        raise OrderNotUsable(
            f"{name} ended as {vendor_status!r} at {self.vendor.title}: {money}.{given}{accept} "
            "Nothing is bought in its place; to buy again on purpose, use another order_key."
        )

    def result_for(self, vendor_order: VendorOrder, *, on_partial: str = "fail") -> dict[str, str | int | None]:
        """What a task hands on about an order that was just read; the ledger learns of it where it knows the order.

        :raises OrderNotUsable: it ended badly.
        :raises OrderPending: it is not finished.
        """
        for known in self.ledger.by_order_id(self.account.wallet, vendor_order.order_id):
            if known.kind == "create":
                return self.require_usable(self.record_reading(known, vendor_order), on_partial=on_partial).result()
        step = STEP_OF[vendor_order.status]
        self._judge(
            vendor_order.order_id, None, step, vendor_order.vendor_status, vendor_order.reason, vendor_order.delivered, on_partial
        )
        return {
            "order_key": None,
            "order_id": vendor_order.order_id,
            "vendor": self.vendor.name,
            "kind": "create",
            "status": step.value,
            "vendor_status": vendor_order.vendor_status,
            "price": f"{vendor_order.price.amount:f}" if vendor_order.price else None,
            "currency": vendor_order.price.currency if vendor_order.price else None,
            "expires_at": vendor_order.expires_at.isoformat() if vendor_order.expires_at else None,
            "delivered": vendor_order.delivered,
            "ledger_url": None,
        }

    def _step(self, order: Purchase, vendor_order: VendorOrder) -> Step:
        """What a vendor's order means for this purchase: an extension is delivered when the expiry has grown."""
        if order.kind != "extend":
            return STEP_OF[vendor_order.status]
        if vendor_order.status in (OrderStatus.FAILED, OrderStatus.REFUNDED):
            return STEP_OF[vendor_order.status]
        return Step.DELIVERED if self.vendor.extended(order.evidence, vendor_order) else Step.PLACED

    def alarm_on_overcharge(self, order: Purchase) -> Purchase:
        """A charge above what was reserved stops the wallet: the next purchase could be wrong in the same way."""
        if order.price is None:
            return order
        self._currency_alarm(order)
        if order.price.amount > order.reserved.amount:  # the ledger froze the wallet when it was told so
            why = f"order {order.order_id} ({order.order_key}) was charged {order.price}, above its cap of {order.reserved}"
            logging.getLogger(__name__).error("Wallet %s frozen: %s", order.wallet, why)
            self._say(f"ALARM: {why}. Nothing more is bought from wallet {order.wallet!r} until a person lifts it.")
        return order

    def _currency_alarm(self, order: Purchase) -> None:
        charged, reserved = order.price, order.reserved
        if charged and charged.currency and self.account.currency and charged.currency != self.account.currency:
            why = f"order {order.order_id} was charged in {charged.currency}, the limits are in {self.account.currency}"
            if self.ledger.frozen(order.wallet) is None:
                self.ledger.freeze(order.wallet, why)
                self._say(f"ALARM: {why} ({reserved} was reserved). Nothing more is bought from wallet {order.wallet!r}.")

    def _unknown(self, order: Purchase, why: str, retry: Retry = "later") -> OutcomeUnknown:
        asked = dump_json(order.request)
        return OutcomeUnknown(
            f"{self.vendor.title} may have taken and charged {order.order_key!r} (up to {order.reserved}): {why} "
            f"Asked for: {asked}. Nothing is sent again on a guess: the next try looks for it at the vendor first. "
            f"See: proxyorders ledger show '{order.order_key}'",
            order_key=order.order_key,
            retry=retry,
        )


def _same_facts(order: Purchase, vendor_order: VendorOrder) -> bool:
    return (
        (vendor_order.price is None or order.price is not None)
        and (vendor_order.expires_at is None or vendor_order.expires_at == order.expires_at)
        and (vendor_order.delivered is None or vendor_order.delivered == order.delivered)
    )
