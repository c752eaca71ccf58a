"""Compares the ledger with the vendor: settles unresolved purchases, and finds foreign orders.

Two rules. It only reads. The orders of the first comparison count as known, so only a later order can be foreign. A foreign order
freezes the wallet once: either another buyer uses the wallet, or a purchase of ours is missing in the ledger. In both cases the
evidence about a lost purchase could be misread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
from airflow_provider_proxyorders.domain.model import TAKEN, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.ledger.elsewhere import bought_elsewhere
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.purchase.showing import know_lists, read_orders

#: After this time the task of a purchase that is ready to be re-sent is gone.
LEFT_BEHIND = timedelta(minutes=15)
#: So long after its settle time a refused purchase is looked for once more.
YOUNG_REFUSAL = timedelta(days=1)
#: After so many orders without an answer the vendor counts as away, and the comparison ends without a result.
MOST_UNANSWERED = 3
#: An unreadable answer is not among them: the vendor is there, and only this order is odd.
UNANSWERED = (VendorUnavailable, Throttled)


@dataclass
class ReconcileReport:
    """The outcome of a comparison.

    :param settled: order keys, settled now.
    :param unresolved: order keys that stay unresolved, or with an unreadable order, and the reason.
    :param updated: order keys with a change at the vendor.
    :param foreign: vendor ids of new orders from outside of this ledger.
    :param shared: which connections pay from one account with two wallets, and what to set.
    :param maybe_ours: vendor ids that look foreign and may belong to a purchase under way, with its order key.
    :param still_maybe_ours: vendor ids that an earlier comparison left open, too.
    :param missing: order keys that are gone from the vendor's list.
    :param unreadable: entries of the vendor's list that cannot be read, by id or place, and the reason.
    :param unexplained: how much the balance fell beyond the ledger's purchases since the last comparison.
    """

    settled: list[str] = field(default_factory=list)
    unresolved: dict[str, str] = field(default_factory=dict)
    updated: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    shared: str = ""
    maybe_ours: dict[str, str] = field(default_factory=dict)
    still_maybe_ours: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    unexplained: Money | None = None

    @property
    def clean(self) -> bool:
        """Whether ledger and vendor agree, so a person need not look."""
        fell = self.unexplained is not None and self.unexplained.amount > 0
        return not (self.unresolved or self.foreign or self.still_maybe_ours or self.missing or fell)

    def lines(self) -> list[str]:
        """For the log, a line a finding."""
        lines = [f"settled: {key}" for key in self.settled]
        lines += [f"moved on: {key}" for key in self.updated]
        lines += [f"UNRESOLVED: {key}: {why}" for key, why in self.unresolved.items()]
        lines += [f"FOREIGN, this ledger did not intend it: {order_id}" for order_id in self.foreign]
        lines += [f"ONE ACCOUNT, TWO WALLETS: {self.shared}"] if self.shared else []
        lines += [f"MAY BE OURS, else foreign: {order_id} (of {key}?)" for order_id, key in self.maybe_ours.items()]
        lines += [f"NO LONGER LISTED by the vendor: {key}" for key in self.missing]
        lines += [f"UNREADABLE, left out: {order_id}: {why}" for order_id, why in self.unreadable.items()]
        if self.unexplained and self.unexplained.amount > 0:
            lines.append(f"UNEXPLAINED: the balance fell by {self.unexplained} more than the ledger's purchases")
        return lines


def reconcile(buyer: Buyer) -> ReconcileReport:
    """Compare one wallet's ledger with its vendor; reads only.

    :raises VendorError: the vendor cannot be read, so there is no result.
    """
    report = ReconcileReport()
    for purchase in buyer.ledger.unresolved(wallet=buyer.account.wallet, limit=1000):
        _settle(buyer, purchase, report)
    _look_at_refused(buyer, report)
    for question in buyer.ledger.questions(wallet=buyer.account.wallet):
        report.unresolved.setdefault(question.order_key, question.why)
    _refresh_placed(buyer, report)
    whole = _compare_orders(buyer, report)
    _compare_balance(buyer, report)
    if whole and facts.restored_from(buyer.ledger).get():  # only that lets a person unfreeze a restored wallet
        wallet, account = buyer.account.wallet, buyer.account.digest
        facts.reconciled(buyer.ledger, wallet, account).decide_once(buyer.ledger.clock().isoformat())
    return report


def _settle(buyer: Buyer, purchase: Purchase, report: ReconcileReport) -> None:
    """Settle one unresolved purchase. If it is ready to be re-sent, its own task gets a while for that."""
    try:
        if purchase.step in (Step.INTENDED, Step.REJECTED):
            if buyer.ledger.clock() - purchase.updated_at < LEFT_BEHIND:
                report.unresolved[purchase.order_key] = (
                    "it may have been taken and charged; its own task is about to send it again"
                )
                return
            purchase = buyer.ledger.reopen(purchase, "no try of its task came back to it", buyer.actor)
        settled = buyer.settle(purchase)
        report.settled.append(f"{settled.order_key} ({settled.step.value})")
    except ProxyOrdersError as error:
        report.unresolved[purchase.order_key] = one_line(error, 300)


def _look_at_refused(buyer: Buyer, report: ReconcileReport) -> None:
    """Look once more for young refused purchases: an inner repeat of them may have landed."""
    now, settle = buyer.ledger.clock(), timedelta(seconds=buyer.settle_time)
    for purchase in buyer.ledger.purchases(wallet=buyer.account.wallet, in_steps=(Step.REJECTED,), limit=100):
        if purchase.unresolved or purchase.vendor != buyer.vendor.name:
            continue
        if purchase.sent_at is None or not settle <= now - purchase.sent_at <= settle + YOUNG_REFUSAL:
            continue
        try:
            after = buyer.sending.refusals.look_again(purchase)
        except ProxyOrdersError as error:
            report.unresolved[purchase.order_key] = one_line(error, 300)
            continue
        if after.step in TAKEN:
            report.settled.append(f"{after.order_key} ({after.step.value})")
        elif after.unresolved:
            report.unresolved[after.order_key] = "it was refused, but something at the vendor may be this purchase"


def _refresh_placed(buyer: Buyer, report: ReconcileReport) -> None:
    """Read all unfinished orders. One order without an answer must leave the others visible."""
    unanswered = 0
    for purchase in buyer.ledger.purchases(wallet=buyer.account.wallet, in_steps=(Step.PLACED,), limit=1000):
        try:
            if buyer.refresh(purchase).step is not purchase.step:
                report.updated.append(purchase.order_key)
        except (AuthenticationFailed, OrderingNotPermitted):
            raise
        except VendorError as error:
            unanswered += isinstance(error, UNANSWERED)
            if unanswered > MOST_UNANSWERED:
                raise
            report.unresolved[purchase.order_key] = (
                f"order {purchase.order_id} was taken and cannot be read: {one_line(error, 300)}"
            )


def _compare_orders(buyer: Buyer, report: ReconcileReport) -> bool:
    """Look for foreign orders, and for orders that are gone from the vendor's list.

    :returns: whether all orders were compared; else a purchase under way may be one of them.
    """
    ledger, wallet = buyer.ledger, buyer.account.wallet
    # read before the vendor's list, which then holds all of them
    running = ledger.purchases(wallet=wallet, in_steps=(Step.PLACED, Step.DELIVERED), limit=100_000)
    know_lists(buyer.vendor, ledger)
    inventory = buyer.http.run(buyer.vendor.inventory())
    if inventory is None:
        return True
    listed = {name for order in inventory for name in _names_of(order)}
    report.unreadable = {order.order_id: order.unreadable for order in inventory if order.unreadable}
    foreign = _foreign_orders(buyer, inventory)
    # a purchase of ours may have landed while this comparison ran: another look tells, or the next comparison
    under_way = _unnamed_purchase(buyer, listed) if foreign else None
    if under_way is not None:
        for order in _foreign_orders(buyer, inventory):
            _note_maybe_ours(buyer, order, under_way, report)
        return False
    foreign = _foreign_orders(buyer, inventory)
    report.foreign = [order.order_id for order in foreign]
    if foreign:
        reasons, report.shared = _why_frozen(buyer, report.foreign)
        ledger.freeze(wallet, reasons)
    for order in foreign:  # after the freeze: a comparison that is interrupted in between reports the order once more
        facts.foreign_order_reported(ledger, wallet, order.order_id).decide_once(order.vendor_status)
    if buyer.vendor.capabilities.list_orders:
        unlisted = [purchase for purchase in running if purchase.order_id is not None and purchase.order_id not in listed]
        shown = read_orders(buyer, [purchase.order_id for purchase in unlisted if purchase.order_id])
        report.missing = [purchase.order_key for purchase in unlisted if purchase.order_id not in shown]
    return True


def _why_frozen(buyer: Buyer, foreign: Sequence[str]) -> tuple[str, str]:
    """Whose the foreign orders are, as far as this ledger can tell; and the part about connections of one account."""
    account = buyer.account
    elsewhere = bought_elsewhere(buyer.ledger.engine, account.vendor, account.wallet, foreign)
    strangers = [order_id for order_id in foreign if order_id not in elsewhere]
    shared = []
    for other in sorted(set(elsewhere.values()), key=lambda other: other.conn_id):
        bought = ", ".join(order_id for order_id, each in elsewhere.items() if each == other)
        shared.append(
            f"the vendor holds {bought}, bought by this ledger through connection {other.conn_id!r} from wallet "
            f"{other.wallet!r}: both connections pay from one account, so set the same 'wallet' in {account.conn_id!r} and "
            f"{other.conn_id!r}"
        )
    stranger = [f"the vendor holds {', '.join(strangers)}, which this ledger did not intend"] if strangers else []
    return "; and ".join([*stranger, *shared]), "; ".join(shared)


def _names_of(order: VendorOrder) -> set[str]:
    """The ids by which the ledger may know an order of the inventory."""
    return {name for name in (order.order_id, order.handle) if name}


def _foreign_orders(buyer: Buyer, inventory: Sequence[VendorOrder]) -> list[VendorOrder]:
    """Orders that are new since the first comparison, outside of the ledger, and unreported so far."""
    ledger, wallet = buyer.ledger, buyer.account.wallet
    at_start = facts.orders_at_start(ledger, wallet)
    text = at_start.get()
    if text is None:  # for good, so a second read has to fill what one read may leave out
        again = buyer.http.run(buyer.vendor.inventory()) or []
        older = [order for order in (*inventory, *again) if _is_older(buyer, order)]
        text = at_start.decide_once(dump_json(sorted({name for order in older for name in _names_of(order)})))
    ours = ledger.own_ids(wallet) | set(load_json(text))
    return [
        order
        for order in inventory
        if not (order.unreadable or _names_of(order) & ours)
        and not facts.foreign_order_reported(ledger, wallet, order.order_id).get()
    ]


def _is_older(buyer: Buyer, order: VendorOrder) -> bool:
    """Whether an order of the first comparison is older than the ledger. A restored ledger may have bought it itself."""
    moment = facts.restored_from(buyer.ledger).get()
    return moment is None or (order.created_at is not None and order.created_at < datetime.fromisoformat(moment))


def _note_maybe_ours(buyer: Buyer, order: VendorOrder, under_way: Purchase, report: ReconcileReport) -> None:
    inconclusive = facts.order_inconclusive(buyer.ledger, buyer.account.wallet, order.order_id)
    report.maybe_ours[order.order_id] = under_way.order_key
    if inconclusive.get():
        report.still_maybe_ours.append(order.order_id)
    inconclusive.decide_once(under_way.order_key)


def _unnamed_purchase(buyer: Buyer, listed: set[str]) -> Purchase | None:
    """A purchase of ours with an order that the vendor's list may hold under a name still unknown to the ledger."""
    ledger, wallet = buyer.ledger, buyer.account.wallet
    for purchase in ledger.unresolved(wallet=wallet, limit=1):
        return purchase
    if buyer.vendor.capabilities.list_orders:
        return None  # each is listed under its id
    for purchase in ledger.purchases(wallet=wallet, in_steps=(Step.PLACED,), limit=1000):
        if purchase.kind != "create" or purchase.order_id in listed:
            continue
        try:
            if buyer.refresh(purchase).step is Step.PLACED:
                return purchase
        except VendorError:
            return purchase
    return None


def _compare_balance(buyer: Buyer, report: ReconcileReport) -> None:
    """Find a fall of the balance beyond the ledger's purchases. A rise is a top-up and needs no explanation.

    The rule is the same as before a purchase, and so is the end: an unexplained fall freezes the wallet.
    """
    checkpoints = buyer.settling.evidence.checkpoints
    begun = checkpoints.begin()
    try:
        balance = buyer.http.run_reading(buyer.vendor.balance).available
    except UnsupportedOperation:
        return
    compared = checkpoints.compare(begun, balance)
    report.unexplained = Money(compared.gap, balance.currency)
    if compared.gap > 0:
        checkpoints.freeze(compared)
