"""IPRoyal's reseller API: ISP, datacenter, sneaker and mobile proxies, ordered, listed, priced and extended.

Two rules. The documentation names five statuses without a definition: ``confirmed`` counts as delivered when all proxies are
there. It leaves error answers open: decisions rest on their HTTP status alone.

Pages below are paths of docs.iproyal.com: /proxies/isp/api/orders (orders, quote, extend), /proxies/isp/api/products,
/proxies/datacenter/api/user (balance, cards), /proxies/mobile/api/orders (auto-extend).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.vendors.base import (
    Capabilities,
    Look,
    Operation,
    Orders,
    Polling,
    Prepared,
    about,
)
from airflow_provider_proxyorders.vendors.evidence import balance_evidence, missing_money
from airflow_provider_proxyorders.vendors.iproyal.answers import just_sent, read_named, unwrapped
from airflow_provider_proxyorders.vendors.iproyal.evidence import fits, names_of, same_quantity, wanted_locations, why_not
from airflow_provider_proxyorders.vendors.iproyal.lists import IDS_A_CALL, read_beside_others
from airflow_provider_proxyorders.vendors.iproyal.reads import IPRoyalReading
from airflow_provider_proxyorders.vendors.iproyal.requests import (
    extended_part,
    order_number,
    prepare_extension,
    prepare_order,
    toggle_body,
)
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
    catalogue_fields = {
        "id": "product_id",
        "plans.id": "product_plan_id",
        "locations.id": "product_location_id",
        "locations.child_locations.id": "product_location_id",
    }
    capabilities = Capabilities(
        quote_create=True,
        quote_extend=True,
        list_orders=True,
        list_by="product_id",
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

    def contradiction(self, kind: Operation, body: Mapping[str, Any], evidence: Mapping[str, Any], order: VendorOrder) -> str:
        return why_not(order, body, evidence) if kind == "create" else ""

    def units(self, body: Mapping[str, Any]) -> int | None:
        return sum(int(quantity or 0) for _, quantity in wanted_locations(body))

    def part_of(self, body: Mapping[str, Any]) -> str:
        return extended_part(body)

    def shows_extension(self, evidence: Mapping[str, Any]) -> bool:
        """The one ``expire_date`` of an order need not move with a part of its proxies."""
        return not evidence.get("part")

    def pays_from_wallet(self, body: Mapping[str, Any]) -> bool:
        return body.get("card_id") is None

    def renews_by_itself(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("auto_extend"))

    def with_marks(self, evidence: dict[str, Any], marks: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Ids ascend, so an id that was once the newest bounds a list that is short for one read."""
        if "newest" not in evidence:
            return evidence, marks
        newest = max(evidence["newest"], int(marks.get("newest", 0)))
        return {**evidence, "newest": newest}, {"newest": newest}

    # -- flows that spend -----------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        read = self.order_reader()  # raises for a wrong setting before the purchase leaves
        request = Request("POST", "/orders", "create order", json=body, spends=True)
        response = yield from self.call(request)
        return self.placed(response, request, lambda data: just_sent(read(data)), read_named)

    def extend(self, order_id: str, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        read = self.order_reader()
        request = Request(
            "POST", f"/orders/{order_number(order_id)}/extend", "extend order", (), body, spends=True, order_id=order_id
        )
        response = yield from self.call(request)
        return self.placed(response, request, lambda data: just_sent(about(order_id, read(data))))

    # -- flows that change a setting ------------------------------------------------------------------------------

    def set_auto_extend(self, order_id: str, enabled: bool, options: Mapping[str, Any] | None = None) -> Flow[None]:
        """Switch renewal by the vendor (/proxies/mobile/api/orders, toggle-auto-extend).

        :param options: ``product_plan_id``, ``payment_type`` (``card`` or ``balance``), ``card_id``.
        """
        body = toggle_body(order_number(order_id), enabled, options)
        request = Request("POST", "/orders/toggle-auto-extend", "switch auto-extend", json=body, order_id=order_id)
        data = unwrapped((yield from self.read(request)))
        if self.understood(request, lambda: pick(data, "is_enabled")) is not enabled:
            raise self.unreadable(request, UnreadableBody(f"is_enabled is not {str(enabled).lower()}, as was asked for"))

    # -- purchases whose answer was lost --------------------------------------------------------------------------

    def snapshot(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        balance = balance_evidence((yield from self.balance()))
        if kind == "extend" and order_id is not None:
            order = yield from self.get(order_id)
            expires = order.expires_at.isoformat() if order.expires_at else None
            part = {"part": named} if (named := self.part_of(body)) else {}
            return {**balance, "expires_at": expires, "extensions": order.extensions, **part}
        newest, nameless = yield from self.rows_above(None, body["product_id"])
        names = names_of(body, (yield from self.products()))
        odd = {"nameless": nameless} if nameless else {}
        return {**balance, "newest": max(newest, default=0), **names, **odd}

    def snapshot_reads(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Sequence[Flow[Any]]:
        if kind == "extend" and order_id is not None:
            return self.balance(), self.get(order_id)
        return self.balance(), self.rows_above(None, body["product_id"]), self.products()

    def resolve(
        self,
        kind: Operation,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: Container[str],
    ) -> Flow[Look]:
        if kind == "extend" and order_id is not None:
            return (yield from self._resolve_extension(order_id, body, evidence))
        return (yield from self._resolve_order(body, evidence, owned))

    def _resolve_order(self, body: Mapping[str, Any], evidence: Mapping[str, Any], owned: Container[str]) -> Flow[Look]:
        """Found: exactly one order above the mark fits. Absent: none fits, and the balance is explained. Not listed: none fits.

        An entry that cannot be read may be the purchase, so with one above the mark nothing is absent. Where the list before the
        purchase had an entry without an id, an order above the mark may be older, so nothing is found.
        """
        mark = evidence.get("newest")
        if not isinstance(mark, int):
            return Look("inconclusive", "the newest order id before the purchase is not known", trace=False)
        listed, nameless = yield from self._newer(mark, body)
        newer = [order for order in listed if order.order_id not in owned and not order.unreadable]
        odd = nameless + sum(order.order_id not in owned for order in listed if order.unreadable)
        fitting = [order for order in newer if fits(order, body, evidence)]
        if fitting:
            fitting = yield from self._in_wanted_locations(fitting, body, evidence, mark)
        if len(fitting) > 1:
            named = [order for order in fitting if order.traits.get("product") == evidence.get("product")]
            fitting = named if len(named) == 1 else fitting
        detail = f"{len(newer)} orders of the product above id {mark}, {len(fitting)} of them fit"
        detail += f"; {odd} entries of the list cannot be read" if odd else ""
        certain = bool(evidence.get("plan")) and not evidence.get("nameless")
        if len(fitting) == 1 and certain:
            return Look("found", f"{detail}: {fitting[0].order_id}", fitting[0])
        if fitting:
            oldest_first = tuple(sorted(fitting, key=lambda order: int(order.order_id))) if certain else ()
            detail = detail if evidence.get("plan") else f"{detail}; the catalogue did not name the plan"
            return Look("inconclusive", detail, candidates=oldest_first)
        if any(same_quantity(order, body) for order in newer):  # it may be it under another name
            return Look("inconclusive", f"{detail}, but one has the same quantity")
        look = yield from self._nothing_found(body, evidence, detail, listed=True)
        return replace(look, verdict="not visible") if odd and look.verdict in ("absent", "not listed") else look

    def _in_wanted_locations(
        self, orders: Orders, body: Mapping[str, Any], evidence: Mapping[str, Any], mark: int
    ) -> Flow[Orders]:
        """Those of the orders that the list has for each location without a name in the catalogue."""
        if len(evidence.get("locations") or ()) == len(wanted_locations(body)):
            return orders
        for location_id, _ in wanted_locations(body):
            there, _ = yield from self.rows_above(mark, body["product_id"], location_id)
            orders = [order for order in orders if int(order.order_id) in there]
        return orders

    def _newer(self, mark: int, body: Mapping[str, Any]) -> Flow[tuple[Orders, int]]:
        read = self.order_reader()
        listed, nameless = yield from self.rows_above(mark, body["product_id"])
        return [read_beside_others(row, str(number), read) for number, row in listed.items()], nameless

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
            return Look("inconclusive", detail, trace=False)
        if not self.pays_from_wallet(body):  # an expiry may show late, and nothing else tells
            why = f"{detail}; paid by card, so the balance tells nothing: look at the card's charges"
            return Look("inconclusive", why, trace=False)
        return (yield from self._nothing_found(body, evidence, detail))

    def _nothing_found(
        self, body: Mapping[str, Any], evidence: Mapping[str, Any], detail: str, *, listed: bool = False
    ) -> Flow[Look]:
        """Absent, if other charges explain the missing money to the last digit.

        Only certain charges explain money: an uncertain one may be this purchase's own. Without an explanation the look is
        inconclusive or not visible. A card leaves the wallet alone: there only the list of orders counts.

        :param listed: a list of all orders lacks it. Beside money that others may have taken, it is "not listed" then; balances
            that cannot be compared tell nothing.
        """
        if not self.pays_from_wallet(body):
            return Look("absent", f"{detail}; paid by card, so the balance tells nothing")
        missing = missing_money(evidence, (yield from self.balance()))
        detail = f"{detail}; {missing.detail}"
        if missing.explained:
            return Look("absent", detail)
        if missing.fell:
            return Look("inconclusive", detail)
        if missing.rose:
            return Look("inconclusive", detail, trace=False)
        look = Look("not visible", f"{detail}, which may be another purchase's or this one's", trace=True)
        return replace(look, verdict="not listed") if listed and missing.amount is not None else look
