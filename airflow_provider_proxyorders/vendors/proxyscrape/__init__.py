"""ProxyScrape Account API v4: wallet-paid orders, each of which opens a sub-account with its own proxies.

Two rules. An answer counts by HTTP status first, by ``success`` and its English text second. After a lost create answer only the
new sub-account shows the order: its id is then ``subaccount:<AccountID>``.

Pages below are paths of docs.proxyscrape.com: /api/account/api-ordering (ordering, wallet, errors),
/api-reference/api-ordering/place-a-wallet-paid-order (types), /api/account/permission-reference (permissions).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from airflow_provider_proxyorders.domain.delivered import Delivery as Delivery
from airflow_provider_proxyorders.domain.errors import OrderingNotPermitted as OrderingNotPermitted
from airflow_provider_proxyorders.domain.errors import UnsupportedOperation as UnsupportedOperation
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody as UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance as Balance
from airflow_provider_proxyorders.domain.model import Money, OrderStatus, VendorOrder
from airflow_provider_proxyorders.vendors.base import (
    Capabilities,
    Look,
    Operation,
    Polling,
    Prepared,
)
from airflow_provider_proxyorders.vendors.base import (
    Orders as Orders,
)
from airflow_provider_proxyorders.vendors.base import (
    Rows as Rows,
)
from airflow_provider_proxyorders.vendors.base import (
    Setting as Setting,
)
from airflow_provider_proxyorders.vendors.base import (
    Vendor as Vendor,
)
from airflow_provider_proxyorders.vendors.base import (
    about as about,
)
from airflow_provider_proxyorders.vendors.base import (
    path_part as path_part,
)
from airflow_provider_proxyorders.vendors.evidence import Missing, balance_evidence, missing_money
from airflow_provider_proxyorders.vendors.proxyscrape.answers import (
    ADOPTED,
    adopted_order,
    changed_since,
    may_be,
    read_created,
)
from airflow_provider_proxyorders.vendors.proxyscrape.answers import (
    read_balance as read_balance,
)
from airflow_provider_proxyorders.vendors.proxyscrape.answers import (
    read_order as read_order,
)
from airflow_provider_proxyorders.vendors.proxyscrape.answers import (
    read_proxies as read_proxies,
)
from airflow_provider_proxyorders.vendors.proxyscrape.answers import (
    read_subaccounts as read_subaccounts,
)
from airflow_provider_proxyorders.vendors.proxyscrape.reads import (
    CREATE_ORDER,
    PERMISSIONS,
    REFUSALS,
    SUBACCOUNTS,
    OtherOrders,
    ProxyScrapeReading,
)
from airflow_provider_proxyorders.vendors.proxyscrape.requests import pool_size, prepare_order
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from airflow_provider_proxyorders.wire.reading import optional_text as optional_text
from airflow_provider_proxyorders.wire.reading import when

#: An order that was created so long before a purchase is not that purchase, whatever the difference of the clocks.
MUCH_OLDER = timedelta(days=1)


class ProxyScrape(ProxyScrapeReading):
    """ProxyScrape's ordering by API: create, status, wallet balance (/api/account/api-ordering).

    Its documentation lacks quotes, a list of orders, a reference of ours, extensions and webhooks.
    """

    name = "proxyscrape"
    docs_url = "https://docs.proxyscrape.com/api/account/api-ordering"
    base_url = "https://api.proxyscrape.com"
    secret_label = "API token"
    secret_help = (
        "Ordering by API has to be granted to the account by ProxyScrape support (account:api_ordering:read and :write). Add "
        "subaccount:read, to find an order whose answer was lost, and datacenter_shared:read, to read the proxies. Best without "
        "a restriction to sub-accounts, since an order opens a new one."
    )
    capabilities = Capabilities(
        price_in_order=True,
        create_evidence="wallet",
        settle=60,  # processing is "usually well below a second"; a lost answer deserves more patience
        # The page suggests a look every 1 to 2 s, and says that well below a second is usual but not promised.
        polling=Polling(first=1, fastest=1.5, slowest=15, timeout=600),
    )

    seen_ids = "subaccounts"

    # -- before money moves ---------------------------------------------------------------------------------------

    def prepare_create(self, request: Mapping[str, Any], reference: str) -> Prepared:
        return prepare_order(request)

    @classmethod
    def handles(cls, handle: str, body: Mapping[str, Any]) -> dict[str, str]:
        """The sub-account, and the path of its calls, such as ``proxy-list`` (/api/account/api-ordering)."""
        product = str(body.get("type", "")).removeprefix("new_") or "{product}"
        return {"subaccount": handle, "path": f"/v4/account/{path_part(handle)}/{product}/{{call}}"}

    def units(self, body: Mapping[str, Any]) -> int | None:
        return pool_size(body)

    def renews_by_itself(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("is_subscription"))

    def names(self, order: VendorOrder) -> frozenset[str]:
        return frozenset({order.order_id, *([ADOPTED + order.handle] if order.handle else [])})

    def contradiction(self, kind: Operation, body: Mapping[str, Any], evidence: Mapping[str, Any], order: VendorOrder) -> str:
        """The answer to create holds an id only. A read shows the type as sent, and then the sub-account, which must be new."""
        shown, wanted = order.traits.get("type"), body.get("type")
        if shown is not None and shown != wanted:
            return f"its type is {shown!r}, asked was {wanted!r}"
        before = evidence.get("subaccounts")
        if order.handle is not None and before is not None and order.handle in before:
            return f"its sub-account {order.handle} is older than the purchase"
        read_at = when(evidence.get("read_at"))
        if order.created_at is not None and read_at is not None and order.created_at < read_at - MUCH_OLDER:
            return f"it was created at {order.created_at.isoformat()}, long before the purchase"
        return ""

    def confirms(self, order: VendorOrder) -> bool:
        """Before its sub-account an order shows nothing of its own but the type."""
        return order.handle is not None

    # -- flows ----------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        """Place an order. The answer holds only its id; the status is ours until the first look."""
        request = Request("POST", "/v4/account/orders/create", CREATE_ORDER, json=body, spends=True)
        response = yield from self.call(request)
        return self.placed(response, request, read_created)

    # -- purchases whose answer was lost --------------------------------------------------------------------------

    def snapshot(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        """Balance and sub-accounts; where the key may not read those, the balance is all the evidence there is."""
        balance = balance_evidence((yield from self.balance()))
        try:
            listed, odd = yield from self.listed_subaccounts()
        except OrderingNotPermitted:  # the list needs a permission of its own
            lacking = f"the key may not list sub-accounts (permission {PERMISSIONS[SUBACCOUNTS]})"
            return {**balance, "subaccounts": None, "lacking": lacking}
        ids = sorted(entry["AccountID"] for entry in listed)
        return {**balance, "subaccounts": ids, **({"nameless": len(odd)} if odd else {})}

    def snapshot_reads(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Sequence[Flow[Any]]:
        return self.balance(), self.listed_subaccounts()

    def resolve(
        self,
        kind: Operation,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: Container[str],
    ) -> Flow[Look]:
        """Found: exactly one new sub-account of the right type, and missing money that no other purchase took. Absent: neither.

        An entry without an id may be the new sub-account, so beside one nothing is absent. Where the list before the purchase had
        one, a new sub-account may be older, so nothing is found. Other orders of ours can hide the answer. An unreadable order
        may own the new sub-account. A failed order may have been refunded, and then the balance looks untouched. Candidates: new
        sub-accounts beside money that may also be of other purchases, if those asked for the same.
        """
        balance = yield from self.balance()
        missing = missing_money(evidence, balance)
        detail, reading = missing.detail, OtherOrders(self)
        if missing.explained:
            paid_back = yield from self._paid_back(evidence.get("maybe_refunded") or (), sent_at, reading)
            if paid_back is not None:
                return Look(paid_back[0], f"{detail}, but order {paid_back[1]} may have been paid back meanwhile")
        before = evidence.get("subaccounts")
        if before is None:
            return self._by_balance(missing, f"{detail}; sub-accounts could not be read before the purchase")
        listed, odd = yield from self.listed_subaccounts()
        fresh = [entry for entry in listed if entry["AccountID"] not in before and entry["AccountID"] not in owned]
        fresh = [entry for entry in fresh if ADOPTED + entry["AccountID"] not in owned]
        fresh = [entry for entry in fresh if may_be(entry, str(body.get("type", "")))]
        if fresh:
            handles, unread = yield from reading.handles(evidence.get("unread") or ())
            fresh = [entry for entry in fresh if entry["AccountID"] not in handles]
            if fresh and unread:
                detail = f"{detail}; a new sub-account may be that of order {unread}, which cannot be found now"
                return Look("not visible", detail, trace=missing.amount is None or missing.amount > 0)
        detail = "; ".join([detail, f"{len(fresh)} new sub-accounts could be it", *odd])
        if len(fresh) == 1 and missing.fell and not evidence.get("nameless"):
            price = missing.price
            order = adopted_order(fresh[0], None if price is None else Money(price, balance.available.currency))
            return Look("found", f"{detail}: {fresh[0]['AccountID']}", order)
        if fresh and not (len(fresh) == 1 and missing.explained and missing.of_another):  # or it is that one's sub-account
            waits = missing.amount is not None and 0 < missing.amount <= missing.others
            look = Look("not visible" if waits else "inconclusive", detail, trace=True if waits else None)
            candidates = missing.fell_for_alike and not evidence.get("nameless")
            return replace(look, candidates=tuple(map(adopted_order, fresh)), paid=missing.amount) if candidates else look
        look = self._by_balance(missing, detail)
        return replace(look, verdict="not visible") if odd and look.verdict == "absent" else look

    def _by_balance(self, missing: Missing, detail: str) -> Look:
        """The verdict without any new sub-account."""
        if missing.explained:
            return Look("absent", detail)
        if missing.fell:
            return Look("inconclusive", detail)
        if missing.amount is None or missing.rose:
            return Look("inconclusive", detail, trace=False)
        return Look("not visible", f"{detail}, which may be another purchase's or this one's", trace=True)

    def _paid_back(
        self, order_ids: Iterable[str], since: datetime, reading: OtherOrders
    ) -> Flow[tuple[Literal["inconclusive", "not visible"], str] | None]:
        """The verdict for an order that may have been paid back since then, with its id; a refund is undocumented."""
        for order_id in order_ids:
            if order_id.startswith(ADOPTED):
                continue
            answer = yield from reading.read(order_id)
            if answer is None:
                return "not visible", order_id
            order, data = answer
            if order.status in (OrderStatus.REFUNDED, OrderStatus.FAILED) and changed_since(data, since):
                return "inconclusive", order_id
        return None

    # -- answers --------------------------------------------------------------------------------------------------

    def spent(self, response: Response, request: Request) -> Any:
        """As for every vendor; ``success`` has its say as well.

        A 2xx with ``success: false`` is a refusal for the documented texts only: any other may come after the debit.
        """
        said = self.said(response)
        success = said.get("success") if isinstance(said, Mapping) else None
        if response.ok and success is False:
            meaning = REFUSALS.get(self.words(response))
            if meaning is not None:
                raise self.refusal(response, request, meaning)
            raise self.unknown(request, f"answered {response.status} with success=false: {self.words(response)!r}", response)
        if not response.ok and success is True:
            raise self.unknown(request, f"answered {response.status}, yet with success=true", response)
        data = super().spent(response, request)
        if success is not True:
            raise self.unknown(request, f"answered {response.status} without success=true", response)
        return data
