"""Finds the orders of a wallet with an end inside a horizon, and gives a reason for each order it leaves out.

Three rules. The search only reads. The vendor's read is the truth: the search reads the vendor's list to its last page. Without
such a list it takes the orders from the ledger, and reads each near one at the vendor. Every order with a near end is either due
or left out with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Literal, NamedTuple

from airflow_provider_proxyorders.domain.dates import earlier, later
from airflow_provider_proxyorders.domain.model import Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.ledger.bulk import PurchaseSummary, purchases_by_order, requests_of, taken_keys
from airflow_provider_proxyorders.ledger.ends import RUNNING, begun, ending, extensions_at, undated
from airflow_provider_proxyorders.purchase.showing import know_lists, read_orders
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.renewal.due import DueRule, ObstacleReason, is_over
from airflow_provider_proxyorders.renewal.keys import period_of, replacement_key
from airflow_provider_proxyorders.renewal.results import DueOrder, ExpiringOrders, OrderFilter, Reason, SkippedOrder
from airflow_provider_proxyorders.vendors.base import Filters

__all__ = ["ExpiringOrders", "OrderFilter", "extensions_under_way", "find_due"]

#: After this time without a word from its worker an extension is abandoned. Its order is due again, and the renewal settles it
#: under the same key.
ABANDONED = timedelta(hours=1)
#: Orders without a known end that are left out by name. The others are counted.
MOST_NAMED = 100
#: Months and leap days: a term counted back from an end misses the beginning by less.
CALENDAR = timedelta(days=5)
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


class _Known(NamedTuple):
    """A running order as the ledger knows it.

    :param ends: ``None`` if the ledger knows no end, and the user no term.
    :param is_dated: whether the end is the vendor's.
    """

    order_id: str
    creation: PurchaseSummary
    ends: datetime | None
    is_dated: bool


class RenewalSearch:
    """One search; it collects the orders that it leaves out."""

    def __init__(self, tracker: OrderTracker, as_of: datetime, until: datetime, only: OrderFilter, auto_extending: bool):
        self.tracker, self.as_of, self.until, self.only, self.auto_extending = tracker, as_of, until, only, auto_extending
        self.earliest = as_of - (until - as_of)
        self.title = tracker.vendor.title
        self.rule = DueRule(self.title, due_until=until)
        self.asked_ids = None if only.order_ids is None else [*dict.fromkeys(only.order_ids)]
        self.left_out: list[SkippedOrder] = []

    def in_the_list(self) -> ExpiringOrders:
        """Search the vendor's list, page by page."""
        know_lists(self.tracker.vendor, self.tracker.ledger)
        near = ending(self.tracker.ledger, self.tracker.account.wallet, self.earliest, self.until)
        search = _ListSearch(self, near if self.asked_ids is None else near.intersection(self.asked_ids))
        self.tracker.http.run(self.tracker.vendor.list_parts(Filters(order_ids=self.asked_ids), search.take))
        search.take([*self._unlisted(search.unlisted).values()])
        self._leave_out_missing(search.named, self.title)
        return self._results(search.candidates, search.looked_at, "vendor")

    def in_the_ledger(self, term: timedelta | None) -> ExpiringOrders:
        """Search the orders from the ledger. Only those that can be due are read at the vendor, several calls at a time."""
        entries = self._known(self._named_or_near(term), term)
        self._leave_out_missing((each.order_id for each in entries), "the ledger of this wallet")
        near: list[_Known] = []
        for each in entries:
            if each.ends is None:
                self._leave_out_undated(each.order_id)
            elif self._is_near(each.ends):
                near.append(each)
            elif self.only.names(each.order_id):
                self._leave_out_far(each.order_id, each.ends)
        asked = self._without_ended(self._without_replaced(near))
        orders = read_orders(self.tracker, [each.order_id for each in asked])
        candidates: list[_Candidate] = []
        for each in asked:
            order = orders.get(each.order_id)
            if order is None:
                self._leave_out(each.order_id, "unknown", f"{self.title} no longer has it", each.ends)
                continue
            end = order.expires_at or each.ends
            if self.is_due(order, end) and end is not None:
                candidates.append(_Candidate(order, end, "vendor" if order.expires_at or each.is_dated else "term"))
        more = self._count_undated() if term is None and self.asked_ids is None else 0
        results = self._results(candidates, len(entries) + more, "ledger")
        unnamed = more - sum(left.reason == "no_expiry" for left in self.left_out)
        return replace(results, unnamed={"no_expiry": unnamed} if unnamed > 0 else {})

    # -- one order -------------------------------------------------------------------------------------------------

    def is_due(self, order: VendorOrder, ends: datetime | None) -> bool:
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
        return ends is not None and self.earliest <= ends <= self.until

    def _leave_out(self, order_id: str, reason: Reason, why: str, ends: datetime | None = None) -> bool:
        self.left_out.append(SkippedOrder(order_id, reason, why, ends))
        return False

    # -- many ------------------------------------------------------------------------------------------------------

    def _named_or_near(self, term: timedelta | None) -> list[str]:
        """The orders that the filter names; without such a filter those of the ledger that may end within the horizon."""
        if self.asked_ids is not None:
            return self.asked_ids
        ledger, wallet, zone = self.tracker.ledger, self.tracker.account.wallet, self.tracker.account.timezone
        order_ids = ending(ledger, wallet, self.earliest, self.until)
        if term is not None:
            first, last = earlier(self.earliest, term, zone) - CALENDAR, earlier(self.until, term, zone) + CALENDAR
            order_ids |= begun(ledger, wallet, first, last)
        return sorted(order_ids)

    def _known(self, order_ids: Sequence[str], term: timedelta | None) -> list[_Known]:
        """The running orders among these, as the ledger knows them: each ends by its latest extension, else by the term."""
        wallet, zone = self.tracker.account.wallet, self.tracker.account.timezone
        entries: list[_Known] = []
        for order_id, summaries in purchases_by_order(self.tracker.ledger, wallet, order_ids).items():
            creation = next((each for each in summaries if each.kind == "create" and each.step in RUNNING), None)
            if creation is None:
                continue
            dates = [each.expires_at for each in summaries if each.expires_at is not None]
            by_term = later(creation.began, term, zone) if term is not None else None
            entries.append(_Known(order_id, creation, max(dates) if dates else by_term, bool(dates)))
        return sorted(entries, key=lambda each: each.creation.began)

    def _unlisted(self, order_ids: Iterable[str]) -> dict[str, VendorOrder]:
        """Orders of the ledger with a near end that a list does not show. It may lag, so they are asked for by their ids."""
        entries = self._known(sorted(order_ids), None)
        return read_orders(self.tracker, [each.order_id for each in entries if self._is_near(each.ends)])

    def _count_undated(self) -> int:
        """Leave out the orders without a known end, the first of them by name."""
        extends = self.tracker.vendor.capabilities.extend
        rest = undated(self.tracker.ledger, self.tracker.account.wallet, most=MOST_NAMED, extended=extends)
        for order_id in rest.first:
            self._leave_out_undated(order_id)
        return rest.total

    def _leave_out_undated(self, order_id: str) -> None:
        advice = "say how long an order lasts (term), or which one (order_id) and until when (expires_at)"
        self._leave_out(order_id, "no_expiry", f"{self.title} reports no end; {advice}")

    def _leave_out_far(self, order_id: str, ends: datetime) -> None:
        over = is_over(ends, self.as_of)
        why = f"ended {utc(ends)}" if over else f"runs until {utc(ends)}, beyond {utc(self.until)}"
        self._leave_out(order_id, "expired" if over else "later", f"by the ledger it {why}", ends)

    def _without_ended(self, near: Sequence[_Known]) -> list[_Known]:
        """Leave out the orders with an end in the past. Those that may have been extended elsewhere are asked for."""
        vendor = self.tracker.vendor
        over = [each for each in near if each.ends is not None and is_over(each.ends, self.as_of)]
        if not over or vendor.capabilities.extend:
            return [*near]
        requests = requests_of(self.tracker.ledger, (each.creation.order_key for each in over))
        ended = {each.order_id for each in over if not vendor.renews_by_itself(requests.get(each.creation.order_key, {}))}
        for each in over:
            if each.order_id in ended and each.ends is not None:
                self._leave_out_far(each.order_id, each.ends)
        return [each for each in near if each.order_id not in ended]

    def _leave_out_missing(self, order_ids: Iterable[str], place: str) -> None:
        """Leave out the orders that the filter names and the place lacks."""
        listed = set(order_ids)
        for order_id in self.asked_ids or ():
            if order_id not in listed:
                self._leave_out(order_id, "unknown", f"asked for by id, but {place} has no such running order")

    def _without_replaced(self, near: Sequence[_Known]) -> list[_Known]:
        """Leave out the orders with a replacement."""
        keys = {
            replacement_key(wallet, each.order_id, period_of(each.creation.expires_at, each.creation.began)): each.order_id
            for each in near
            for wallet in self.tracker.account.wallet_names
        }
        replacements = taken_keys(self.tracker.ledger, self.tracker.account.wallet, keys)
        for key, (new_id, step) in replacements.items():
            why = f"order {new_id} was bought in its place"
            if step in (Step.FAILED, Step.REFUNDED):
                why += f" and is {step.value}; no other is bought by itself, only under an order_key of your own"
            self._leave_out(keys[key], "replaced", why)
        replaced = {keys[key] for key in replacements}
        return [each for each in near if each.order_id not in replaced]

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


