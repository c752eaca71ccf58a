"""The pretended Voodoo Center: a key is exchanged for a two-hour token; orders are pending, then processing, then over.

Documentation: docs.voodoo.center (introduction, authentication, orders, errors, webhooks). The sandbox's own choices, since the
documentation leaves them open: the products and prices, the text about a repeated ``merchant_order_id``, the body of the 403 on
the token exchange, and times without a zone. A reference stays taken after its first use, also by a failed order.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import (
    Answer,
    Ask,
    Call,
    Outcome,
    Refusal,
    SandboxVendor,
    cents,
    number,
    whole,
)
from airflow_provider_proxyorders.sandbox.voodoo_items import ITEMS, Item, exported
from airflow_provider_proxyorders.sandbox.webhook_sender import WebhookSender

TOKEN_LIFE = 2 * 3600
FINAL = ("completed", "partial", "failed")


@dataclass
class Order:
    order_id: str
    wallet: Wallet
    item: Item
    quantity: Decimal
    price: Decimal
    fields: Mapping[str, str]
    reference: str
    created: datetime
    status: str = "pending"
    delivered: int = 0
    refund: Decimal = Decimal(0)
    error: str = ""
    error_message: str = ""
    codes: list[str] = field(default_factory=list)
    completed: datetime | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.order_id,
            "item": self.item.item_id,
            "item_name": self.item.name,
            "item_product_type": self.item.product_type,
            "quantity": number(self.quantity),
            "delivered_quantity": self.delivered,
            "price": number(self.price),
            "refund_amount": number(self.refund),
            "fields": self.fields,
            "status": self.status,
            "error": self.error,
            "error_message": self.error_message,
            "codes": self.codes,
            "merchant_order_id": self.reference,
            "source": "api",
            "created_by": None,
            "created_at": _time(self.created),
            "completed_at": self.completed and _time(self.completed),
            **self.extra,
        }


def _catalogue(shop: SandboxVoodoo, name: str) -> Answer:
    """The file for all accounts, or that of one with prices of its own. It takes no key (/catalog)."""
    own = shop.personal_prices.get(name.removesuffix(".lmdb.zst"))
    content = exported(shop.items.values(), own or {}) if own or name == "catalog.lmdb.zst" else None
    return Answer(file=content, media="application/zstd") if content else shop.not_found()


def _price(shop: SandboxVoodoo, _: Wallet, value: Any) -> None:
    """Give a client id a catalogue of its own: ``{"client_id": "c-1", "prices": {"5120": "4.10"}}``."""
    shop.personal_prices[value["client_id"]] = value["prices"]


class SandboxVoodoo(SandboxVendor):
    name = "voodoo"
    default_token = "ak_test_token"
    success = "completed"
    balance_at = ("balance",)
    own_times = frozenset({"created_at", "completed_at"})
    refusals = {
        "balance": (400, {"detail": "Insufficient balance", "code": "insufficient_balance"}),
        "duplicate": (400, {"detail": "merchant_order_id is already in use", "code": "validation_error"}),
        "forbidden": (403, {"detail": "You do not have permission to perform this action.", "code": "forbidden"}),
        "invalid": (400, {"detail": "Item is not available", "code": "validation_error"}),
    }

    def __init__(self, *args: Any, **options: Any):
        self.webhook_sender = WebhookSender()
        super().__init__(*args, **options)

    def reset(self) -> None:
        super().reset()
        self.items = {item.item_id: item for item in ITEMS}
        self.orders: dict[str, Order] = {}
        self.references: dict[tuple[str, str], str] = {}
        #: price by item id, by client id
        self.personal_prices: dict[str, Mapping[str, Any]] = {}
        #: issued tokens: whose they are, and until when (unix seconds)
        self.issued: dict[str, tuple[Wallet, float]] = {}

    def route(self, ask: Ask) -> Call | None:
        match (ask.method, *ask.parts):
            case ("POST", "api", "v1", "auth", "token", "client"):
                return Call("token", partial(self._exchange, ask))
            case ("POST", "api", "v1", "orders"):
                return Call("create", partial(self._create, ask))
            case ("GET", "api", "v1", "orders", order_id):
                return Call("get", partial(self._get, ask, order_id))
            case ("GET", "api", "v1", "account", "balance"):
                return Call("balance", partial(self._balance, ask))
            case ("GET", "downloads", name):
                return Call("catalogue", partial(_catalogue, self, name))
        return None

    # -- operations -----------------------------------------------------------------------------------------------

    def _exchange(self, ask: Ask) -> Answer:
        key = ask.json.get("api_key")
        wallet = self.by_token.get(key) if isinstance(key, str) else None
        if wallet is None:
            raise Refusal(401, {"error": "Invalid credentials"})
        if not wallet.may_read:
            raise Refusal(403, {"error": "API key login is not enabled"})
        until = self.clock.timestamp() + TOKEN_LIFE
        claims = {"exp": int(until), "origin": "api", "jti": self.random_text(16)}
        token = f"{_part({'alg': 'EdDSA', 'typ': 'JWT'})}.{_part(claims)}.{self.random_text(86)}"
        self.issued[token] = wallet, until
        return Answer({"access_token": token, "token_type": "Bearer"})

    def _create(self, ask: Ask) -> Answer:
        wallet, body = self.asker(ask), ask.json
        item = self.items.get(whole(body.get("item_id")) or 0)
        if item is None:
            raise _invalid("Item is not available")
        quantity, fields = _quantity(item, body), _fields(item, body.get("fields"))
        reference = body.get("merchant_order_id") or ""
        if not isinstance(reference, str) or len(reference) > 100:
            raise _invalid("merchant_order_id must be text of at most 100 characters")
        if reference and (wallet.name, reference) in self.references:
            raise Refusal(*self.refusals["duplicate"])
        price = cents(item.price * quantity)
        if wallet.balance < price:
            raise Refusal(*self.refusals["balance"])
        price = self.to_pay(price)
        order = Order(self.random_uuid(), wallet, item, quantity, price, fields, reference, self.clock.now())
        self._keep(order)
        self.till.charge(wallet, order.order_id, "create", price, body, reference or None)
        answer = Answer(order.wire(), 201)
        self.clock.after(self.processing / 2, partial(self._start, order))
        self.clock.after(self.processing, partial(self._finish, order, self.next_outcome()))
        return answer

    def _get(self, ask: Ask, order_id: str) -> Answer:
        wallet = self.asker(ask)
        order = self.orders.get(order_id)
        if order is None or order.wallet is not wallet or not self.shows(order_id):
            raise _refusal(404, "not_found", "Not found.")
        return Answer(order.wire())

    def _balance(self, ask: Ask) -> Answer:
        return Answer({"balance": number(self.shown_balance(self.asker(ask)))})

    # -- the life of an order -------------------------------------------------------------------------------------

    def _start(self, order: Order) -> None:
        if self.orders.get(order.order_id) is order and order.status == "pending":
            order.status = "processing"

    def _finish(self, order: Order, outcome: Outcome) -> None:
        if self.orders.get(order.order_id) is order and order.status in ("pending", "processing"):
            self._end(order, outcome)

    def _end(self, order: Order, outcome: Outcome) -> None:
        details, units = outcome.details, int(order.quantity)
        was_final, order.status = order.status in FINAL, outcome.word
        if outcome.word not in FINAL or was_final:
            return
        order.completed = self.clock.now()
        order.delivered = {"completed": units, "failed": 0}.get(outcome.word, int(details.get("delivered", units // 2)))
        if order.item.product_type == "key":
            order.codes = [self._code() for _ in range(order.delivered)]
        if outcome.word == "failed":
            order.error = str(details.get("error", "OUT_OF_STOCK"))
            order.error_message = str(details.get("error_message", "The item is out of stock"))
        if outcome.word != "completed":
            order.refund = cents(order.price * (order.quantity - order.delivered) / order.quantity)
            self.till.pay_back(order.wallet, order.order_id, order.refund, order.reference or None)
        self.webhook_sender.order_ended(order.wire())

    def _code(self) -> str:
        return "-".join(self.random_text(4, "ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(3))

    def _keep(self, order: Order) -> None:
        self.orders[order.order_id] = order
        if order.reference:
            self.references[order.wallet.name, order.reference] = order.order_id

    # -- control --------------------------------------------------------------------------------------------------

    def seed_order(self, wallet: Wallet, fields: Mapping[str, Any]) -> str:
        rest = dict(fields)
        item = self.items.get(int(rest.pop("item", 5120)), ITEMS[0])
        order_id = str(rest.pop("id", None) or self.random_uuid())
        quantity = decimal(rest.pop("quantity", 1))
        price = decimal(rest.pop("price", cents(item.price * quantity)))
        shown, reference = rest.pop("fields", {}), str(rest.pop("merchant_order_id", ""))
        order = Order(order_id, wallet, item, quantity, price, shown, reference, self.clock.now())
        order.status = str(rest.pop("status", "completed"))
        if order.status in FINAL:
            order.completed = self.clock.now()
            order.delivered = int(rest.pop("delivered_quantity", int(quantity) if order.status == "completed" else 0))
            order.codes = list(rest.pop("codes", [self._code() for _ in range(order.delivered)]))
            order.refund = decimal(rest.pop("refund_amount", price if order.status == "failed" else 0))
        order.extra = rest
        self._keep(order)
        return order_id

    def set_status(self, order_id: str, outcome: Outcome) -> None:
        self._end(self.orders[order_id], outcome)

    def created(self, order_id: str) -> Any:
        return self.orders[order_id].wire()

    def deliver_less(self, order_id: str, units: int) -> None:
        order = self.orders[order_id]
        order.codes, order.delivered = order.codes[:units], min(order.delivered, units)

    def _revoke(self, _: Wallet, value: Any) -> None:
        """Make every issued token invalid before its time; the keys stay good."""
        if value:
            self.issued.clear()

    def _send_webhooks(self, _: Wallet, value: Any) -> None:
        self.webhook_sender.use(value)

    own_commands = {"revoke_jwt": _revoke, "webhook": _send_webhooks, "personal_catalogue": _price}

    # -- identity -------------------------------------------------------------------------------------------------

    def not_found(self) -> Answer:
        return Answer({"detail": "Not found.", "code": "not_found"}, 404)

    def asker(self, ask: Ask) -> Wallet:
        scheme, _, token = ask.headers.get("Authorization", "").partition(" ")
        wallet, until = self.issued.get(token.strip(), (None, 0.0)) if scheme.lower() == "bearer" else (None, 0.0)
        if wallet is None or until <= self.clock.timestamp():
            raise _refusal(401, "not_authenticated", "Authentication credentials were not provided.")
        return wallet


def _quantity(item: Item, body: Mapping[str, Any]) -> Decimal:
    value = body.get("quantity")
    if value is None:
        if item.product_type == "topup":
            raise _invalid("quantity is required")
        return Decimal(1)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise _invalid("quantity must be a number")
    quantity = Decimal(value)
    if item.product_type != "topup" and quantity != quantity.to_integral_value():
        raise _invalid("quantity must be a whole number")
    if not item.least <= quantity <= item.most:
        raise _invalid(f"quantity must be between {item.least} and {item.most}")
    return quantity


def _fields(item: Item, values: Any) -> dict[str, str]:
    """The buyer's fields for the answer: choices by their display names."""
    values = {} if values is None else values
    if not isinstance(values, dict) or set(values) - set(item.fields):
        raise _invalid("fields do not belong to this item")
    shown = {}
    for name, choices in item.fields.items():
        value = values.get(name)
        if choices is None:
            if not isinstance(value, str) or not value:
                raise _invalid(f"fields.{name} is required")
            shown[name] = value
        else:
            choice = whole(value)
            if choice is None or choice not in choices:
                raise _invalid(f"fields.{name} must be the id of a choice")
            shown[name] = choices[choice]
    return shown


def _refusal(status: int, code: str, detail: str) -> Refusal:
    return Refusal(status, {"detail": detail, "code": code})


def _invalid(detail: str) -> Refusal:
    return _refusal(400, "validation_error", detail)


def _time(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def _part(claims: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")
