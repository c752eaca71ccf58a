"""A new order in the place of one that its vendor cannot extend.

Three rules: an order is replaced once, and the key that says so is fixed in the ledger by whoever comes first; it is bought
with the request that the old one was bought with, unless a secret in it was masked; and nothing is bought for an order
of which nobody can say that it is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Purchase, VendorOrder
    from airflow_provider_proxyorders.purchase.buyer import Buyer


def replace(
    buyer: Buyer,
    order_id: str,
    *,
    request: Mapping[str, Any] | None = None,
    order_key: str | None = None,
    target: datetime | None = None,
    ends: datetime | None = None,
    within: timedelta | None = None,
    max_price: Decimal | None = None,
) -> Purchase:
    """Buy an order in the place of another.

    :param request: what to buy; None = what the old one was bought with.
    :param target: until when there must be a paid order, aware.
    :param ends: when the old one ends, where the vendor does not tell.
    :param within: buy only when the old one ends within that time from now.
    :raises NotDue: the old one runs for long enough.
    :raises InvalidRequest: something has to be given; nothing was sent.
    """
    from airflow_provider_proxyorders.renewal.search import replacement_key

    known = next((one for one in buyer.ledger.by_order_id(buyer.account.wallet, order_id) if one.kind == "create"), None)
    key = order_key or replacement_key(buyer.account.wallet, order_id, _period(buyer, order_id, known, ends))
    refuse_done_by_another(buyer, key)
    body = request if request is not None else _request_of(buyer, order_id, known)
    if not begun(buyer, key):
        old = buyer.http.run(buyer.vendor.get(order_id))
        refuse_ended(old, buyer.vendor.title)
        _check_due(buyer, old, target, ends, within)
        buyer.say(
            f"{buyer.vendor.title} cannot extend order {order_id}: a new one is bought in its place, and ITS PROXIES ARE OTHERS"
        )
    return buyer.place(body, order_key=key, max_price=max_price)


def begun(buyer: Buyer, order_key: str) -> bool:
    """Whether anything of a purchase may have been sent; one that was only intended or refused is as good as new."""
    from airflow_provider_proxyorders.domain.model import Step

    known = buyer.ledger.find(order_key)
    return known is not None and (known.maybe_sent or known.step not in (Step.INTENDED, Step.REJECTED))


def refuse_done_by_another(buyer: Buyer, order_key: str) -> None:
    """What another task or run has bought is not this one's: it is counted there, and here the order is paid for already.

    A retry, and a task that is cleared, are the same task and get their own purchase back.

    :raises NotDue: naming who bought it.
    """
    from airflow_provider_proxyorders.domain.errors import NotDue
    from airflow_provider_proxyorders.domain.model import Step

    known = buyer.ledger.find(order_key)
    if known is None or known.step not in (Step.DELIVERED, Step.PARTIAL):
        return
    sent = [entry.actor for entry in buyer.ledger.history(order_key) if entry.step is Step.SENT]
    me = buyer.actor
    if not sent or (sent[-1].dag_id, sent[-1].run_id, sent[-1].task_id) == (me.dag_id, me.run_id, me.task_id):
        return
    what = f"order {known.target} was extended" if known.kind == "extend" else f"order {known.order_id} was bought in its place"
    until = f", paid until {known.expires_at:%Y-%m-%d %H:%M} UTC," if known.expires_at else ""
    raise NotDue(f"{what}{until} by {sent[-1]}; nothing bought")


def refuse_ended(order: VendorOrder, title: str) -> None:
    """:raises InvalidRequest: for an order that the vendor has ended."""
    from airflow_provider_proxyorders.domain.errors import InvalidRequest
    from airflow_provider_proxyorders.domain.model import OrderStatus

    if order.status in (OrderStatus.EXPIRED, OrderStatus.REFUNDED, OrderStatus.FAILED):
        raise InvalidRequest(
            "order_id",
            f"must name a running order; {order.order_id} is {order.vendor_status!r} at {title} and cannot be extended",
        )


def _period(buyer: Buyer, order_id: str, known: Purchase | None, ends: datetime | None) -> str:
    """The period that is replaced, decided once: such an order has one only, whatever is given tomorrow."""
    from airflow_provider_proxyorders.domain.errors import InvalidRequest
    from airflow_provider_proxyorders.renewal.search import replaced_period

    if known is not None:
        period = replaced_period(known.expires_at, known.sent_at or known.created_at)
    elif ends is not None:
        period = replaced_period(ends, ends)
    else:
        raise InvalidRequest(
            "expires_at",
            f"is needed: order {order_id} was not bought through this ledger and {buyer.vendor.title} does not tell when it ends",
            "2026-12-31T12:00:00+00:00",
        )
    return buyer.ledger.decide_once(f"period of {buyer.account.wallet}:{order_id}", period)


def _request_of(buyer: Buyer, order_id: str, known: Purchase | None) -> Mapping[str, Any]:
    """What an order was bought with, without our reference, which its vendor takes once only."""
    from airflow_provider_proxyorders.domain.errors import InvalidRequest

    if known is None:
        raise InvalidRequest("request", f"is needed: order {order_id} was not bought through this ledger")
    masked = sorted(_masked(known.request))
    if masked:
        raise InvalidRequest(
            "request",
            f"is needed: order {order_id} was bought with secrets ({', '.join(masked)}), which the ledger does not keep",
        )
    reference = buyer.vendor.reference_in(known.request)
    return {name: value for name, value in known.request.items() if reference is None or value != reference}


def _masked(value: Any, name: str = "") -> set[str]:
    """Names of the fields whose values were replaced before the ledger kept the request."""
    if isinstance(value, Mapping):
        return {found for key, item in value.items() for found in _masked(item, str(key))}
    if isinstance(value, list):
        return {found for item in value for found in _masked(item, name)}
    return {name} if value == "***" else set()


def _check_due(buyer: Buyer, old: VendorOrder, target: datetime | None, given: datetime | None, within: timedelta | None) -> None:
    from airflow_provider_proxyorders.domain.errors import InvalidRequest, NotDue

    ends = old.expires_at or given
    if ends is None and (target is not None or within is not None):
        raise InvalidRequest(
            "expires_at",
            f"is needed: {buyer.vendor.title} does not tell when order {old.order_id} ends. FindExpiringOrdersOperator gives it, "
            "where its parameter term says how long an order lasts",
            "2026-12-31T12:00:00+00:00",
        )
    if ends is None:
        return
    if target is not None and ends >= target:
        raise NotDue(
            f"order {old.order_id} runs until {ends:%Y-%m-%d %H:%M} UTC, which reaches paid_through="
            f"{target:%Y-%m-%d %H:%M} UTC; nothing bought"
        )
    if within is not None and ends - buyer.ledger.clock() > within:
        raise NotDue(
            f"order {old.order_id} runs until {ends:%Y-%m-%d %H:%M} UTC, longer than only_within={within}; nothing bought"
        )
