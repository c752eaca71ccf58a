"""Reads orders and keeps the ledger up to date: refresh, wait, require usable.

Three rules:

- a tracker sends reads only. It can stop spending: a charge above the cap, or in another currency, freezes the wallet;
- the vendor's read is the truth, and the ledger records it;
- at a deadline the order stays as it is. The next try waits for the same order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from airflow_provider_proxyorders.domain.errors import OrderPending, OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import STEP_OF, Actor, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger, StaleClaim
from airflow_provider_proxyorders.purchase import outcome
from airflow_provider_proxyorders.purchase.polling import PollIntervals
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor


class OrderTracker:
    """Reads the orders of one account and keeps the ledger up to date.

    :param actor: the asking task, for the ledger's history.
    :param say: receives the story of the order, a line a step.
    :param sleep: waits for a number of seconds; tests inject one.
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
        self.say = say or logging.getLogger(__name__).info
        self.sleep = sleep

    @property
    def settle_time(self) -> float:
        """Seconds until a purchase shows in reads: the setting of the connection, else the vendor's."""
        return self.vendor.settle_time

    def repeats_safely(self, kind: str) -> bool:
        """Whether the vendor takes one purchase per reference. Then the same purchase may be sent again."""
        return self.vendor.capabilities.repeats_safely(kind)

    # -- reading ---------------------------------------------------------------------------------------------------

    def refresh(self, purchase: Purchase) -> Purchase:
        """Read an order at the vendor and bring the ledger up to date.

        :raises VendorError: the order cannot be read; the ledger stays as it is.
        """
        if purchase.order_id is None:
            raise OutcomeUnknown(
                f"{purchase.order_key!r} is {purchase.step.value}: its order id is still unknown", order_key=purchase.order_key
            )
        return self.record_reading(purchase, self.http.run(self.vendor.get(purchase.order_id)))

    def record_reading(self, purchase: Purchase, vendor_order: VendorOrder) -> Purchase:
        """Record a vendor's order in the ledger, if it differs from the purchase."""
        step = self.step_for(purchase, vendor_order)
        same_status = step is purchase.step and vendor_order.vendor_status == purchase.vendor_status
        if same_status and _same_facts(purchase, vendor_order):
            return purchase
        why = f"the vendor says {vendor_order.vendor_status!r}"
        try:
            after = self.ledger.record(purchase, step, why, self.actor, vendor_order=vendor_order)
        except StaleClaim:  # another worker recorded this first
            return self.as_it_stands(purchase)
        if vendor_order.vendor_status != purchase.vendor_status:
            self.say(f"Order {after.order_id}: {purchase.vendor_status} -> {after.vendor_status} ({after.step.value})")
        return after if after.price == purchase.price else self.alarm_on_overcharge(after)

    def step_for(self, purchase: Purchase, vendor_order: VendorOrder) -> Step:
        """The step of a purchase by its vendor's order. An extension is delivered when the expiry has grown."""
        if purchase.kind != "extend" or vendor_order.status in (OrderStatus.FAILED, OrderStatus.REFUNDED):
            return STEP_OF[vendor_order.status]
        return Step.DELIVERED if self.vendor.extended(purchase.evidence, vendor_order) else Step.PLACED

    def as_it_stands(self, purchase: Purchase) -> Purchase:
        """The purchase as the ledger has it now."""
        return self.ledger.find(purchase.order_key) or purchase

    # -- waiting ---------------------------------------------------------------------------------------------------

    def wait(self, purchase: Purchase, *, deadline: datetime, poll_interval: float | None = None) -> Purchase:
        """Look at an order until it is final or the deadline has passed.

        :param deadline: an aware moment.
        :param poll_interval: the longest pause between two looks, in seconds; ``None``: the vendor's rhythm.
        :raises OrderPending: at the deadline; the order stays in the ledger, the next try waits for the same order.
        """
        intervals = PollIntervals(self.vendor.capabilities.polling, poll_interval, self.settle_time)
        began = purchase.sent_at or purchase.created_at
        count, last_said = 0, 0.0
        pause = intervals.first() if (self.ledger.clock() - began).total_seconds() < intervals.first() else 0.0
        while purchase.step is Step.PLACED:
            self.sleep(pause)
            now = self.ledger.clock()
            age = (now - began).total_seconds()
            count += 1
            purchase, pause = self._look_again(purchase, intervals, age)
            if purchase.step is not Step.PLACED:
                break
            if now + timedelta(seconds=pause) > deadline:
                if now >= deadline:
                    raise self.pending(purchase)
                pause = max(0.0, (deadline - now).total_seconds())
            if age - last_said >= 60:
                last_said = age
                self.say(
                    f"Order {purchase.order_id}: still {purchase.vendor_status}, asked {count} times, next look in {pause:.0f} s"
                )
        return purchase

    def _look_again(self, purchase: Purchase, intervals: PollIntervals, age: float) -> tuple[Purchase, float]:
        """Refresh a purchase; returns it with the seconds until the next look."""
        try:
            return self.refresh(purchase), intervals.after_look(age)
        except ProxyOrdersError as error:
            pause = intervals.after_trouble(error, age)
            if pause is None:
                raise
            self.say(f"Order {purchase.order_id}: {error} Looking again in {pause:.0f} s")
            return purchase, pause

    # -- for the task ----------------------------------------------------------------------------------------------

    def pending(self, purchase: Purchase) -> OrderPending:
        """The error for an unfinished order at the deadline."""
        return outcome.pending(purchase, self.vendor)

    def require_usable(self, purchase: Purchase, *, on_partial: str = "fail") -> Purchase:
        """Return a purchase with a usable order, raise otherwise; see :func:`outcome.require_usable`."""
        outcome.require_usable(purchase, self.vendor, on_partial=on_partial)
        return purchase

    def result_for(self, vendor_order: VendorOrder, *, on_partial: str = "fail") -> dict[str, str | int | None]:
        """The result object of an order as just read. The ledger records it, if the order is its own.

        :raises OrderNotUsable: the order ended badly.
        :raises OrderPending: the order is unfinished.
        """
        order: Purchase | VendorOrder = vendor_order
        for purchase in self.ledger.by_order_id(self.account.wallet, vendor_order.order_id):
            if purchase.kind == "create":
                order = self.record_reading(purchase, vendor_order)
                break
        outcome.require_usable(order, self.vendor, on_partial=on_partial)
        return outcome.result_of(order, self.vendor.name)

    # -- alarms ----------------------------------------------------------------------------------------------------

    def alarm_on_overcharge(self, purchase: Purchase) -> Purchase:
        """Report a charge above the cap, and freeze the wallet after a charge in another currency.

        The next purchase could be wrong in the same way. The ledger itself freezes the wallet when
        it records a charge above the cap.
        """
        if purchase.price is None:
            return purchase
        self._freeze_on_other_currency(purchase)
        if purchase.price.amount > purchase.reserved.amount:
            name = f"order {purchase.order_id} ({purchase.order_key})"
            why = f"{name} was charged {purchase.price}, above its cap of {purchase.reserved}"
            logging.getLogger(__name__).error("Wallet %s frozen: %s", purchase.wallet, why)
            self.say(f"ALARM: {why}. Wallet {purchase.wallet!r} is frozen until a person unfreezes it.")
        return purchase

    def _freeze_on_other_currency(self, purchase: Purchase) -> None:
        charged, reserved = purchase.price, purchase.reserved
        if charged and not charged.comparable(self.account.currency):
            why = f"order {purchase.order_id} was charged in {charged.currency}, the limits are in {self.account.currency}"
            if self.ledger.freeze_reason(purchase.wallet) is None:
                self.ledger.freeze(purchase.wallet, why)
                self.say(
                    f"ALARM: {why} ({reserved} was reserved). Wallet {purchase.wallet!r} is frozen until a person unfreezes it."
                )


def _same_facts(purchase: Purchase, vendor_order: VendorOrder) -> bool:
    return (
        (vendor_order.price is None or purchase.price is not None)
        and (vendor_order.expires_at is None or vendor_order.expires_at == purchase.expires_at)
        and (vendor_order.delivered is None or vendor_order.delivered == purchase.delivered)
    )
