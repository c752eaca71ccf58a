"""The reading calls of ProxyScrape: wallet, orders, sub-accounts, proxies; and how its answers are judged.

One rule: an answer counts by HTTP status first, by ``success`` and its English text second.

Pages are paths of docs.proxyscrape.com: /api/account/api-ordering (status, wallet, errors), /api/account/permission-reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl

from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.errors import (
    OrderingNotPermitted,
    OrderNotFound,
    UnreadableAnswer,
    UnsupportedOperation,
    VendorUnavailable,
)
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance, OrderStatus, VendorOrder
from airflow_provider_proxyorders.vendors.base import (
    Orders,
    Rows,
    Setting,
    Vendor,
    about,
    path_part,
)
from airflow_provider_proxyorders.vendors.proxyscrape.answers import (
    ADOPTED,
    adopted_order,
    read_balance,
    read_end,
    read_order,
    read_proxies,
    read_subaccounts,
)
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from airflow_provider_proxyorders.wire.reading import optional_text

NO_FUNDS = "Insufficient wallet balance."
#: The documented error texts and the HTTP status each is documented with.
REFUSALS: Mapping[str, int] = {
    "Missing or invalid pricing configuration.": 400,
    NO_FUNDS: 400,
    "Could not determine account email from authenticated identity.": 401,
    "API ordering is not enabled for this account. Contact support to request access.": 403,
    "Reading order status via the API-ordering endpoint is not enabled for this account. Contact support to request access.": 403,
    "Order not found.": 404,
}

CREATE_ORDER, _STATUS, _BALANCE = "create order", "read order", "read balance"
SUBACCOUNTS, _PROXY_LIST, _OVERVIEW = "list sub-accounts", "read proxy list", "read overview"
#: Permissions that begin so are off by default and granted by the vendor's support only.
ORDERING = "account:api_ordering"
PERMISSIONS: Mapping[str, str] = {
    CREATE_ORDER: f"{ORDERING}:write",
    _STATUS: f"{ORDERING}:read",
    _BALANCE: f"{ORDERING}:read",
    SUBACCOUNTS: "subaccount:read",
    _PROXY_LIST: "datacenter_shared:read",
}


#: Where the session counts refused overviews in a row. After so many the process does without them.
REFUSED, MOST_REFUSED = "overviews_refused", 3
#: Before every order.
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class ProxyScrapeReading(Vendor):
    """The reading half of :class:`~airflow_provider_proxyorders.vendors.proxyscrape.ProxyScrape`."""

    title = "ProxyScrape"
    settings = (
        Setting(
            "auth",
            "Authentication",
            "How the secret is sent: as an api-token header, or as a bearer JWT of a signed-in caller.",
            default="api-token",
            choices=("api-token", "bearer"),
            placeholder="api-token",
        ),
        Setting(
            "list_query",
            "Proxy list query",
            "Query of the datacenter proxy list. ProxyScrape's pages name the path but not its parameters; these were seen "
            "in use. The lines must come as ip:port:user:password, or as ip:port where your address is whitelisted.",
            default="type=getproxies&protocol=http&format=credentials&credential_format=1",
            placeholder="type=getproxies&protocol=http&format=credentials&credential_format=1",
        ),
    )

    def auth_headers(self) -> Mapping[str, str]:
        if self.setting("auth") == "bearer":
            return {"Authorization": f"Bearer {self.account.secret}"}
        return {"api-token": self.account.secret}

    def get(self, order_id: str) -> Flow[VendorOrder]:
        """An order. A delivered one gets the end of its service, where the overview of its sub-account tells it."""
        return (yield from self._dated((yield from self._undated(order_id))))

    def batches(self, order_ids: Sequence[str]) -> Sequence[Sequence[str]]:
        """Each order alone, and those known by their sub-account together: one list holds them all."""
        adopted = [order_id for order_id in order_ids if order_id.startswith(ADOPTED)]
        alone = [[order_id] for order_id in order_ids if not order_id.startswith(ADOPTED)]
        return [*alone, adopted] if adopted else alone

    def get_many(self, order_ids: Sequence[str]) -> Flow[dict[str, VendorOrder]]:
        adopted = {order_id for order_id in order_ids if order_id.startswith(ADOPTED)}
        orders = yield from super().get_many([order_id for order_id in order_ids if order_id not in adopted])
        for entry in (yield from self.subaccounts()) if adopted else ():
            if ADOPTED + entry["AccountID"] in adopted:
                order = yield from self._dated(adopted_order(entry))
                orders[order.order_id] = order
        return orders

    def _undated(self, order_id: str) -> Flow[VendorOrder]:
        if order_id.startswith(ADOPTED):
            return (yield from self._adopted(order_id))
        return (yield from self.read_order(order_id))[0]

    def read_order(self, order_id: str) -> Flow[tuple[VendorOrder, Any]]:
        """An order, and the answer it was in."""
        request = Request("GET", f"/v4/account/orders/{path_part(order_id)}/status", _STATUS, order_id=order_id)
        data = yield from self.read(request)
        return self.understood(request, lambda: about(order_id, read_order(data, self.account.currency))), data

    def _dated(self, order: VendorOrder) -> Flow[VendorOrder]:
        """The order with its end. The call was seen in use, so without a usable answer the end stays unknown."""
        product = order.traits.get("subaccount_type")
        refused = self.account.session.get(REFUSED, 0)
        if order.status is not OrderStatus.DELIVERED or order.handle is None or not product or refused >= MOST_REFUSED:
            return order
        path = f"/v4/account/{path_part(order.handle)}/{path_part(product)}/overview"
        try:
            response = yield from self.call(Request("GET", path, _OVERVIEW))
        except VendorUnavailable:
            return order
        self.account.session[REFUSED] = refused + 1 if response.status in (403, 404) else 0
        end = read_end(response.data_or_none(), product) if response.ok else None
        began = order.created_at or EPOCH
        return replace(order, expires_at=end) if end is not None and end > began else order  # 0 is no date

    def _adopted(self, order_id: str) -> Flow[VendorOrder]:
        for entry in (yield from self.subaccounts()):
            if ADOPTED + entry["AccountID"] == order_id:
                return adopted_order(entry)
        raise OrderNotFound(
            f"{self.unknown_order(order_id)}: it lists no sub-account {order_id.removeprefix(ADOPTED)!r} (any more); refunded "
            "orders lose theirs. This call moves no money."
        )

    def balance(self) -> Flow[Balance]:
        request = Request("GET", "/v4/account/orders/balance", _BALANCE)
        data = yield from self.read(request)
        return self.understood(request, lambda: read_balance(data, self.account.currency))

    def subaccounts(self) -> Flow[Rows]:
        """The sub-accounts that can be read; see :meth:`listed_subaccounts`."""
        return (yield from self.listed_subaccounts())[0]

    def listed_subaccounts(self) -> Flow[tuple[Rows, list[str]]]:
        """All sub-accounts: ``AccountID``, and ``AccountType``, ``label``, ``time_added`` where the vendor gives them.

        Beside them a sentence for each entry that cannot be read; it stops none of the others.

        The path is documented, the wrapper around the list was only seen in use; a bare ``data`` list passes as well.
        """
        request = Request("GET", "/v4/account/subaccounts", SUBACCOUNTS)
        data = yield from self.read(request)
        return self.understood(request, lambda: read_subaccounts(data))

    def delivery(self, order_id: str) -> Flow[Delivery]:
        """The proxies of a datacenter order.

        :raises UnsupportedOperation: for the other products; their lists are undocumented.
        """
        order = yield from self._undated(order_id)
        subaccount = order.handle
        if subaccount is None:
            return Delivery(order_id)
        product = order.traits.get("subaccount_type", "unknown")
        if product != "datacenter_shared":
            raise UnsupportedOperation(
                f"{self.title} documents no call that lists the proxies of a {product!r} sub-account, only of "
                f"'datacenter_shared'. What was bought is there: take its login from the dashboard, sub-account {subaccount}."
            )
        query = tuple(parse_qsl(self.setting("list_query"), keep_blank_values=True))
        request = Request("GET", f"/v4/account/{path_part(subaccount)}/datacenter_shared/proxy-list", _PROXY_LIST, params=query)
        response = yield from self.call(request)
        said = self.said(response)
        if isinstance(said, Mapping) and (response.ok or "info" in said):  # about the sub-account, not about the key
            raise self.refusal(response, request, meaning=400)
        self.check(response, request)
        protocol = dict(query).get("protocol", "http")
        scheme = protocol if protocol.startswith("socks") else "http"
        return self.understood(request, lambda: read_proxies(response, order_id, scheme))

    def check_access(self) -> Flow[str]:
        accepted = yield from super().check_access()
        try:
            accounts, odd = yield from self.listed_subaccounts()
        except (OrderingNotPermitted, OrderNotFound, UnreadableAnswer) as error:
            return f"{accepted}; sub-accounts cannot be read, so a lost answer can only be judged by the balance: {error}"
        return "; ".join([f"{accepted}, {len(accounts)} sub-accounts readable", *odd])

    def inventory(self) -> Flow[Orders | None]:
        """The sub-accounts in place of orders: every order opens one."""
        try:
            accounts, odd = yield from self.listed_subaccounts()
            unreadable = (VendorOrder(f"entry {why.split()[1]}", OrderStatus.UNKNOWN, "", unreadable=why) for why in odd)
            return [*map(adopted_order, accounts), *unreadable]
        except OrderingNotPermitted:
            return None  # the list needs a permission of its own

    def readable(self, response: Response, request: Request) -> Any:
        data = super().readable(response, request)
        success = data.get("success", True) if isinstance(data, Mapping) else True
        if success is False:
            raise self.refusal(response, request, meaning=REFUSALS.get(self.words(response), 400))
        if success is not True:
            raise self.unreadable(request, UnreadableBody("success must be true or false"))
        return data

    def lacks_funds(self, response: Response) -> bool:
        return self.words(response) == NO_FUNDS

    def permission_advice(self, doing: str, tail: str) -> str:
        needed = PERMISSIONS.get(doing.partition(":")[0], ORDERING)
        how = "choose it for the key in the dashboard"
        if needed.startswith(ORDERING):
            how = f"ask ProxyScrape support for {ORDERING}:read and {ORDERING}:write, which only they can grant"
        return (
            f"the key of connection {self.account.conn_id!r} is good, but may not do this ({doing}).{tail} "
            f"It needs the permission {needed}: {how}."
        )

    def error_text(self, data: Any) -> str:
        """``{"success": false, "error"}``; the proxy list was seen to answer ``{"status", "info"}``."""
        said = super().error_text(data)
        return said or (optional_text(data, "info") or "" if isinstance(data, Mapping) else "")


class OtherOrders:
    """Reads other orders of ours during one look: each order once, and a few at most."""

    #: Orders that one look reads at most.
    MOST = 20

    def __init__(self, vendor: ProxyScrapeReading):
        self.vendor = vendor
        self.answers: dict[str, tuple[VendorOrder, Any] | None] = {}

    def read(self, order_id: str) -> Flow[tuple[VendorOrder, Any] | None]:
        """An order and the answer it was in; None for an order unknown to the vendor, and after too many orders."""
        if order_id not in self.answers:
            if len(self.answers) >= self.MOST:
                return None
            try:
                self.answers[order_id] = yield from self.vendor.read_order(order_id)
            except OrderNotFound:
                self.answers[order_id] = None
        return self.answers[order_id]

    def handles(self, order_ids: Iterable[str]) -> Flow[tuple[set[str], str | None]]:
        """The sub-accounts of orders, and the id of an order that could not be read, if any."""
        handles, unread = set[str](), None
        for order_id in order_ids:
            if order_id.startswith(ADOPTED):
                continue
            answer = yield from self.read(order_id)
            if answer is None:
                unread = order_id
            elif answer[0].handle:
                handles.add(answer[0].handle)
        return handles, unread
