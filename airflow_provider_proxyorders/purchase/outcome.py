"""The outcome of a purchase: is the order usable, the result object of a task, and the texts of errors.

Rule: every text tells the state of the money.
"""

from __future__ import annotations

from airflow_provider_proxyorders.domain.errors import (
    OrderMissing,
    OrderNotUsable,
    OrderPending,
    OutcomeUnknown,
    Quarantined,
    Retry,
    VendorError,
)
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import STEP_OF, UNRESOLVED, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line, utc
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.vendors.registry import vendor_class

Result = dict[str, str | int | dict[str, str] | None]


def step_of(order: Purchase | VendorOrder) -> Step:
    """The step of a purchase, or the step for the status of a vendor's order."""
    return order.step if isinstance(order, Purchase) else STEP_OF[order.status]


def result_of(order: Purchase | VendorOrder, vendor: str) -> Result:
    """The result object of a task in XCom: text, numbers, nulls and the ``handles``, free of secrets.

    :param order: a purchase of the ledger, or a vendor's order without one: its ``order_key`` is then null.
    :param vendor: name of the vendor.
    """
    purchase = order if isinstance(order, Purchase) else None
    return {
        "order_key": purchase.order_key if purchase else None,
        "order_id": order.order_id,
        "vendor": vendor,
        "kind": purchase.kind if purchase else "create",
        "status": step_of(order).value,
        "vendor_status": order.vendor_status,
        "price": f"{order.price.amount:f}" if order.price else None,
        "refund": f"{order.refund.amount:f}" if order.refund else None,
        "currency": order.price.currency if order.price else None,
        "expires_at": order.expires_at.isoformat() if order.expires_at else None,
        "delivered": order.delivered,
        "handles": _handles(order, vendor),
        "ledger_url": None,
    }


def _handles(order: Purchase | VendorOrder, vendor: str) -> dict[str, str] | None:
    if order.handle is None:
        return None
    return vendor_class(vendor).handles(order.handle, order.request if isinstance(order, Purchase) else {})


def require_usable(order: Purchase | VendorOrder, vendor: Vendor, *, on_partial: str = "fail") -> None:
    """Return if the order can be used; raise otherwise.

    :param on_partial: ``fail``, or ``accept`` a delivery in part.
    :raises OrderNotUsable: the order ended badly. The task buys no replacement.
    :raises OrderPending: the order is unfinished.
    :raises OutcomeUnknown: the purchase is unresolved.
    """
    step = step_of(order)
    if step is Step.DELIVERED or (step is Step.PARTIAL and on_partial == "accept"):
        return
    if isinstance(order, Purchase) and step in UNRESOLVED:
        raise outcome_unknown(order, vendor, f"it is {step.value}")
    raise pending(order, vendor) if step is Step.PLACED else _not_usable(order, vendor, step)


def pending(order: Purchase | VendorOrder, vendor: Vendor) -> OrderPending:
    """The error for an unfinished order at the deadline."""
    if isinstance(order, VendorOrder):
        return OrderPending(
            f"order {order.order_id} is still {order.vendor_status!r} at {vendor.title}; it stays there as it is."
        )
    return OrderPending(
        f"order {order.order_id} ({order.order_key}) is still {order.vendor_status!r} at {vendor.title}. It was taken"
        f"{f' for {order.price}' if order.price else ''}; the next try waits for the same order and buys nothing."
    )


def missing(purchase: Purchase, vendor: Vendor, error: VendorError, looks: int, seconds: float) -> OrderMissing:
    """The error for an order of the ledger that the vendor's reads do not show.

    :param error: of the last read.
    :param looks: number of reads in a row without the order, over so many ``seconds``.
    """
    page = vendor.order_page(purchase.order_id) if purchase.order_id else None
    return OrderMissing(
        f"order {purchase.order_id} ({purchase.order_key}) was taken{f' for {purchase.price}' if purchase.price else ''} and "
        f"{looks} reads over {seconds:.0f} s did not show it. Last answer: {one_line(error)} The money was spent: look for it at "
        f"{page or f'the dashboard of {vendor.title}'}. The next try reads the same order and buys nothing. "
        f"See: proxyorders ledger show '{purchase.order_key}'"
    )


def _not_usable(order: Purchase | VendorOrder, vendor: Vendor, step: Step) -> OrderNotUsable:
    name = f"order {order.order_id}{f' ({order.order_key})' if isinstance(order, Purchase) else ''}"
    refunds = vendor.refunds_undelivered
    undocumented = f"the pages of {vendor.title} do not say whether {'the rest' if step is Step.PARTIAL else 'it'} is paid back"
    money = {
        Step.PARTIAL: f"{order.delivered} units were delivered, {'the vendor refunds the rest' if refunds else undocumented}",
        Step.REFUNDED: "the vendor says the money was returned",
        Step.FAILED: f"it was charged, {'and the vendor refunds it' if refunds else undocumented}",
        Step.EXPIRED: "its paid term is over",
    }.get(step, "")
    money += f"; {order.refund} was paid back" if order.refund else ""
    reason = f" Reason given: {order.reason}." if order.reason else ""
    accept = " Set on_partial='accept' to go on with the delivered part." if step is Step.PARTIAL else ""
    return OrderNotUsable(
        f"{name} ended as {order.vendor_status!r} at {vendor.title}: {money}.{reason}{accept} "
        "Nothing is bought in its place; to buy again on purpose, use another order_key."
    )


def outcome_unknown(
    purchase: Purchase, vendor: Vendor, why: str, *, retry: Retry = "later", retry_after: float | None = None
) -> OutcomeUnknown:
    """The error for a purchase with an unknown outcome.

    :param why: a refusal in it speaks of the present try alone.
    :param retry_after: seconds after which another try can find out more.
    """
    why = why.replace("Nothing was bought.", "This try sent nothing.")
    return OutcomeUnknown(
        f"{vendor.title} may have taken and charged {purchase.order_key!r} (up to {purchase.reserved}): {why} "
        f"Asked for: {dump_json(purchase.request)}. Nothing is sent again on a guess: the next try looks for it at the vendor "
        f"first. See: proxyorders ledger show '{purchase.order_key}'",
        order_key=purchase.order_key,
        retry=retry,
        retry_after=retry_after,
    )


def quarantined(purchase: Purchase, vendor: Vendor, detail: str) -> Quarantined:
    """The error that asks a person to resolve a purchase, with everything to look for.

    :param detail: what the last look saw.
    """
    reference = vendor.reference_in(purchase.request)
    sent = f", sent at {utc(purchase.sent_at, 'seconds')}" if purchase.sent_at else ""
    return Quarantined(
        f"A person has to decide about {purchase.order_key!r} at {vendor.title}: it may have been taken and charged "
        f"(up to {purchase.reserved}). Asked for: {dump_json(purchase.request)}. Seen: {detail}. "
        f"Look in the vendor's dashboard{f' for reference {reference}' if reference else ''}"
        f"{sent}. "
        f"If it is there: proxyorders ledger resolve '{purchase.order_key}' --adopt ORDER_ID. "
        f"If it is missing: proxyorders ledger resolve '{purchase.order_key}' --absent. Then clear the task.",
        order_key=purchase.order_key,
    )
