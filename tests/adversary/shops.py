"""Three of the vendors as their documentation describes them: orders, charges, and the wire.

Two rules: written from the vendors' pages alone, never from the package or its sandbox, so that an error of theirs cannot hide
here; and a shop knows of no fault: it takes, charges and shows, by the moment that it is asked about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from . import plan

#: Whether a read made now shows what happened at a moment, of an order, in one of ``balance``, ``list`` and ``order``.
Sees = Callable[[float, "Order", str], bool]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    :param body: JSON text, or whatever a fault makes of it.
    """

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sale:
    """A request that spends, recognised."""

    kind: str
    body: Mapping[str, Any]
    target: str = ""


@dataclass
class Order:
    """What the vendor holds for one purchase; an extension is one, too.

    :param at: when it was taken, and ``ready``: when it is usable. Both on the machine's monotonic clock.
    :param lags: seconds by which it shows later, in each kind of read.
    """

    order_id: str
    kind: str
    at: float
    ready: float
    amount: Decimal
    body: Mapping[str, Any]
    target: str = ""
    account: str = ""
    lags: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.target,) if self.kind == "extend" else (self.order_id, f"subaccount:{self.account}")


class Shop:
    """One account at one vendor.

    :param clock: seconds by which the vendor's clock is ahead.
    :param floats: amounts are written as binary floats leave them.
    """

    refused = Answer(422, '{"message": "out of stock", "errors": {}}')
    unknown_order = Answer(404, '{"message": "not found"}')

    def __init__(self, wallet: plan.Wallet, dice: Random, clock: float, floats: bool):
        self.wallet, self.dice, self.clock, self.floats = wallet, dice, clock, floats
        self.orders: list[Order] = []

    # -- money -----------------------------------------------------------------------------------------------------

    def left(self) -> Decimal:
        """The true balance."""
        return self.wallet.balance - sum((order.amount for order in self.orders), Decimal(0))

    def shown_balance(self, sees: Sees) -> str:
        shown = self.wallet.balance - sum((o.amount for o in self.orders if sees(o.at, o, "balance")), Decimal(0))
        text = f"{shown:f}"
        return f"{text}{'0' * (14 - len(text))}6" if self.floats and self.dice.random() < 0.5 else text

    def take(self, sale: Sale, now: float, factor: Decimal) -> Order | Answer:
        """Take a purchase and charge it, or refuse it.

        :param factor: what it costs beside the price list.
        """
        problem = self.problem(sale, now)
        amount = self.price(sale) * factor
        if problem is not None:
            return problem
        if amount > self.left():
            return self.poor
        order = Order(
            order_id=self.id_of(sale),
            kind=sale.kind,
            at=now,
            ready=now + self.dice.uniform(0, plan.READY),
            amount=amount,
            body=sale.body,
            target=sale.target,
            account=self.new_account(),
            lags={aspect: self.dice.uniform(0, plan.LAG) for aspect in ("balance", "list", "order")},
        )
        self.orders.append(order)
        return order

    poor = Answer(422, '{"message": "Not enough balance"}')

    def problem(self, sale: Sale, now: float) -> Answer | None:
        """Why a purchase is refused."""
        return None

    def new_account(self) -> str:
        """What an order opens at the vendor beside itself."""
        return str(UUID(int=self.dice.getrandbits(128), version=4))

    def id_of(self, sale: Sale) -> str:
        """The id of what is bought."""
        return self.new_id()

    def new_id(self) -> str:
        return str(UUID(int=self.dice.getrandbits(128), version=4))

    def price(self, sale: Sale) -> Decimal:
        raise NotImplementedError

    # -- the wire --------------------------------------------------------------------------------------------------

    def sale(self, method: str, path: str, body: Any) -> Sale | None:
        """The purchase that a request means; None for any other request."""
        raise NotImplementedError

    def sold(self, order: Order) -> Answer:
        """The answer to a purchase."""
        raise NotImplementedError

    def read(self, path: str, query: Mapping[str, list[str]], now: float, sees: Sees) -> Answer:
        """The answer to a reading call."""
        raise NotImplementedError

    def find(self, order_id: str, sees: Sees) -> Order | None:
        for order in self.orders:
            if order.kind == "create" and order.order_id == order_id and sees(order.at, order, "order"):
                return order
        return None

    def today(self, seconds: float, now: float) -> datetime:
        """A moment of the monotonic clock, by the vendor's own clock."""
        return datetime.now(timezone.utc) + timedelta(seconds=seconds - now + self.clock)


