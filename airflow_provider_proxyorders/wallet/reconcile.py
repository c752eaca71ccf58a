"""Compares the ledger with the vendor: settles unresolved purchases, and finds foreign orders.

Two rules. It only reads. The orders of the first comparison count as known, so only a later order can be foreign. A foreign order
freezes the wallet once: either another buyer uses the wallet, or a purchase of ours is missing in the ledger. In both cases the
evidence about a lost purchase could be misread.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    ProxyOrdersError,
    Throttled,
    UnsupportedOperation,
    VendorError,
    VendorUnavailable,
)
from airflow_provider_proxyorders.domain.model import TAKEN, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.ledger.bulk import keys_at, purchases_of, unresolved_keys
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.transport.many import run_many
from airflow_provider_proxyorders.wallet.findings import ReconcileReport
from airflow_provider_proxyorders.wallet.inventory import compare_orders

__all__ = ["ReconcileReport", "reconcile"]

#: After this time the task of a purchase that is ready to be re-sent is gone.
LEFT_BEHIND = timedelta(minutes=15)
#: So long after its settle time a refused purchase is looked for once more.
YOUNG_REFUSAL = timedelta(days=1)
#: Refused purchases that one comparison looks for, the newest first. Each look costs a few calls.
MOST_REFUSED = 100
#: After so many orders without an answer the vendor counts as away, and the comparison ends without a result.
MOST_UNANSWERED = 3
#: An unreadable answer is not among them: the vendor is there, and only this order is odd.
UNANSWERED = (VendorUnavailable, Throttled)
Answers = Generator[tuple[Purchase, VendorOrder | ProxyOrdersError | None], None, None]


def reconcile(buyer: Buyer) -> ReconcileReport:
    """Compare one wallet's ledger with its vendor; reads only.

    :raises VendorError: the vendor cannot be read, so there is no result.
    """
    report = ReconcileReport()
    for order_key in unresolved_keys(buyer.ledger, buyer.account.wallet):
        purchase = buyer.ledger.find(order_key)
        if purchase is not None and purchase.unresolved:
            _settle(buyer, purchase, report)
        elif purchase is not None:  # its own task was faster
            report.add("settled", f"{order_key} ({purchase.step.value})")
    _look_at_refused(buyer, report)
    for question in buyer.ledger.questions(wallet=buyer.account.wallet):
        report.add("unresolved", question.order_key, report.unresolved.get(question.order_key, question.why))
    _refresh_placed(buyer, report)
    whole = compare_orders(buyer, report)
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
                why = "it may have been taken and charged; its own task is about to send it again"
                report.add("unresolved", purchase.order_key, why)
                return
            purchase = buyer.ledger.reopen(purchase, "no try of its task came back to it", buyer.actor)
        settled = buyer.settle(purchase)
        report.add("settled", f"{settled.order_key} ({settled.step.value})")
    except ProxyOrdersError as error:
        report.add("unresolved", purchase.order_key, one_line(error, 300))


def _look_at_refused(buyer: Buyer, report: ReconcileReport) -> None:
    """Look once more for young refused purchases: an inner repeat of them may have landed."""
    ledger, settle = buyer.ledger, timedelta(seconds=buyer.settle_time)
    now, looked_at = ledger.clock(), 0
    keys = keys_at(ledger, buyer.account.wallet, Step.REJECTED, since=now - settle - YOUNG_REFUSAL)
    for purchase in (purchase for purchases in purchases_of(ledger, keys) for purchase in purchases):
        if purchase.step is not Step.REJECTED or purchase.unresolved or purchase.vendor != buyer.vendor.name:
            continue
        if purchase.sent_at is None or not settle <= now - purchase.sent_at <= settle + YOUNG_REFUSAL:
            continue
        looked_at += 1
        if looked_at > MOST_REFUSED:
            report.not_looked_for += 1
            continue
        try:
            after = buyer.sending.refusals.look_again(purchase)
        except ProxyOrdersError as error:
            report.add("unresolved", purchase.order_key, one_line(error, 300))
            continue
        if after.step in TAKEN:
            report.add("settled", f"{after.order_key} ({after.step.value})")
        elif after.unresolved:
            report.add("unresolved", after.order_key, "it was refused, but something at the vendor may be this purchase")


def _refresh_placed(buyer: Buyer, report: ReconcileReport) -> None:
    """Read all unfinished orders, several calls at a time. One order without an answer must leave the others visible."""
    unanswered = 0
    failed: VendorError | None = None
    keys = keys_at(buyer.ledger, buyer.account.wallet, Step.PLACED)
    for purchases in purchases_of(buyer.ledger, keys):
        placed = [purchase for purchase in purchases if purchase.step is Step.PLACED]
        with closing(_read(buyer, placed)) as answers:
            for purchase, answer in answers:
                try:
                    after = _record(buyer, purchase, answer)
                except (AuthenticationFailed, OrderingNotPermitted):
                    raise
                except VendorError as error:
                    if isinstance(error, UNANSWERED) and error is not failed:  # one failed call may stand for many orders
                        unanswered, failed = unanswered + 1, error
                    if unanswered > MOST_UNANSWERED:
                        raise
                    why = f"order {purchase.order_id} was taken and cannot be read: {one_line(error, 300)}"
                    report.add("unresolved", purchase.order_key, why)
                    continue
                if after.step is not purchase.step:
                    report.add("updated", purchase.order_key)


def _read(buyer: Buyer, placed: Sequence[Purchase]) -> Answers:
    """Each purchase with its order, with the error of its call, or with None where the call did not show it."""
    by_id: dict[str, list[Purchase]] = {}
    for purchase in placed:
        by_id.setdefault(purchase.order_id or "", []).append(purchase)
    batches = buyer.vendor.batches([order_id for order_id in by_id if order_id])
    with closing(run_many(buyer.http, [partial(buyer.vendor.get_many, order_ids) for order_ids in batches])) as answers:
        for order_ids, answer in zip(batches, answers, strict=True):
            for order_id in order_ids:
                order = answer if isinstance(answer, ProxyOrdersError) else answer.get(order_id)
                yield from ((purchase, order) for purchase in by_id[order_id])
    yield from ((purchase, None) for purchase in by_id.get("", ()))


def _record(buyer: Buyer, purchase: Purchase, answer: VendorOrder | ProxyOrdersError | None) -> Purchase:
    """The purchase after a read of its order. What several orders in one call do not show clearly is read alone.

    :raises VendorError: the order cannot be read.
    """
    if isinstance(answer, ProxyOrdersError):
        raise answer
    return buyer.refresh(purchase) if answer is None or answer.unreadable else buyer.record_reading(purchase, answer)


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
