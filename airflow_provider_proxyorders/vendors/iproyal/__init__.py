"""IPRoyal's reseller API: ISP, datacenter, sneaker and mobile proxies, ordered, listed, priced and extended.

Two rules. The documentation names five statuses without a definition: ``confirmed`` counts as delivered when all proxies are
there. It leaves error answers open: decisions rest on their HTTP status alone.

Pages below are paths of docs.iproyal.com: /proxies/isp/api/orders (orders, quote, extend), /proxies/isp/api/products,
/proxies/datacenter/api/user (balance, cards), /proxies/mobile/api/orders (auto-extend).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.errors import VendorError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import VendorOrder, decimal
from airflow_provider_proxyorders.vendors.base import (
    Capabilities,
    Filters,
    Look,
    Operation,
    Orders,
    Polling,
    Prepared,
    about,
)
from airflow_provider_proxyorders.vendors.evidence import balance_change, balance_evidence, describe_balance
from airflow_provider_proxyorders.vendors.iproyal.answers import just_sent, read_id, read_order, unwrapped
from airflow_provider_proxyorders.vendors.iproyal.evidence import fits, names_of, same_quantity
from airflow_provider_proxyorders.vendors.iproyal.reads import IDS_A_CALL, LIST, IPRoyalReading
from airflow_provider_proxyorders.vendors.iproyal.requests import order_number, prepare_extension, prepare_order, toggle_body
from airflow_provider_proxyorders.wire.messages import Flow, Request
from airflow_provider_proxyorders.wire.reading import pick


class IPRoyal(IPRoyalReading):
    """IPRoyal orders: create, extend, renewal switch, list, quote (/proxies/isp/api/orders and its sisters; one base address).

    Its documentation has neither a reference of ours nor a webhook, and its orders show no price.
    """

    name = "iproyal"
    docs_url = "https://docs.iproyal.com/proxies/isp/api/orders"
    base_url = "https://apid.iproyal.com/v1/reseller"
    secret_label = "access token"
    secret_help = "From the dashboard's settings, section API. Resetting it there makes the old one invalid."
    capabilities = Capabilities(
        quote_create=True,
        quote_extend=True,
        list_orders=True,
        extend=True,
        create_evidence="order",
        extend_evidence="order",
        ids_per_read=IDS_A_CALL,
        settle=60,  # how soon the list shows a new order is not documented
        # Neither interval nor duration is documented, and provisioning may be by hand: one client in use waits a day.
        polling=Polling(first=5, fastest=5, slowest=60, timeout=24 * 3600),
    )

    # -- before money moves ---------------------------------------------------------------------------------------

    def prepare_create(self, request: Mapping[str, Any], reference: str) -> Prepared:
        return prepare_order(request)

    def prepare_extend(self, order_id: str, request: Mapping[str, Any]) -> Prepared:
        order_number(order_id)
        return prepare_extension(request)

    # -- flows that spend -----------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        zone = self.zone()  # raises for a wrong setting before the purchase leaves
        request = Request("POST", "/orders", "create order", json=body, spends=True)
        response = yield from self.call(request)
        return self.placed(response, request, lambda data: just_sent(read_order(data, zone)))

    def extend(self, order_id: str, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        zone = self.zone()
        request = Request("POST", f"/orders/{order_number(order_id)}/extend", "extend order", json=body, spends=True)
        response = yield from self.call(request)
        return self.placed(response, request, lambda data: just_sent(about(order_id, read_order(data, zone))))

    # -- flows that change a setting ------------------------------------------------------------------------------

    def set_auto_extend(self, order_id: str, enabled: bool, options: Mapping[str, Any] | None = None) -> Flow[None]:
        """Switch renewal by the vendor (/proxies/mobile/api/orders, toggle-auto-extend).

        :param options: ``product_plan_id``, ``payment_type`` (``card`` or ``balance``), ``card_id``.
        """
        body = toggle_body(order_number(order_id), enabled, options)
        request = Request("POST", "/orders/toggle-auto-extend", "switch auto-extend", json=body)
        data = unwrapped((yield from self.read(request)))
        if self.understood(request, lambda: pick(data, "is_enabled")) is not enabled:
            raise self.unreadable(request, UnreadableBody(f"is_enabled is not {str(enabled).lower()}, as was asked for"))

    # -- purchases whose answer was lost --------------------------------------------------------------------------

    def snapshot(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        balance = balance_evidence((yield from self.balance()))
        if kind == "extend" and order_id is not None:
            order = yield from self.get(order_id)
            expires = order.expires_at.isoformat() if order.expires_at else None
            return {**balance, "expires_at": expires, "extensions": order.extensions}
        newest = yield from self.rows_above(None, body["product_id"])
        try:
            names = names_of(body, (yield from self.products()))
        except VendorError:
            names = {}  # optional: without names, matching is less precise
        return {**balance, "newest": max((int(read_id(row)) for row in newest), default=0), **names}

    def resolve(
        self,
        kind: Operation,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: frozenset[str],
    ) -> Flow[Look]:
        if kind == "extend" and order_id is not None:
            return (yield from self._resolve_extension(order_id, body, evidence))
        return (yield from self._resolve_order(body, evidence, owned))

    def inventory(self) -> Flow[Orders | None]:
        return (yield from self.list(Filters()))

    def _resolve_order(self, body: Mapping[str, Any], evidence: Mapping[str, Any], owned: frozenset[str]) -> Flow[Look]:
        """Found: exactly one order above the mark fits. Absent: none fits, and the balance is explained."""
        mark = evidence.get("newest")
        if not isinstance(mark, int):
            return Look("inconclusive", "the newest order id before the purchase is not known")
        newer = [order for order in (yield from self._newer(mark, body)) if order.order_id not in owned]
        fitting = [order for order in newer if fits(order, body, evidence)]
        if len(fitting) > 1:
            named = [order for order in fitting if order.traits.get("product") == evidence.get("product")]
            fitting = named if len(named) == 1 else fitting
        detail = f"{len(newer)} orders of the product above id {mark}, {len(fitting)} of them fit"
        if len(fitting) == 1:
            return Look("found", f"{detail}: {fitting[0].order_id}", fitting[0])
        if fitting:
            return Look("inconclusive", detail)
        if any(same_quantity(order, body) for order in newer):  # it may be it under another name
            return Look("inconclusive", f"{detail}, but one has the same quantity")
        return (yield from self._nothing_found(body, evidence, detail))

    def _newer(self, mark: int, body: Mapping[str, Any]) -> Flow[Orders]:
        zone = self.zone()
        listed = yield from self.rows_above(mark, body["product_id"])
        return self.understood(LIST, lambda: [read_order(row, zone) for row in listed])

    def _resolve_extension(self, order_id: str, body: Mapping[str, Any], evidence: Mapping[str, Any]) -> Flow[Look]:
        order = yield from self.get(order_id)
        detail = f"expiry {evidence.get('expires_at')} before, {order.expires_at and order.expires_at.isoformat()} now"
        detail += f"; {evidence.get('extensions')} extensions before, {order.extensions} now"
        if self.extended(evidence, order):
            also = "; the vendor renews it by itself as well, which looks the same" if order.auto_extends else ""
            return Look("found", detail + also, order)
        comparable = (evidence.get("expires_at") and order.expires_at) or (
            evidence.get("extensions") is not None and order.extensions is not None
        )
        if not comparable:
            return Look("inconclusive", detail)
        if body.get("card_id") is not None:  # an expiry may show late, and nothing else tells
            return Look("inconclusive", f"{detail}; paid by card, so the balance tells nothing: look at the card's charges")
        return (yield from self._nothing_found(body, evidence, detail))

    def _nothing_found(self, body: Mapping[str, Any], evidence: Mapping[str, Any], detail: str) -> Flow[Look]:
        """Absent, if other charges explain the missing money to the cent.

        Only certain charges explain money: an uncertain one may be this purchase's own. Without an explanation the look is
        inconclusive or not visible. A card leaves the wallet alone: there only the list of orders counts.
        """
        if body.get("card_id") is not None:
            return Look("absent", f"{detail}; paid by card, so the balance tells nothing")
        balance = yield from self.balance()
        change = balance_change(evidence, balance)
        detail = f"{detail}; {describe_balance(evidence, balance, change)}"
        others = decimal(evidence.get("others", "0"))
        if change is None or not -others <= change <= 0:
            return Look("inconclusive", detail)
        for before in evidence.get("balance_checkpoints") or [{**evidence, "charged": []}]:  # each of them is a proof
            charged = [decimal(other["price"]) for other in before["charged"] if other["body"].get("card_id") is None]
            if balance_change(before, balance) == -sum(charged, Decimal(0)):
                why = f"; {len(charged)} other purchases of this ledger explain {sum(charged):f}" if charged else ""
                return Look("absent", f"{detail}{why}")
        return Look("not visible", f"{detail}, which may be another purchase's ({others:f} in all) or this one's")
