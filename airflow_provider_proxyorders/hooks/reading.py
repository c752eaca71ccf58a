"""The reading half of the hooks: connection, session, and every call that moves no money."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote as url_quote

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import ConfigError, LedgerError, OrderPending, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import body_of, conn_id_of, count_of, ids_of, order_id_of
from airflow_provider_proxyorders.domain.names import AnyOrder
from airflow_provider_proxyorders.domain.secrets import masked_answer
from airflow_provider_proxyorders.hooks.masking import MaskedSession, mask

if TYPE_CHECKING:
    import requests
    from airflow.sdk import Connection

    from airflow_provider_proxyorders.domain.delivered import Delivery
    from airflow_provider_proxyorders.domain.model import Balance, Quote, VendorOrder
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.transport.worker import Http
    from airflow_provider_proxyorders.vendors import Capabilities, Vendor
    from airflow_provider_proxyorders.wire.messages import Flow

T = TypeVar("T")


class ReadingHook(BaseHook):
    """Reads through an Airflow connection of any installed vendor. Nothing here moves money.

    :param conn_id: see :class:`~airflow_provider_proxyorders.hooks.proxyorders.ProxyOrdersHook`.
    """

    conn_name_attr = "conn_id"
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

        vendor = vendor_for(_connection_of(self), self.conn_type or None)
        _compat.mask_secret(vendor.account.secret)
        vendor.account.session = MaskedSession()
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
        """The ``requests`` session in use. It authenticates requests to the account's own host, and no others.

        Use it for calls that this hook has no method for. The ledger does not see a purchase that you send through it.
        """
        self._read(self.vendor.login())
        return self.http.log_in(self.vendor.auth_headers())

    def test_connection(self) -> tuple[bool, str]:
        """Read at the vendor to prove that the key works; nothing is bought. Only a purchase proves the right to place orders."""
        try:
            return True, self._read(self.vendor.check_access())
        except ProxyOrdersError as error:
            return False, str(error)
        finally:
            if "http" in self.__dict__:
                self.http.close()

    def order_page(self, order_id: AnyOrder) -> str | None:
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
        """The price of a new order now. A vendor with prices in a catalogue alone tells that of the copy on this host.

        :param request: the vendor's own body fields, as its documentation names them.
        :raises UnsupportedOperation: the vendor has no quote.
        :raises InvalidRequest: the request breaks a documented rule.
        """
        from airflow_provider_proxyorders.hooks.catalogue import catalogue_of

        body = self.vendor.prepare_create(body_of(request), "quote").body
        if catalogue := catalogue_of(self.vendor, self.log):
            return catalogue.quote(body)
        return self._read(self.vendor.quote(body))

    def quote_extension(self, order_id: AnyOrder, request: Mapping[str, Any]) -> Quote:
        """The price of an extension now.

        :param request: the vendor's own body fields, as its documentation names them.
        :raises UnsupportedOperation: the vendor has no quote for extensions.
        :raises InvalidRequest: the request breaks a documented rule.
        """
        order_id = order_id_of(order_id)
        return self._read(self.vendor.quote_extension(order_id, self.vendor.prepare_extend(order_id, body_of(request)).body))

    def get_order(self, order_id: AnyOrder) -> VendorOrder:
        """One order as the vendor reports it now; it holds no secret.

        :param order_id: the vendor's id, or an object that names it: a task's result, a purchase or an order. It is the same for
            every method of the hook.
        :raises OrderNotFound: the vendor does not know it.
        """
        return self._read(self.vendor.get(order_id_of(order_id)))

    def get_raw_order(self, order_id: AnyOrder) -> Any:
        """The vendor's own JSON about an order, for fields that :meth:`get_order` leaves out.

        Secrets are replaced by ``***``, and so is what was delivered: for that there is :meth:`get_delivery`.

        :raises OrderNotFound: the vendor does not know it.
        """
        return masked_answer(self._read(self.vendor.raw(order_id_of(order_id))))

    def list_orders(self, *, order_ids: list[str] | None = None, limit: int | None = None, **filters: Any) -> list[VendorOrder]:
        """Orders at the vendor, all pages. A filter ``page`` reads that page alone.

        :param limit: orders at most; no further page is read then.
        :param filters: the vendor's own query parameters, as its documentation names them.
        :raises UnsupportedOperation: the vendor has no list.
        """
        from airflow_provider_proxyorders.vendors import Filters

        most = count_of("limit", limit)
        self._know_lists(filters)
        orders = self._read(self.vendor.list(Filters(ids_of("order_ids", order_ids), most, filters)))
        return orders[:most]

    def get_products(self) -> list[dict[str, Any]]:
        """The vendor's catalogue in the vendor's own form; ``iter_products`` takes less memory for a large one.

        :raises UnsupportedOperation: the vendor has no catalogue.
        :raises ConfigError: the catalogue is a file, and this host cannot read or keep it. Nothing was sent.
        """
        from airflow_provider_proxyorders.hooks.catalogue import catalogue_of

        if catalogue := catalogue_of(self.vendor, self.log):
            return list(catalogue.products())
        return self._read(self.vendor.products())

    def get_delivery(self, order_id: AnyOrder) -> Delivery:
        """The proxies or codes of an order. They are secret, and registered with Airflow's masker; see :func:`mask`.

        :raises OrderPending: the order is unfinished and yields nothing yet. Wait with ``wait_for_order``.
        :raises OrderNotUsable: the order ended badly and yields nothing.
        :raises VendorError: they cannot be read.
        """
        order_id = order_id_of(order_id)
        delivery = self._read(self.vendor.delivery(order_id))
        if not delivery.count and not delivery.skipped:
            _require_finished(self, order_id)
        mask(delivery)
        if delivery.skipped:
            self.log.warning("Order %s: %d entries of the vendor's list could not be read", order_id, delivery.skipped)
        ordered = self._ordered_units(order_id)
        if ordered is not None and delivery.count < ordered:
            self.log.warning("Order %s: %d of %d ordered entries are there", order_id, delivery.count, ordered)
        return delivery

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of ``[proxyorders] ledger_url``.

        :raises LedgerError: it cannot be used or shared by the workers of this Airflow.
        """
        from airflow_provider_proxyorders.hooks.settings import ledger

        return ledger()

    def _know_lists(self, filters: Mapping[str, Any]) -> None:
        """Without a ledger, a list by parts has the parts of the vendor's catalogue only."""
        from airflow_provider_proxyorders.purchase.showing import know_lists

        by = self.capabilities.list_by
        if by and by not in filters and (ledger := self._existing_ledger()):
            know_lists(self.vendor, ledger)

    def _ordered_units(self, order_id: str) -> int | None:
        """How many proxies or codes the ledger's purchase of an order asked for; ``None`` for an order from elsewhere."""
        if ledger := self._existing_ledger():
            for purchase in ledger.by_order_id(self.vendor.account.wallet, order_id):
                if purchase.kind == "create":
                    return self.vendor.units(purchase.request)
        return None

    def _existing_ledger(self) -> Ledger | None:
        """The ledger, for details of a read: a read works without it, and makes none."""
        from airflow_provider_proxyorders.hooks.settings import ledger_url
        from airflow_provider_proxyorders.hooks.wallets import look_up_wallet
        from airflow_provider_proxyorders.ledger.inspect import existing_engine

        with suppress(LedgerError):
            if existing_engine(ledger_url()) is not None:
                look_up_wallet(self.vendor.account)
                return self.ledger
        return None

    def _read(self, flow: Flow[T]) -> T:
        return self.http.run(flow)


