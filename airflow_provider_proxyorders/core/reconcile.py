"""Compares the ledger with the vendor: settles what is open, and finds what the ledger did not intend.

Two rules: it never spends; and what was there before the first comparison is taken as known, so only what appears later
can be strange. A strange order freezes the wallet once: somebody else buys from it, or something of ours is not in the
ledger, and either way evidence about a lost purchase could be misread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from airflow_provider_proxyorders.core.desk import Desk
from airflow_provider_proxyorders.core.errors import ProxyOrdersError, UnsupportedOperation
from airflow_provider_proxyorders.core.model import OPEN, Money, Order, Step, VendorOrder, decimal
from airflow_provider_proxyorders.core.wire import dump_json, load_json


@dataclass
class Findings:
    """What a comparison found.

    :param settled: order keys whose outcome was unknown and is known now.
    :param undecided: order keys that are still open, with the reason.
    :param updated: order keys whose order has moved on at the vendor.
    :param strange: vendor ids that the ledger did not intend and that were not there before.
    :param missing: order keys whose order the vendor no longer lists.
    :param unexplained: how much the balance fell beyond what the ledger knows of, since the last comparison.
    """

    settled: list[str] = field(default_factory=list)
    undecided: dict[str, str] = field(default_factory=dict)
    updated: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexplained: Money | None = None

    @property
    def clean(self) -> bool:
        """Whether a person need not look."""
        return not (self.undecided or self.strange or self.missing or (self.unexplained and self.unexplained.amount > 0))

    def lines(self) -> list[str]:
        """For the log, a line a finding."""
        found = [f"settled: {key}" for key in self.settled]
        found += [f"moved on: {key}" for key in self.updated]
        found += [f"STILL OPEN: {key}: {why}" for key, why in self.undecided.items()]
        found += [f"NOT INTENDED by this ledger: {order_id}" for order_id in self.strange]
        found += [f"NO LONGER LISTED by the vendor: {key}" for key in self.missing]
        if self.unexplained and self.unexplained.amount > 0:
            found.append(f"UNEXPLAINED: the balance fell by {self.unexplained} more than the ledger knows of")
        return found


def reconcile(desk: Desk) -> Findings:
    """Compare one wallet's ledger with its vendor; reads only.

    :raises VendorError: when the vendor cannot be read; nothing is concluded then.
    """
    findings = Findings()
    ledger, wallet = desk.ledger, desk.account.wallet
    for order in ledger.orders(wallet=wallet, in_steps=(Step.SENT, Step.UNKNOWN, Step.QUARANTINED), limit=1000):
        _settle(desk, order, findings)
    for order in ledger.orders(wallet=wallet, in_steps=(Step.PLACED,), limit=1000):
        if desk.refresh(order).step is not order.step:
            findings.updated.append(order.order_key)
    _compare_orders(desk, findings)
    _compare_balance(desk, findings)
    return findings


def _settle(desk: Desk, order: Order, findings: Findings) -> None:
    try:
        after = desk.settle(order)
        findings.settled.append(f"{after.order_key} ({after.step.value})")
    except ProxyOrdersError as error:
        findings.undecided[order.order_key] = " ".join(str(error).split())[:300]


def _compare_orders(desk: Desk, findings: Findings) -> None:
    ledger, wallet = desk.ledger, desk.account.wallet
    # Read before the vendor's list, which then holds all of them.
    running = ledger.orders(wallet=wallet, in_steps=(Step.PLACED, Step.DELIVERED), limit=100_000)
    held: list[VendorOrder] | None = desk.http.run(desk.vendor.inventory())
    if held is None:
        return
    listed = {found for order in held for found in (order.order_id, order.traits.get("subaccount")) if found}
    first = f"known from the start at {wallet}"
    known = ledger.fixed(first)
    if known is None:
        known = ledger.fix(first, dump_json(sorted(listed)))
    known_before = set(load_json(known))
    reported = f"reported at {wallet}: "

    def strange() -> list[VendorOrder]:
        ours = ledger.owned(wallet) | known_before
        names = [(order, {order.order_id, order.traits.get("subaccount")} - {None}) for order in held]
        return [order for order, own in names if not own & ours and not ledger.fixed(reported + order.order_id)]

    if strange():
        # It may be a purchase of ours that landed while this comparison ran: then another look tells, or the next comparison.
        under_way = ledger.orders(wallet=wallet, in_steps=(Step.PLACED,), limit=1000)
        still_open = ledger.orders(wallet=wallet, in_steps=sorted(OPEN), limit=1)
        if still_open or any(desk.refresh(order).step is Step.PLACED for order in under_way):
            return
    found = strange()
    findings.strange = [order.order_id for order in found]
    if found:
        why = f"the vendor holds {', '.join(findings.strange)}, which this ledger did not intend"
        ledger.freeze(wallet, why)
    for order in found:  # after the freeze: a comparison that is stopped in between reports it once more
        ledger.fix(reported + order.order_id, order.vendor_status)
    if desk.vendor.capabilities.list_orders:
        findings.missing = [order.order_key for order in running if order.order_id not in listed]


def _compare_balance(desk: Desk, findings: Findings) -> None:
    """A fall of the balance beyond the purchases that the ledger knows of; rises are top-ups and explain themselves."""
    ledger, wallet = desk.ledger, desk.account.wallet
    spent, _ = ledger.charged(wallet)  # read first, so that the balance holds all of it
    try:
        now = desk.http.run(desk.vendor.balance()).available
    except UnsupportedOperation:
        return
    _, most = ledger.charged(wallet)
    name = f"balance of {wallet}"
    before = ledger.fixed(name)
    ledger.note(name, dump_json({"balance": f"{now.amount:f}", "spent": f"{spent:f}"}))
    if before is None:
        return
    then = load_json(before)
    fallen = decimal(then["balance"]) - now.amount
    findings.unexplained = Money(max(Decimal(0), fallen - (most - decimal(then["spent"]))), now.currency)
