"""Which orders of a wallet end within a horizon, and which of them are not to be renewed, and why.

Three rules: nothing here spends; the vendor's read is the truth, so where the vendor lists orders the list is read to its
last page and its own "expiring soon" is not asked for, and where it does not, the orders come from the ledger and each
that seems due is read at the vendor, one by one; and whoever looks at an order that ends is told why it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Literal

from airflow_provider_proxyorders.domain.dates import later
from airflow_provider_proxyorders.domain.model import OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger.bulk import PurchaseSummary, bought, creations, taken_keys
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.renewal.results import DueOrder, ExpiringOrders, OrderFilter, Reason, SkippedOrder
from airflow_provider_proxyorders.vendors.base import Filters

__all__ = [
    "DueOrder",
    "ExpiringOrders",
    "SkippedOrder",
    "OrderFilter",
    "Reason",
    "extensions_under_way",
    "find_due",
    "replaced_period",
    "replacement_key",
]

#: An extension whose worker said nothing for so long is nobody's any more: the order is due again, and its renewal, which
#: has the same key, settles what became of it.
ABANDONED = timedelta(hours=1)
_RUNNING = (Step.PLACED, Step.DELIVERED, Step.PARTIAL)


def find_due(
    tracker: OrderTracker,
    *,
    as_of: datetime,
    within: timedelta,
    only: OrderFilter | None = None,
    auto_extending: bool = False,
    term: timedelta | None = None,
) -> ExpiringOrders:
    """The orders of a wallet that end within a horizon; reads only.

    Costs the pages of the vendor's list (a hundred orders a call at IPRoyal), or a call for each hundred ids asked for; where
    there is no list, a call for each order that is due by the ledger.

    :param as_of: aware; what counts as now.
    :param within: how far to look; a calendar duration is counted in the connection's time zone.
    :param auto_extending: also those that the vendor renews by itself, which are left out otherwise.
    :param term: how long an order lasts from its purchase, for vendors that do not tell when it ends.
    :raises VendorError: when the vendor cannot be read; nothing is concluded then.
    """
    only = only or OrderFilter()
    as_of = as_of.astimezone(timezone.utc)
    until = later(as_of, within, tracker.account.timezone)
    search = _Search(tracker, as_of, until, only, auto_extending)
    if tracker.vendor.capabilities.list_orders:
        return search.in_the_list()
    return search.in_the_ledger(term)


class _Search:
    def __init__(self, tracker: OrderTracker, as_of: datetime, until: datetime, only: OrderFilter, auto_extending: bool):
        self.tracker, self.as_of, self.until, self.only, self.auto_extending = tracker, as_of, until, only, auto_extending
        self.left_out: list[SkippedOrder] = []

    def in_the_list(self) -> ExpiringOrders:
        orders = self.tracker.http.run(self.tracker.vendor.list(Filters(order_ids=self._asked())))
        self._missing(order.order_id for order in orders)
        running = [(order, order.expires_at) for order in orders if self._runs_out(order, order.expires_at)]
        return self._found([(order, ends, "vendor") for order, ends in running if ends], len(orders), "vendor")

    def in_the_ledger(self, term: timedelta | None) -> ExpiringOrders:
        """Orders that the ledger created; of those that seem due the vendor is asked, one call for each where it takes one id."""
        tracker, asked = self.tracker, self._asked()
        known = creations(tracker.ledger, tracker.account.wallet, _RUNNING)
        known = [one for one in known if asked is None or one.order_id in asked]
        self._missing(one.order_id for one in known)
        extended = bought(tracker.ledger, tracker.account.wallet, [one.order_id for one in known])
        ends = {one.order_id: self._end_of(one, extended.get(one.order_id, ()), term) for one in known}
        near = [one for one in known if self._near(ends[one.order_id])]
        for one in known:
            if ends[one.order_id] is None:
                advice = "say how long an order lasts (term), or which one (order_id) and until when (expires_at)"
                self._leave(one.order_id, "no_expiry", f"{tracker.vendor.title} does not tell when it ends; {advice}")
        replaced = self._replaced(near)
        near = [one for one in near if one.order_id not in replaced]
        seen = tracker.http.run(tracker.vendor.get_many([one.order_id for one in near])) if near else {}
        running: list[tuple[VendorOrder, datetime, Literal["vendor", "term"]]] = []
        for one in near:
            order = seen.get(one.order_id)
            if order is None:
                self._leave(one.order_id, "unknown", f"{tracker.vendor.title} does not know it any more", ends[one.order_id])
                continue
            end = order.expires_at or ends[one.order_id]
            if self._runs_out(order, end) and end is not None:
                running.append((order, end, "vendor" if order.expires_at or one.expires_at else "term"))
        return self._found(running, len(known), "ledger")

    # -- one order -------------------------------------------------------------------------------------------------

    def _runs_out(self, order: VendorOrder, ends: datetime | None) -> bool:
        """Whether it ends within the horizon and can be renewed; where somebody would wonder it is left out with a reason."""
        refused = self.only.refuses(order)
        named = self.only.order_ids is not None and order.order_id in self.only.order_ids
        if not named and not self._near(ends) and (ends is not None or order.status.final):
            return False
        title = self.tracker.vendor.title
        if refused:
            return self._leave(order.order_id, "filtered", refused, ends)
        if order.status in (OrderStatus.REFUNDED, OrderStatus.FAILED):
            return self._leave(order.order_id, "ended", f"it is {order.vendor_status!r} at {title}", ends)
        if order.status is OrderStatus.EXPIRED:
            return self._leave(order.order_id, "expired", f"it is {order.vendor_status!r} at {title}; its term is over", ends)
        if ends is None:
            return self._leave(order.order_id, "no_expiry", f"it is {order.vendor_status!r} at {title} and has no expiry yet")
        if ends <= self.as_of:
            why = f"its term ended {ends:%Y-%m-%d %H:%M} UTC, though {title} says {order.vendor_status!r}"
            return self._leave(order.order_id, "expired", why, ends)
        if order.auto_extends and not self.auto_extending:
            return self._leave(order.order_id, "auto_extends", f"{title} renews it by itself", ends)
        if ends > self.until:
            return self._leave(order.order_id, "later", f"it ends {ends:%Y-%m-%d %H:%M} UTC, beyond the horizon", ends)
        return True

    def _near(self, ends: datetime | None) -> bool:
        """Whether it ends within the horizon, or ended not longer ago than the horizon is long."""
        return ends is not None and self.as_of - (self.until - self.as_of) <= ends <= self.until

    def _leave(self, order_id: str, reason: Reason, why: str, ends: datetime | None = None) -> bool:
        self.left_out.append(SkippedOrder(order_id, reason, why, ends))
        return False

    def _end_of(self, one: PurchaseSummary, purchases: Sequence[PurchaseSummary], term: timedelta | None) -> datetime | None:
        """When an order ends as far as the ledger knows: by its latest extension, else by the term that the user gave."""
        told = [each.expires_at for each in (one, *purchases) if each.expires_at is not None]
        if told:
            return max(told)
        return later(one.began, term, self.tracker.account.timezone) if term is not None else None

    # -- many ------------------------------------------------------------------------------------------------------

    def _asked(self) -> list[str] | None:
        return None if self.only.order_ids is None else [*dict.fromkeys(self.only.order_ids)]

    def _missing(self, found: Iterable[str]) -> None:
        there = set(found)
        place = self.tracker.vendor.title if self.tracker.vendor.capabilities.list_orders else "the ledger of this wallet"
        for order_id in self._asked() or ():
            if order_id not in there:
                self._leave(order_id, "unknown", f"asked for by id, but {place} has no such running order")

    def _replaced(self, near: Sequence[PurchaseSummary]) -> set[str]:
        wallet = self.tracker.account.wallet
        keys = {replacement_key(wallet, one.order_id, replaced_period(one.expires_at, one.began)): one for one in near}
        taken = taken_keys(self.tracker.ledger, keys)
        for key, (new, step) in taken.items():
            why = f"order {new} was bought in its place"
            if step in (Step.FAILED, Step.REFUNDED):
                why += f" and is {step.value}; no other is bought by itself, only under an order_key of your own"
            self._leave(keys[key].order_id, "replaced", why)
        return {keys[key].order_id for key in taken}

    def _found(
        self,
        running: Sequence[tuple[VendorOrder, datetime, Literal["vendor", "term"]]],
        looked_at: int,
        source: Literal["vendor", "ledger"],
    ) -> ExpiringOrders:
        tracker = self.tracker
        busy = extensions_under_way(tracker)
        known = bought(tracker.ledger, tracker.account.wallet, [order.order_id for order, _, _ in running])
        due: list[DueOrder] = []
        for order, ends, expires_from in sorted(running, key=lambda one: (one[1], one[0].order_id)):
            held = busy.get(order.order_id)
            if held is not None and held.step is Step.PLACED:
                held = tracker.record_reading(held, order)  # it may show by now, and this order be due once more
            if held is not None and held.step is not Step.DELIVERED:
                reason, why = _held(held)
                self._leave(order.order_id, reason, why, ends)
                continue
            own = known.get(order.order_id, [])
            priced = next((one for one in own if one.price is not None), None)
            due.append(
                DueOrder(
                    order_id=order.order_id,
                    expires_at=ends,
                    status=order.status,
                    vendor_status=order.vendor_status,
                    expires_from=expires_from,
                    quantity=int(order.quantity) if order.quantity is not None else None,
                    traits=order.traits,
                    auto_extends=order.auto_extends,
                    order_key=own[0].order_key if own else None,
                    last_price=priced.price if priced else None,
                    last_kind=priced.kind if priced else None,
                )
            )
        return ExpiringOrders(tuple(due), tuple(self.left_out), self.as_of, self.until, looked_at, source)


def extensions_under_way(tracker: OrderTracker) -> dict[str, Purchase]:
    """Extensions of a wallet that were sent and do not show in their order yet, by the order they extend.

    Not those that were only intended: they bought nothing, and their order would lapse if it waited for them. Nor those
    whose worker is gone for an hour: the next renewal has the same key and settles them.
    """
    stale = tracker.ledger.clock() - ABANDONED
    open_now = tracker.ledger.purchases(
        wallet=tracker.account.wallet, in_steps=(Step.SENT, Step.UNKNOWN, Step.QUARANTINED, Step.PLACED), limit=100_000
    )
    return {
        order.target: order
        for order in open_now
        if order.kind == "extend"
        and order.target is not None
        and (order.step in (Step.QUARANTINED, Step.PLACED) or order.updated_at > stale)
    }


def _held(order: Purchase) -> tuple[Reason, str]:
    show = f"see: proxyorders ledger show '{order.order_key}'"
    if order.step is Step.QUARANTINED:
        return "unresolved", f"a person has to decide whether its extension was taken; {show}"
    if order.step is Step.PLACED:
        return "extending", f"its extension was taken and does not show in the order yet; {show}"
    return "extending", f"its extension is {order.step.value} since {order.updated_at:%Y-%m-%d %H:%M} UTC; {show}"


def replaced_period(expires_at: datetime | None, began: datetime) -> str:
    """The period of an order that another takes the place of: the one that ends at the vendor's expiry, or where the vendor tells
    none the one that began with the order. Never by a term that the user gives, since he may give another one tomorrow.
    """
    return f"until {expires_at.isoformat()}" if expires_at else f"from {began.isoformat()}"


def replacement_key(wallet: str, order_id: str, period: str) -> str:
    """Identity of the purchase that takes the place of an order that cannot be extended."""
    return f"reorder:{wallet}:{order_id}:{period}"
