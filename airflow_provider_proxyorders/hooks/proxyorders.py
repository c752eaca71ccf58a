"""The hooks: one for any vendor, and one for each connection type."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote as url_quote

from airflow.sdk import BaseHook

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.inputs import order_id_of, order_key_of, price_cap

if TYPE_CHECKING:
    import requests
    from airflow.sdk import Connection, Context

    from airflow_provider_proxyorders.domain.model import Actor, Balance, Delivery, Purchase, Quote, VendorOrder
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.purchase.buyer import Buyer
    from airflow_provider_proxyorders.transport.worker import Http
    from airflow_provider_proxyorders.vendors import Capabilities, Vendor
    from airflow_provider_proxyorders.wire.messages import Flow

T = TypeVar("T")


class ProxyOrdersHook(BaseHook):
    """Buys, extends and reads prepaid orders through an Airflow connection of any installed vendor.

    Every purchase has an order key and happens at most once per key, whatever is retried; see the README. One hook
    looks its connection up once and keeps one HTTP session.

    :param conn_id: a connection of type ``proxyscrape``, ``iproyal``, ``voodoo`` or of a vendor from another package.
    """

    conn_name_attr = "conn_id"
    hook_name = "Proxy orders"
    conn_type: ClassVar[str] = ""

    def __init__(self, conn_id: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.conn_id = conn_id

    # -- the account ----------------------------------------------------------------------------------------------

    @cached_property
    def vendor(self) -> Vendor:
        """The vendor behind the connection.

        :raises ConfigError: when the connection is missing something; nothing was sent.
        """
        from airflow_provider_proxyorders.hooks.connection import vendor_for

        connection: Connection = self.get_connection(self.conn_id)
        vendor = vendor_for(connection, self.conn_type or None)
        _compat.mask_secret(vendor.account.secret)
        return vendor

    @cached_property
    def http(self) -> Http:
        """The kept HTTP session of this hook; every call has a time limit."""
        from airflow_provider_proxyorders.transport.worker import Http

        return Http(self.vendor.account)

    @property
    def capabilities(self) -> Capabilities:
        """What the vendor's documentation offers."""
        return self.vendor.capabilities

    def get_conn(self) -> requests.Session:
        """The ``requests`` session in use, with the account's authentication headers set.

        For reading what this hook has no method for. A purchase sent through it by hand is not in the ledger.
        """
        self._read(self.vendor.login())
        session = self.http.session
        session.headers.update(self.vendor.auth_headers())
        return session

    def test_connection(self) -> tuple[bool, str]:
        """Check by reading that the key is good. Whether it may order shows only when it does; nothing is bought."""
        from airflow_provider_proxyorders.domain.errors import ProxyOrdersError

        try:
            return True, self._read(self.vendor.check_access())
        except ProxyOrdersError as error:
            return False, str(error)
        finally:
            if "http" in self.__dict__:
                self.http.close()

    def order_page(self, order_id: str) -> str | None:
        """Address of an order in the vendor's dashboard: the connection's ``order_page``, else the vendor's, else None."""
        template = self.vendor.account.settings.get("order_page")
        return template.replace("{order_id}", url_quote(order_id, safe="")) if template else self.vendor.order_page(order_id)

    # -- reading --------------------------------------------------------------------------------------------------

    def get_balance(self) -> Balance:
        """The spendable amount of the wallet.

        :raises VendorError: when it cannot be read.
        """
        return self._read(self.vendor.balance())

    def quote(self, request: Mapping[str, Any]) -> Quote:
        """What a purchase would cost now.

        :raises UnsupportedOperation: for vendors without a quote.
        :raises InvalidRequest: when the request breaks a documented rule.
        """
        return self._read(self.vendor.quote(self.vendor.prepare_create(request, "quote").body))

    def get_order(self, order_id: str) -> VendorOrder:
        """One order as the vendor tells it now; no secrets in it.

        :raises OrderNotFound: when the vendor does not know it.
        """
        return self._read(self.vendor.get(str(order_id)))

    def list_orders(self, *, order_ids: list[str] | None = None, **filters: Any) -> list[VendorOrder]:
        """Orders at the vendor, all pages.

        :param filters: the vendor's own query parameters, as its documentation names them.
        :raises UnsupportedOperation: for vendors without a list.
        """
        from airflow_provider_proxyorders.vendors import Filters

        return self._read(self.vendor.list(Filters(order_ids=order_ids, extra=filters)))

    def get_products(self) -> list[dict[str, Any]]:
        """The vendor's catalogue as it answers it.

        :raises UnsupportedOperation: for vendors without one.
        """
        return self._read(self.vendor.products())

    def get_delivery(self, order_id: str) -> Delivery:
        """What an order yielded: proxies or codes. Secret, and registered with Airflow's masker; see :func:`mask`.

        :raises OrderNotUsable, VendorError: when there is nothing to read yet.
        """
        delivery = self._read(self.vendor.delivery(str(order_id)))
        mask(delivery)
        if delivery.skipped:
            self.log.warning("Order %s: %d entries of the vendor's list could not be read", order_id, delivery.skipped)
        return delivery

    # -- spending -------------------------------------------------------------------------------------------------

    def create_order(self, request: Mapping[str, Any], *, order_key: str, max_price: Decimal | str | None = None) -> Purchase:
        """Buy an order, once per key however often this is called.

        :param request: the vendor's own body fields, as its documentation names them.
        :param order_key: our identity of the purchase; the same key is the same purchase for ever.
        :param max_price: the most it may cost, in major currency units.
        :returns: the order as the ledger knows it; it may not be usable yet.
        :raises InvalidRequest, CapExceeded, OrderKeyConflict: nothing was sent.
        :raises OutcomeUnknown: it may have been bought; calling again looks for it and never buys on a guess.
        """
        return self.buyer().place(request, order_key=order_key, max_price=price_cap(max_price))

    def extend_order(
        self,
        order_id: str,
        request: Mapping[str, Any],
        *,
        order_key: str | None = None,
        max_price: Decimal | str | None = None,
    ) -> Purchase:
        """Extend an order, once per key. Whether its vendor is going to renew it as well is asked by
        ``ExtendProxyOrderOperator`` only.

        :param order_key: by default wallet, order id and the expiry that is being extended, which is read now: outside
            of a task pass a key of your own, since after the extension the expiry is another.
        :raises UnsupportedOperation: for vendors that cannot extend; nothing was sent.
        :raises NotDue: without a key of your own, where the order was extended meanwhile under another key or by the vendor
            itself. Nothing was bought.
        """
        buyer, order_id, still_due = self.buyer(), order_id_of(order_id), None
        order_key = order_key_of(order_key)
        if order_key is None:
            expiry = self.extended_expiry(buyer, order_id)
            order_key, still_due = key_of_extension(buyer.account.wallet, order_id, expiry), _still_ends(order_id, expiry)
        return buyer.extend(order_id, request, order_key=order_key, max_price=price_cap(max_price), still_due=still_due)

    def extension_key(self, buyer: Buyer, order_id: str, context: Context | None = None) -> str:
        """The default key of an extension: wallet, order and the expiry that is extended; see :meth:`extended_expiry`."""
        return key_of_extension(buyer.account.wallet, order_id, self.extended_expiry(buyer, order_id, context))

    def extended_expiry(self, buyer: Buyer, order_id: str, context: Context | None = None) -> str:
        """The expiry that an extension begins at, as ISO text. Inside a task it is read once and kept for all its tries.

        A mapped task is one task here: in one run it means one extension of an order, whatever its map indexes are.

        :raises ConfigError: when the order has no expiry to extend from. Nothing was sent.
        """
        from airflow_provider_proxyorders.domain.errors import ConfigError
        from airflow_provider_proxyorders.domain.exact_json import dump_json

        context = context or _compat.context_or_none()
        anchor = None
        if context is not None:
            actor = actor_of(context)
            # without the map index: the list of a mapped task can hold an order twice, and can shift when it is cleared
            task = dump_json([buyer.account.wallet, order_id, actor.dag_id, actor.task_id, actor.run_id])
            anchor = f"expiry of {hashlib.sha256(task.encode()).hexdigest()}"  # all these names together can be too long
            known = buyer.ledger.get(anchor)
            if known:
                return known
        expires_at = self._read(self.vendor.get(order_id)).expires_at
        if expires_at is None:
            raise ConfigError(
                f"order {order_id} has no expiry at {self.vendor.title} yet, so there is nothing to extend from. Nothing was "
                "sent. Wait for the order first, or give the extension an order_key of its own."
            )
        expiry = expires_at.isoformat()
        return buyer.ledger.decide_once(anchor, expiry) if anchor is not None else expiry

    def set_auto_extend(self, order_id: str, enabled: bool, **options: Any) -> None:
        """Switch the vendor's own renewal of an order on or off. Moves no money now; on means the vendor charges later.

        :raises UnsupportedOperation: for vendors without it.
        """
        self._read(self.vendor.set_auto_extend(str(order_id), enabled, options or None))

    # -- for operators --------------------------------------------------------------------------------------------

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of ``[proxyorders] ledger_url``.

        :raises LedgerError: when it cannot be used, or cannot be shared by the workers of this Airflow.
        """
        from airflow_provider_proxyorders.hooks.settings import ledger

        return ledger()

    def buyer(self, context: Context | None = None, say: Callable[[str], None] | None = None) -> Buyer:
        """The desk of this account: the only way to spend.

        :param context: of the running task; looked up when not given.
        """
        from airflow_provider_proxyorders.purchase.buyer import Buyer

        context = context or _compat.context_or_none()
        actor = actor_of(context) if context is not None else _outside()
        return Buyer(self.vendor, self.http, self.ledger, actor=actor, fence=fence_of(context), say=say or self.log.info)

    def _read(self, flow: Flow[T]) -> T:
        return self.http.run(flow)


class ProxyScrapeHook(ProxyOrdersHook):
    """Orders at ProxyScrape, paid from the account wallet."""

    conn_type = "proxyscrape"
    hook_name = "ProxyScrape"
    default_conn_name = "proxyscrape_default"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any):
        super().__init__(conn_id, **kwargs)


class VoodooHook(ProxyOrdersHook):
    """Orders at Voodoo Center, paid from the account balance."""

    conn_type = "voodoo"
    hook_name = "Voodoo"
    default_conn_name = "voodoo_default"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any):
        super().__init__(conn_id, **kwargs)


class IPRoyalHook(ProxyOrdersHook):
    """Orders at IPRoyal through its reseller API."""

    conn_type = "iproyal"
    hook_name = "IPRoyal"
    default_conn_name = "iproyal_default"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any):
        super().__init__(conn_id, **kwargs)


#: Airflow's masker builds its whole pattern anew for every secret, in the task and in the process above it: 300 take a
#: second in each, 600 five, 1,000 half a minute.
MOST_MASKED = 300


def mask(delivery: Delivery) -> None:
    """Register the passwords and codes of a delivery with Airflow's masker, as they are and as a URL writes them.

    Only the first 300 different ones, with a warning where there are more: beyond that Airflow takes minutes over it.
    """
    from urllib.parse import quote

    secrets = dict.fromkeys(delivery.secrets())
    forms = dict.fromkeys([*secrets, *(quote(secret, safe="") for secret in secrets)])
    _compat.mask_secret([*forms][:MOST_MASKED])
    if len(secrets) > MOST_MASKED:
        logging.getLogger(__name__).warning(
            "Order %s holds %d different passwords or codes; Airflow hides the first %d in logs, so do not log them",
            delivery.order_id,
            len(secrets),
            MOST_MASKED,
        )


def key_of_extension(wallet: str, order_id: str, expiry: str) -> str:
    """Identity of the extension of an order that ends then, whoever asks for it.

    :param expiry: ISO text in UTC.
    """
    return f"extend:{wallet}:{order_id}:{expiry}"


def _still_ends(order_id: str, expiry: str) -> Callable[[Mapping[str, Any]], None]:
    """The question for the last read before an extension leaves: the period it is known by may have been paid for meanwhile."""

    def check(evidence: Mapping[str, Any]) -> None:
        from airflow_provider_proxyorders.domain.errors import NotDue

        began, ends = datetime.fromisoformat(expiry), evidence.get("expires_at")
        if ends and datetime.fromisoformat(ends) > began:
            raise NotDue(
                f"order {order_id} runs until {datetime.fromisoformat(ends):%Y-%m-%d %H:%M} UTC and was to be extended from "
                f"{began:%Y-%m-%d %H:%M} UTC: somebody has extended it already. Nothing was bought"
            )

    return check


def actor_of(context: Mapping[str, Any]) -> Actor:
    """Who is asking, from a task's context."""
    from airflow_provider_proxyorders.domain.model import Actor

    ti = context["ti"]
    return Actor(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number or 0,
        host=socket.gethostname(),
    )


def fence_of(context: Mapping[str, Any] | None) -> Callable[[str], None] | None:
    """Airflow's own fence: writing to the task's state store raises in a try that Airflow has replaced by another."""
    store = context.get("task_state_store") if context is not None else None
    if store is None:
        return None

    def fence(order_key: str) -> None:
        try:
            store.set("proxyorders_order_key", order_key)
        except Exception as error:
            from airflow_provider_proxyorders.domain.errors import LedgerError

            logging.getLogger(__name__).debug("task state store", exc_info=True)
            raise LedgerError(
                "Airflow no longer lets this try write its state, so another try may have replaced it; this one buys nothing "
                f"({type(error).__name__})."
            ) from None

    return fence


def _outside() -> Actor:
    from airflow_provider_proxyorders.domain.model import Actor

    return Actor(host=socket.gethostname())
