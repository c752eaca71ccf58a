"""The hooks: one for any vendor, and one for each connection type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote as url_quote

from airflow.sdk import BaseHook

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import (
    body_of,
    conn_id_of,
    ids_of,
    order_id_of,
    order_key_of,
    price_cap,
    required_flag,
    required_text,
)
from airflow_provider_proxyorders.hooks.masking import mask
from airflow_provider_proxyorders.hooks.task import actor_of, fence_of

if TYPE_CHECKING:
    import requests
    from airflow.sdk import Connection, Context

    from airflow_provider_proxyorders.domain.model import Balance, Delivery, Purchase, Quote, VendorOrder
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.purchase.buyer import Buyer
    from airflow_provider_proxyorders.transport.worker import Http
    from airflow_provider_proxyorders.vendors import Capabilities, Vendor
    from airflow_provider_proxyorders.wire.messages import Flow

T = TypeVar("T")


class ProxyOrdersHook(BaseHook):
    """Buys, extends and reads prepaid orders through an Airflow connection of any installed vendor.

    Every purchase has an order key and happens at most once per key, also under retries; see the README. A hook looks its
    connection up once and keeps one HTTP session.

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

        :raises ConfigError: the connection misses a value, or a value of it is wrong. Nothing was sent.
        """
        from airflow_provider_proxyorders.hooks.connection import vendor_for

        connection: Connection = self.get_connection(conn_id_of(self.conn_id))
        vendor = vendor_for(connection, self.conn_type or None)
        _compat.mask_secret(vendor.account.secret)
        return vendor

    @cached_property
    def http(self) -> Http:
        """The HTTP session of this hook, kept open; every call has a time limit."""
        from airflow_provider_proxyorders.transport.worker import Http

        return Http(self.vendor.account)

    @property
    def capabilities(self) -> Capabilities:
        """The operations that the vendor's documentation offers."""
        return self.vendor.capabilities

    def get_conn(self) -> requests.Session:
        """The ``requests`` session in use, with the account's authentication headers set.

        Use it for calls that this hook has no method for. The ledger does not see a purchase that you send through it.
        """
        self._read(self.vendor.login())
        session = self.http.session
        session.headers.update(self.vendor.auth_headers())
        return session

    def test_connection(self) -> tuple[bool, str]:
        """Read at the vendor to prove that the key works; nothing is bought. Only a purchase proves the right to place orders."""
        try:
            return True, self._read(self.vendor.check_access())
        except ProxyOrdersError as error:
            return False, str(error)
        finally:
            if "http" in self.__dict__:
                self.http.close()

    def order_page(self, order_id: str) -> str | None:
        """Address of an order in the vendor's dashboard: the connection's ``order_page``, else the vendor's, else ``None``."""
        order_id, template = order_id_of(order_id), self.vendor.account.settings.get("order_page")
        return template.replace("{order_id}", url_quote(order_id, safe="")) if template else self.vendor.order_page(order_id)

    # -- reading --------------------------------------------------------------------------------------------------

    def get_balance(self) -> Balance:
        """The spendable amount of the wallet.

        :raises VendorError: it cannot be read.
        """
        return self._read(self.vendor.balance())

    def quote(self, request: Mapping[str, Any]) -> Quote:
        """The price of a new order now.

        :param request: the vendor's own body fields, as its documentation names them.
        :raises UnsupportedOperation: the vendor has no quote.
        :raises InvalidRequest: the request breaks a documented rule.
        """
        return self._read(self.vendor.quote(self.vendor.prepare_create(body_of(request), "quote").body))

    def quote_extension(self, order_id: str, request: Mapping[str, Any]) -> Quote:
        """The price of an extension now.

        :param request: the vendor's own body fields, as its documentation names them.
        :raises UnsupportedOperation: the vendor has no quote for extensions.
        :raises InvalidRequest: the request breaks a documented rule.
        """
        order_id = order_id_of(order_id)
        return self._read(self.vendor.quote_extension(order_id, self.vendor.prepare_extend(order_id, body_of(request)).body))

    def get_order(self, order_id: str) -> VendorOrder:
        """One order as the vendor reports it now; it holds no secret.

        :raises OrderNotFound: the vendor does not know it.
        """
        return self._read(self.vendor.get(order_id_of(order_id)))

    def list_orders(self, *, order_ids: list[str] | None = None, **filters: Any) -> list[VendorOrder]:
        """Orders at the vendor, all pages.

        :param filters: the vendor's own query parameters, as its documentation names them.
        :raises UnsupportedOperation: the vendor has no list.
        """
        from airflow_provider_proxyorders.vendors import Filters

        return self._read(self.vendor.list(Filters(order_ids=ids_of("order_ids", order_ids), extra=filters)))

    def get_products(self) -> list[dict[str, Any]]:
        """The vendor's catalogue in the vendor's own form.

        :raises UnsupportedOperation: the vendor has no catalogue.
        """
        return self._read(self.vendor.products())

    def get_delivery(self, order_id: str) -> Delivery:
        """The proxies or codes of an order. They are secret, and registered with Airflow's masker; see :func:`mask`.

        :raises OrderNotUsable, VendorError: they cannot be read yet.
        """
        delivery = self._read(self.vendor.delivery(order_id_of(order_id)))
        mask(delivery)
        if delivery.skipped:
            self.log.warning("Order %s: %d entries of the vendor's list could not be read", order_id, delivery.skipped)
        return delivery

    # -- spending -------------------------------------------------------------------------------------------------

    def create_order(self, request: Mapping[str, Any], *, order_key: str, max_price: Decimal | str | None = None) -> Purchase:
        """Buy an order, once per key however often you call this.

        :param request: the vendor's own body fields, as its documentation names them.
        :param order_key: our identity of the purchase; the same key is the same purchase for ever.
        :param max_price: the most it may cost, in major currency units.
        :returns: the purchase in the ledger; its order may still be in preparation.
        :raises InvalidRequest, CapExceeded, OrderKeyConflict: nothing was sent.
        :raises OutcomeUnknown: it may have been bought; the next call looks for it first and never buys on a guess.
        """
        key = required_text("order_key", order_key, "fresh-proxies-2026-12")
        return self.buyer().place(body_of(request), order_key=key, max_price=price_cap(max_price))

    def extend_order(
        self,
        order_id: str,
        request: Mapping[str, Any],
        *,
        order_key: str | None = None,
        max_price: Decimal | str | None = None,
    ) -> Purchase:
        """Extend an order, once per key. It ignores the vendor's own renewal of the order; ``ExtendProxyOrderOperator`` sees it.

        :param order_key: by default wallet, order id and the expiry that is extended. Outside of a task the expiry is read at
            each call, so pass a key of your own there: a second call would see the new expiry and extend again.
        :param max_price: the most it may cost, in major currency units.
        :raises UnsupportedOperation: the vendor cannot extend. Nothing was sent.
        :raises NotDue: without a key of your own, if another purchase or the vendor itself has extended the order meanwhile.
            Nothing was bought.
        """
        from airflow_provider_proxyorders.renewal.due import DueRule
        from airflow_provider_proxyorders.renewal.keys import expiry_to_extend, extension_key

        buyer, order_id, still_due = self.buyer(), order_id_of(order_id), None
        key, cap = order_key_of(order_key), price_cap(max_price)
        if key is None:
            expiry = expiry_to_extend(buyer, order_id)
            key = extension_key(buyer.account.wallet, order_id, expiry)
            still_due = DueRule(buyer.vendor.title, expiry=expiry).last_check(order_id)
        return buyer.extend(order_id, body_of(request), order_key=key, max_price=cap, still_due=still_due)

    def set_auto_extend(self, order_id: str, enabled: bool, **options: Any) -> None:
        """Switch the vendor's own renewal of an order on or off. It moves no money now; if on, the vendor charges later.

        :param enabled: true or false; it has no default, since the vendor charges for a renewal.
        :raises UnsupportedOperation: the vendor does not renew by itself.
        """
        enabled = required_flag("enabled", enabled)
        self._read(self.vendor.set_auto_extend(order_id_of(order_id), enabled, options or None))

    # -- for operators --------------------------------------------------------------------------------------------

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of ``[proxyorders] ledger_url``.

        :raises LedgerError: it cannot be used or shared by the workers of this Airflow.
        """
        from airflow_provider_proxyorders.hooks.settings import ledger

        return ledger()

    def buyer(self, context: Context | None = None, say: Callable[[str], None] | None = None) -> Buyer:
        """The buyer of this account, for operators: the only way to spend.

        :param context: of the running task; ``None`` = look it up.
        :param say: receives the story of a purchase, line by line; ``None`` = the hook's log.
        """
        from airflow_provider_proxyorders.purchase.buyer import Buyer

        context = context or _compat.context_or_none()
        return Buyer(
            self.vendor, self.http, self.ledger, actor=actor_of(context), fence=fence_of(context), say=say or self.log.info
        )

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
