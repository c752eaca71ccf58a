"""The reading calls of the pretended IPRoyal, and the right to make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_provider_proxyorders.sandbox.iproyal.catalogue import Selection, check_answer, default_products, invalid, select
from airflow_provider_proxyorders.sandbox.iproyal.orders import DAY, Order, page
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import Answer, Ask, Call, Refusal, SandboxVendor, number

FIRST_ID = 7001
#: how near its end an order is "expiring soon"; the vendor does not say
SOON = 3 * DAY
NOT_FOUND = (404, {"message": "Order not found."})


class SandboxIPRoyalReading(SandboxVendor):
    """The state of the pretended IPRoyal, and the calls that read it."""

    name = "iproyal"

    #: of the next order; goes on after a reset, as a vendor never gives an id twice
    next_id = FIRST_ID

    def reset(self) -> None:
        super().reset()
        self.products = default_products()
        #: ascending by id
        self.orders: dict[int, Order] = {}
        self.cards: dict[str, list[dict[str, Any]]] = {}
        #: seconds from a paid extension to the later ``expire_date``
        self.extend_processing = 0.0
        #: how an extension of some proxies shows: history, date, silent, or refused
        self.partial = "history"
        #: whether the list is refused without ``product_id``, as it was seen in use
        self.product_required = False

    def route(self, ask: Ask) -> Call | None:
        match (ask.method, *ask.parts):
            case ("GET", "balance"):
                return Call("balance", partial(self._balance, ask))
            case ("GET", "cards"):
                return Call("cards", partial(self._cards, ask))
            case ("GET", "products"):
                return Call("products", partial(self._products, ask))
            case ("GET", "orders"):
                return Call("list", partial(self._list, ask))
            case ("GET", "orders", "calculate-pricing"):
                return Call("quote", partial(self._quote, ask))
            case ("GET", "orders", order_id):
                return Call("get", partial(self._get, ask, order_id))
            case ("POST", "orders", "proxies", "change-credentials"):
                return Call("change_credentials", partial(self._change_credentials, ask))
        return None

    def _balance(self, ask: Ask) -> Answer:
        return Answer(number(self.shown_balance(self.asker(ask))))

    def _cards(self, ask: Ask) -> Answer:
        return Answer({"data": self.cards.get(self.asker(ask).name, [])})

    def _products(self, ask: Ask) -> Answer:
        self.asker(ask)
        return Answer({"data": [product.wire() for product in self.products.values() if product.listed]})

    def _get(self, ask: Ask, order_id: str) -> Answer:
        order = self._order(self.asker(ask), order_id)
        if not self.shows(order_id):
            raise Refusal(*NOT_FOUND)
        return Answer(order.wire(self.pool.port, self._behind))

    def _list(self, ask: Ask) -> Answer:
        wallet = self.asker(ask)
        if self.product_required and ask.param("product_id") is None:
            raise invalid("product_id", "The product id field is required.")
        wanted = ask.listed("order_ids")
        if wanted is None:
            orders = list(self.orders.values())
        else:
            ids = sorted({int(order_id) for order_id in wanted if order_id.isdigit()})
            orders = [self.orders[order_id] for order_id in ids if order_id in self.orders]
        mine = [order for order in orders if order.wallet is wallet and self.shows(str(order.order_id))]
        path = f"http://{HOST}:{self.pool.port}/{self.name}/orders"
        return Answer(page(mine, ask, path, self.pool.port, self.clock.timestamp() + SOON, self._behind))

    @property
    def _behind(self) -> float | None:
        """Unix seconds as of which orders are shown; None: as they are."""
        return self.clock.timestamp() - self.manner.lag if self.manner.lag else None

    def _quote(self, ask: Ask) -> Answer:
        wallet = self.asker(ask)
        names = ("product_id", "product_plan_id", "product_location_id", "quantity")
        fields: dict[str, Any] = {name: _integer(ask.param(name)) for name in names}
        order_id = ask.param("order_id")
        if order_id is not None:
            order = self._order(wallet, order_id)
            plan = fields["product_plan_id"] or order.plan.plan_id
            return Answer(self._again(order, plan, fields["quantity"] or 0).quote())
        place = {name: fields[name] for name in ("product_location_id", "quantity")}
        chosen = {"selection": {"locations": [place]}} if all(place.values()) else {}
        selection = select(self.products, {**fields, **chosen})  # without a plan the first one counts
        questions = [*selection.product.questions]
        for name, said in ask.params:
            if name.startswith("product_question_answers["):
                index = name.partition("[")[2].partition("]")[0]
                check_answer(selection.product, int(index) if index else questions[0], said, asked=True)
        return Answer(selection.quote())

    def _change_credentials(self, ask: Ask) -> Answer:
        """Another login for the proxies of an order; the answer is the sandbox's own."""
        body = ask.json
        order = self._order(self._buyer(ask), str(body.get("order_id", "")))
        if order.batch is None:
            raise invalid("order_id", "The order has no proxies.")
        word = self.random_text(12) if body.get("random_password") else body.get("password")
        user = body.get("username")
        logins = [(str(user or old[0]), str(word or old[1])) for old in order.batch.logins]
        order.batch = self.pool.hand_out(replace(order.batch, logins=logins))
        return Answer({"message": "ok"})

    def _again(self, order: Order, plan: Any, quantity: int = 0) -> Selection:
        """The order's own proxies for another term; with a quantity only so many of them."""
        fields = {"product_id": order.product.product_id, "product_plan_id": plan}
        location = next(iter(order.product.locations))
        return select(self.products, {**fields, "product_location_id": location, "quantity": quantity or order.quantity})

    def asker(self, ask: Ask) -> Wallet:
        wallet = self.by_token.get(ask.headers.get("X-Access-Token", ""))
        if wallet is None:
            raise Refusal(401, {"message": "Unauthenticated."})
        if not wallet.may_read:
            raise Refusal(403, {"message": "API access is not activated."})
        return wallet

    def _buyer(self, ask: Ask) -> Wallet:
        wallet = self.asker(ask)
        if not wallet.may_order:
            raise Refusal(403, {"message": "Ordering is not activated."})
        return wallet

    def _order(self, wallet: Wallet, order_id: str) -> Order:
        order = self.orders.get(int(order_id)) if order_id.isdigit() else None
        if order is None or order.wallet is not wallet:
            raise Refusal(*NOT_FOUND)
        return order


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


# -- control -----------------------------------------------------------------------------------------------------------


def show_extensions_after(vendor: SandboxIPRoyalReading, _: Wallet, value: Any) -> None:
    vendor.extend_processing = float(value)


def show_parts(vendor: SandboxIPRoyalReading, _: Wallet, value: Any) -> None:
    vendor.partial = str(value)


def require_product(vendor: SandboxIPRoyalReading, _: Wallet, value: Any) -> None:
    vendor.product_required = bool(value)


def change_product(vendor: SandboxIPRoyalReading, _: Wallet, fields: Mapping[str, Any]) -> None:
    """Add a product like the first one, or change one."""
    product_id = int(fields["id"])
    like = vendor.products.get(product_id) or next(iter(vendor.products.values()))
    changes = {name: fields[name] for name in ("name", "listed", "kinds") if name in fields}
    vendor.products[product_id] = replace(like, product_id=product_id, **changes)
