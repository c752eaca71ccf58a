"""How IPRoyal's answers are read: orders, pages, prices, proxies.

Two rules: id, status, quantity and price are read strictly, all other fields leniently; and ``confirmed`` counts as delivered
when all proxies are there.

Pages: docs.iproyal.com/proxies/isp/api/orders (order object, list, quote). The shape of a proxy's entry, and the wrapper around
some answers, are not documented and were only seen in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from sys import intern
from typing import Any

from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Money, OrderStatus, Quote, VendorOrder
from airflow_provider_proxyorders.domain.secrets import masked
from airflow_provider_proxyorders.vendors.proxies import proxy, proxy_from_line
from airflow_provider_proxyorders.wire.reading import (
    identifier,
    number,
    optional_number,
    optional_text,
    pick,
    rows,
    status_in,
    status_word,
    when,
)

#: The reading of the five words is ours (the page defines none); anything else is still pending.
STATUSES: Mapping[str, OrderStatus] = {
    "unpaid": OrderStatus.PENDING,
    "in-progress": OrderStatus.PENDING,
    "confirmed": OrderStatus.DELIVERED,
    "refunded": OrderStatus.REFUNDED,
    "expired": OrderStatus.EXPIRED,
}

#: What of a quote is kept for the log.
QUOTE_DETAILS = ("pre_discount_price", "price", "vat", "price_per_item", "total_discount_percent", "message")

#: Rows as the vendor sent them.
Listed = list[Any]


def read_order(data: Any, zone: str, short: bool = False) -> VendorOrder:
    """One order, without price and date of purchase.

    :param zone: IANA zone of ``expire_date``, which comes without one.
    :param short: whether ``confirmed`` with fewer proxies than ordered is a delivery in part, else the order is still pending.
    """
    data = unwrapped(data)
    word = status_word(data)
    status = status_in(STATUSES, word)
    quantity = optional_number(data, "quantity")
    proxies = _entries(data.get("proxy_data"))
    if status is OrderStatus.DELIVERED and len(proxies) < (1 if quantity is None else quantity):
        status = OrderStatus.PARTIAL if short else OrderStatus.PENDING  # the word comes before the whole delivery
    history = data.get("extended_history")
    traits = {"product": "product_name", "plan": "plan_name", "location": "location", "locations": "locations", "note": "note"}
    return VendorOrder(
        order_id=read_id(data),
        status=status,
        vendor_status=intern(word),  # thousands of orders that somebody waits for say the same few words
        quantity=quantity,
        delivered=len(proxies),
        expires_at=when(data.get("expire_date"), zone),
        auto_extends=_auto_extends(data),
        extensions=len(history) if isinstance(history, list) else None,
        traits={ours: intern(value) for ours, theirs in traits.items() if (value := optional_text(data, theirs))},
    )


def read_quote(data: Any, currency: str | None) -> Quote:
    """A price, with taxes where the vendor states them."""
    data = unwrapped(data)
    taxed = optional_number(data, "price_with_vat")
    price = number(data, "price") if taxed is None else taxed
    if price < 0:
        raise UnreadableBody(f"the price is {price}")
    details = {name: optional_text(data, name) for name in QUOTE_DETAILS}
    better = data.get("quantity_required_for_next_discount")
    quantity, discount = optional_number(better, "quantity"), optional_number(better, "discount")
    if quantity is not None and discount is not None:
        details["next discount"] = f"{discount:f} % from a quantity of {quantity:f} on"
    return Quote(Money(price, currency), {name: value for name, value in details.items() if value is not None})


def just_sent(order: VendorOrder) -> VendorOrder:
    """The order in the answer to a purchase. The page's example of one says ``expired``, so only a later read ends an order."""
    if order.status.final and order.status is not OrderStatus.DELIVERED:
        return replace(order, status=OrderStatus.PENDING)
    return order


def unwrapped(data: Any) -> Any:
    """The object itself; some answers were seen wrapped in ``{"data": {...}}``."""
    return data["data"] if isinstance(data, dict) and isinstance(data.get("data"), dict) else data


def read_page(data: Any, page: int) -> tuple[Listed, bool]:
    """The rows of one page, and whether there are more."""
    meta = pick(data, "meta")
    current, last = number(meta, "current_page"), number(meta, "last_page")
    if current != page:
        raise UnreadableBody(f"it is page {current}, asked was page {page}")
    listed = rows(data, "data")
    return listed, bool(listed) and page < last


def read_id(data: Any) -> str:
    """The id of an order, a whole number here."""
    order_id = identifier(data, "id")
    if not (order_id.isascii() and order_id.isdigit()):
        raise UnreadableBody("id is text, expected a whole number")
    return order_id


def read_named(data: Any) -> str:
    """The id in the answer to a purchase."""
    return read_id(unwrapped(data))


def _auto_extends(data: Mapping[str, Any]) -> bool | None:
    """Null was seen to mean off; what the object holds is documented for the answer of the switch only."""
    settings = data.get("auto_extend_settings", ...)
    if isinstance(settings, dict):
        return settings.get("is_enabled") is not False
    return False if settings is None else None


def read_delivery(data: Any, order_id: str, zone: str, scheme: str) -> Delivery:
    """The proxies of one order.

    :param scheme: whose port is handed on, ``http`` or ``socks5``.
    """
    data = unwrapped(data)
    order = read_order(data, zone)
    entries, port = _entries(data.get("proxy_data")), _port(data.get("proxy_data"), scheme)
    if port is None and any(isinstance(entry, Mapping) for entry in entries):
        raise UnreadableBody(f"its ports name none for {scheme}")
    shared = {"scheme": scheme, "location": order.traits.get("location"), "expires_at": order.expires_at}
    proxies = tuple(usable for entry in entries if (usable := _proxy(entry, port, shared)))
    if entries and not proxies:
        raise UnreadableBody(f"none of its {len(entries)} proxies can be read")
    return Delivery(order_id, proxies, skipped=len(entries) - len(proxies))


def _entries(data: Any) -> Listed:
    """The proxies, none for anything else in their place; PHP writes an empty map as []."""
    try:
        return rows(data, "proxies")
    except UnreadableBody:
        return []


def _proxy(entry: Any, port: Any, shared: dict[str, Any]) -> Proxy | None:
    if isinstance(entry, str):
        return proxy_from_line(entry, **shared)
    if isinstance(entry, Mapping):
        return proxy(entry.get("ip"), port, entry.get("username", ""), entry.get("password", ""), **shared)
    return None


def _port(data: Any, scheme: str) -> Any:
    """The port of a protocol; the documented labels are ``socks5`` and ``http|https``."""
    ports = data.get("ports") if isinstance(data, dict) else None
    labels = ports.items() if isinstance(ports, Mapping) else ()
    return next((port for label, port in labels if scheme in label.split("|")), None)


def read_objects(data: Any) -> list[dict[str, Any]]:
    """The entries of a plain list (products, cards)."""
    listed = rows(data, "data")
    return [masked(entry) for entry in listed if isinstance(entry, dict)]
