"""How an IPRoyal order is recognised after its create answer was lost.

Two rules. Ids ascend: only an order above the greatest earlier id can be the purchase. An order shows product, plan and
location by name: the names come from the catalogue beforehand, and a missing name matches any order.

The name of a product is the weakest sign, since one id was seen under several names. The list's ``product_id`` filter stands
for it. The name only chooses among several orders that fit.

Pages: docs.iproyal.com/proxies/isp/api/products (catalogue), docs.iproyal.com/proxies/isp/api/orders (order object).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.wire.reading import optional_text


def wanted_locations(body: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Location id and quantity of each place that a create body asks for."""
    selection = body.get("selection")
    places = selection.get("locations", []) if isinstance(selection, Mapping) else [body]
    return [(place.get("product_location_id"), place.get("quantity")) for place in places]


def names_of(body: Mapping[str, Any], products: Sequence[Any]) -> dict[str, Any]:
    """The names under which an order for this body will appear, as far as the catalogue has them."""
    product = _with_id(products, body.get("product_id"))
    plan = _with_id(_entries(product, "plans"), body.get("product_plan_id"))
    places = list(_all_locations(product))
    names = [optional_text(_with_id(places, location_id), "name") for location_id, _ in wanted_locations(body)]
    return {
        "product": optional_text(product, "name"),
        "plan": optional_text(plan, "name"),
        "locations": [name for name in names if name],
    }


def fits(order: VendorOrder, body: Mapping[str, Any], evidence: Mapping[str, Any]) -> bool:
    """Whether an order is what the body asks for: quantity, plan and locations."""
    plan = evidence.get("plan")
    if plan and order.traits.get("plan", "").casefold() != str(plan).casefold():
        return False
    where = f"{order.traits.get('location', '')} {order.traits.get('locations', '')}".casefold()
    if any(str(name).casefold() not in where for name in evidence.get("locations") or ()):
        return False
    return same_quantity(order, body)


def why_not(order: VendorOrder, body: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    """Why an order cannot be what the body asked for, as half a sentence; "" if it fits as far as the order shows it.

    An order from a list must fit, see :func:`fits`. The order in an answer need not show all of it.
    """
    mark, plan = evidence.get("newest"), evidence.get("plan")
    if isinstance(mark, int) and int(order.order_id) <= mark:
        return f"its id is at most {mark}, the newest before the purchase"
    shown = order.traits.get("plan")
    if plan and shown and shown.casefold() != str(plan).casefold():
        return f"its plan is {shown!r}, asked was {plan!r}"
    where = f"{order.traits.get('location', '')} {order.traits.get('locations', '')}".strip()
    for name in evidence.get("locations") or ():
        if where and str(name).casefold() not in where.casefold():
            return f"its location is {where!r}, asked was {name!r}"
    if not same_quantity(order, body) and (wanted := wanted_locations(body)[0][1]) is not None:
        return f"its quantity is {order.quantity}, asked was {wanted}"
    return ""


def same_quantity(order: VendorOrder, body: Mapping[str, Any]) -> bool:
    """Whether the number of proxies agrees; for several locations the meaning of quantity is undocumented, and any agrees."""
    quantities = [quantity for _, quantity in wanted_locations(body)]
    return order.quantity is None or len(quantities) != 1 or order.quantity == quantities[0]


def _with_id(entries: Sequence[Any], wanted: Any) -> Mapping[str, Any]:
    for entry in entries:
        if isinstance(entry, Mapping) and wanted is not None and str(entry.get("id")) == str(wanted):
            return entry
    return {}


def _entries(parent: Mapping[str, Any], name: str) -> list[Any]:
    value = parent.get(name)
    return value if isinstance(value, list) else []


def _all_locations(parent: Mapping[str, Any], children: str = "locations") -> Iterator[Any]:
    for place in _entries(parent, children):
        yield place
        if isinstance(place, Mapping):
            yield from _all_locations(place, "child_locations")
