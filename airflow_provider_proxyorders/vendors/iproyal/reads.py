"""The reading calls of IPRoyal for one account or one order: wallet, cards, prices, proxies. Lists are in ``lists.py``.

One rule: a price is asked for with the fields of the purchase, written as PHP reads them.

Pages below are paths of docs.iproyal.com: /proxies/isp/api/orders (orders, quote), /proxies/datacenter/api/user (balance, cards).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.model import Balance, Money, Quote
from airflow_provider_proxyorders.vendors.base import Rows, Setting, about
from airflow_provider_proxyorders.vendors.fields import query
from airflow_provider_proxyorders.vendors.iproyal.answers import read_delivery, read_objects, read_quote
from airflow_provider_proxyorders.vendors.iproyal.evidence import wanted_locations
from airflow_provider_proxyorders.vendors.iproyal.lists import IPRoyalLists, Params
from airflow_provider_proxyorders.vendors.iproyal.requests import credentials_body, order_number
from airflow_provider_proxyorders.wire.messages import Flow, Request
from airflow_provider_proxyorders.wire.reading import as_number

#: Where the session keeps a password on its way to the vendor.
NEW_PASSWORD = "new_password"


class IPRoyalReading(IPRoyalLists):
    """The reading half of :class:`~airflow_provider_proxyorders.vendors.iproyal.IPRoyal`."""

    title = "IPRoyal"
    settings = (
        Setting(
            "protocol",
            "Proxy protocol",
            "The port of the delivered proxies: http or socks5.",
            default="http",
            choices=("http", "socks5"),
            placeholder="http",
        ),
        Setting(
            "vendor_timezone",
            "Time zone of the vendor",
            "IANA zone of expire_date, which comes without a zone. IPRoyal leaves it open. Empty: the connection's zone.",
            placeholder="UTC",
        ),
        Setting(
            "short_delivery",
            "Confirmed with fewer proxies",
            "What it means that IPRoyal confirms an order with fewer proxies than ordered; its pages leave that open. wait: the "
            "task waits for the others until its timeout. accept: the order is delivered in part, and on_partial decides.",
            default="wait",
            choices=("wait", "accept"),
            placeholder="wait",
        ),
        Setting(
            "page_size",
            "Orders per page",
            "How many orders one call lists. IPRoyal leaves the maximum open; lower it if the vendor refuses.",
            kind="integer",
            default=100,
            placeholder="100",
        ),
        Setting(
            "most_orders",
            "Longest list",
            "A list with more orders is taken for one without an end, and reading it fails. Raise it for a larger account.",
            kind="integer",
            default=1_000_000,
            placeholder="1000000",
        ),
    )

    # -- flows that only read -------------------------------------------------------------------------------------

    def auth_headers(self) -> Mapping[str, str]:
        return {"X-Access-Token": self.account.secret}

    def balance(self) -> Flow[Balance]:
        """A bare number (/proxies/datacenter/api/user), seen in quotes as well."""
        request = Request("GET", "/balance", "read balance")
        data = yield from self.read(request)
        return self.understood(request, lambda: Balance(self._money(as_number(data, "the balance"))))

    def cards(self) -> Flow[Rows]:
        """Stored cards, for ``card_id``; without the addresses at which they can be changed."""
        request = Request("GET", "/cards", "list cards")
        data = yield from self.read(request)
        cards = self.understood(request, lambda: read_objects(data))
        return [{name: card[name] for name in card if name not in ("update_url", "cancel_url")} for card in cards]

    def change_credentials(self, order_id: str, options: Mapping[str, Any]) -> Flow[None]:
        """Give the proxies of an order another login. It moves no money.

        The section is documented (/proxies/isp/api/proxies, change-credentials). Its body was seen in use only, and its answer is
        not read.

        :param options: see :data:`~airflow_provider_proxyorders.vendors.iproyal.requests.CREDENTIALS`.
        """
        body = credentials_body(order_number(order_id), options)
        request = Request("POST", "/orders/proxies/change-credentials", "change credentials", json=body)
        self.account.session[NEW_PASSWORD] = body.get("password")  # an echo of it stays out of every text
        try:
            response = yield from self.call(request)
            self.check(response, request)
        finally:
            del self.account.session[NEW_PASSWORD]  # the delivery shows it

    def quote(self, body: Mapping[str, Any]) -> Flow[Quote]:
        """What a create body would cost.

        The call prices one location. Several locations are priced one by one, without the coupon: each call would count it anew.
        Quantity discounts grow with the quantity, so the sum is at least the price of the whole.
        """
        places = wanted_locations(body)
        quotes = []
        for location_id, quantity in places:
            params = [("product_location_id", str(location_id)), ("quantity", str(quantity))]
            if len(places) == 1 and body.get("coupon_code"):
                params.append(("coupon_code", str(body["coupon_code"])))
            quotes.append((yield from self._quoted([*_quote_params(body), *params])))
        if len(quotes) == 1:
            return quotes[0]
        total = sum((quote.price.amount for quote in quotes), Decimal(0))
        return Quote(self._money(total), {"sum_of": str(len(quotes))})

    def quote_extension(self, order_id: str, body: Mapping[str, Any]) -> Flow[Quote]:
        """What an extension would cost. The page lists ``order_id`` without a word on its effect; this is our reading."""
        params = [("order_id", str(order_number(order_id))), ("product_plan_id", str(body["product_plan_id"]))]
        quantity = body.get("quantity") or len(body.get("proxies") or ())
        if quantity:
            params.append(("quantity", str(quantity)))
        return (yield from self._quoted(params))

    def delivery(self, order_id: str) -> Flow[Delivery]:
        """The proxies of an order. Their entries were seen in use as objects and as lines; the pages leave the shape open."""
        read, zone, scheme = self.order_reader(), self.zone(), self.setting("protocol")
        request = replace(self.reading(order_id), delivers=True)
        data = yield from self.read(request)
        self.understood(request, lambda: about(order_id, read(data)))
        return self.understood(request, lambda: read_delivery(data, order_id, zone, scheme))

    # -- answers --------------------------------------------------------------------------------------------------

    def _quoted(self, params: Params) -> Flow[Quote]:
        request = Request("GET", "/orders/calculate-pricing", "quote price", params=params)
        data = yield from self.read(request)
        return self.understood(request, lambda: read_quote(data, self.account.currency))

    def _money(self, amount: Decimal) -> Money:
        return Money(amount, self.account.currency)

    def permission_advice(self, doing: str, tail: str) -> str:
        """/proxies/sneaker-dc/api: the API is activated after an identity check."""
        advice = super().permission_advice(doing, tail)
        return f"{advice} IPRoyal activates its API per account, for some products after an identity check."


def _quote_params(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = ("product_id", "product_plan_id", "order_billing_type", "product_question_answers")
    return [pair for name in names for pair in query(name, body.get(name))]
