"""How PROXY6's answers are read: envelopes, prices, proxies, and the orders that proxies make.

Three rules. There is no order at the vendor: the proxies with one comment are one order, and it ends when the first of them ends.
A number may come as text, and an empty map as a list. Only ``unixtime`` values are read as times, since the texts name no zone.

Page: px6.link/developers, methods getprice, buy, prolong and getproxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, Money, OrderStatus, Quote, VendorOrder
from airflow_provider_proxyorders.vendors.proxies import proxy
from airflow_provider_proxyorders.vendors.proxy6.requests import count_in
from airflow_provider_proxyorders.wire.reading import (
    LONGEST_WORD,
    currency_in,
    identifier,
    number,
    optional_amount,
    optional_count,
    optional_number,
    optional_text,
    rows,
    text,
    unreadable_amount,
    when,
)

#: Our words for the state of an order, by the values of ``active`` among its proxies.
ACTIVE, ENDED, PART_ENDED = "active", "expired", "partly expired"
STATUSES: Mapping[str, OrderStatus] = {
    ACTIVE: OrderStatus.DELIVERED,
    PART_ENDED: OrderStatus.DELIVERED,
    ENDED: OrderStatus.EXPIRED,
}
#: The order of a proxy without a comment: the proxy alone.
LONE = "proxy:"
#: In the traits of an order: the end of each of its proxies, as ``id:seconds`` pairs.
ENDS = "ends"
_SCHEMES: Mapping[str, str] = {"http": "http", "socks": "socks5"}


@dataclass(frozen=True)
class Held:
    """One proxy of the account.

    :param order_id: its comment; without one :data:`LONE` and its id.
    :param active: the vendor's ``active`` as text.
    :param ends: unix seconds, ``None`` for an unreadable end.
    :param row: as the vendor wrote it, with its login.
    """

    proxy_id: str
    order_id: str
    active: str
    ends: int | None
    row: Mapping[str, Any]


def word_of(data: Any) -> str:
    """The word of the envelope, ``yes`` or ``no``; "" for another answer."""
    word = data.get("status") if isinstance(data, Mapping) else None
    return word.strip().lower() if isinstance(word, str) else ""


def error_id(data: Any) -> int | None:
    """The number of an error answer."""
    value = optional_number(data, "error_id")
    return int(value) if value is not None and value == int(value) else None


def read_balance(data: Any) -> Balance:
    return Balance(Money(number(data, "balance"), currency_in(data)))


def read_quote(data: Any, asked: Mapping[str, Any]) -> Quote:
    """The price of a whole purchase.

    :raises UnreadableBody: for a price of 0 or less, and for the price of something else.
    """
    price = number(data, "price")
    if price <= 0:
        raise UnreadableBody(f"the price is {price}")
    for name in ("count", "period"):
        answered = optional_number(data, name)
        if answered is not None and answered != asked[name]:
            raise UnreadableBody(f"it is for {name} {answered}, asked was {asked[name]}")
    details = {name: value for name in ("price", "price_single") if (value := optional_text(data, name))}
    return Quote(Money(price, currency_in(data)), details)


def listed(data: Any) -> list[Any]:
    """The entries of ``list``: an object by proxy id, a list with ``nokey``, and for no proxy an empty list or null."""
    return [] if data.get("list", ...) is None else rows(data, "list")


def read_held(row: Any) -> Held:
    """One entry of getproxy.

    :raises UnreadableBody: for an entry without an id or without ``active``.
    """
    proxy_id = identifier(row, "id")
    comment = optional_text(row, "descr")
    order_id = identifier(row, "descr") if comment else f"{LONE}{proxy_id}"
    return Held(proxy_id, order_id, text(row, "active")[:LONGEST_WORD], _seconds(row), row)


def comment_of(row: Any) -> str:
    """The comment of an entry; "" for none, and for one that is no id."""
    try:
        return identifier(row, "descr")
    except UnreadableBody:
        return ""


def _seconds(row: Any) -> int | None:
    moment = when(row.get("unixtime_end"))
    return int(moment.timestamp()) if moment is not None else None


def order_of(order_id: str, carrying: Sequence[Held]) -> VendorOrder:
    """The order that proxies make."""
    word = _state(carrying)
    status = STATUSES.get(word, OrderStatus.UNKNOWN)
    ordered = count_in(order_id)
    if status is OrderStatus.DELIVERED and ordered is not None and len(carrying) < ordered:
        status = OrderStatus.PARTIAL
    first = carrying[0].row
    begun = [moment for each in carrying if (moment := when(each.row.get("unixtime"))) is not None]
    traits = {name: value[:LONGEST_WORD] for name in ("country", "version", "type") if (value := optional_text(first, name))}
    return VendorOrder(
        order_id=order_id,
        status=status,
        vendor_status=word,
        quantity=None if ordered is None else number({"count": ordered}, "count"),
        delivered=len(carrying),
        created_at=min(begun, default=None),
        expires_at=earliest(each.ends for each in carrying),
        reason=f"{len(carrying)} of {ordered} proxies are listed" if status is OrderStatus.PARTIAL else "",
        traits={**traits, ENDS: ends_as_text({each.proxy_id: each.ends for each in carrying if each.ends is not None})},
    )


def _state(carrying: Sequence[Held]) -> str:
    """The page knows 1 and 0 for ``active``. Any other value is the word, and still pending."""
    words = {each.active for each in carrying}
    if odd := sorted(words - {"1", "0"}):
        return odd[0]
    return ENDED if words == {"0"} else ACTIVE if words == {"1"} else PART_ENDED


def read_bought(data: Any, body: Mapping[str, Any]) -> VendorOrder:
    """The order in the answer to buy. Its entries carry no comment and no country."""
    price = optional_amount(data, "price")
    carrying = [read_held({**row, "descr": body["descr"]}) for row in listed(data) if isinstance(row, Mapping)]
    order = order_of(body["descr"], carrying) if carrying else VendorOrder(body["descr"], OrderStatus.UNKNOWN, "")
    answered = {name: value[:LONGEST_WORD] for name in ("country", "period") if (value := optional_text(data, name))}
    count = optional_count(data, "count")
    return VendorOrder(
        order_id=order.order_id,
        status=order.status,
        vendor_status=order.vendor_status,
        price=Money(price, currency_in(data)) if price is not None else None,
        quantity=order.quantity if count is None else number(data, "count"),
        delivered=order.delivered,
        created_at=order.created_at,
        expires_at=order.expires_at,
        reason=order.reason,
        handle=_order_number(data),
        traits={**order.traits, **answered},
        unreadable_charge=unreadable_amount(data, "price"),
    )


def _order_number(data: Any) -> str | None:
    """The vendor's own number of a purchase; older servers leave it out, and no call takes it."""
    try:
        return identifier(data, "order_id")
    except UnreadableBody:
        return None


