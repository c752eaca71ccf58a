"""Finds the orders of a wallet with an end inside a horizon, and gives a reason for each order it leaves out.

Three rules. The search only reads. The vendor's read is the truth: the search reads the vendor's list to its last page. Without
such a list it takes the orders from the ledger, and reads each near one at the vendor. Every order with a near end is either due
or left out with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Literal, NamedTuple

from airflow_provider_proxyorders.domain.dates import later
from airflow_provider_proxyorders.domain.model import Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.ledger.bulk import PurchaseSummary, creations, purchases_by_order, taken_keys
from airflow_provider_proxyorders.purchase.showing import know_lists, read_orders
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.renewal.due import DueRule, ObstacleReason
from airflow_provider_proxyorders.renewal.keys import period_of, replacement_key
from airflow_provider_proxyorders.renewal.results import DueOrder, ExpiringOrders, OrderFilter, Reason, SkippedOrder
from airflow_provider_proxyorders.vendors.base import Filters

__all__ = ["ExpiringOrders", "OrderFilter", "extensions_under_way", "find_due"]

#: After this time without a word from its worker an extension is abandoned. Its order is due again, and the renewal settles it
#: under the same key.
ABANDONED = timedelta(hours=1)
_RUNNING = (Step.PLACED, Step.DELIVERED, Step.PARTIAL)
_REASONS: Mapping[ObstacleReason, Reason] = {
    "ended": "ended",
    "expired": "expired",
    "lapsed": "expired",
    "no_expiry": "no_expiry",
    "later": "later",
}


def find_due(
    tracker: OrderTracker,
    *,
    as_of: datetime,
    within: timedelta,
    only: OrderFilter | None = None,
    auto_extending: bool = False,
    term: timedelta | None = None,
) -> ExpiringOrders:
    """The orders of a wallet with an end inside a horizon; reads only.

    It costs the pages of the vendor's list (a hundred orders a call at IPRoyal), or a call for each hundred ids asked for. At a
    vendor without a list it costs a call for each order that is due by the ledger.

    :param as_of: this counts as now; aware.
    :param within: the length of the horizon; a calendar duration is counted in the connection's time zone.
    :param auto_extending: include orders with the vendor's own renewal; by default they are left out.
    :param term: how long an order lasts from its purchase, for vendors without end dates.
    :raises VendorError: the vendor cannot be read, so the search has no result.
    """
    only = only or OrderFilter()
    as_of = as_of.astimezone(timezone.utc)
    until = later(as_of, within, tracker.account.timezone)
    search = RenewalSearch(tracker, as_of, until, only, auto_extending)
    if tracker.vendor.capabilities.list_orders:
        return search.in_the_list()
    return search.in_the_ledger(term)


class _Candidate(NamedTuple):
    """An order with an end inside the horizon, open to renewal."""

    order: VendorOrder
    ends: datetime
    ends_from: Literal["vendor", "term"]


class RenewalSearch:
    """One search; it collects the orders that it leaves out."""

    def __init__(self, tracker: OrderTracker, as_of: datetime, until: datetime, only: OrderFilter, auto_extending: bool):
        self.tracker, self.as_of, self.until, self.only, self.auto_extending = tracker, as_of, until, only, auto_extending
        self.title = tracker.vendor.title
        self.rule = DueRule(self.title, due_until=until)
        self.asked_ids = None if only.order_ids is None else [*dict.fromkeys(only.order_ids)]
        self.left_out: list[SkippedOrder] = []

    def in_the_list(self) -> ExpiringOrders:
        """Search the vendor's list."""
        know_lists(self.tracker.vendor, self.tracker.ledger)
        orders = self.tracker.http.run(self.tracker.vendor.list(Filters(order_ids=self.asked_ids)))
        orders += self._unlisted({order.order_id for order in orders})
        self._leave_out_missing((order.order_id for order in orders), self.title)
        candidates = [
            _Candidate(order, order.expires_at, "vendor")
            for order in orders
            if self._is_due(order, order.expires_at) and order.expires_at is not None
        ]
        return self._results(candidates, len(orders), "vendor")

    def in_the_ledger(self, term: timedelta | None) -> ExpiringOrders:
        """Search the orders from the ledger. Only the near ones are read at the vendor, with as many ids a call as it takes."""
        summaries = self._created()
        ends = self._ends_by_ledger(summaries, term)
        for summary in summaries:
            if ends[summary.order_id] is None:
                advice = "say how long an order lasts (term), or which one (order_id) and until when (expires_at)"
                self._leave_out(summary.order_id, "no_expiry", f"{self.title} reports no end; {advice}")
        near = self._without_replaced([summary for summary in summaries if self._is_near(ends[summary.order_id])])
        ids = [summary.order_id for summary in near]
        orders = read_orders(self.tracker, ids)
        candidates: list[_Candidate] = []
        for summary in near:
            order = orders.get(summary.order_id)
            if order is None:
                self._leave_out(summary.order_id, "unknown", f"{self.title} no longer has it", ends[summary.order_id])
                continue
            end = order.expires_at or ends[summary.order_id]
            if self._is_due(order, end) and end is not None:
                candidates.append(_Candidate(order, end, "vendor" if order.expires_at or summary.expires_at else "term"))
        return self._results(candidates, len(summaries), "ledger")

    # -- one order -------------------------------------------------------------------------------------------------

    def _is_due(self, order: VendorOrder, ends: datetime | None) -> bool:
        """Whether an order ends within the horizon and can be renewed; otherwise it is left out, with a reason if it is near."""
        if order.unreadable:
            return self._leave_out(order.order_id, "unreadable", order.unreadable)
        if not self.only.names(order.order_id) and not self._is_near(ends) and (ends is not None or order.status.final):
            return False
        refusal = self.only.refusal(order)
        if refusal:
            return self._leave_out(order.order_id, "filtered", refusal, ends)
        obstacle = self.rule.obstacle(order, ends, self.as_of)
        if obstacle is not None:
            return self._leave_out(order.order_id, _REASONS[obstacle.reason], f"it {obstacle.why}", ends)
        if order.auto_extends and not self.auto_extending:
            return self._leave_out(order.order_id, "auto_extends", f"{self.title} renews it by itself", ends)
        return True

    def _is_near(self, ends: datetime | None) -> bool:
        """Whether it ends within the horizon, or ended at most one horizon ago."""
        return ends is not None and self.as_of - (self.until - self.as_of) <= ends <= self.until

    def _leave_out(self, order_id: str, reason: Reason, why: str, ends: datetime | None = None) -> bool:
        self.left_out.append(SkippedOrder(order_id, reason, why, ends))
        return False

    # -- many ------------------------------------------------------------------------------------------------------

    def _created(self) -> list[PurchaseSummary]:
        """The running orders from the ledger, if the filter asks for them."""
        summaries = creations(self.tracker.ledger, self.tracker.account.wallet, _RUNNING)
        if self.asked_ids is not None:
            summaries = [summary for summary in summaries if summary.order_id in self.asked_ids]
        self._leave_out_missing((summary.order_id for summary in summaries), "the ledger of this wallet")
        return summaries

    def _unlisted(self, listed: set[str]) -> list[VendorOrder]:
        """Orders of the ledger with a near end that a list does not show. It may lag, so they are asked for by their ids."""
        summaries = creations(self.tracker.ledger, self.tracker.account.wallet, _RUNNING)
        near = [each for each in summaries if each.order_id not in listed and self._is_near(each.expires_at)]
        asked = [each.order_id for each in near if self.asked_ids is None or each.order_id in self.asked_ids]
        return [*read_orders(self.tracker, asked).values()]

    def _ends_by_ledger(self, summaries: Sequence[PurchaseSummary], term: timedelta | None) -> dict[str, datetime | None]:
        """When each order ends as far as the ledger knows: by its latest extension, else by the user's term."""
        wallet, zone = self.tracker.account.wallet, self.tracker.account.timezone
        purchases = purchases_by_order(self.tracker.ledger, wallet, [summary.order_id for summary in summaries])
        ends: dict[str, datetime | None] = {}
        for summary in summaries:
            dates = [each.expires_at for each in (summary, *purchases.get(summary.order_id, ())) if each.expires_at is not None]
            by_term = later(summary.began, term, zone) if term is not None else None
            ends[summary.order_id] = max(dates) if dates else by_term
        return ends

    def _leave_out_missing(self, order_ids: Iterable[str], place: str) -> None:
        """Leave out the orders that the filter names and the place lacks."""
        listed = set(order_ids)
        for order_id in self.asked_ids or ():
            if order_id not in listed:
                self._leave_out(order_id, "unknown", f"asked for by id, but {place} has no such running order")

    def _without_replaced(self, summaries: Sequence[PurchaseSummary]) -> list[PurchaseSummary]:
        """Leave out the orders with a replacement."""
        keys = {
            replacement_key(wallet, each.order_id, period_of(each.expires_at, each.began)): each.order_id
            for each in summaries
            for wallet in self.tracker.account.wallet_names
        }
        replacements = taken_keys(self.tracker.ledger, self.tracker.account.wallet, keys)
        for key, (new_id, step) in replacements.items():
            why = f"order {new_id} was bought in its place"
            if step in (Step.FAILED, Step.REFUNDED):
                why += f" and is {step.value}; no other is bought by itself, only under an order_key of your own"
            self._leave_out(keys[key], "replaced", why)
        replaced = {keys[key] for key in replacements}
        return [summary for summary in summaries if summary.order_id not in replaced]

    def _results(self, candidates: Sequence[_Candidate], looked_at: int, source: Literal["vendor", "ledger"]) -> ExpiringOrders:
        """The candidates without an extension under way, the soonest to end first."""
        extensions = extensions_under_way(self.tracker)
        due: list[DueOrder] = []
        for order, ends, ends_from in sorted(candidates, key=lambda each: (each.ends, each.order.order_id)):
            extension = extensions.get(order.order_id)
            if extension is not None and extension.step is Step.PLACED:
                extension = self.tracker.record_reading(extension, order)  # if it shows by now, the order is due once more
            if extension is not None and extension.step is not Step.DELIVERED:
                reason, why = _describe_extension(extension)
                self._leave_out(order.order_id, reason, why, ends)
            else:
                due.append(DueOrder(order.order_id, ends, ends_from, order.traits))
        return ExpiringOrders(tuple(due), tuple(self.left_out), self.as_of, self.until, looked_at, source)