class _ListSearch:
    """The search of a vendor's list. It keeps the orders that are due, and counts the others.

    :param near: the orders of the ledger with a near end; those that the list lacks are left in ``unlisted``.
    """

    def __init__(self, search: RenewalSearch, near: set[str]):
        self.search, self.unlisted = search, near
        self.candidates: list[_Candidate] = []
        self.named: list[str] = []
        self.looked_at = 0

    def take(self, orders: Sequence[VendorOrder]) -> None:
        """Look at one page."""
        for order in orders:
            self.looked_at += 1
            self.unlisted.discard(order.order_id)
            if self.search.only.names(order.order_id):
                self.named.append(order.order_id)
            if self.search.is_due(order, order.expires_at) and order.expires_at is not None:
                self.candidates.append(_Candidate(order, order.expires_at, "vendor"))


def extensions_under_way(tracker: OrderTracker) -> dict[str, Purchase]:
    """Extensions of a wallet under way: sent, and not yet visible in their order. Keyed by the order they extend.

    Two kinds are left out. An extension that was only intended bought nothing, and its order would lapse while it waits. An
    extension without a word from its worker for an hour is settled by the next renewal, under the same key.
    """
    now = tracker.ledger.clock()
    steps = (Step.SENT, Step.UNKNOWN, Step.QUARANTINED, Step.PLACED)
    purchases = extensions_at(tracker.ledger, tracker.account.wallet, steps)
    return {
        purchase.target: purchase
        for purchase in purchases
        if purchase.target is not None
        and (purchase.step in (Step.QUARANTINED, Step.PLACED) or abs(now - purchase.updated_at) < ABANDONED)
    }


def _describe_extension(purchase: Purchase) -> tuple[Reason, str]:
    show = f"see: proxyorders ledger show '{purchase.order_key}'"
    if purchase.step is Step.QUARANTINED:
        return "unresolved", f"a person has to decide whether its extension was taken; {show}"
    if purchase.step is Step.PLACED:
        return "extending", f"its extension was taken and does not show in the order yet; {show}"
    return "extending", f"its extension is {purchase.step.value} since {utc(purchase.updated_at)}; {show}"
