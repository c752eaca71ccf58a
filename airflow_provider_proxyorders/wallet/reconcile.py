"""Compares the ledger with the vendor: settles what is open, and finds what the ledger did not intend.

Two rules: it never spends; and what was there before the first comparison is taken as known, so only what appears later
can be strange. A strange order freezes the wallet once: somebody else buys from it, or something of ours is not in the
ledger, and either way evidence about a lost purchase could be misread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    ProxyOrdersError,
    Throttled,
    UnsupportedOperation,
    VendorError,
    VendorUnavailable,
)
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import Money, Purchase, Step, VendorOrder, decimal
from airflow_provider_proxyorders.purchase.buyer import Buyer

#: After this time no try is on its way any more with a purchase that stands to be sent again.
LEFT_BEHIND = timedelta(minutes=15)
#: Orders that get no answer before the vendor counts as away, and nothing is concluded.
MOST_UNANSWERED = 3


@dataclass
class ReconcileReport:
    """What a comparison found.

    :param settled: order keys whose outcome was unknown and is known now.
    :param undecided: order keys that are still open, or whose order cannot be read, with the reason.
    :param updated: order keys whose order has moved on at the vendor.
    :param strange: vendor ids that the ledger did not intend and that were not there before.
    :param unclear: vendor ids that would be strange, and may belong to a purchase under way, with its key.
    :param lasting: those of them that an earlier comparison could not tell apart either.
    :param missing: order keys whose order the vendor no longer lists.
    :param unexplained: how much the balance fell beyond what the ledger knows of, since the last comparison.
    """

    settled: list[str] = field(default_factory=list)
    undecided: dict[str, str] = field(default_factory=dict)
    updated: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    unclear: dict[str, str] = field(default_factory=dict)
    lasting: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexplained: Money | None = None

    @property
    def clean(self) -> bool:
        """Whether a person need not look."""
        fell = self.unexplained is not None and self.unexplained.amount > 0
        return not (self.undecided or self.strange or self.lasting or self.missing or fell)

    def lines(self) -> list[str]:
        """For the log, a line a finding."""
        found = [f"settled: {key}" for key in self.settled]
        found += [f"moved on: {key}" for key in self.updated]
        found += [f"STILL OPEN: {key}: {why}" for key, why in self.undecided.items()]
        found += [f"NOT INTENDED by this ledger: {order_id}" for order_id in self.strange]
        found += [f"MAY BE OURS, and not intended if it is not: {order_id} (of {key}?)" for order_id, key in self.unclear.items()]
        found += [f"NO LONGER LISTED by the vendor: {key}" for key in self.missing]
        if self.unexplained and self.unexplained.amount > 0:
            found.append(f"UNEXPLAINED: the balance fell by {self.unexplained} more than the ledger knows of")
        return found


def reconcile(buyer: Buyer) -> ReconcileReport:
    """Compare one wallet's ledger with its vendor; reads only.

    :raises VendorError: when the vendor cannot be read; nothing is concluded then.
    """
    report = ReconcileReport()
    ledger, wallet = buyer.ledger, buyer.account.wallet
    for order in ledger.unresolved(wallet=wallet, limit=1000):
        _settle(buyer, order, report)
    unanswered = 0
    for order in ledger.purchases(wallet=wallet, in_steps=(Step.PLACED,), limit=1000):
        try:
            if buyer.refresh(order).step is not order.step:
                report.updated.append(order.order_key)
        except (AuthenticationFailed, OrderingNotPermitted):
            raise
        except VendorError as error:  # of this order; it must not hide the others
            unanswered += isinstance(error, (VendorUnavailable, Throttled))
            if unanswered > MOST_UNANSWERED:
                raise
            report.undecided[order.order_key] = f"order {order.order_id} was taken and cannot be read: {_line(error)}"
    _compare_orders(buyer, report)
    _compare_balance(buyer, report)
    return report


def _settle(buyer: Buyer, order: Purchase, report: ReconcileReport) -> None:
    try:
        if order.step in (Step.INTENDED, Step.REJECTED):
            if buyer.ledger.clock() - order.updated_at < LEFT_BEHIND:
                report.undecided[order.order_key] = "it may have been taken and charged; its own task is about to send it again"
                return
            order = buyer.ledger.doubt(order, "no try of its task came back to it", buyer.actor)
        after = buyer.settle(order)
        report.settled.append(f"{after.order_key} ({after.step.value})")
    except ProxyOrdersError as error:
        report.undecided[order.order_key] = _line(error)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _compare_orders(buyer: Buyer, report: ReconcileReport) -> None:
    ledger, wallet = buyer.ledger, buyer.account.wallet
    # Read before the vendor's list, which then holds all of them.
    running = ledger.purchases(wallet=wallet, in_steps=(Step.PLACED, Step.DELIVERED), limit=100_000)
    held: list[VendorOrder] | None = buyer.http.run(buyer.vendor.inventory())
    if held is None:
        return
    listed = {found for order in held for found in (order.order_id, order.traits.get("subaccount")) if found}
    first = f"known from the start at {wallet}"
    known = ledger.get(first)
    if known is None:
        known = ledger.decide_once(first, dump_json(sorted(listed)))
    known_before = set(load_json(known))
    reported = f"reported at {wallet}: "

    def strange() -> list[VendorOrder]:
        ours = ledger.owned(wallet) | known_before
        names = [(order, {order.order_id, order.traits.get("subaccount")} - {None}) for order in held]
        return [order for order, own in names if not own & ours and not ledger.get(reported + order.order_id)]

    # It may be a purchase of ours that landed while this comparison ran: then another look tells, or the next comparison.
    under_way = _maybe_unknown_by_name(buyer, listed) if strange() else None
    if under_way is not None:
        for order in strange():
            name = f"not told apart at {wallet}: {order.order_id}"
            report.unclear[order.order_id] = under_way.order_key
            if ledger.get(name):
                report.lasting.append(order.order_id)
            ledger.decide_once(name, under_way.order_key)
        return
    found = strange()
    report.strange = [order.order_id for order in found]
    if found:
        why = f"the vendor holds {', '.join(report.strange)}, which this ledger did not intend"
        ledger.freeze(wallet, why)
    for order in found:  # after the freeze: a comparison that is stopped in between reports it once more
        ledger.decide_once(reported + order.order_id, order.vendor_status)
    if buyer.vendor.capabilities.list_orders:
        report.missing = [order.order_key for order in running if order.order_id not in listed]


def _maybe_unknown_by_name(buyer: Buyer, listed: set[str]) -> Purchase | None:
    """A purchase of ours whose order may stand in the vendor's list under a name that the ledger does not have yet."""
    ledger, wallet = buyer.ledger, buyer.account.wallet
    for order in ledger.unresolved(wallet=wallet, limit=1):
        return order
    if buyer.vendor.capabilities.list_orders:
        return None  # each is listed under its id
    for order in ledger.purchases(wallet=wallet, in_steps=(Step.PLACED,), limit=1000):
        if order.kind != "create" or order.order_id in listed:
            continue
        try:
            if buyer.refresh(order).step is Step.PLACED:
                return order
        except VendorError:
            return order
    return None


def _compare_balance(buyer: Buyer, report: ReconcileReport) -> None:
    """A fall of the balance beyond the purchases that the ledger knows of; rises are top-ups and explain themselves."""
    ledger, wallet = buyer.ledger, buyer.account.wallet
    spent, _ = ledger.charged(wallet)  # read first, so that the balance holds all of it
    try:
        now = buyer.http.run(buyer.vendor.balance()).available
    except UnsupportedOperation:
        return
    _, most = ledger.charged(wallet)
    name = f"balance of {wallet}"
    before = ledger.get(name)
    ledger.put(name, dump_json({"balance": f"{now.amount:f}", "spent": f"{spent:f}"}))
    if before is None:
        return
    then = load_json(before)
    fallen = decimal(then["balance"]) - now.amount
    report.unexplained = Money(max(Decimal(0), fallen - (most - decimal(then["spent"]))), now.currency)