class IPRoyal(Shop):
    """docs.iproyal.com: /proxies/isp/api/orders, /proxies/isp/api/products, /proxies/datacenter/api/user."""

    vendor = "iproyal"
    ids = 8000

    def __init__(self, wallet: plan.Wallet, dice: Random, clock: float, floats: bool):
        super().__init__(wallet, dice, clock, floats)
        self.expiry = datetime.now(timezone.utc) + timedelta(days=10)
        for order_id in wallet.targets:
            body = {"product_plan_id": plan.PLAN, "product_location_id": 77, "quantity": 2}
            self.orders.append(Order(order_id, "create", -1e6, -1e6, Decimal(0), body))

    def new_id(self) -> str:
        IPRoyal.ids += self.dice.randint(1, 3)
        return str(IPRoyal.ids)

    def price(self, sale: Sale) -> Decimal:
        if sale.kind == "extend":
            return 2 * plan.PLAN_PRICES[sale.body["product_plan_id"]]
        return int(sale.body["quantity"]) * plan.PLAN_PRICES[sale.body["product_plan_id"]]

    def sale(self, method: str, path: str, body: Any) -> Sale | None:
        if method != "POST" or not path.startswith("/orders") or "toggle" in path:
            return None
        if path == "/orders":
            return Sale("create", body)
        return Sale("extend", body, path.split("/")[2])

    def problem(self, sale: Sale, now: float) -> Answer | None:
        known = {order.order_id for order in self.orders if order.kind == "create"}
        return self.unknown_order if sale.kind == "extend" and sale.target not in known else None

    def sold(self, order: Order) -> Answer:
        shown = order
        if order.kind == "extend":
            shown = next(each for each in self.orders if each.kind == "create" and each.order_id == order.target)
        return Answer(200, json.dumps(self.row(shown, order.at, lambda at, each, aspect: at <= order.at)))

    def row(self, order: Order, now: float, sees: Sees) -> dict[str, Any]:
        quantity = int(order.body["quantity"])
        ready = order.ready <= now and sees(order.ready, order, "order")
        longer = [each for each in self.orders if each.kind == "extend" and each.target == order.order_id]
        longer = [each for each in longer if each.ready <= now and sees(each.ready, each, "order")]
        expiry = self.expiry + timedelta(days=30 * len(longer))
        login = {"username": "u1", "password": "p1"}
        place = plan.PLACES[order.body["product_location_id"]]
        return {
            "id": int(order.order_id),
            "note": None,
            "product_name": "ISP",
            "plan_name": "30 Days" if order.body["product_plan_id"] == plan.PLAN else "60 Days",
            "expire_date": f"{expiry:%Y-%m-%d %H:%M:%S}",
            "status": "confirmed" if ready else "in-progress",
            "location": place,
            "locations": place,
            "quantity": quantity,
            "questions_answers": [],
            "proxy_data": {
                "ports": {"socks5": 12324, "http|https": 12323},
                "proxies": [{"ip": f"203.0.113.{n}", **login} for n in range(1, quantity + 1)] if ready else [],
            },
            "auto_extend_settings": None,
            "extended_history": [{"n": n} for n in range(len(longer))],
        }

    def read(self, path: str, query: Mapping[str, list[str]], now: float, sees: Sees) -> Answer:
        if path == "/balance":
            return Answer(200, self.shown_balance(sees))
        if path == "/products":
            return Answer(200, json.dumps({"data": [self.product()]}))
        if path == "/orders/calculate-pricing":
            return self.quote(query)
        if path == "/orders":
            return self.listed(query, now, sees)
        order = self.find(path.rpartition("/")[2], sees)
        return self.unknown_order if order is None else Answer(200, json.dumps(self.row(order, now, sees)))

    def product(self) -> dict[str, Any]:
        names = {plan.PLAN: "30 Days", plan.LONG_PLAN: "60 Days"}
        plans = [{"id": number, "name": names[number], "price": float(price)} for number, price in plan.PLAN_PRICES.items()]
        places = [
            {"id": number, "name": name, "out_of_stock": False, "child_locations": []} for number, name in plan.PLACES.items()
        ]
        return {"id": plan.PRODUCT, "name": "ISP", "plans": plans, "locations": places, "questions": [], "quantity_discounts": []}

    def quote(self, query: Mapping[str, list[str]]) -> Answer:
        each = plan.PLAN_PRICES[int(query["product_plan_id"][0])]
        price = f"{each * int(query.get('quantity', ['2'])[0]):f}"
        return Answer(200, f'{{"price": {price}, "price_with_vat": {price}, "vat": null, "message": null}}')

    def listed(self, query: Mapping[str, list[str]], now: float, sees: Sees) -> Answer:
        rows = [order for order in self.orders if order.kind == "create" and sees(order.at, order, "list")]
        if "order_ids[]" in query:
            rows = [order for order in rows if order.order_id in query["order_ids[]"]]
        rows.sort(key=lambda order: int(order.order_id), reverse=query.get("order") == ["desc"])
        size, page = int(query.get("per_page", ["20"])[0]), int(query.get("page", ["1"])[0])
        part = rows[(page - 1) * size : page * size]
        last = max(1, -(-len(rows) // size))
        meta = {
            "current_page": page,
            "last_page": last,
            "per_page": size,
            "total": len(rows),
            "path": "",
            "from": None,
            "to": None,
        }
        return Answer(200, json.dumps({"data": [self.row(order, now, sees) for order in part], "meta": meta}))


class ProxyScrape(Shop):
    """docs.proxyscrape.com: /api/account/api-ordering."""

    vendor = "proxyscrape"
    refused = Answer(400, '{"success": false, "error": "Missing or invalid pricing configuration."}')
    poor = Answer(400, '{"success": false, "error": "Insufficient wallet balance."}')
    unknown_order = Answer(404, '{"success": false, "error": "Order not found."}')

    def price(self, sale: Sale) -> Decimal:
        body = sale.body
        if body["type"] == "new_residential":
            return int(body["bandwidth"]) * plan.GIGABYTE_PRICE
        return sum(int(size) for name, size in body.items() if name.startswith("proxies[")) * plan.POOL_PRICE

    def sale(self, method: str, path: str, body: Any) -> Sale | None:
        return Sale("create", body) if method == "POST" and path == "/v4/account/orders/create" else None

    def sold(self, order: Order) -> Answer:
        return Answer(200, json.dumps({"success": True, "data": order.order_id}))

    def read(self, path: str, query: Mapping[str, list[str]], now: float, sees: Sees) -> Answer:
        if path == "/v4/account/orders/balance":
            text = self.shown_balance(sees)
            return Answer(200, f'{{"success": true, "data": {{"balance": {text}, "currency": "USD"}}}}')
        if path == "/v4/account/subaccounts":
            opened = [order for order in self.orders if order.ready <= now and sees(order.ready, order, "list")]
            return Answer(200, json.dumps({"data": {"subaccounts": [self.subaccount(order, now) for order in opened]}}))
        order = self.find(path.split("/")[4] if path.endswith("/status") else "", sees)
        if order is None:
            return self.unknown_order
        ready = order.ready <= now and sees(order.ready, order, "order")
        data = {
            "order_id": order.order_id,
            "status": "processed" if ready else "paid",
            "type": order.body["type"],
            "created_at": int(self.today(order.at, now).timestamp()),
            "updated_at": int(self.today(order.ready if ready else order.at, now).timestamp()),
            "price": f"{order.amount:.2f}",
            "currency": "USD",
            "paid_with_credit": True,
            "subaccount": self.subaccount(order, now) if ready else None,
        }
        return Answer(200, json.dumps({"success": True, "data": data}))

    def subaccount(self, order: Order, now: float) -> dict[str, Any]:
        added = int(self.today(order.ready, now).timestamp())
        kind = str(order.body["type"]).removeprefix("new_")
        return {"AccountID": order.account, "AccountType": kind, "label": "Account (Premium)", "time_added": added}


class Voodoo(Shop):
    """docs.voodoo.center: create-order, /authentication, /errors, /introduction."""

    vendor = "voodoo"
    refused = Answer(400, '{"detail": "Item is not available", "code": "validation_error"}')
    poor = Answer(400, '{"detail": "Insufficient balance", "code": "insufficient_balance"}')
    duplicate = Answer(400, '{"detail": "merchant_order_id must be unique.", "code": "validation_error"}')
    unknown_order = Answer(404, '{"detail": "Not found.", "code": "not_found"}')

    def price(self, sale: Sale) -> Decimal:
        return Decimal(str(sale.body.get("quantity", 1))) * plan.ITEM_PRICES[sale.body["item_id"]]

    def sale(self, method: str, path: str, body: Any) -> Sale | None:
        return Sale("create", body) if method == "POST" and path == "/api/v1/orders" else None

    def problem(self, sale: Sale, now: float) -> Answer | None:
        reference = sale.body.get("merchant_order_id")
        used = reference and any(order.body.get("merchant_order_id") == reference for order in self.orders)
        return self.duplicate if used else None

    def sold(self, order: Order) -> Answer:
        return Answer(201, json.dumps(self.row(order, order.at, lambda at, each, aspect: at <= order.at)))

    def row(self, order: Order, now: float, sees: Sees) -> dict[str, Any]:
        ready = order.ready <= now and sees(order.ready, order, "order")
        quantity = order.body.get("quantity", 1)
        return {
            "id": order.order_id,
            "item": order.body["item_id"],
            "item_name": "Example",
            "item_product_type": "key",
            "quantity": quantity,
            "delivered_quantity": int(quantity) if ready else 0,
            "price": float(order.amount),
            "refund_amount": 0,
            "fields": {},
            "status": "completed" if ready else "pending",
            "error": "",
            "error_message": "",
            "codes": ["EXAM-PLE1"] if ready else [],
            "merchant_order_id": order.body.get("merchant_order_id", ""),
            "source": "api",
            "created_by": None,
            "created_at": f"{self.today(order.at, now):%Y-%m-%dT%H:%M:%S}",
            "completed_at": None,
        }

    def read(self, path: str, query: Mapping[str, list[str]], now: float, sees: Sees) -> Answer:
        if path == "/api/v1/account/balance":
            return Answer(200, f'{{"balance": {self.shown_balance(sees)}}}')
        order = self.find(path.rpartition("/")[2], sees)
        return self.unknown_order if order is None else Answer(200, json.dumps(self.row(order, now, sees)))


SHOPS: Mapping[str, type[Shop]] = {"iproyal": IPRoyal, "proxyscrape": ProxyScrape, "voodoo": Voodoo}
