"""The base of all vendors: its flows, which yield requests and return values.

Two rules: a vendor only yields requests, the transport sends them; and only the buyer decides to buy. ``rules.py`` holds the half
without requests, ``orders.py`` the reads of orders, ``judging.py`` judges answers, ``contract.py`` the declared data.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote as url_quote

from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.errors import InvalidParameter
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, Quote, VendorOrder
from airflow_provider_proxyorders.vendors.contract import Capabilities, Filters, Look, Operation, Polling, Prepared, Setting
from airflow_provider_proxyorders.vendors.orders import Orders, ReadsOrders, Take
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

__all__ = [
    "Capabilities",
    "Filters",
    "Look",
    "Operation",
    "Orders",
    "Polling",
    "Prepared",
    "Rows",
    "Setting",
    "Take",
    "Vendor",
    "about",
    "path_part",
]

Rows = list[dict[str, Any]]


class Vendor(ReadsOrders):
    """Base of all vendors. A subclass fills in the class attributes and the flows it supports.

    One instance serves one account. It keeps its login in ``account.session`` and has no other state.
    """

    # -- flows that spend -----------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        """Place an order with a prepared body. The last request of the flow spends."""
        raise self.unsupported("placing orders")

    def extend(self, order_id: str, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        """Extend an order with a prepared body. The last request of the flow spends."""
        raise self.unsupported("extending an order")

    # -- flows that change a setting, no money --------------------------------------------------------------------

    def set_auto_extend(self, order_id: str, enabled: bool, options: Mapping[str, Any] | None = None) -> Flow[None]:
        """Switch the vendor's own renewal of an order on or off."""
        raise self.unsupported("switching automatic renewal")

    # -- flows that only read -------------------------------------------------------------------------------------

    def login(self) -> Flow[None]:
        """Authenticate the next request. A static key needs no login."""
        yield from ()

    def balance(self) -> Flow[Balance]:
        """The spendable amount of the wallet."""
        raise self.unsupported("reading the balance")

    def check_access(self) -> Flow[str]:
        """Prove by reading that the key is good; returns a sentence for the page *Test connection*."""
        balance = yield from self.balance()
        return f"{self.title}: key accepted, balance {balance}"

    def raw(self, order_id: str) -> Flow[Any]:
        """The JSON from which :meth:`get` reads an order; it may hold what was delivered."""
        flow, data = self.get(order_id), None
        try:
            request = next(flow)
            while True:
                response = yield request
                if request.method == "GET" and data is None and response.ok:
                    data = self.readable(response, request)
                request = flow.send(response)
        except StopIteration:
            return data

    def products(self) -> Flow[Rows]:
        """The vendor's catalogue as it answers it."""
        raise self.unsupported("listing products", "its page in the documentation names the fields of a request")

    def quote(self, body: Mapping[str, Any]) -> Flow[Quote]:
        """What a prepared purchase would cost now."""
        raise self.unsupported("quoting a price")

    def quote_extension(self, order_id: str, body: Mapping[str, Any]) -> Flow[Quote]:
        """What a prepared extension would cost now."""
        raise self.unsupported("quoting a price")

    def delivery(self, order_id: str) -> Flow[Delivery]:
        """The delivery of an order so far, empty at first. Secret."""
        raise self.unsupported("reading what was delivered")

    # -- flows for purchases whose answer was lost ----------------------------------------------------------------

    def snapshot(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        """Read the evidence, right before a purchase. Strings, ints, lists and objects; no secrets."""
        yield from ()
        return {}

    def snapshot_reads(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Sequence[Flow[Any]]:
        """Flows, none of them begun. Each begins with a request of :meth:`snapshot`; a worker may send these together."""
        return ()

    def resolve(
        self,
        kind: Operation,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: Container[str],
    ) -> Flow[Look]:
        """Look for a purchase after its answer was lost. Reads only.

        A failed read raises; "absent" takes a read that succeeds.

        :param evidence: the reading of :meth:`snapshot` before the purchase, and three more entries. ``expected``: a certain
            ``balance`` and ``currency`` from before the purchase, what other purchases of the ledger were surely ``charged``
            since, what they ``maybe`` took beyond that, and how much of it ``unresolved`` ones; see
            :func:`vendors.evidence.missing_money`. ``maybe_refunded``: ids of other orders with a possible refund. ``unread``:
            ids of other orders whose handle nobody has read so far.
        :param sent_at: when it was sent, aware UTC.
        :param owned: tells with ``in`` whether an id (order or handle) belongs to another purchase of the ledger.
        """
        yield from ()
        return Look("inconclusive", f"{self.title} leaves no evidence that this package knows how to read")

    # -- shared by all vendors ------------------------------------------------------------------------------------

    @property
    def settle_time(self) -> float:
        """Seconds after which a purchase shows up in reads: the connection's setting ``settle``, else the vendor's own time."""
        configured = self.account.settings.get("settle")
        return self.capabilities.settle_time if configured is None else float(configured)

    def call(self, request: Request) -> Generator[Request, Response, Response]:
        """Send a request with authentication and return its answer."""
        yield from self.login()
        return (yield request.with_headers(self.auth_headers()))

    def read(self, request: Request) -> Generator[Request, Response, Any]:
        """Send a reading request and return its JSON.

        :raises VendorError: for a failure or an unreadable answer.
        """
        response = yield from self.call(request)
        self.check(response, request)
        return self.readable(response, request)


def path_part(order_id: str) -> str:
    """An id as one part of a request's path, percent-encoded.

    :raises InvalidRequest: for an empty id and for dots.
    """
    if not isinstance(order_id, str) or order_id.strip() in ("", ".", ".."):
        raise InvalidParameter("order_id", "must be the vendor's id of an order", got=order_id)
    return url_quote(order_id, safe="")


def about(order_id: str, order: VendorOrder) -> VendorOrder:
    """The order under the id of the request.

    :raises UnreadableBody: for the answer about another order.
    """
    if order.order_id.casefold() != order_id.casefold():
        raise UnreadableBody(f"it is about order {order.order_id!r}, asked was {order_id!r}")
    return order if order.order_id == order_id else replace(order, order_id=order_id)
