"""Buys a new order in the place of an old one, at a vendor that cannot extend.

Three rules. An order is replaced once, and the first task fixes the key of the replacement in the ledger. The new order gets the
request of the old one, unless that request held a secret. If the end of the old order is unknown, it is replaced only by a task
without dates.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.dates import later
from airflow_provider_proxyorders.domain.errors import InvalidParameter
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.renewal.due import DueRule
from airflow_provider_proxyorders.renewal.keys import default_replacement_key, period_to_replace
from airflow_provider_proxyorders.renewal.ownership import refuse_done_by_another, was_sent


def replace(
    buyer: Buyer,
    order_id: str,
    *,
    request: Mapping[str, Any] | None = None,
    order_key: str | None = None,
    paid_through: datetime | None = None,
    ends: datetime | None = None,
    only_within: timedelta | None = None,
    max_price: Decimal | None = None,
) -> Purchase:
    """Buy an order in the place of another.

    :param request: the body of the new order; ``None`` = the request of the old one.
    :param paid_through: target date, aware: until then an order must be paid.
    :param ends: the end of the old order, for vendors without end dates.
    :param only_within: buy only if the old order ends within this time from now.
    :raises NotDue: the old order runs for long enough. Nothing was bought.
    :raises InvalidParameter: a value is needed. Nothing was bought.
    """
    wallet, title = buyer.account.wallet, buyer.vendor.title
    purchases = buyer.ledger.by_order_id(wallet, order_id)
    creation = next((purchase for purchase in purchases if purchase.kind == "create"), None)
    key = order_key or default_replacement_key(buyer, order_id, period_to_replace(buyer, order_id, creation, ends))
    refuse_done_by_another(buyer, key)
    body = request if request is not None else _request_of(buyer, order_id, creation)
    if not was_sent(buyer, key):
        _require_due(buyer, order_id, paid_through, ends, only_within)
        buyer.say(f"{title} cannot extend order {order_id}: a new order is bought in its place, and it has different proxies")
    return buyer.place(body, order_key=key, max_price=max_price)


def _require_due(
    buyer: Buyer, order_id: str, paid_through: datetime | None, ends: datetime | None, only_within: timedelta | None
) -> None:
    now = buyer.ledger.clock()
    due_until = later(now, only_within, buyer.account.timezone) if only_within is not None else None
    rule = DueRule(buyer.vendor.title, paid_through, due_until=due_until, lapsed_too=True)
    old = buyer.read_order(order_id)
    obstacle = rule.obstacle(old, old.expires_at or ends, now)
    if obstacle is None:
        return
    if obstacle.reason == "no_expiry":
        raise InvalidParameter(
            "expires_at",
            f"is needed: {buyer.vendor.title} reports no end of order {order_id}. FindExpiringOrdersOperator gives it, "
            "if its parameter term says how long an order lasts",
            "2026-12-31T12:00:00+00:00",
        )
    raise obstacle.error(order_id)


def _request_of(buyer: Buyer, order_id: str, creation: Purchase | None) -> Mapping[str, Any]:
    """The request of an old order, without our reference, since the vendor takes a reference only once."""
    if creation is None:
        raise InvalidParameter("request", f"is needed: order {order_id} was bought outside of this ledger")
    masked = sorted(_masked_fields(creation.request))
    if masked:
        raise InvalidParameter(
            "request",
            f"is needed: order {order_id} was bought with secrets ({', '.join(masked)}), and the ledger masks secrets",
        )
    reference = buyer.vendor.reference_in(creation.request)
    return {name: value for name, value in creation.request.items() if reference is None or value != reference}


def _masked_fields(value: Any, name: str = "") -> set[str]:
    """Names of the fields with a masked value."""
    if isinstance(value, Mapping):
        return {field for key, item in value.items() for field in _masked_fields(item, str(key))}
    if isinstance(value, list):
        return {field for item in value for field in _masked_fields(item, name)}
    return {name} if value == "***" else set()
