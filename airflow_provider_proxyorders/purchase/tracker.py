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
from dataclasses import replace
from datetime import datetime, timedelta

from airflow_provider_proxyorders.domain.errors import (
    LedgerError,
    OrderNotFound,
    OrderPending,
    OutcomeUnknown,
    ProxyOrdersError,
    VendorError,
)
from airflow_provider_proxyorders.domain.model import (
    STEP_OF,
    TAKEN,
    UNRESOLVED,
    Actor,
    OrderStatus,
    Purchase,
    Step,
    VendorOrder,
    step_after,
)
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import Ledger, OwnedElsewhere, StaleClaim
from airflow_provider_proxyorders.purchase import outcome
from airflow_provider_proxyorders.purchase.ownership import OrderOwnership
from airflow_provider_proxyorders.purchase.polling import Misses, PollIntervals, ask_until_shown, is_miss
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor

#: What to do about an order that neither the vendor nor the ledger has.
NOT_IN_THE_LEDGER = "The ledger lacks this order too. Nothing was bought. Correct order_id, or conn_id."


class OrderTracker(OrderOwnership):
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
        try:
            vendor_order = self.http.run(self.vendor.get(purchase.order_id))
        except OrderNotFound as error:
            return self.note_missing(purchase, error)
        return self.record_reading(purchase, vendor_order)

    def record_reading(self, purchase: Purchase, vendor_order: VendorOrder) -> Purchase:
        """Record a vendor's order in the ledger, if it differs from the purchase.

        Every word of the vendor is recorded. Where it does not fit the step of the purchase, the step stays.

        :returns: the purchase; UNKNOWN, if the order that the answer named is not its own.
        """
        if purchase.step not in TAKEN | UNRESOLVED:  # nothing of it is at the vendor, so the order is not its own
            return purchase
        unconfirmed = purchase.kind == "create" and not purchase.confirmed
        if unconfirmed and purchase.step is Step.PLACED and (contradiction := self.why_not(purchase, vendor_order)):
            return self.disown(purchase, f"the answer named order {purchase.order_id}, but {contradiction}")
        confirmed = unconfirmed and self.vendor.confirms(vendor_order)
        if unconfirmed and not confirmed and purchase.step is Step.PLACED:
            purchase = self.note_shown(purchase)
        meant = self.step_for(purchase, vendor_order)
        step = step_after(purchase.step, meant)
        same_status = step is purchase.step and vendor_order.vendor_status == purchase.vendor_status
        if same_status and _same_facts(purchase, vendor_order) and not confirmed:
            return purchase
        why = f"the vendor says {vendor_order.vendor_status!r}"
        try:
            after = self.write(purchase, step, why, vendor_order, confirmed=confirmed)
        except StaleClaim:  # another worker recorded this first
            return self.as_it_stands(purchase)
        except OwnedElsewhere as owned:
            if purchase.step is not Step.PLACED:
                raise
            return self.disown(purchase, f"the answer named order {purchase.order_id}, but {one_line(owned)}")
        if after.step is not meant:
            self.say(_describe_surprise(purchase, after))
        elif vendor_order.vendor_status != purchase.vendor_status:
            self.say(f"Order {after.order_id}: {purchase.vendor_status} -> {after.vendor_status} ({after.step.value})")
        return after if after.price == purchase.price else self.alarm_on_overcharge(after)

    def step_for(self, purchase: Purchase, vendor_order: VendorOrder) -> Step:
        """The step of a purchase by its vendor's order. An extension is delivered when the expiry has grown, or when it
        was taken and its order will not show it."""
        if purchase.kind != "extend" or vendor_order.status in (OrderStatus.FAILED, OrderStatus.REFUNDED):
            return STEP_OF[vendor_order.status]
        accepted = purchase.step in TAKEN and not self.vendor.shows_extension(purchase.evidence)
        return Step.DELIVERED if accepted or self.vendor.extended(purchase.evidence, vendor_order) else Step.PLACED

    def as_it_stands(self, purchase: Purchase) -> Purchase:
        """The purchase as the ledger has it now."""
        return self.ledger.find(purchase.order_key) or purchase

    # -- waiting ---------------------------------------------------------------------------------------------------

    def wait(
        self, purchase: Purchase, *, deadline: datetime, poll_interval: float | None = None, missed: tuple[int, float] = (0, 0.0)
    ) -> Purchase:
        """Look at an order until it is final or the deadline has passed.

        :param deadline: an aware moment.
        :param poll_interval: the longest pause between two looks, in seconds; ``None``: the vendor's rhythm.
        :param missed: how many reads in a row the triggerer made without the order, and over how many seconds.
        :returns: the purchase: final; or UNKNOWN: the vendor has no order under the id of its answer, so evidence decides.
        :raises OrderPending: at the deadline; the order stays in the ledger, the next try waits for the same order.
        :raises OrderMissing: the vendor's reads do not show the order any more. The money was spent.
        :raises LedgerError: the ledger cannot be used. The money was spent; the next try waits for the same order.
        """
        try:
            return self._wait(purchase, deadline, poll_interval, missed)
        except LedgerError as error:
            if purchase.step in TAKEN:
                error.money = "charged"
                error.tell(f"Order {purchase.order_id} was bought before that; the next try waits for it and buys nothing.")
            raise

    def _wait(self, purchase: Purchase, deadline: datetime, poll_interval: float | None, missed: tuple[int, float]) -> Purchase:
        intervals = PollIntervals(self.vendor.capabilities.polling, poll_interval, self.settle_time)
        began = purchase.sent_at or purchase.created_at
        count, last_said = 0, 0.0
        if missed[0]:
            age = (self.ledger.clock() - began).total_seconds()
            intervals.misses = Misses(missed[0], age - missed[1], age)
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
                status = purchase.vendor_status or "without a status"
                self.say(f"Order {purchase.order_id}: still {status}, asked {count} times, next look in {pause:.0f} s")
        return purchase

    def _look_again(self, purchase: Purchase, intervals: PollIntervals, age: float) -> tuple[Purchase, float]:
        """Refresh a purchase; returns it with the seconds until the next look."""
        try:
            return self.refresh(purchase), intervals.after_look(age)
        except ProxyOrdersError as error:
            pause = intervals.after_trouble(error, age)
            if pause is None:
                raise self.describe_missing(purchase, error, intervals.misses) from None
            self.say(f"Order {purchase.order_id}: {error} Looking again in {pause:.0f} s")
            return purchase, pause

    def read_order(self, order_id: str) -> VendorOrder:
        """One order as it stands. While the vendor does not show it, it is asked again for the settle time.

        :raises OrderMissing: an order of this ledger is not shown. The money was spent.
        :raises VendorError: the order is unknown to ledger and vendor, or the vendor cannot be read.
        """
        intervals = PollIntervals(self.vendor.capabilities.polling, None, self.settle_time)
        try:
            return ask_until_shown(
                lambda: self.http.run(self.vendor.get(order_id)),
                intervals,
                say=self.say,
                sleep=self.sleep,
                clock=lambda: self.ledger.clock().timestamp(),
            )
        except VendorError as error:
            raise self.missing(order_id, error, intervals.misses) from None

    def missing(self, order_id: str, error: ProxyOrdersError, misses: Misses) -> ProxyOrdersError:
        """The error for an order that reads do not show: the money was spent if the ledger has the order."""
        purchases = self.ledger.by_order_id(self.account.wallet, order_id)
        creation = next((purchase for purchase in purchases if purchase.kind == "create"), None)
        purchase = creation or (purchases[0] if purchases else None)
        if purchase is not None:
            return self.describe_missing(purchase, error, misses)
        if isinstance(error, OrderNotFound):
            error.tell(NOT_IN_THE_LEDGER)
        return error

    def describe_missing(self, purchase: Purchase, error: ProxyOrdersError, misses: Misses) -> ProxyOrdersError:
        """The error for a purchase whose order cannot be read; the error itself where that is no miss."""
        if not (isinstance(error, VendorError) and is_miss(error)):
            return error
        return outcome.missing(purchase, self.vendor, error, misses.count, misses.seconds)

    # -- for the task ----------------------------------------------------------------------------------------------

    def pending(self, purchase: Purchase) -> OrderPending:
        """The error for an unfinished order at the deadline."""
        return outcome.pending(purchase, self.vendor)

    def require_usable(self, purchase: Purchase, *, on_partial: str = "fail") -> Purchase:
        """Return a purchase with a usable order, raise otherwise; see :func:`outcome.require_usable`."""
        outcome.require_usable(purchase, self.vendor, on_partial=on_partial)
        return purchase

    def result_for(self, vendor_order: VendorOrder, *, on_partial: str = "fail") -> outcome.Result:
        """The result object of an order as just read. The ledger records it, if the order is its own.

        An order is usable if the ledger and the vendor's present word say so. The ledger keeps a good end when the vendor blocks
        the order afterwards, and such an order cannot be used.

        :raises OrderNotUsable: the order ended badly.
        :raises OrderPending: the order is unfinished.
        """
        order: Purchase | VendorOrder = vendor_order
        for purchase in self.ledger.by_order_id(self.account.wallet, vendor_order.order_id):
            if purchase.kind == "create":
                order = recorded = self.record_reading(purchase, vendor_order)
                as_read = replace(recorded, step=STEP_OF[vendor_order.status])
                outcome.require_usable(as_read, self.vendor, on_partial=on_partial)
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


def _describe_surprise(before: Purchase, after: Purchase) -> str:
    """A word or a count of the vendor that does not fit the step of a purchase."""
    counted = f", {after.delivered} delivered" if after.delivered is not None else ""
    was = f"{before.vendor_status!r}{f', {before.delivered} delivered' if before.delivered is not None else ''}"
    return (
        f"Order {after.order_id}: the vendor says {after.vendor_status!r}{counted} after {was}. The ledger notes it; the "
        f"purchase stays {after.step.value}, and nothing is bought for it."
    )


def _same_facts(purchase: Purchase, vendor_order: VendorOrder) -> bool:
    return (
        (vendor_order.price is None or purchase.price is not None)
        and (vendor_order.expires_at is None or vendor_order.expires_at == purchase.expires_at)
        and (vendor_order.delivered is None or vendor_order.delivered == purchase.delivered)
        and (vendor_order.refund is None or purchase.kind != "create" or _refunded(vendor_order) == _refunded(purchase))
    )


def _refunded(either: Purchase | VendorOrder) -> object:
    """The amount alone: an order may name no currency."""
    return either.refund.amount if either.refund else None
