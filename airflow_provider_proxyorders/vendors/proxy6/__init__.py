"""PROXY6 (px6): IPv6, IPv4 and shared IPv4 proxies, bought, found again by a comment, and extended proxy by proxy.

Two rules. The vendor has no orders, only proxies: an order is the proxies with our comment (``descr``), and the comment is its
id. A purchase is a GET like every other call, and a repeat of it is a second purchase.

Pages below are methods of px6.link/developers: /buy, /prolong, /getproxy, /getprice.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.errors import InvalidRequest, RequestRefused
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, Money, VendorOrder
from airflow_provider_proxyorders.vendors.base import Capabilities, Look, Operation, Polling, Prepared
from airflow_provider_proxyorders.vendors.evidence import Missing, balance_evidence, missing_money
from airflow_provider_proxyorders.vendors.proxy6.answers import (
    Held,
    earliest,
    ends_in,
    order_of,
    read_bought,
    read_prolonged,
)
from airflow_provider_proxyorders.vendors.proxy6.reads import PROLONG, READ, Listing, Proxy6Reading, call_of
from airflow_provider_proxyorders.vendors.proxy6.requests import extended_part, params_of, prepare_extension, prepare_order
from airflow_provider_proxyorders.wire.messages import Flow
from airflow_provider_proxyorders.wire.reading import optional_text


class Proxy6(Proxy6Reading):
    """PROXY6 proxies (px6.link/developers, methods /buy and /prolong): bought, listed, priced, extended.

    Its page has neither an order to read, nor a price of an extension, nor a webhook, nor a switch for its own renewal.
    """

    name = "proxy6"
    docs_url = "https://px6.link/developers"
    base_url = "https://px6.link"
    secret_label = "API key"
    secret_help = (
        "From the account's page for developers. It goes into the address of each call, so it is kept out of every message."
    )
    catalogue_fields = {"version": "version", "period": "period"}
    capabilities = Capabilities(
        quote_create=True,
        list_orders=True,
        extend=True,
        price_in_order=True,
        create_evidence="search",
        extend_evidence="order",
        requests_per_second=2,  # the page allows 3, and leaves open whether they count by key or by address
        settle=30,  # how soon the list shows a purchase is not documented
        polling=Polling(first=1, fastest=2, slowest=30, timeout=600),  # the answer to buy brings the proxies
    )

    # -- before money moves ---------------------------------------------------------------------------------------

    def prepare_create(self, request: Mapping[str, Any], reference: str) -> Prepared:
        return prepare_order(request, reference, may_renew=self.setting("allow_auto_prolong") is True)

    def prepare_extend(self, order_id: str, request: Mapping[str, Any]) -> Prepared:
        return prepare_extension(request)

    def reference_in(self, body: Mapping[str, Any]) -> str | None:
        return optional_text(body, "descr")

    def units(self, body: Mapping[str, Any]) -> int | None:
        return int(body["count"])

    @classmethod
    def handles(cls, handle: str, body: Mapping[str, Any]) -> dict[str, str]:
        """The number of the purchase in the answer to it; no call takes it."""
        return {"order_id": handle}

    def part_of(self, body: Mapping[str, Any]) -> str:
        return extended_part(body)

    def renews_by_itself(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("auto_prolong"))

    def contradiction(self, kind: Operation, body: Mapping[str, Any], evidence: Mapping[str, Any], order: VendorOrder) -> str:
        """Comment, country, version, days and number of proxies; the days stand in the answer to buy only."""
        if kind == "extend":
            return ""
        if order.order_id != body["descr"]:
            return f"its comment is {order.order_id!r}, asked was {body['descr']!r}"
        for name in ("country", "version", "period"):
            shown = order.traits.get(name)
            if shown is not None and shown.casefold() != str(body[name]).casefold():
                return f"its {name} is {shown}, asked was {body[name]}"
        if order.quantity is not None and order.quantity != body["count"]:
            return f"it is {order.quantity} proxies, asked was for {body['count']}"
        if order.delivered is not None and order.delivered > body["count"]:
            return f"{order.delivered} proxies carry its comment, ordered were {body['count']}: it may have been bought twice"
        return ""

    def extended(self, evidence: Mapping[str, Any], order: VendorOrder) -> bool:
        """Whether each proxy of an extension ends later than before."""
        before, now = evidence.get("ends") or {}, ends_in(order)
        return bool(before) and all(now.get(proxy_id, 0) > end for proxy_id, end in before.items())

    # -- flows that spend -----------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        request = call_of("buy", "create order", params_of(body), spends=True)
        response = yield from self.call(request)

        def named(data: Any) -> str:
            return str(body["descr"])  # a yes took the purchase, whatever else the answer holds

        return self.placed(response, request, lambda data: read_bought(data, body), named)

    def extend(self, order_id: str, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        """Extend all proxies of an order, or those that the body names, in one call."""
        carrying = self._to_extend(order_id, body, (yield from self.held_of(order_id)))
        ids = [each.proxy_id for each in carrying]
        params = [("period", str(body["period"])), ("ids", ",".join(ids))]
        request = call_of("prolong", PROLONG, params, spends=True)
        response = yield from self.call(request)
        return self.placed(response, request, lambda data: read_prolonged(data, order_id, ids))

    def _to_extend(self, order_id: str, body: Mapping[str, Any], carrying: Sequence[Held]) -> Sequence[Held]:
        """:raises InvalidRequest: for an extension that this package does not buy. Nothing was bought."""
        named = body.get("ids")
        if named is not None:
            foreign = sorted(set(named) - {each.proxy_id for each in carrying})
            if foreign:
                raise InvalidRequest("ids", f"must be proxies of order {order_id!r}", got=foreign, vendor=self.title)
            carrying = [each for each in carrying if each.proxy_id in named]
        most = self.setting("max_ids")
        if len(carrying) > most:
            rule = f"must name at most {most} proxies, the connection's max_ids, and this extends {len(carrying)}"
            raise InvalidRequest("ids", rule, [carrying[0].proxy_id], vendor=self.title)
        ended = [each.proxy_id for each in carrying if each.active != "1"]
        if ended and self.setting("extend_ended") is not True:
            rule = f"must be active proxies; ended are {', '.join(ended[:5])}. To try it, set extend_ended in the connection"
            raise InvalidRequest("ids", rule, vendor=self.title)
        return carrying

    # -- purchases whose answer was lost --------------------------------------------------------------------------

    def snapshot(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        """The balance, and for an extension the end of each proxy.

        :raises RequestRefused: proxies carry the comment of a new purchase already. Nothing was bought.
        """
        about = str(body["descr"]) if order_id is None else order_id
        listing = yield from self.listing(about)
        balance = balance_evidence(_balance_in(listing))
        if kind == "create":
            if listing.of(about):
                raise RequestRefused(
                    f"{self.title} lists proxies with the comment {about!r} already, so this order key was bought before, "
                    "perhaps with another ledger. Look at them, then adopt the order or choose another order key. Nothing was "
                    "bought."
                )
            return balance
        carrying = self._to_extend(about, body, self.held_in(listing, about))
        ends = {each.proxy_id: each.ends for each in carrying}
        if None in ends.values():
            raise self.unreadable(READ, UnreadableBody("the end of a proxy is missing"))
        first = earliest(ends.values())
        return {**balance, "ends": ends, "expires_at": first.isoformat() if first else None}

    def resolve(
        self,
        kind: Operation,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: Container[str],
    ) -> Flow[Look]:
        about = str(body["descr"]) if order_id is None else order_id
        listing = yield from self.listing(about)
        carrying, balance = listing.of(about), _balance_in(listing)
        missing = missing_money(evidence, balance)
        if why := listing.odd_in(about):
            return Look("not visible", f"{missing.detail}; {why}", trace=True)
        if kind == "extend":
            return _extension(about, evidence, carrying, missing, balance.available.currency)
        detail = f"{len(carrying)} proxies carry the comment {about}; {missing.detail}"
        if not carrying:
            return _nothing_found(detail, missing)
        order = order_of(about, carrying)
        why_not = self.contradiction(kind, body, evidence, order)
        if why_not or about in owned:
            return Look("inconclusive", f"{detail}; {why_not or 'they are of another purchase'}")
        return Look("found", detail, order)


def _extension(
    order_id: str, evidence: Mapping[str, Any], carrying: Sequence[Held], missing: Missing, currency: str | None
) -> Look:
    """Found: each proxy ends later than before. Some of them: a person decides. None, and no money is missing: absent.

    No read tells the price of an extension, so it comes from the balance.
    """
    before: Mapping[str, int] = evidence.get("ends") or {}
    now = {each.proxy_id: each.ends for each in carrying}
    moved = [proxy_id for proxy_id, end in before.items() if (now.get(proxy_id) or 0) > end]
    detail = f"{len(moved)} of {len(before)} proxies end later than before; {missing.detail}"
    if before and len(moved) == len(before):
        price = Money(missing.price, currency) if missing.price is not None else None
        return Look("found", detail, replace(order_of(order_id, carrying), price=price))
    if not before or moved or not set(before) <= set(now):
        return Look("inconclusive", detail, trace=bool(moved))
    return _nothing_found(detail, missing)


def _nothing_found(detail: str, missing: Missing) -> Look:
    """The verdict without a proxy that could be it: absent, unless the balance contradicts the list.

    A comment, and the end of a proxy, belong to one purchase. So money that others may have taken needs no explanation here.
    """
    if missing.fell:
        return Look("inconclusive", detail)
    if missing.amount is None or missing.rose:
        return Look("inconclusive", detail, trace=False)
    return Look("absent", detail)


def _balance_in(listing: Listing) -> Balance:
    assert listing.balance is not None
    return listing.balance
