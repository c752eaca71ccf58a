"""How ProxyScrape's answers are read: orders, sub-accounts, proxy lists.

Two rules: an order is delivered when it is ``processed`` and has its sub-account; and an order with a lost id takes the id of
that sub-account, ``subaccount:<AccountID>``.

Page: docs.proxyscrape.com/api/account/api-ordering. The wrapper around the sub-accounts and the form of the proxy list are not
documented and were only seen in use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, Money, OrderStatus, VendorOrder
from airflow_provider_proxyorders.vendors.proxies import proxy_from_line
from airflow_provider_proxyorders.wire.messages import Response
from airflow_provider_proxyorders.wire.reading import (
    currency_in,
    explanation_in,
    identifier,
    number,
    optional_amount,
    optional_text,
    pick,
    rows,
    status_in,
    status_word,
    unreadable_amount,
    when,
)

#: How the id of an order begins whose own id was lost with the answer to create.
ADOPTED = "subaccount:"

#: The products of the permission reference; a sub-account's type is probably one of them.
PRODUCTS = frozenset({"datacenter_shared", "datacenter_dedicated", "residential", "residential_unlimited", "serp_api"})

STATUSES: Mapping[str, OrderStatus] = {
    "paid": OrderStatus.PENDING,
    "processed": OrderStatus.DELIVERED,
    "blocked": OrderStatus.FAILED,
    "failed": OrderStatus.FAILED,
    "refunded": OrderStatus.REFUNDED,
}

#: How far the vendor's clock may be behind ours. An order that changed up to so long before a purchase may have changed after it.
CLOCK_SKEW = timedelta(minutes=10)


def read_created(data: Any) -> VendorOrder:
    """The answer to create: only an order id, so the vendor's word for the status is still empty."""
    order_id = pick(data, "data")
    if not isinstance(order_id, str) or any(sign.isspace() for sign in identifier(data, "data")):
        raise UnreadableBody("data is no order id")
    return VendorOrder(order_id, OrderStatus.PENDING, "")


def read_order(answer: Any, currency: str | None) -> VendorOrder:
    """The answer to status.

    :param currency: of the connection, for answers that name none.
    """
    data = pick(answer, "data")
    word = status_word(data)
    account = data.get("subaccount")
    traits = {"type": optional_text(data, "type"), **_traits(account)}
    status = status_in(STATUSES, word)
    handle = _handle(account)
    if status is OrderStatus.DELIVERED and handle is None:
        status = OrderStatus.PENDING  # nothing to use yet
    price = optional_amount(data, "price")
    return VendorOrder(
        order_id=identifier(data, "order_id"),
        status=status,
        vendor_status=word,
        price=None if price is None else Money(price, currency_in(data) or currency),
        created_at=when(data.get("created_at")),
        reason=explanation_in(data, "block_reason"),
        handle=handle,
        traits={name: value for name, value in traits.items() if value},
        unreadable_charge=unreadable_amount(data, "price"),
    )


def read_end(answer: Any, product: str) -> datetime | None:
    """The end of one service of a sub-account in the answer to overview, ``None`` without one."""
    data = answer.get("data") if isinstance(answer, Mapping) else None
    services = data.get("services") if isinstance(data, Mapping) else None
    service = services.get(product) if isinstance(services, Mapping) else None
    return when(service.get("expiration_time")) if isinstance(service, Mapping) else None


def changed_since(answer: Any, moment: datetime) -> bool:
    """Whether an order may have changed after a moment of ours; without a date it may have."""
    changed = when(pick(answer, "data").get("updated_at"))
    return changed is None or changed >= moment - CLOCK_SKEW


def read_balance(answer: Any, currency: str | None) -> Balance:
    """The wallet; ``currency`` as for :func:`read_order`."""
    data = pick(answer, "data")
    return Balance(Money(number(data, "balance"), currency_in(data) or currency))


def read_subaccounts(answer: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """``data.subaccounts``, or a bare ``data`` list.

    :returns: the sub-accounts, and for each entry without a readable id a sentence that names it.
    """
    data = pick(answer, "data")
    accounts, odd = list[dict[str, Any]](), list[str]()
    for place, entry in enumerate(rows(data) if isinstance(data, list) else rows(data, "subaccounts"), 1):
        try:
            accounts.append(_subaccount(entry))
        except UnreadableBody as error:
            odd.append(f"entry {place} of the sub-accounts cannot be read: {error}")
    return accounts, odd


def _subaccount(entry: Any) -> dict[str, Any]:
    """:raises UnreadableBody: it has no id."""
    account: dict[str, Any] = {"AccountID": identifier(entry, "AccountID")}
    account |= {name: optional_text(entry, name) for name in ("AccountType", "label")}
    added = entry.get("time_added")
    account["time_added"] = added if isinstance(added, int) else optional_text(entry, "time_added")
    return {name: value for name, value in account.items() if value is not None}


def _traits(account: Any) -> dict[str, str]:
    """What a sub-account is recognised by beside its id; empty without a sub-account."""
    if _handle(account) is None:
        return {}
    traits = {"subaccount_type": "AccountType", "label": "label"}
    return {ours: value for ours, theirs in traits.items() if (value := optional_text(account, theirs))}


def _handle(account: Any) -> str | None:
    """The id of a sub-account, None without one."""
    return None if optional_text(account, "AccountID") is None else identifier(account, "AccountID")


def adopted_order(entry: Mapping[str, Any], price: Money | None = None) -> VendorOrder:
    """An order as its sub-account tells it."""
    return VendorOrder(
        order_id=ADOPTED + entry["AccountID"],
        status=OrderStatus.DELIVERED,
        vendor_status="processed",
        price=price,
        created_at=when(entry.get("time_added")),
        reason="recognised by its sub-account; its own id was lost with the answer to create and cannot be recovered",
        handle=entry["AccountID"],
        traits=_traits(entry),
    )


def may_be(entry: Mapping[str, Any], order_type: str) -> bool:
    """Whether a sub-account can be what an order of this type opened. The list before the purchase says whether it is new.

    The pages say only for datacenter_shared that ``new_X`` opens a sub-account of type ``X``. An unknown type is therefore
    accepted. The vendor's own time of the opening decides nothing, since its clock may be wrong.
    """
    kind = optional_text(entry, "AccountType")
    return kind not in PRODUCTS or kind == order_type.removeprefix("new_")


def read_proxies(response: Response, order_id: str, scheme: str) -> Delivery:
    """One proxy a line; an HTML page or JSON in its place was seen with status 200."""
    content = response.text.lstrip("\ufeff").strip()
    is_address = re.match(r"\[[0-9a-f:.]+\]:", content, re.IGNORECASE)
    if "html" in response.content_type or "json" in response.content_type or (content[:1] in ("<", "{", "[") and not is_address):
        raise UnreadableBody("it is HTML or JSON, expected one proxy a line")
    lines = [line for line in content.splitlines() if line.strip()]
    proxies = tuple(proxy for line in lines if (proxy := proxy_from_line(line, scheme=scheme)))
    if not proxies:
        raise UnreadableBody(f"none of its {len(lines)} lines is a proxy")
    return Delivery(order_id, proxies, skipped=len(lines) - len(proxies))