def extensions_under_way(tracker: OrderTracker) -> dict[str, Purchase]:
    """Extensions of a wallet under way: sent, and not yet visible in their order. Keyed by the order they extend.

    Two kinds are left out. An extension that was only intended bought nothing, and its order would lapse while it waits. An
    extension without a word from its worker for an hour is settled by the next renewal, under the same key.
    """
    now = tracker.ledger.clock()
    purchases = tracker.ledger.purchases(
        wallet=tracker.account.wallet, in_steps=(Step.SENT, Step.UNKNOWN, Step.QUARANTINED, Step.PLACED), limit=100_000
    )
    return {
        purchase.target: purchase
        for purchase in purchases
        if purchase.kind == "extend"
        and purchase.target is not None
        and (purchase.step in (Step.QUARANTINED, Step.PLACED) or abs(now - purchase.updated_at) < ABANDONED)
    }


def _describe_extension(purchase: Purchase) -> tuple[Reason, str]:
    show = f"see: proxyorders ledger show '{purchase.order_key}'"
    if purchase.step is Step.QUARANTINED:
        return "unresolved", f"a person has to decide whether its extension was taken; {show}"
    if purchase.step is Step.PLACED:
        return "extending", f"its extension was taken and does not show in the order yet; {show}"
    return "extending", f"its extension is {purchase.step.value} since {utc(purchase.updated_at)}; {show}"
