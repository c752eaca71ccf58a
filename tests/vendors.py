"""The one table of vendors: what the suites need to know of each.

With a row a vendor runs in the contract, never-twice, transport, task, waiting, webhook, leak, crash, simulation and end-to-end
suites. A registered vendor without a row fails ``tests/package/test_vendor_table.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.vendors import Vendor
from airflow_provider_proxyorders.vendors.iproyal import IPRoyal
from airflow_provider_proxyorders.vendors.proxy6 import Proxy6
from airflow_provider_proxyorders.vendors.proxyscrape import ProxyScrape
from airflow_provider_proxyorders.vendors.voodoo import Voodoo

Body = Mapping[str, Any]
Goods = Sequence[tuple[Body, Decimal]]


@dataclass(frozen=True)
class Extension:
    """How a vendor's orders are extended.

    :param body: of one extension, and ``price``: what it costs.
    :param seed: commands for the sandbox that put an extendable order there, the order last; from its expiry and the seconds
        until an extension shows.
    """

    body: Body
    price: Decimal
    seed: Callable[[datetime, float], list[dict[str, Any]]]


@dataclass(frozen=True)
class Row:
    """One vendor.

    :param request: a body that its sandbox sells, and ``price``: what it costs there.
    :param units: how many proxies or codes the request delivers.
    :param pending: the vendor's word for an order in progress, and ``usable``: for one that went well.
    :param bad_ends: the vendor's words for an order that went wrong; each with the purchase's step, and what the task's error
        says of the money ("" where a task cannot meet it).
    :param goods: at least two bodies that the simulation buys, with prices, the usual one first.
    :param refusals: answers (status, body) that prove that nothing was bought.
    :param golden_purchase: an exchange whose first request is the purchase.
    :param operations: the calls of its documentation, as the exchanges name them.
    :param documented_errors: operation, status and text of each documented error answer.
    :param balance_path: path of the balance call, and ``balance_at``: where the number stands in its answer.
    :param delivery_call: the sandbox's name of the call that brings the delivery.
    :param key_header: the header of the key; "" where ``login_path`` exchanges the key for a token, or the key is in the path.
    :param refuses_by_status: whether a 4xx alone proves that nothing was bought; else only the body does.
    :param live_key: the environment variable of a real key, for ``make live``.
    :param expires: whether delivered proxies carry an expiry.
    :param extended_at_once: whether an extension shows as soon as it is taken.
    :param traces_come_late: whether a new order leaves its evidence only when it is usable.
    :param matched_by: the fields of a body by which a lost order is recognised.
    :param grow_dear: makes its sandbox dearer than every cap; None for a vendor that quotes an order before the purchase.
    :param simulated: how often the simulation draws this vendor.
    """

    vendor: type[Vendor]
    request: Body
    price: Decimal
    goods: Goods
    units: int
    pending: str
    usable: str
    bad_ends: Mapping[str, tuple[Step, str]]
    refusals: Sequence[tuple[int, bytes]]
    golden_purchase: str
    operations: frozenset[str]
    documented_errors: Sequence[tuple[str, int, str]]
    balance_path: str
    balance_at: tuple[str, ...]
    delivery_call: str
    live_key: str
    key_header: str = ""
    login_path: str = ""
    key_in_path: bool = False
    refuses_by_status: bool = True
    expires: bool = False
    extension: Extension | None = None
    extended_at_once: bool = False
    traces_come_late: bool = False
    matched_by: Sequence[str] = ()
    grow_dear: Callable[[Any], None] | None = None
    simulated: int = 1


def _iproyal_order(expiry: datetime, shown_after: float) -> list[dict[str, Any]]:
    order = {"product_id": 9, "product_plan_id": 22, "quantity": 2, "expire_date": f"{expiry:%Y-%m-%d %H:%M:%S}"}
    return [{"extend_processing": shown_after}, {"vendor": "iproyal", "order": order}]


def _proxy6_order(expiry: datetime, shown_after: float) -> list[dict[str, Any]]:
    order = {"count": 2, "country": "nl", "version": 6, "unixtime_end": int(expiry.timestamp())}
    return [{"extend_processing": shown_after}, {"vendor": "proxy6", "order": order}]


def _grow_proxyscrape_dear(shop: Any) -> None:
    shop.prices = replace(shop.prices, per_proxy=100 * shop.prices.per_proxy, per_gb=100 * shop.prices.per_gb)


def _grow_voodoo_dear(shop: Any) -> None:
    shop.items = {number: replace(item, price=3 * item.price) for number, item in shop.items.items()}


_PROXYSCRAPE = Row(
    vendor=ProxyScrape,
    request={"type": "new_datacenter_shared", "country": "Netherlands", "days": 30, "proxies[us]": 100, "bandwidth": 0},
    price=Decimal("5.00"),
    units=100,
    pending="paid",
    usable="processed",
    bad_ends={
        "blocked": (Step.FAILED, "it was charged, the pages of ProxyScrape do not say whether it is paid back"),
        "failed": (Step.FAILED, "it was charged, the pages of ProxyScrape do not say whether it is paid back"),
        "refunded": (Step.REFUNDED, "the money was returned"),
    },
    goods=(
        ({"type": "new_datacenter_shared", "country": "Malta", "days": 30, "proxies[us]": 4, "bandwidth": 0}, Decimal("0.20")),
        ({"type": "new_datacenter_shared", "country": "Malta", "days": 30, "proxies[de]": 8, "bandwidth": 0}, Decimal("0.40")),
        ({"type": "new_residential", "country": "Malta", "bandwidth": 2, "duration": "30d"}, Decimal("6.00")),
    ),
    refusals=(
        (400, b'{"success": false, "error": "Missing or invalid pricing configuration."}'),
        (401, b'{"success": false, "error": "Could not determine account email from authenticated identity."}'),
        (200, b'{"success": false, "error": "Insufficient wallet balance."}'),
    ),
    golden_purchase="proxyscrape/create.placed",
    operations=frozenset({"create", "get", "balance", "subaccounts", "delivery"}),
    documented_errors=(
        ("create", 400, "Missing or invalid pricing configuration."),
        ("create", 400, "Insufficient wallet balance."),
        ("create", 401, "Could not determine account email from authenticated identity."),
        ("create", 403, "API ordering is not enabled for this account. Contact support to request access."),
        ("get", 401, "Could not determine account email from authenticated identity."),
        (
            *("get", 403),
            "Reading order status via the API-ordering endpoint is not enabled for this account. "
            "Contact support to request access.",
        ),
        ("get", 404, "Order not found."),
        ("delivery", 401, "Your subscription is expired."),
        ("delivery", 429, "error code: 1015"),
    ),
    balance_path="/v4/account/orders/balance",
    balance_at=("data", "balance"),
    delivery_call="delivery",
    live_key="PROXYSCRAPE_TOKEN",
    key_header="api-token",
    traces_come_late=True,
    matched_by=("type",),
    grow_dear=_grow_proxyscrape_dear,
)

_VOODOO = Row(
    vendor=Voodoo,
    request={"item_id": 5120, "quantity": 2},
    price=Decimal("9.00"),
    units=2,
    pending="processing",
    usable="completed",
    bad_ends={
        "failed": (Step.FAILED, "it was charged, and the vendor refunds it"),
        "partial": (Step.PARTIAL, "1 units were delivered, the vendor refunds the rest"),
    },
    goods=(
        ({"item_id": 5120, "quantity": 2}, Decimal("9.00")),
        ({"item_id": 6001, "quantity": 5, "fields": {"player_id": "A-1", "region": 4}}, Decimal("5.00")),
    ),
    refusals=(
        (400, b'{"detail": "Item is not available", "code": "validation_error"}'),
        (400, b'{"detail": "Insufficient balance", "code": "insufficient_balance"}'),
        (401, b'{"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}'),
        (403, b'{"detail": "no", "code": "forbidden"}'),
    ),
    golden_purchase="voodoo/create.with_cached_token",
    operations=frozenset({"login", "create", "get", "balance", "delivery"}),
    documented_errors=(
        ("create", 400, "Item is not available"),
        ("create", 400, "validation_error"),
        ("create", 400, "Insufficient balance"),
        ("create", 400, "insufficient_balance"),
        ("create", 401, "Authentication credentials were not provided."),
        ("create", 401, "not_authenticated"),
        ("create", 409, "already_exists"),
        ("get", 401, "not_authenticated"),
        ("get", 404, "Not found."),
        ("get", 404, "not_found"),
        ("login", 401, "Invalid credentials"),
        ("login", 403, ""),
    ),
    balance_path="/api/v1/account/balance",
    balance_at=("balance",),
    delivery_call="get",
    live_key="VOODOO_KEY",
    login_path="/api/v1/auth/token/client",
    matched_by=("item_id", "quantity"),
    grow_dear=_grow_voodoo_dear,
)

_IPROYAL = Row(
    vendor=IPRoyal,
    request={"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2},
    price=Decimal("6.00"),
    units=2,
    pending="in-progress",
    usable="confirmed",
    bad_ends={"refunded": (Step.REFUNDED, "the money was returned"), "expired": (Step.EXPIRED, "")},
    goods=(
        ({"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2}, Decimal("6.00")),
        ({"product_id": 9, "product_plan_id": 22, "product_location_id": 78, "quantity": 2}, Decimal("6.00")),
        ({"product_id": 9, "product_plan_id": 23, "product_location_id": 77, "quantity": 1}, Decimal("5.50")),
    ),
    refusals=(
        (401, b'{"message": "Unauthenticated."}'),
        (403, b'{"message": "not activated"}'),
        (422, b'{"message": "out of stock", "errors": {}}'),
    ),
    golden_purchase="iproyal/create.one_location",
    operations=frozenset(
        {
            *("balance", "cards", "products", "list", "get", "quote", "quote_extension"),
            *("create", "extend", "set_auto_extend", "get_many", "delivery"),
        }
    ),
    documented_errors=(
        *(("create", status, "message") for status in (401, 403, 422, 429, 500)),
        *(("get", status, "message") for status in (401, 403, 404, 429, 500)),
        *(("extend", status, "message") for status in (404, 422, 503)),
        ("create", 422, "errors"),
    ),
    balance_path="/balance",
    balance_at=(),
    delivery_call="get",
    live_key="IPROYAL_TOKEN",
    key_header="X-Access-Token",
    expires=True,
    extension=Extension({"product_plan_id": 22}, Decimal("6.00"), _iproyal_order),
    matched_by=("product_plan_id", "product_location_id", "quantity"),
    simulated=2,
)

_PROXY6 = Row(
    vendor=Proxy6,
    request={"count": 2, "period": 30, "country": "nl", "version": 6},
    price=Decimal("3.00"),
    units=2,
    pending="pending",
    usable="active",
    bad_ends={"expired": (Step.EXPIRED, "")},
    goods=(
        ({"count": 2, "period": 30, "country": "nl", "version": 6}, Decimal("3.00")),
        ({"count": 2, "period": 30, "country": "pl", "version": 6}, Decimal("3.00")),
        ({"count": 1, "period": 7, "country": "nl", "version": 4}, Decimal("0.70")),
    ),
    refusals=tuple(
        (200, b'{"status": "no", "error_id": %d, "error": "Error"}' % number)
        for number in (100, 105, 110, 200, 210, 220, 230, 240, 250, 260, 270, 280, 300, 400, 404, 410)
    ),
    golden_purchase="proxy6/create.two_proxies",
    operations=frozenset({"balance", "products", "list", "get", "quote", "create", "extend", "delivery"}),
    documented_errors=(
        *(("create", 200, f'"error_id":{number}') for number in (100, 105, 210, 220, 240, 250, 300, 400)),
        ("quote", 200, '"error_id":210'),
        ("extend", 200, '"error_id":230'),
        ("extend", 200, '"error_id":404'),
        ("get", 200, '"error_id":100'),
        ("get", 429, ""),
    ),
    balance_path="/api/:key",
    balance_at=("balance",),
    delivery_call="get",
    live_key="PROXY6_KEY",
    key_in_path=True,
    refuses_by_status=False,
    expires=True,
    extension=Extension({"period": 30}, Decimal("3.00"), _proxy6_order),
    extended_at_once=True,
    matched_by=("count", "period", "country", "version", "descr"),
)

#: A new vendor is one more row here.
ROWS: Mapping[str, Row] = {row.vendor.name: row for row in (_PROXYSCRAPE, _VOODOO, _IPROYAL, _PROXY6)}

VENDORS: Mapping[str, type[Vendor]] = {name: row.vendor for name, row in ROWS.items()}
NAMES: Sequence[str] = sorted(ROWS)
REQUESTS: Mapping[str, dict[str, Any]] = {name: dict(row.request) for name, row in ROWS.items()}
PRICES: Mapping[str, Decimal] = {name: row.price for name, row in ROWS.items()}
EXTENSIONS: Mapping[str, Extension] = {name: row.extension for name, row in ROWS.items() if row.extension}