def key_of(conn_id: str) -> str | None:
    """The key of another connection, ``None`` where it cannot be read: it may be gone, or broken in any way."""
    try:
        return ReadingHook(conn_id).vendor.account.secret
    except Exception:
        return None


def _connection_of(hook: ReadingHook) -> Connection:
    """:raises ConfigError: there is no such connection. Nothing was sent."""
    conn_id = conn_id_of(hook.conn_id)
    try:
        with _compat.quiet_masker():
            return hook.get_connection(conn_id)
    except AirflowNotFoundException:
        variable = f"AIRFLOW_CONN_{conn_id.upper()}"
        if variable in os.environ:
            raise ConfigError(
                f"connection {conn_id!r} is unreadable: {variable} must hold JSON or a URI. Nothing was sent. Write JSON, "
                "with double quotes."
            ) from None
        raise ConfigError(
            f"connection {conn_id!r} is missing. Nothing was sent. Create it under Admin > Connections, with the vendor as its "
            "type, or correct conn_id."
        ) from None


def _require_finished(hook: ReadingHook, order_id: str) -> None:
    """:raises OrderPending, OrderNotUsable: the order has nothing to deliver, as the vendor reports it now."""
    from airflow_provider_proxyorders.purchase.outcome import require_usable

    try:
        require_usable(hook.get_order(order_id), hook.vendor, on_partial="accept")
    except OrderPending as error:
        error.tell("It is paid and yields nothing yet. Wait with wait_for_order or a sensor; reading it again buys nothing.")
        raise
