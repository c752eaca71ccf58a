"""Voodoo Center: gift-card keys, top-ups and game services; orders carry our reference and end with a webhook.

Two rules: the API key buys a two-hour token for all other calls; and decisions rest on the ``code`` of an error answer, its
text is only shown.

Pages below are paths of docs.voodoo.center: /api-reference/api-reference/orders/create-order (ordering), /introduction,
/quickstart, /authentication, /orders, /errors, /webhooks.
"""

from __future__ import annotations

import time
from collections.abc import Container, Generator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.errors import VendorError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, Money, OrderStatus, VendorOrder
from airflow_provider_proxyorders.vendors.base import (
    Capabilities,
    Look,
    Operation,
    Polling,
    Prepared,
    Vendor,
    about,
    path_part,
)
from airflow_provider_proxyorders.vendors.evidence import balance_evidence, missing_money
from airflow_provider_proxyorders.vendors.fields import Field, check, convert
from airflow_provider_proxyorders.vendors.voodoo_catalogue import SETTINGS, VoodooCatalogue
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from airflow_provider_proxyorders.wire.reading import (
    explanation_in,
    identifier,
    number,
    optional_amount,
    optional_count,
    optional_number,
    optional_text,
    rows,
    status_in,
    status_word,
    text,
    unreadable_amount,
    when,
)
from airflow_provider_proxyorders.wire.signatures import Scheme

#: Seconds for which a token is used. It lives 2 hours (/authentication); the margin covers a slow call and another clock.
TOKEN_USE = 110 * 60

#: /introduction, /orders and the changelog of 2026-06-10; anything else is still pending.
STATUSES: Mapping[str, OrderStatus] = {
    "pending": OrderStatus.PENDING,
    "processing": OrderStatus.PENDING,
    "completed": OrderStatus.DELIVERED,
    "partial": OrderStatus.PARTIAL,
    "failed": OrderStatus.FAILED,
}

#: Body of create-order. Which of them an item needs depends on its entry in the catalogue.
FIELDS: Mapping[str, Field] = {
    "item_id": Field("integer", "must be the whole number of an item in the catalogue", 5120, required=True, least=1),
    "quantity": Field(
        "number", "must be a positive number: a count for keys, an amount for top-ups; leave it out for services", 3, above=0
    ),
    "merchant_order_id": Field("text", "must be text of at most 100 characters, unique per account", "af-7c1e9b02", most=100),
    "fields": Field("object", "must be an object; a choice is given by its numeric id", {"player_id": "A-1029", "region": 4}),
}


def now() -> float:
    """Unix seconds; a function of its own, so that a test can let a token age."""
    return time.time()


