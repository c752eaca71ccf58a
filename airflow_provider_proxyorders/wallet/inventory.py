"""Compares the orders that a vendor lists with the ledger: foreign orders, and orders that are gone.

Three rules. The list is read part by part. Memory holds the names of its orders, and whole orders only where they look foreign.
An order is gone only while its term runs, since a vendor may drop an ended one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from airflow_provider_proxyorders.domain.errors import VendorError
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.ledger.bulk import keys_at, owned_among, purchases_of
from airflow_provider_proxyorders.ledger.elsewhere import bought_elsewhere
from airflow_provider_proxyorders.ledger.ends import expected
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.purchase.showing import know_lists, read_orders
from airflow_provider_proxyorders.wallet.findings import MOST_NAMED, ReconcileReport


class ForeignOrder(NamedTuple):
    """An order of the list that belongs to no purchase of the ledger.

    :param names: the ids by which the ledger may know it.
    """

    order_id: str
    status: str
    names: frozenset[str]


class Inventory:
    """The vendor's list beside the ledger.

    :ivar listed: the names of its orders.
    """

    def __init__(self, buyer: Buyer, report: ReconcileReport):
        self.buyer, self.report = buyer, report
        self.ledger, self.wallet = buyer.ledger, buyer.account.wallet
        self.listed: set[str] = set()
        self._foreign: list[ForeignOrder] = []
        self._fact = facts.orders_at_start(self.ledger, self.wallet)
        self._at_start = _ids_in(self._fact.get())
        self._restored = _moment_in(facts.restored_from(self.ledger).get())

    def read(self) -> bool:
        """Read the list to its last page.

        :returns: whether the vendor has one.
        """
        know_lists(self.buyer.vendor, self.ledger)
        first = self._at_start is None
        older: set[str] = set()

        def take(orders: Sequence[VendorOrder]) -> None:
            self._note(orders)
            older.update(self._older(orders) if first else ())

        if not self.buyer.http.run(self.buyer.vendor.inventory_parts(take)):
            return False
        if first and self._at_start is None:  # for good, so a second read has to fill what one read may leave out
            self.buyer.http.run(self.buyer.vendor.inventory_parts(lambda orders: older.update(self._older(orders))))
            self._at_start = _ids_in(self._fact.decide_once(dump_json(sorted(older))))
        return True

    def foreign(self) -> list[ForeignOrder]:
        """Orders that are new since the first comparison, outside of the ledger, and unreported so far."""
        at_start = self._at_start or frozenset()
        own = owned_among(self.ledger, self.wallet, (name for order in self._foreign for name in order.names))
        return [
            order
            for order in self._foreign
            if order.names.isdisjoint(at_start)
            and own.isdisjoint(name.lower() for name in order.names)
            and not facts.foreign_order_reported(self.ledger, self.wallet, order.order_id).get()
        ]

    def _note(self, orders: Sequence[VendorOrder]) -> None:
        """Note the names of one part of the list, and its orders that look foreign."""
        own = owned_among(self.ledger, self.wallet, (name for order in orders for name in _names_of(order)))
        for order in orders:
            names = _names_of(order)
            self.listed |= names
            if order.unreadable:
                self.report.add("unreadable", order.order_id, order.unreadable)
            elif own.isdisjoint(name.lower() for name in names) and not self._is_from_start(order, names):
                self._foreign.append(ForeignOrder(order.order_id, order.vendor_status, names))

    def _is_from_start(self, order: VendorOrder, names: frozenset[str]) -> bool:
        return self._is_older(order) if self._at_start is None else not names.isdisjoint(self._at_start)

    def _older(self, orders: Sequence[VendorOrder]) -> set[str]:
        return {name for order in orders if self._is_older(order) for name in _names_of(order)}

    def _is_older(self, order: VendorOrder) -> bool:
        """Whether an order of the first comparison is older than the ledger. A restored ledger may have bought it itself."""
        return self._restored is None or (order.created_at is not None and order.created_at < self._restored)


def compare_orders(buyer: Buyer, report: ReconcileReport) -> bool:
    """Look for foreign orders, and for orders that are gone from the vendor's list.

    :returns: whether all orders were compared; else a purchase under way may be one of them.
    """
    ledger, wallet, began = buyer.ledger, buyer.account.wallet, buyer.ledger.clock()
    inventory = Inventory(buyer, report)
    if not inventory.read():
        return True
    # a purchase of ours may have landed while this comparison ran: another look tells, or the next comparison
    under_way = _unnamed_purchase(buyer, inventory.listed) if inventory.foreign() else None
    foreign = inventory.foreign()
    if under_way is not None:
        for order in foreign:
            _note_maybe_ours(buyer, order, under_way, report)
        return False
    for order in foreign:
        report.add("foreign", order.order_id)
    if foreign:
        reasons, report.shared = _why_frozen(buyer, [order.order_id for order in foreign])
        ledger.freeze(wallet, reasons)
    for order in foreign:  # after the freeze: a comparison that is interrupted in between reports the order once more
        facts.foreign_order_reported(ledger, wallet, order.order_id).decide_once(order.status)
    if buyer.vendor.capabilities.list_orders:
        _look_for_missing(buyer, inventory.listed, began, report)
    return True


def _look_for_missing(buyer: Buyer, listed: set[str], began: datetime, report: ReconcileReport) -> None:
    """Look for orders of the ledger that the list lacks.

    :param began: a moment before the list was read, which then holds every order of that moment.
    """
    unlisted = [each for each in expected(buyer.ledger, buyer.account.wallet, began) if each.order_id not in listed]
    shown = read_orders(buyer, [*dict.fromkeys(each.order_id for each in unlisted)])
    for each in unlisted:
        if each.order_id not in shown:
            report.add("missing", each.order_key)


def _why_frozen(buyer: Buyer, foreign: Sequence[str]) -> tuple[str, str]:
    """Whose the foreign orders are, as far as this ledger can tell; and the part about connections of one account."""
    account, named = buyer.account, foreign[:MOST_NAMED]
    elsewhere = bought_elsewhere(buyer.ledger.engine, account.vendor, account.wallet, named)
    unexplained = [order_id for order_id in named if order_id not in elsewhere]
    shared = []
    for other in sorted(set(elsewhere.values()), key=lambda other: other.conn_id):
        bought = ", ".join(order_id for order_id, each in elsewhere.items() if each == other)
        shared.append(
            f"the vendor holds {bought}, bought by this ledger through connection {other.conn_id!r} from wallet "
            f"{other.wallet!r}: both connections pay from one account, so set the same 'wallet' in {account.conn_id!r} and "
            f"{other.conn_id!r}"
        )
    first = [f"the vendor holds {', '.join(unexplained)}, which this ledger did not intend"] if unexplained else []
    more = [f"there are {len(foreign) - len(named)} more such orders"] if len(foreign) > len(named) else []
    return "; and ".join([*first, *shared, *more]), "; ".join(shared)


def _names_of(order: VendorOrder) -> frozenset[str]:
    """The ids by which the ledger may know an order of the list."""
    return frozenset(name for name in (order.order_id, order.handle) if name)


def _ids_in(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(load_json(text))


def _moment_in(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _note_maybe_ours(buyer: Buyer, order: ForeignOrder, under_way: Purchase, report: ReconcileReport) -> None:
    inconclusive = facts.order_inconclusive(buyer.ledger, buyer.account.wallet, order.order_id)
    report.add("maybe_ours", order.order_id, under_way.order_key)
    if inconclusive.get():
        report.add("still_maybe_ours", order.order_id)
    inconclusive.decide_once(under_way.order_key)


def _unnamed_purchase(buyer: Buyer, listed: set[str]) -> Purchase | None:
    """A purchase of ours with an order that the vendor's list may hold under a name still unknown to the ledger."""
    ledger, wallet = buyer.ledger, buyer.account.wallet
    for purchase in ledger.unresolved(wallet=wallet, limit=1):
        return purchase
    if buyer.vendor.capabilities.list_orders:
        return None  # each is listed under its id
    for purchases in purchases_of(ledger, keys_at(ledger, wallet, Step.PLACED)):
        for purchase in purchases:
            if purchase.kind != "create" or purchase.order_id in listed:
                continue
            try:
                if buyer.refresh(purchase).step is Step.PLACED:
                    return purchase
            except VendorError:
                return purchase
    return None
