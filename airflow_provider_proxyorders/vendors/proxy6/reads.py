"""The calls of PROXY6 that only read, and how its answers are judged.

Three rules. The envelope of an answer decides, since an error comes with HTTP 200. A purchase is refused only where a documented
number says so. The filter ``descr`` may find more than asked for, so each entry is compared once more.

Page: px6.link/developers; every call is a GET, and the key is a part of its path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.errors import OrderNotFound
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, OrderStatus, Quote, VendorOrder
from airflow_provider_proxyorders.vendors.base import Filters, Orders, Rows, Setting, Vendor
from airflow_provider_proxyorders.vendors.judging import MAYBE_TAKEN
from airflow_provider_proxyorders.vendors.proxy6.answers import (
    LONE,
    Held,
    comment_of,
    error_id,
    listed,
    order_of,
    read_balance,
    read_delivery,
    read_held,
    read_prices,
    read_quote,
    word_of,
)
from airflow_provider_proxyorders.vendors.proxy6.requests import state_in
from airflow_provider_proxyorders.wire.messages import KEY_IN_PATH, Flow, Request, Response

#: Entries of one page, the documented most.
PAGE = 1000
#: A list that is longer than this many pages is a vendor counting wrongly.
MOST_PAGES = 100
PROLONG = "extend order"
#: The documented error numbers, with the HTTP status that each amounts to. 30 is "unknown error".
MEANINGS: Mapping[int, int] = {
    100: 401,
    105: 403,
    400: 402,
    404: 404,
    **dict.fromkeys((110, 200, 210, 220, 230, 240, 250, 260, 270, 280, 300, 410), 400),
}
#: 404 to prolong may come after some proxies of the list were extended.
NO_PROOF_OF_PROLONG = 404


def call_of(method: str, name: str, params: Sequence[tuple[str, str]] = (), *, spends: bool = False) -> Request:
    """A call, with the slash behind its method as the page writes it."""
    return Request("GET", f"/api/{KEY_IN_PATH}/{method}/", name, params=params, spends=spends)


READ = call_of("getproxy", "read order")


@dataclass
class Listing:
    """What getproxy lists.

    :param odd: why an entry cannot be read, with its comment, or with "" where that cannot be read either.
    :param balance: the balance in the last answer.
    """

    carrying: list[Held] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)
    balance: Balance | None = None
    _ids: set[str] = field(default_factory=set)

    def add(self, data: Any) -> int:
        """Read one page; returns its number of entries.

        :raises UnreadableBody: for an answer without a list, without a balance, and for a full page that was read before.
        """
        entries, self.balance, before = listed(data), read_balance(data), len(self._ids)
        for row in entries:
            try:
                carrying = read_held(row)
            except UnreadableBody as error:
                self.odd.append((comment_of(row), f"an entry of its list cannot be read: {error}"))
                continue
            if carrying.proxy_id not in self._ids:
                self._ids.add(carrying.proxy_id)
                self.carrying.append(carrying)
        if len(entries) >= PAGE and len(self._ids) == before:
            raise UnreadableBody("a page of the list brings nothing new")
        return len(entries)

    def of(self, order_id: str) -> list[Held]:
        return [each for each in self.carrying if each.order_id.casefold() == order_id.casefold()]

    def odd_in(self, order_id: str) -> str:
        """Why an entry cannot be read that belongs to an order, or may belong to it while none of its proxies is listed."""
        own = (why for comment, why in self.odd if comment.casefold() == order_id.casefold())
        return next(own, "") or ("" if self.of(order_id) or not self.odd else self.odd[0][1])

    def orders(self) -> Orders:
        """All orders. One with an entry that cannot be read is unreadable as a whole."""
        groups: dict[str, list[Held]] = {}
        for each in self.carrying:
            groups.setdefault(each.order_id, []).append(each)
        odd = {comment or f"entry {place}": why for place, (comment, why) in enumerate(self.odd, 1)}
        orders = [order_of(order_id, group) for order_id, group in groups.items() if order_id not in odd]
        return orders + [VendorOrder(name, OrderStatus.UNKNOWN, "", reason=why, unreadable=why) for name, why in odd.items()]


class Proxy6Reading(Vendor):
    """The reading half of :class:`~airflow_provider_proxyorders.vendors.proxy6.Proxy6`."""

    title = "PROXY6"
    settings = (
        Setting(
            "protocol",
            "Proxy protocol",
            "The protocol of proxies whose type is neither http nor socks, such as auto: http or socks5.",
            default="http",
            choices=("http", "socks5"),
            placeholder="http",
        ),
        Setting(
            "max_ids",
            "Most proxies per extension",
            "An order of more proxies is not extended: an extension is never split, and PROXY6 leaves the limit of a call open.",
            kind="integer",
            default=100,
            placeholder="100",
        ),
        Setting(
            "extend_ended",
            "Extend ended proxies",
            "Also extend orders with ended proxies. PROXY6 leaves open whether that works, and from when the days count.",
            kind="boolean",
            default=False,
            placeholder="false",
        ),
        Setting(
            "allow_auto_prolong",
            "Allow auto_prolong",
            "Let requests ask PROXY6 to renew by itself. Such charges pass all limits, and no call shows or ends the renewal.",
            kind="boolean",
            default=False,
            placeholder="false",
        ),
    )

    # -- flows ----------------------------------------------------------------------------------------------------

    def auth_headers(self) -> Mapping[str, str]:
        """The key is in the path. A purchase is a GET, so nothing on the way may answer it from a cache."""
        return {"Cache-Control": "no-store"}

    def balance(self) -> Flow[Balance]:
        request = Request("GET", f"/api/{KEY_IN_PATH}", "read balance")
        data = yield from self.read(request)
        return self.understood(request, lambda: read_balance(data))

    def get(self, order_id: str) -> Flow[VendorOrder]:
        """The proxies with one comment."""
        return order_of(order_id, (yield from self.held_of(order_id)))

    def list(self, filters: Filters) -> Flow[Orders]:
        """All proxies, grouped by their comment."""
        listing = yield from self.listing(state=state_in(filters))
        wanted = None if filters.order_ids is None else {each.casefold() for each in filters.order_ids}
        return [order for order in listing.orders() if wanted is None or order.order_id.casefold() in wanted]

    def inventory(self) -> Flow[Orders | None]:
        return (yield from self.list(Filters()))

    def products(self) -> Flow[Rows]:
        request = call_of("getprice", "list prices")
        data = yield from self.read(request)
        return self.understood(request, lambda: read_prices(data))

    def quote(self, body: Mapping[str, Any]) -> Flow[Quote]:
        """The price of a purchase by count, period and version (method getprice); the country does not matter."""
        request = call_of("getprice", "quote price", [(name, str(body[name])) for name in ("count", "period", "version")])
        data = yield from self.read(request)
        return self.understood(request, lambda: read_quote(data, body))

    def delivery(self, order_id: str) -> Flow[Delivery]:
        listing = yield from self.listing(order_id, delivers=True)
        return read_delivery(order_id, self.held_in(listing, order_id), str(self.setting("protocol")))

    def held_of(self, order_id: str) -> Flow[Sequence[Held]]:
        """The proxies of an order.

        :raises OrderNotFound: there are none, and every entry of the list was readable.
        """
        return self.held_in((yield from self.listing(order_id)), order_id)

    def held_in(self, listing: Listing, order_id: str) -> Sequence[Held]:
        """See :meth:`held_of`."""
        carrying = listing.of(order_id)
        if why := listing.odd_in(order_id):
            raise self.unreadable(READ, UnreadableBody(why))
        if not carrying:
            raise OrderNotFound(
                f"{self.unknown_order(order_id)}: it lists no proxy of this order. This call moves no money.", status=404
            )
        return carrying

    def listing(self, order_id: str | None = None, state: str = "all", *, delivers: bool = False) -> Flow[Listing]:
        """Proxies, every page of them (method getproxy). No answer tells a total: a page below its limit is the last one.

        :param order_id: only those that may belong to it.
        :param delivers: see :class:`Request`.
        """
        chosen = [("descr", order_id)] if order_id is not None and not order_id.startswith(LONE) else []
        listing = Listing()
        for page in range(1, MOST_PAGES + 1):
            request = call_of(
                "getproxy",
                "list orders" if order_id is None else "read order",
                [("state", state), *chosen, ("page", str(page)), ("limit", str(PAGE))],
            )
            data = yield from self.read(replace(request, delivers=delivers))
            if self.understood(request, partial(listing.add, data)) < PAGE:
                return listing
        raise self.unreadable(request, UnreadableBody(f"the list goes on after {MOST_PAGES} pages"))

    # -- answers --------------------------------------------------------------------------------------------------

    def check(self, response: Response, request: Request) -> None:
        data = response.data_or_none()
        if word_of(data) == "no":
            raise self.refusal(response, request, MEANINGS.get(error_id(data) or 0, 503))
        super().check(response, request)

    def readable(self, response: Response, request: Request) -> Any:
        data = super().readable(response, request)
        if word_of(data) != "yes":
            raise self.unreadable(request, UnreadableBody("its status is neither yes nor no"))
        return data

    def spent(self, response: Response, request: Request) -> Any:
        """The answer to a purchase. Only ``no`` with a documented number proves a refusal (the page's table of errors)."""
        data = response.data_or_none()
        word, number = word_of(data), error_id(data) or 0
        clear = response.status < 500 and response.status not in MAYBE_TAKEN
        if word == "no" and clear and number in MEANINGS and not (request.name == PROLONG and number == NO_PROOF_OF_PROLONG):
            raise self.refusal(response, request, MEANINGS[number])
        if response.ok and word != "no":
            data = super().spent(response, request)
            if word == "yes":
                return data
            said = self.words(response)
            words = f" and said {said!r}" if said else ""
            raise self.unknown(request, f"answered {response.status}{words}, without the status yes or no", response)
        said = self._elsewhere(response) or self.words(response)
        raise self.unknown(request, f"answered {response.status} {said}".rstrip(), response)

    def lacks_funds(self, response: Response) -> bool:
        return error_id(response.data_or_none()) == 400

    def error_code(self, data: Any) -> str:
        number = error_id(data)
        return "" if number is None else str(number)

    def error_text(self, data: Any) -> str:
        said, code = super().error_text(data), self.error_code(data)
        return f"{said} (error {code})" if code else said

    def permission_advice(self, doing: str, tail: str) -> str:
        return (
            f"{super().permission_advice(doing, tail)} The account may allow calls from named addresses only; look at its page "
            "for developers."
        )