class Voodoo(Vendor):
    """Voodoo Center Orders API, ``/api/v1``. It has three calls beside the login: create, read one, balance (/introduction)."""

    name = "voodoo"
    title = "Voodoo"
    catalogue_fields = {"item_id": "item_id"}
    docs_url = "https://docs.voodoo.center/api-reference/api-reference/orders/create-order"
    base_url = "https://api.voodoo.center"
    secret_label = "API key"
    secret_help = "The key from the dashboard's API page; it begins with ak_ and is shown once."
    renews_login = refunds_undelivered = True  # /authentication: a token of two hours; /orders: pays back what it did not deliver
    #: /webhooks: HMAC-SHA256 over the raw body, ``X-Webhook-Signature: sha256=<lower-case hex>``, no timestamp
    webhook = Scheme("body", header="x-webhook-signature", prefix="sha256=", encoding="hex")
    webhook_sample = {"order_id": "{order_id}", "status": "completed"}
    settings, catalogue_file = SETTINGS, VoodooCatalogue
    capabilities = Capabilities(
        price_in_order=True,
        # create-order: merchant_order_id is unique per account; /errors: a repeat is refused and costs nothing
        create_evidence="reference",
        settle=30,
        polling=Polling(first=2, fastest=2, slowest=60, timeout=24 * 3600),  # no page says how long pending may last
    )

    # -- before money moves ---------------------------------------------------------------------------------------

    def prepare_create(self, request: Mapping[str, Any], reference: str) -> Prepared:
        body, warnings = check(self.title, request, FIELDS)
        if "merchant_order_id" not in body:
            body["merchant_order_id"] = convert(self.title, "merchant_order_id", reference, FIELDS["merchant_order_id"])
        return Prepared(body, warnings)

    # -- flows ----------------------------------------------------------------------------------------------------

    def login(self) -> Flow[None]:
        """Exchange the key for a token, unless a young token is at hand (/authentication).

        401 is ``{"error": ...}``: the key is unknown or revoked. 403: key login is not enabled for the account's domain.
        """
        if "token" in (session := self.account.session) and now() < session.get("token_until", 0):
            return
        request = Request("POST", "/api/v1/auth/token/client", "exchange key", json={"api_key": self.account.secret})
        asked_at = now()
        response = yield request
        self.check(response, request)
        data = self.readable(response, request)
        session["token"] = self.understood(request, lambda: _token(data))
        session["token_until"] = asked_at + TOKEN_USE

    def auth_headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.account.session['token']}"}

    def call(self, request: Request) -> Generator[Request, Response, Response]:
        """As for every vendor, but a token that is refused is dropped, and a reading call goes out again with a new one.

        A purchase stays with the buyer: it was refused before processing (/authentication), and the buyer may send it again.
        """
        response = yield from super().call(request)
        if response.status == 401:
            self.account.session["token_until"] = 0  # the token itself stays, so that it is still kept out of messages
            if not request.spends and self.error_code(self.said(response)) == "not_authenticated":
                response = yield from super().call(request)
        return response

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        request = Request("POST", "/api/v1/orders", "create order", json=body, spends=True)
        response = yield from self.call(request)
        return self.placed(response, request, lambda data: _order(data, self.account), lambda data: identifier(data, "id"))

    def get(self, order_id: str) -> Flow[VendorOrder]:
        request = _reading(order_id)
        data = yield from self.read(request)
        return self.understood(request, lambda: about(order_id, _order(data, self.account)))

    def balance(self) -> Flow[Balance]:
        request = Request("GET", "/api/v1/account/balance", "read balance")
        data = yield from self.read(request)
        return self.understood(request, lambda: Balance(Money(number(data, "balance"), self.account.currency)))

    def delivery(self, order_id: str) -> Flow[Delivery]:
        """The codes of a key order; top-ups and services yield none."""
        request = replace(_reading(order_id), delivers=True)
        data = yield from self.read(request)
        self.understood(request, lambda: about(order_id, _order(data, self.account)))
        listed = self.understood(request, lambda: rows(data, "codes") if data.get("codes") is not None else [])
        codes = tuple(code for code in listed if isinstance(code, str) and code)
        return Delivery(order_id, codes=codes, skipped=len(listed) - len(codes))

    # -- purchases whose answer was lost --------------------------------------------------------------------------

    def snapshot(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        balance = yield from self.balance()
        return balance_evidence(balance)

    def resolve(
        self,
        kind: Operation,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: Container[str],
    ) -> Flow[Look]:
        """Report the balance as a hint: absent, if it is unchanged. The API has no list and no search (/introduction).

        After a lost answer the buyer sends the same body with the same reference again; see :meth:`is_duplicate`.
        """
        balance = yield from self.balance()
        missing = missing_money(evidence, balance)
        detail = f"{missing.detail}; orders cannot be looked up by their reference ({body.get('merchant_order_id')})"
        if missing.explained:
            return Look("absent", detail)
        return Look("inconclusive", detail, trace=None if missing.fell else False)

    def read_webhook(self, data: Any) -> tuple[str, str | None, str]:
        """A delivery (/webhooks): the id is called ``order_id`` there."""
        return text(data, "order_id"), optional_text(data, "merchant_order_id"), text(data, "status")

    def reference_in(self, body: Mapping[str, Any]) -> str | None:
        return optional_text(body, "merchant_order_id")

    def is_duplicate(self, error: VendorError) -> bool:
        """Whether a refusal can mean that the reference was used before.

        A repeat gets 400 ``validation_error`` (/errors). Bad input gets the same, so it counts only after an unknown outcome.
        409 ``already_exists`` is listed for other clashes and read in the same way.
        """
        return (error.status, error.code) in ((400, "validation_error"), (409, "already_exists"))

    def proves_landed(self, error: VendorError, body: Mapping[str, Any]) -> bool:
        """``already_exists``, or a ``validation_error`` that speaks of the reference (/errors; its text is not documented)."""
        reference = self.reference_in(body)
        if reference is None or not self.is_duplicate(error):
            return False
        said = error.vendor_text.casefold()
        return error.code == "already_exists" or any(
            word in said for word in ("merchant_order_id", "merchant order", "reference", reference.casefold())
        )

    def contradiction(self, kind: Operation, body: Mapping[str, Any], evidence: Mapping[str, Any], order: VendorOrder) -> str:
        """Reference, item and quantity (create-order: the order shows all three)."""
        for ours, theirs in (("reference", "merchant_order_id"), ("item", "item_id")):
            wanted, shown = optional_text(body, theirs), order.traits.get(ours)
            if wanted is not None and shown is not None and shown != wanted:
                return f"its {theirs} is {shown}, asked was {wanted}"
        quantity = optional_number(body, "quantity")
        if quantity is not None and order.quantity is not None and order.quantity != quantity:
            return f"its quantity is {order.quantity}, asked was {quantity}"
        return ""

    # -- answers --------------------------------------------------------------------------------------------------

    def spent(self, response: Response, request: Request) -> Any:
        if response.status == 409 and self.error_code(self.said(response)) == "already_exists":
            raise self.refusal(response, request)  # /errors: refused, not charged
        return super().spent(response, request)

    def lacks_funds(self, response: Response) -> bool:
        return self.error_code(self.said(response)) == "insufficient_balance"

    def permission_advice(self, doing: str, tail: str) -> str:
        return (
            f"{self.title} does not permit this with the key of connection {self.account.conn_id!r} ({doing}).{tail} "
            "Login by API key has to be enabled for the account's domain; ask Voodoo's support for it."
        )

    def error_code(self, data: Any) -> str:
        return (optional_text(data, "code") or "") if isinstance(data, Mapping) else ""

    def error_text(self, data: Any) -> str:
        """``{"detail", "code"}``, from the login ``{"error"}`` (/errors, /authentication)."""
        said, code = super().error_text(data), self.error_code(data)
        return f"{said} ({code})" if said and code else said or code


def _reading(order_id: str) -> Request:
    return Request("GET", f"/api/v1/orders/{path_part(order_id)}", "read order", order_id=order_id)


def _order(data: Any, account: Account) -> VendorOrder:
    word = status_word(data)
    status = status_in(STATUSES, word)
    refund = optional_amount(data, "refund_amount")
    price = optional_amount(data, "price")
    told_why = [explanation_in(data, "error"), explanation_in(data, "error_message")]
    traits = {"item": "item", "item_name": "item_name", "reference": "merchant_order_id"}
    return VendorOrder(
        order_id=identifier(data, "id"),
        status=status,
        vendor_status=word,
        price=Money(price, account.currency) if price is not None else None,
        quantity=optional_number(data, "quantity"),
        delivered=optional_count(data, "delivered_quantity"),
        created_at=when(data.get("created_at")),
        reason=account.redact(": ".join(part for part in told_why if part)),
        refund=Money(refund, account.currency) if refund else None,
        traits={ours: value for ours, theirs in traits.items() if (value := optional_text(data, theirs))},
        unreadable_charge=unreadable_amount(data, "price"),
    )


def _token(data: Any) -> str:
    token = text(data, "access_token")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UnreadableBody("access_token is nothing that fits into a header")
    return token
