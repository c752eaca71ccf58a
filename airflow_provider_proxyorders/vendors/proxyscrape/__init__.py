"""ProxyScrape Account API v4: wallet-paid orders, each of which opens a sub-account with its own proxies.

Two rules. An answer counts by HTTP status first, by ``success`` and its English text second. After a lost create answer only the
new sub-account shows the order: its id is then ``subaccount:<AccountID>``.

Pages below are paths of docs.proxyscrape.com: /api/account/api-ordering (ordering, wallet, errors),
/api-reference/api-ordering/place-a-wallet-paid-order (types), /api/account/permission-reference (permissions).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.errors import OrderingNotPermitted, OrderNotFound, UnreadableAnswer
from airflow_provider_proxyorders.domain.errors import UnsupportedOperation as UnsupportedOperation
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody as UnreadableBody
from airflow_provider_proxyorders.domain.model import Balance as Balance
from airflow_provider_proxyorders.domain.model import Delivery as Delivery
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
from airflow_provider_proxyorders.vendors.evidence import balance_change, balance_evidence, describe_balance
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
from airflow_provider_proxyorders.vendors.proxyscrape.reads import CREATE_ORDER, REFUSALS, ProxyScrapeReading
from airflow_provider_proxyorders.vendors.proxyscrape.requests import prepare_order
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from airflow_provider_proxyorders.wire.reading import optional_text as optional_text


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
    # -- before money moves ---------------------------------------------------------------------------------------

    def prepare_create(self, request: Mapping[str, Any], reference: str) -> Prepared:
        return prepare_order(request)

    def names(self, order: VendorOrder) -> frozenset[str]:
        return frozenset({order.order_id, *([ADOPTED + order.handle] if order.handle else [])})

    # -- flows ----------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Flow[VendorOrder]:
        """Place an order. The answer holds only its id; the status is ours until the first look."""
        request = Request("POST", "/v4/account/orders/create", CREATE_ORDER, json=body, spends=True)
        response = yield from self.call(request)
        return self.placed(response, request, read_created)

    # -- purchases whose answer was lost --------------------------------------------------------------------------

    def snapshot(self, kind: Operation, body: Mapping[str, Any], order_id: str | None) -> Flow[dict[str, Any]]:
        """Balance and sub-accounts; where those may not be read, the balance is all the evidence there is."""
        balance = yield from self.balance()
        ids: list[str] | None = None
        try:
            ids = sorted(entry["AccountID"] for entry in (yield from self.subaccounts()))
        except (OrderingNotPermitted, OrderNotFound, UnreadableAnswer):
            pass  # optional: the list needs its own permission, and its shape is undocumented
        return {**balance_evidence(balance), "subaccounts": ids}

    def resolve(
        self,
        kind: Operation,
        body: Mapping[str, Any],
        order_id: str | None,
        evidence: Mapping[str, Any],
        sent_at: datetime,
        owned: frozenset[str],
    ) -> Flow[Look]:
        """Found: exactly one new sub-account of the right type and a lower balance. Absent: neither changed.

        Other orders of ours can hide the answer. An unreadable order may own the new sub-account. A failed order may have been
        refunded, and then the balance looks untouched.
        """
        balance = yield from self.balance()
        change = balance_change(evidence, balance)
        detail = describe_balance(evidence, balance, change)
        before = evidence.get("subaccounts")
        if change == 0:
            for other in evidence.get("maybe_refunded") or ():
                paid_back = yield from self._perhaps_paid_back(other, sent_at)
                if paid_back is not False:
                    return Look(
                        "inconclusive" if paid_back else "not visible",
                        f"{detail}, but order {other} may have been paid back meanwhile",
                    )
        if before is None:
            detail = f"{detail}; sub-accounts could not be read before the purchase"
            return Look("absent" if change == 0 else "inconclusive", detail)
        listed = yield from self.subaccounts()
        fresh = [entry for entry in listed if entry["AccountID"] not in before and ADOPTED + entry["AccountID"] not in owned]
        fresh = [entry for entry in fresh if may_be(entry, str(body.get("type", "")), sent_at)]
        if fresh:
            taken, unread = yield from self._subaccounts_of(owned, {*before, *(entry["AccountID"] for entry in listed)})
            fresh = [entry for entry in fresh if entry["AccountID"] not in taken]
            if fresh and unread:
                detail = f"{detail}; a new sub-account may be that of order {unread}, which cannot be found now"
                return Look("not visible" if change == 0 else "inconclusive", detail)
        detail = f"{detail}; {len(fresh)} new sub-accounts could be it"
        if len(fresh) == 1 and change is not None and change < 0:
            order = adopted_order(fresh[0], Money(-change, balance.available.currency))
            return Look("found", f"{detail}: {fresh[0]['AccountID']}", order)
        return Look("absent" if not fresh and change == 0 else "inconclusive", detail)

    def _subaccounts_of(self, owned: frozenset[str], accounts: set[str]) -> Flow[tuple[set[str], str | None]]:
        """The sub-accounts of the ledger's own orders; one may have opened after our snapshot.

        :param accounts: ids of sub-accounts; all other ids are orders.
        :returns: and the id of an order unknown to the vendor, if any.
        """
        taken, unread = set(owned), None
        for order_id in sorted(owned - accounts):
            if order_id.startswith(ADOPTED):
                continue
            try:
                order = yield from self.get(order_id)
            except OrderNotFound:
                unread = order_id
                continue
            taken.add(order.handle or "")
        return taken, unread

    def _perhaps_paid_back(self, order_id: str, since: datetime) -> Flow[bool | None]:
        """Whether an order ended badly since then; its refund is undocumented.

        :returns: None for an order unknown to the vendor.
        """
        if order_id.startswith(ADOPTED):
            return False
        try:
            order, data = yield from self._read(order_id)
        except OrderNotFound:
            return None
        return order.status in (OrderStatus.REFUNDED, OrderStatus.FAILED) and changed_since(data, since)

    # -- answers --------------------------------------------------------------------------------------------------

    def spent(self, response: Response, request: Request) -> Any:
        """As for every vendor; ``success`` has its say as well.

        A 2xx with ``success: false`` is a refusal for the documented texts only: any other may come after the debit.
        """
        said = response.data_or_none()
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
