"""The reading calls of the pretended IPRoyal, and the right to make them."""

from __future__ import annotations

from typing import Any

from airflow_provider_proxyorders.sandbox.iproyal.catalogue import Selection, default_products, select
from airflow_provider_proxyorders.sandbox.iproyal.orders import DAY, Order, page
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST
from airflow_provider_proxyorders.sandbox.vendor_base import (
    Answer,
    Ask,
    Refusal,
    SandboxVendor,
    Wallet,
    number,
)

FIRST_ID = 7001
#: how near its end an order is "expiring soon"; the vendor does not say
SOON = 3 * DAY


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

    def _balance(self, ask: Ask) -> Answer:
        return Answer(number(self._who(ask).balance))

    def _cards(self, ask: Ask) -> Answer:
        return Answer({"data": self.cards.get(self._who(ask).name, [])})

    def _products(self, ask: Ask) -> Answer:
        self._who(ask)
        return Answer({"data": [product.wire() for product in self.products.values()]})

    def _get(self, ask: Ask, order_id: str) -> Answer:
        return Answer(self._order(self._who(ask), order_id).wire(self.pool.port))

    def _list(self, ask: Ask) -> Answer:
        wallet = self._who(ask)
        wanted = ask.listed("order_ids")
        if wanted is None:
            orders = list(self.orders.values())
        else:
            ids = sorted({int(order_id) for order_id in wanted if order_id.isdigit()})
            orders = [self.orders[order_id] for order_id in ids if order_id in self.orders]
        mine = [order for order in orders if order.wallet is wallet]
        path = f"http://{HOST}:{self.pool.port}/{self.name}/orders"
        return Answer(page(mine, ask, path, self.pool.port, self.clock.timestamp() + SOON))

    def _quote(self, ask: Ask) -> Answer:
        wallet = self._who(ask)
        names = ("product_id", "product_plan_id", "product_location_id", "quantity")
        fields: dict[str, Any] = {name: _integer(ask.param(name)) for name in names}
        order_id = ask.param("order_id")
        if order_id is not None:
            order = self._order(wallet, order_id)
            plan = fields["product_plan_id"] or order.plan.plan_id
            return Answer(self._again(order, plan).quote())
        return Answer(select(self.products, fields).quote())

    def _again(self, order: Order, plan: Any) -> Selection:
        """The order's own proxies for another term."""
        fields = {"product_id": order.product.product_id, "product_plan_id": plan}
        location = next(iter(order.product.locations))
        return select(self.products, {**fields, "product_location_id": location, "quantity": order.quantity})

    def _who(self, ask: Ask) -> Wallet:
        wallet = self.by_token.get(ask.headers.get("X-Access-Token", ""))
        if wallet is None:
            raise Refusal(401, {"message": "Unauthenticated."})
        if not wallet.may_read:
            raise Refusal(403, {"message": "API access is not activated."})
        return wallet

    def _buyer(self, ask: Ask) -> Wallet:
        wallet = self._who(ask)
        if not wallet.may_order:
            raise Refusal(403, {"message": "Ordering is not activated."})
        return wallet

    def _order(self, wallet: Wallet, order_id: str) -> Order:
        order = self.orders.get(int(order_id)) if order_id.isdigit() else None
        if order is None or order.wallet is not wallet:
            raise Refusal(404, {"message": "Order not found."})
        return order


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
