"""Tells an extension from other extensions of the same order, which change the same fields of it.

Two rules. What a look saw is the purchase's own only where no other extension can have landed since its evidence, where the order
counts more extensions than the others, or where the balance says so; a read may lag, so the evidence may lack an extension from
before it. Equal extensions share the growth: each key gets its own, in the order of sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from airflow_provider_proxyorders.domain.model import TAKEN, Purchase, Step, minor_digits
from airflow_provider_proxyorders.purchase.balance_marks import may_be_charged
from airflow_provider_proxyorders.purchase.checkpoint import Checkpoints
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.vendors.base import Look
from airflow_provider_proxyorders.vendors.evidence import Missing, missing_money
from airflow_provider_proxyorders.wire.reading import when


def among_extensions(tracker: OrderTracker, checkpoints: Checkpoints, purchase: Purchase, look: Look) -> Look:
    """What a look proves of an extension, where another extension of the order may be what it saw. Count or balance tell.

    :raises VendorError: the balance could not be read.
    """
    saw_it = look.verdict == "found" or (purchase.step is Step.REJECTED and look.verdict == "inconclusive" and look.has_trace)
    others, later = _others_since(tracker, purchase) if saw_it else ([], [])
    grown = _grown(purchase, look)
    if not others or grown > len(others):
        return look
    why = f"{look.detail}, which may be another extension of the order"
    if not tracker.vendor.pays_from_wallet(purchase.request):
        return Look("inconclusive", why)
    balance = tracker.http.run(tracker.vendor.balance())
    missing = missing_money({**purchase.evidence, "expected": checkpoints.expected(purchase)}, balance)
    if missing.explained:
        return Look("absent", f"{why}; {missing.detail}")
    theirs = sum(other.step in TAKEN for other in later)  # the evidence may count those from before it
    if is_charge_of(tracker, purchase, missing) and not 0 < grown <= theirs:
        return look
    may_be_of_others = missing.amount is not None and 0 < missing.amount <= missing.others  # their end decides
    return Look("not visible" if may_be_of_others else "inconclusive", f"{why}; {missing.detail}", trace=may_be_of_others or None)


def share_of_equals(
    tracker: OrderTracker, checkpoints: Checkpoints, purchase: Purchase, look: Look, equals: Sequence[Purchase]
) -> Look | None:
    """The growth in a look, as the purchase's own beside equal extensions of the order; ``None``: unproven.

    The missing money tells the number of those landed: the first ones, in the order of their sending.

    :param equals: they and the purchase, in that order; each has an open outcome, and no evidence shows all of another.
    :raises VendorError: the balance could not be read.
    """
    quote = quoted_price(tracker.vendor, purchase)
    if quote is None or quote.amount <= 0 or not tracker.vendor.pays_from_wallet(purchase.request):
        return None
    if any(each.reserved != purchase.reserved for each in equals):
        return None  # the price has changed between them
    expected = checkpoints.expected(purchase)
    missing = missing_money({**purchase.evidence, "expected": expected}, tracker.http.run(tracker.vendor.balance()))
    others = sum((each.reserved.amount for each in equals if each is not purchase), Decimal(0))
    if missing.amount is None or missing.others != others:
        return None  # a purchase that is none of these may have taken it
    landed, rest = divmod(missing.amount, quote.amount)
    if rest or not equals.index(purchase) < landed <= len(equals):
        return None
    sent_at = purchase.sent_at or purchase.created_at
    earlier = sum((each.sent_at or each.created_at) < sent_at for each in equals)  # the evidence may count them
    if 0 < _grown(purchase, look) < landed - earlier:
        return None
    beside = ", ".join(repr(each.order_key) for each in equals if each is not purchase)
    return Look("found", f"{look.detail}; {beside} asked for the same, and the missing money pays for {landed}", look.order)


def is_charge_of(tracker: OrderTracker, purchase: Purchase, missing: Missing) -> bool:
    """Whether missing money can be the charge of this extension: its quote, or at most its cap.

    Beside other uncertain charges it is more than all of them, and just the quote, alone or with all of them.
    """
    quote = quoted_price(tracker.vendor, purchase)
    if quote is None:
        return missing.price is not None and missing.price <= purchase.reserved.amount
    if not missing.fell or missing.amount is None:
        return False
    cent = Decimal(1).scaleb(-minor_digits(quote.currency))  # or a charge in whole cents
    return any(abs(missing.amount - quote.amount - beside) < cent for beside in {Decimal(0), missing.others})


def _grown(purchase: Purchase, look: Look) -> int:
    """By how many extensions the order has grown since the evidence; 0 where the vendor does not count them."""
    before, now = purchase.evidence.get("extensions"), look.order.extensions if look.order is not None else None
    return now - before if isinstance(before, int) and now is not None else 0


def _others_since(tracker: OrderTracker, purchase: Purchase) -> tuple[list[Purchase], list[Purchase]]:
    """The other extensions of the order that may have landed since the evidence of this one, and those of them sent after it."""
    if purchase.kind != "extend":
        return [], []
    sent = tracker.ledger.sent_after(purchase.wallet, 0, purchase.sent_at or purchase.created_at)
    own = next((each.number for each in sent if each.order_key == purchase.order_key), 0)
    read_from = when(purchase.evidence.get("read_from"))
    shown_by = read_from - timedelta(seconds=tracker.settle_time) if read_from is not None else None
    beside = {
        each.order_key: each.number
        for each in sent
        if each.kind == "extend"
        and each.order_key != purchase.order_key
        and each.target == purchase.target
        and may_be_charged(each)
        and (each.number > own or (shown_by is not None and each.left_by > shown_by))
    }
    others = [other for key in beside if (other := tracker.ledger.find(key)) is not None]
    return others, [other for other in others if beside[other.order_key] > own]
