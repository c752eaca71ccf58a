"""One order of the pretended IPRoyal, as its documentation shows it, and the list of orders with its filters.

Not documented, and therefore a choice of the sandbox: 20 orders a page unless asked, newest first, sorting by ``id`` or
``expire_date``, several locations joined by a comma, ``from`` and ``to`` null on an empty page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.sandbox.clock import Clock
from airflow_provider_proxyorders.sandbox.iproyal.catalogue import Plan, Product, Selection, invalid
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST, ProxyBatch
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import Ask
from airflow_provider_proxyorders.wire.reading import when

DAY = 86400
PER_PAGE, MOST_PER_PAGE = 20, 1000


@dataclass
class Order:
    """One order.

    :param price: what a refund would give back to the wallet.
    :param expires: unix seconds; None before delivery.
    :param earlier: of each extension the moment, and what was shown before: expiry and number of earlier extensions.
    :param proxies: the list as a test gave it; else it is made from ``batch``.
    :param extra: other fields as a test gave them; they win over ours.
    """

    order_id: int
    wallet: Wallet
    product: Product
    plan: Plan
    quantity: int
    price: Decimal = Decimal(0)
    status: str = "in-progress"
    note: str | None = None
    locations: Sequence[int] = ()
    answers: list[dict[str, str]] = field(default_factory=list)
    expires: float | None = None
    auto_extend: dict[str, Any] | None = None
    extended: list[Any] = field(default_factory=list)
    earlier: list[tuple[float, float, int]] = field(default_factory=list)
    batch: ProxyBatch | None = None
    proxies: list[Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def place(self, selection: Selection) -> None:
        self.locations = [location for location, _ in selection.lines]

    def usable(self, clock: Clock) -> bool:
        return self.status == "confirmed" and self.expires is not None and self.expires > clock.timestamp()

    def written(self, moment: float) -> str:
        return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")

    def wire(self, port: int, behind: float | None = None) -> dict[str, Any]:
        """The order as the vendor shows it.

        :param behind: unix seconds after which an extension is not shown yet.
        """
        hidden = (state[1:] for state in self.earlier if behind is not None and state[0] > behind)
        expires, extensions = next(hidden, (self.expires, len(self.extended)))
        names = [self.product.locations.get(location, str(location)) for location in self.locations]
        proxies = self.proxies
        if proxies is None:
            logins = self.batch.logins if self.batch else ()
            proxies = [{"ip": HOST, "username": user, "password": password} for user, password in logins]
        return {
            "id": self.order_id,
            "note": self.note,
            "product_name": self.product.name,
            "plan_name": self.plan.name,
            "expire_date": None if expires is None else self.written(expires),
            "status": self.status,
            "location": names[0] if names else "",
            "locations": ", ".join(names),
            "quantity": self.quantity,
            "questions_answers": self.answers,
            "proxy_data": {"ports": {"socks5": port, "http|https": port}, "proxies": proxies},
            "auto_extend_settings": self.auto_extend,
            "extended_history": self.extended[:extensions],
            **self.extra,
        }


def seeded(wallet: Wallet, fields: Mapping[str, Any], products: Mapping[int, Product]) -> Order:
    """An order from a documented order object; product, plan and location may be given by name or by id."""
    rest = dict(fields)
    product = products.get(rest.pop("product_id", 0)) or next(iter(products.values()))
    plan_name = rest.get("plan_name")
    plans = {plan.name: plan for plan in product.plans.values()}
    plan = product.plans.get(rest.pop("product_plan_id", 0)) or plans.get(str(plan_name)) or next(iter(plans.values()))
    location = rest.pop("product_location_id", None)
    if location is None:
        by_name = {name: number for number, name in product.locations.items()}
        location = by_name.get(str(rest.get("location")), next(iter(product.locations)))
    order = Order(int(rest.pop("id")), wallet, product, plan, int(rest.pop("quantity", 1)))
    order.locations = [location]
    order.status, order.note = str(rest.pop("status", "confirmed")), rest.pop("note", None)
    order.price = Decimal(str(rest.pop("price", plan.price * order.quantity)))
    order.answers = list(rest.pop("questions_answers", ()))
    order.auto_extend = rest.pop("auto_extend_settings", None)
    order.extended = list(rest.pop("extended_history", ()))
    moment = when(rest.get("expire_date"))
    if moment is not None or rest.get("expire_date") is None:
        rest.pop("expire_date", None)
        order.expires = None if moment is None else moment.timestamp()
    data = rest.get("proxy_data")
    if isinstance(data, Mapping) and data.get("proxies"):
        order.proxies = list(data["proxies"])
    else:
        rest.pop("proxy_data", None)
    if "proxies" in rest:
        order.proxies = list(rest.pop("proxies"))
    order.extra = rest
    return order


# ---------------------------------------------------------------------------------------------- the list

_SORT: Mapping[str, Callable[[Order], float]] = {
    "id": lambda order: order.order_id,
    "expire_date": lambda order: order.expires or 0.0,
}


def page(orders: Sequence[Order], ask: Ask, path: str, port: int, soon: float, behind: float | None = None) -> dict[str, Any]:
    """The documented list answer.

    :param orders: those of the asking wallet, ascending by id.
    :param soon: unix seconds before which an order is expiring soon.
    :param behind: see :meth:`Order.wire`.
    :raises Refusal: 422 for a parameter that the documentation does not allow.
    """
    selected = list(orders)
    for passes in _filters(ask, soon):
        selected = [order for order in selected if passes(order)]
    column, direction = ask.param("sort_by"), ask.param("order")
    if (column is None) != (direction is None):
        raise invalid("order" if column else "sort_by", "The sort by and order fields must be given together.")
    if column is not None and column not in _SORT:
        raise invalid("sort_by", "The selected sort by is invalid.")
    if direction not in (None, "asc", "desc"):
        raise invalid("order", "The selected order is invalid.")
    selected.sort(key=_SORT[column or "id"], reverse=direction != "asc")
    number, size = _natural(ask, "page", 1), min(_natural(ask, "per_page", PER_PAGE), MOST_PER_PAGE)
    start = (number - 1) * size
    rows = selected[start : start + size]
    return {
        "data": [order.wire(port, behind) for order in rows],
        "meta": {
            "current_page": number,
            "from": start + 1 if rows else None,
            "last_page": max(1, -(-len(selected) // size)),
            "path": path,
            "per_page": size,
            "to": start + len(rows) if rows else None,
            "total": len(selected),
        },
    }


def _filters(ask: Ask, soon: float) -> list[Callable[[Order], bool]]:
    checks: list[Callable[[Order], bool]] = []
    if (product := ask.param("product_id")) is not None:
        checks.append(lambda order: str(order.product.product_id) == product)
    if (location := ask.param("location_id")) is not None:
        checks.append(lambda order: location in map(str, order.locations))
    if (status := ask.param("status")) is not None:
        checks.append(lambda order: order.status == status)
    if (statuses := ask.listed("statuses")) is not None:
        checks.append(lambda order: order.status in statuses)
    if (words := ask.param("note_search")) is not None:
        checks.append(lambda order: words.lower() in (order.note or "").lower())
    if (expiring := ask.param("status_is_expiring_soon")) is not None:
        wanted = expiring.lower() in ("1", "true")
        checks.append(lambda order: (order.status == "confirmed" and (order.expires or soon) < soon) == wanted)
    if (billing := ask.param("order_billing_type")) is not None:
        if billing not in ("subscription", "regular"):
            raise invalid("order_billing_type", "The selected order billing type is invalid.")
        checks.append(lambda order: order.extra.get("order_billing_type", "regular") == billing)
    return checks


def _natural(ask: Ask, name: str, default: int) -> int:
    raw = ask.param(name)
    if raw is None:
        return default
    if not raw.isdigit() or int(raw) < 1:
        raise invalid(name, f"The {name} must be at least 1.")
    return int(raw)
