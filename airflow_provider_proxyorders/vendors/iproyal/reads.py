"""The reading calls of IPRoyal: wallet, catalogue, prices, orders one by one and in lists, proxies.

Two rules: a list is read to its last page, or the read fails; and one call reads a hundred waiting orders.

Pages below are paths of docs.iproyal.com: /proxies/isp/api/orders (orders, quote), /proxies/isp/api/products,
/proxies/datacenter/api/user (balance, cards).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_proxyorders.domain.errors import ConfigError, RequestRefused
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, Delivery, Money, OrderStatus, Quote, VendorOrder
from airflow_provider_proxyorders.vendors.base import (
    Filters,
    Orders,
    Rows,
    Setting,
    Vendor,
    about,
)
from airflow_provider_proxyorders.vendors.iproyal.answers import (
    Listed,
    read_delivery,
    read_id,
    read_objects,
    read_order,
    read_page,
    read_quote,
)
from airflow_provider_proxyorders.vendors.iproyal.evidence import wanted_locations
from airflow_provider_proxyorders.vendors.iproyal.requests import ids_in, list_params, order_number
from airflow_provider_proxyorders.wire.messages import Flow, Request
from airflow_provider_proxyorders.wire.reading import as_number, optional_text

#: Ids asked for in one call; keeps the address well below the 8 kB that servers commonly take.
IDS_A_CALL = 100
#: A list that is longer than this many pages is a vendor counting wrongly.
MOST_PAGES = 1000
LIST = Request("GET", "/orders", "list orders")
#: Rows read to find the newest order.
NEWEST_ROWS = 10
Params = Sequence[tuple[str, str]]
Enough = Callable[[Sequence[int]], bool]


class IPRoyalReading(Vendor):
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
            "page_size",
            "Orders per page",
            "How many orders one call lists. IPRoyal leaves the maximum open; lower it if the vendor refuses.",
            kind="integer",
            default=100,
            placeholder="100",
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

    def products(self) -> Flow[Rows]:
        request = Request("GET", "/products", "list products")
        data = yield from self.read(request)
        return self.understood(request, lambda: read_objects(data))

    def get(self, order_id: str) -> Flow[VendorOrder]:
        zone, request = self.zone(), self._reading(order_id)
        data = yield from self.read(request)
        return self.understood(request, lambda: about(order_id, read_order(data, zone)))

    def get_many(self, order_ids: Sequence[str]) -> Flow[dict[str, VendorOrder]]:
        """Orders by id, a hundred a call. An unreadable entry counts as pending beside the others."""
        numbers = [order_id for order_id in dict.fromkeys(order_ids) if order_id.isascii() and order_id.isdigit()]
        zone, orders = self.zone(), dict[str, VendorOrder]()
        for start in range(0, len(numbers), IDS_A_CALL):
            asked = set(numbers[start : start + IDS_A_CALL])
            for row in (yield from self._pages(_id_params(numbers[start : start + IDS_A_CALL]))):
                order_id = str(row.get("id")) if isinstance(row, Mapping) else ""
                if order_id not in asked:
                    continue
                try:
                    orders[order_id] = read_order(row, zone)
                except UnreadableBody as error:
                    word, why = optional_text(row, "status") or "", f"its entry in the list cannot be read: {error}"
                    orders[order_id] = VendorOrder(order_id, OrderStatus.UNKNOWN, word, reason=why)
        return orders

    def list(self, filters: Filters) -> Flow[Orders]:
        order_ids, rest = ids_in(filters)
        params = list_params(rest)
        if order_ids is None:
            return (yield from self._orders(params))
        orders: Orders = []
        numbers = [str(order_number(order_id)) for order_id in dict.fromkeys(order_ids)]
        for start in range(0, len(numbers), IDS_A_CALL):
            orders += yield from self._orders([*params, *_id_params(numbers[start : start + IDS_A_CALL])])
        return orders

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
        zone, scheme = self.zone(), self.setting("protocol")
        request = self._reading(order_id)
        data = yield from self.read(request)
        self.understood(request, lambda: about(order_id, read_order(data, zone)))
        return self.understood(request, lambda: read_delivery(data, order_id, zone, scheme))

    def _orders(self, params: Params) -> Flow[Orders]:
        zone = self.zone()
        listed = yield from self._pages(params)
        orders = self.understood(LIST, lambda: [read_order(row, zone) for row in listed])
        return [*{order.order_id: order for order in orders}.values()]  # pages can overlap while orders come in

    def _pages(self, params: Params, size: int | None = None, enough: Enough | None = None) -> Flow[Listed]:
        """The rows of all pages.

        :param size: rows a page, else the connection's.
        :param enough: says of the ids of a page that no further page is needed.
        """
        if not any(name == "per_page" for name, _ in params):
            params = [*params, ("per_page", str(size or self.setting("page_size")))]
        listed: Listed = []
        for page in range(1, MOST_PAGES + 1):
            request = replace(LIST, params=[*params, ("page", str(page))])
            data = yield from self.read(request)
            try:
                rows, more = read_page(data, page)
                done = not more or (enough is not None and enough([int(read_id(row)) for row in rows]))
            except UnreadableBody as error:
                raise self.unreadable(request, error) from None
            listed += rows
            if done:
                return listed
        raise self.unreadable(LIST, UnreadableBody(f"it goes on after {MOST_PAGES} pages"))

    def rows_above(self, mark: int | None, product_id: Any) -> Flow[Listed]:
        """Orders of a product above an id, as the vendor sent them; without a mark enough of them to hold the newest.

        The list is read from the newest on. The columns of ``sort_by`` are undocumented: after a refusal, or without an effect,
        every page is read.
        """

        def enough(ids: Sequence[int]) -> bool:
            falling = len(ids) > 1 and all(later < earlier for earlier, later in pairwise(ids))
            return falling and (mark is None or ids[-1] <= mark)

        params = [("product_id", str(product_id))]
        size = NEWEST_ROWS if mark is None else None
        try:
            listed = yield from self._pages([*params, ("sort_by", "id"), ("order", "desc")], size, enough)
        except RequestRefused:
            listed = yield from self._pages(params)
        by_id = self.understood(LIST, lambda: {int(read_id(row)): row for row in listed})
        return [row for number, row in by_id.items() if mark is None or number > mark]

    # -- answers --------------------------------------------------------------------------------------------------

    def _reading(self, order_id: str) -> Request:
        return Request("GET", f"/orders/{order_number(order_id)}", "read order")

    def _quoted(self, params: Params) -> Flow[Quote]:
        request = Request("GET", "/orders/calculate-pricing", "quote price", params=params)
        data = yield from self.read(request)
        return self.understood(request, lambda: read_quote(data, self.account.currency))

    def _money(self, amount: Decimal) -> Money:
        return Money(amount, self.account.currency)

    def zone(self) -> str:
        """The IANA zone of the vendor's times.

        :raises ConfigError: for an unknown zone.
        """
        zone = str(self.setting("vendor_timezone") or self.account.timezone)
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ConfigError(
                f"connection {self.account.conn_id!r}: {zone!r} must be an IANA time zone, for example Europe/Vilnius. "
                "Nothing was sent."
            ) from None
        return zone

    def permission_advice(self, doing: str, tail: str) -> str:
        """/proxies/sneaker-dc/api: the API is activated after an identity check."""
        advice = super().permission_advice(doing, tail)
        return f"{advice} IPRoyal activates its API per account, for some products after an identity check."

    def error_text(self, data: Any) -> str:
        """``message``, ``error`` or ``errors``; all undocumented."""
        if isinstance(data, Mapping):
            for name in ("message", "error", "errors"):
                if data.get(name):
                    return optional_text(data, name) or ""
        return ""


def _id_params(order_ids: Sequence[str]) -> list[tuple[str, str]]:
    return [("order_ids[]", order_id) for order_id in order_ids]


def _quote_params(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    params = [(name, str(body[name])) for name in ("product_id", "product_plan_id", "order_billing_type") if name in body]
    answers = body.get("product_question_answers") or {}
    return params + [(f"product_question_answers[{question}]", str(answer)) for question, answer in answers.items()]