def read_prolonged(data: Any, order_id: str, ids: Iterable[str]) -> VendorOrder:
    """The order in the answer to prolong.

    :raises UnreadableBody: unless each of the proxies has got a new end. ``count`` may be less than was asked for.
    """
    ends = {identifier(row, "id"): _seconds(row) for row in listed(data) if isinstance(row, Mapping)}
    wanted = list(ids)
    missing = [each for each in wanted if ends.get(each) is None]
    if missing:
        raise UnreadableBody(f"it lists new ends of {len(wanted) - len(missing)} proxies, asked was for {len(wanted)}")
    price = optional_amount(data, "price")
    return VendorOrder(
        order_id=order_id,
        status=OrderStatus.DELIVERED,
        vendor_status=ACTIVE,
        price=Money(price, currency_in(data)) if price is not None else None,
        delivered=len(wanted),
        expires_at=earliest(ends[each] for each in wanted),
        traits={ENDS: ends_as_text({each: end for each in wanted if (end := ends[each]) is not None})},
        unreadable_charge=unreadable_amount(data, "price"),
    )


def read_delivery(order_id: str, carrying: Sequence[Held], odd: str) -> Delivery:
    """The active proxies of an order with their logins.

    :param odd: the scheme for a ``type`` of ``auto``, which the page does not describe.
    """
    read = [_proxy(each, odd) for each in carrying if each.active == "1"]
    usable = tuple(each for each in read if each is not None)
    return Delivery(order_id, usable, skipped=len(read) - len(usable))


def _proxy(carrying: Held, odd: str) -> Proxy | None:
    row = carrying.row
    scheme = _SCHEMES.get((optional_text(row, "type") or "http").lower(), odd)
    expires = when(carrying.ends) if carrying.ends is not None else None
    login = optional_text(row, "user"), optional_text(row, "pass")
    return proxy(
        row.get("host"), row.get("port"), *login, scheme=scheme, location=optional_text(row, "country"), expires_at=expires
    )


def read_prices(data: Any) -> list[dict[str, Any]]:
    """The price table: what one proxy costs, by version and days. Newer servers answer it to getprice without parameters."""
    table = data.get("data")
    if not isinstance(table, Mapping):
        raise UnreadableBody("data is missing: this server tells no price table")
    return [
        {"version": version, "period": days, "price": f"{price:f}"}
        for version, prices in table.items()
        if version.isdigit() and isinstance(prices, Mapping)
        for days in prices
        if days.isdigit() and (price := optional_amount(prices, days)) is not None
    ]


def earliest(ends: Iterable[int | None]) -> datetime | None:
    """The first of several ends; ``None`` as soon as one of them is not known."""
    moments = list(ends)
    return when(min(end for end in moments if end is not None)) if moments and None not in moments else None


def ends_as_text(ends: Mapping[str, int]) -> str:
    """The inverse of :func:`ends_in`."""
    return " ".join(f"{proxy_id}:{end}" for proxy_id, end in sorted(ends.items()))


def ends_in(order: VendorOrder) -> dict[str, int]:
    """The end of each proxy of an order, in unix seconds."""
    pairs = (pair.rpartition(":") for pair in order.traits.get(ENDS, "").split())
    return {proxy_id: int(end) for proxy_id, _, end in pairs}
