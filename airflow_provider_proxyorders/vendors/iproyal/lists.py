"""The lists of orders at IPRoyal: paging, many orders by id, and lists product by product.

Three rules. A list is read to its last page, or as far as the caller asked, or the read fails. One call reads a hundred waiting
orders. Where the vendor refuses a list without ``product_id``, the flows ask for it product by product.

The page docs.iproyal.com/proxies/isp/api/orders lists ``product_id`` as one filter among others. In use it was seen as required.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidRequest, OrderNotFound, RequestRefused
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
from airflow_provider_proxyorders.vendors.base import Filters, Orders, Rows, Take, Vendor, about
from airflow_provider_proxyorders.vendors.iproyal.answers import Listed, read_id, read_objects, read_order, read_page
from airflow_provider_proxyorders.vendors.iproyal.requests import VENDOR, ids_in, list_params, order_number
from airflow_provider_proxyorders.wire.messages import Flow, Request
from airflow_provider_proxyorders.wire.reading import optional_text

#: Ids asked for in one call; keeps the address well below the 8 kB that servers commonly take.
IDS_A_CALL = 100
#: So many pages in a row with known orders only are a vendor that counts wrongly. One may come where many orders are new.
MOST_REPEATS = 10
LIST = Request("GET", "/orders", "list orders")
#: Rows read to find the newest order.
NEWEST_ROWS = 10
#: Where the session keeps the ids of the products, once the vendor has refused a list without one.
PRODUCTS = "products"
Params = Sequence[tuple[str, str]]
TakeRows = Callable[[Listed, int], None]
Enough = Callable[[Sequence[int]], bool]
Reader = Callable[[Any], VendorOrder]


@dataclass(frozen=True)
class Reach:
    """How much of a list is read.

    :param size: rows a page; ``None`` = the connection's setting.
    :param most: rows at most; ``None`` = all.
    :param enough: says of the ids of a page that no further page is needed.
    """

    size: int | None = None
    most: int | None = None
    enough: Enough | None = None

    def is_reached(self, read: int, page: Listed) -> bool:
        """Whether no further page is needed.

        :param read: rows so far.
        :param page: rows of the last page.
        """
        if self.most is not None and read >= self.most:
            return True
        return self.enough is not None and self.enough([number for row in page if (number := _number(row)) is not None])


ALL = Reach()


class IPRoyalLists(Vendor):
    """The lists of :class:`~airflow_provider_proxyorders.vendors.iproyal.IPRoyal`."""

    def products(self) -> Flow[Rows]:
        request = Request("GET", "/products", "list products")
        data = yield from self.read(request)
        return self.understood(request, lambda: read_objects(data))

    def get(self, order_id: str) -> Flow[VendorOrder]:
        read, request = self.order_reader(), self.reading(order_id)
        data = yield from self.read(request)
        return self.understood(request, lambda: about(order_id, read(data)))

    def get_many(self, order_ids: Sequence[str]) -> Flow[dict[str, VendorOrder]]:
        """Orders by id, a hundred a call. An unreadable entry counts as pending beside the others.

        In lists by product, an order that no product's list shows is read alone.
        """
        numbers = [order_id for order_id in dict.fromkeys(order_ids) if order_id.isascii() and order_id.isdigit()]
        read, orders = self.order_reader(), dict[str, VendorOrder]()
        for start in range(0, len(numbers), IDS_A_CALL):
            asked = numbers[start : start + IDS_A_CALL]
            products = self.account.session.get(PRODUCTS)
            if products is None or len(products) < len(asked):
                for row in (yield from self._rows(_id_params(asked), fresh=False)):
                    order_id = str(row.get("id")) if isinstance(row, Mapping) else ""
                    if order_id in asked:
                        orders[order_id] = read_beside_others(row, order_id, read)
            if PRODUCTS in self.account.session:
                orders |= yield from super().get_many([order_id for order_id in asked if order_id not in orders])
        return orders

    def list(self, filters: Filters) -> Flow[Orders]:
        """Orders that pass the filters; ``page`` reads that page alone (/proxies/isp/api/orders, list)."""
        order_ids, rest = ids_in(filters)
        params, reach = list_params(rest), Reach(most=filters.limit)
        if order_ids is None:
            return (yield from self._orders(params, reach))
        orders: Orders = []
        numbers = [str(order_number(order_id)) for order_id in dict.fromkeys(order_ids)]
        for start in range(0, len(numbers), IDS_A_CALL):
            asked = numbers[start : start + IDS_A_CALL]
            orders += yield from self._orders([*params, *_id_params(asked)], reach)
            if not params and PRODUCTS in self.account.session:
                orders += yield from self._one_by_one(set(asked) - {order.order_id for order in orders})
        return orders

    def list_parts(self, filters: Filters, take: Take) -> Flow[None]:
        """The orders of :meth:`list`, page by page. A page that overlaps an earlier one brings its new orders only."""
        order_ids, rest = ids_in(filters)
        if order_ids is not None or filters.limit is not None:
            yield from super().list_parts(filters, take)
            return
        read, names = self.order_reader(), set[str]()

        def take_rows(rows: Listed, before: int) -> None:
            orders = [read_beside_others(row, _name_of(row, number), read) for number, row in enumerate(rows, before + 1)]
            new = [*{order.order_id: order for order in orders if order.order_id not in names}.values()]
            names.update(order.order_id for order in new)
            take(new)

        yield from self._take_rows(list_params(rest), ALL, take_rows)

    def inventory(self) -> Flow[Orders | None]:
        return (yield from self.list(Filters()))

    def inventory_parts(self, take: Take) -> Flow[bool]:
        yield from self.list_parts(Filters(), take)
        return True

    def rows_above(self, mark: int | None, product_id: Any, location_id: Any = None) -> Flow[tuple[dict[int, Any], int]]:
        """Orders of a product above an id, as the vendor sent them; without a mark enough of them to hold the newest.

        :param location_id: only orders in this location.
        :returns: the orders by id, and the number of entries without a readable id: each may be above it.

        The list is read from the newest on. The columns of ``sort_by`` are undocumented: after a refusal, or without an effect,
        every page is read.
        """

        def enough(ids: Sequence[int]) -> bool:
            falling = len(ids) > 1 and all(later < earlier for earlier, later in pairwise(ids))
            return falling and (mark is None or ids[-1] <= mark)

        params = [("product_id", str(product_id)), *([("location_id", str(location_id))] if location_id is not None else [])]
        reach = Reach(NEWEST_ROWS if mark is None else None, enough=enough)
        try:
            listed = yield from self._pages([*params, ("sort_by", "id"), ("order", "desc")], reach)
        except RequestRefused:
            listed = yield from self._pages(params, ALL)
        by_id = {number: row for row in listed if (number := _number(row)) is not None}
        nameless = sum(_number(row) is None for row in listed)
        return {number: row for number, row in by_id.items() if mark is None or number > mark}, nameless

    def order_reader(self) -> Reader:
        """Reads one order as the connection's settings say.

        :raises ConfigError: for a wrong setting.
        """
        zone, short = self.zone(), self.setting("short_delivery") == "accept"
        return lambda data: read_order(data, zone, short)

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

    def reading(self, order_id: str) -> Request:
        return Request("GET", f"/orders/{order_number(order_id)}", "read order", order_id=order_id)

    # -- one list, or one for each product ------------------------------------------------------------------------

    def _orders(self, params: Params, reach: Reach) -> Flow[Orders]:
        read = self.order_reader()
        listed = yield from self._rows(params, reach)
        orders = [read_beside_others(row, _name_of(row, number), read) for number, row in enumerate(listed, 1)]
        unique = [*{order.order_id: order for order in orders}.values()]  # pages can overlap while orders come in
        return unique[: reach.most]

    def _one_by_one(self, order_ids: Iterable[str]) -> Flow[Orders]:
        orders = yield from super().get_many(sorted(order_ids, key=int))
        return [*orders.values()]

    def _rows(self, params: Params, reach: Reach = ALL, fresh: bool = True) -> Flow[Listed]:
        """The rows of a list, of all products.

        :param fresh: read the catalogue again, for lists by product.
        :raises RequestRefused: the vendor refuses the list both ways.
        """
        listed: Listed = []
        by_product = yield from self._take_rows(params, reach, lambda rows, _: listed.extend(rows), fresh)
        names = dict(params)
        if by_product and names.get("sort_by") == "id":
            listed = sorted(listed, key=lambda row: _number(row) or 0, reverse=names["order"] == "desc")
        return listed

    def _take_rows(self, params: Params, reach: Reach, take: TakeRows, fresh: bool = True) -> Flow[bool]:
        """The rows of :meth:`_rows`, page by page. A vendor that refuses the list late may bring rows twice.

        :returns: whether they came product by product.
        """
        names, refused = dict(params), None
        if "product_id" in names:
            yield from self._take_pages(params, reach, take)
            return False
        if PRODUCTS not in self.account.session:
            try:
                yield from self._take_pages(params, reach, take)
                return False
            except RequestRefused as error:
                refused = error
        if "page" in names:
            raise refused or InvalidRequest("page", "needs product_id: the list comes product by product here", 1, vendor=VENDOR)
        products = yield from self._product_ids(fresh)
        if not products:
            raise refused or self.unreadable(LIST, UnreadableBody("the catalogue names no product to list by"))
        before = 0
        for product_id, in_catalogue in products.items():
            try:
                before = yield from self._take_pages([("product_id", product_id), *params], reach, take, before)
            except (RequestRefused, OrderNotFound) as error:
                if in_catalogue:
                    raise refused or error from None
        self.account.session[PRODUCTS] = products
        return True

    def _product_ids(self, fresh: bool) -> Flow[dict[str, bool]]:
        """The ids of the products to list by; each with whether it is in the catalogue.

        The others are from purchases of the ledger: their orders may outlive the product's place in the catalogue.
        """
        if not fresh and PRODUCTS in self.account.session:
            return dict(self.account.session[PRODUCTS])
        catalogue = yield from self.products()
        ids = {str(product["id"]): True for product in catalogue if isinstance(product.get("id"), (int, str))}
        return {**dict.fromkeys(sorted(self.account.listed_under), False), **ids}

    def _pages(self, params: Params, reach: Reach) -> Flow[Listed]:
        """The rows of the pages of one list."""
        listed: Listed = []
        yield from self._take_pages(params, reach, lambda rows, _: listed.extend(rows))
        return listed

    def _take_pages(self, params: Params, reach: Reach, take: TakeRows, before: int = 0) -> Flow[int]:
        """Hand over the rows of one list page by page.

        :param take: gets the rows of a page, and how many came before them.
        :param before: rows of other lists that came before this one.
        :returns: how many rows came in all.
        :raises UnreadableAnswer: the list has no end, as far as this connection reads.
        """
        names = dict(params)
        if "per_page" not in names:
            size = reach.size or self.setting("page_size")
            params = [*params, ("per_page", str(min(size, reach.most or size)))]
        others = [pair for pair in params if pair[0] != "page"]
        turn = _Turning(self.setting("most_orders"))
        for page in count(int(names.get("page", 1))):
            request = replace(LIST, params=[*others, ("page", str(page))])
            data = yield from self.read(request)
            try:
                rows, more = read_page(data, page)
                take(rows, before + turn.read)
                turn.add(rows)
                if not more or "page" in names or reach.is_reached(turn.read, rows):
                    break
                turn.require_progress()
            except UnreadableBody as error:
                raise self.unreadable(request, error) from None
        return before + turn.read


class _Turning:
    """The pages of one list so far. A list that repeats itself, or is longer than expected, ends as unreadable."""

    def __init__(self, most: int):
        self.most, self.read = most, 0
        self._numbers: set[int] = set()
        self._repeats = 0

    def add(self, rows: Listed) -> None:
        """Note the rows of a page."""
        numbers = {number for row in rows if (number := _number(row)) is not None}
        self.read += len(rows)
        self._repeats = self._repeats + 1 if numbers and numbers <= self._numbers else 0
        self._numbers |= numbers

    def require_progress(self) -> None:
        """:raises UnreadableBody: no further page is to be read."""
        if self._repeats >= MOST_REPEATS:
            raise UnreadableBody(f"it goes on after {self.read} orders, and its last {MOST_REPEATS} pages repeat earlier ones")
        if self.read >= self.most:
            raise UnreadableBody(
                f"it goes on after {self.read} orders. If the account has more, set most_orders of the connection above that"
            )


def read_beside_others(row: Any, order_id: str, read: Reader) -> VendorOrder:
    """One entry of a list; an odd one is named and stops none of the others."""
    try:
        return read(row)
    except UnreadableBody as error:
        word, why = optional_text(row, "status") or "", f"its entry in the list cannot be read: {error}"
        return VendorOrder(order_id, OrderStatus.UNKNOWN, word, reason=why, unreadable=why)


def _name_of(row: Any, number: int) -> str:
    try:
        return read_id(row)
    except UnreadableBody:
        return f"entry {number} of the list"


def _number(row: Any) -> int | None:
    """The id of an entry, ``None`` where it cannot be read."""
    try:
        return int(read_id(row))
    except UnreadableBody:
        return None


def _id_params(order_ids: Sequence[str]) -> list[tuple[str, str]]:
    return [("order_ids[]", order_id) for order_id in order_ids]
