"""The hooks: one for any vendor, and one for each connection type. Their reading half is in ``reading.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import InvalidParameter, telling_of_the_wallet
from airflow_provider_proxyorders.domain.inputs import (
    body_of,
    count_of,
    order_id_of,
    order_key_of,
    price_cap,
    required_flag,
    required_order_key,
    seconds_of,
)
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.domain.names import AnyOrder
from airflow_provider_proxyorders.hooks.reading import ReadingHook, key_of
from airflow_provider_proxyorders.hooks.task import actor_of, answers_of, fence_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.purchase.buyer import Buyer
    from airflow_provider_proxyorders.vendors.iproyal import IPRoyal


class ProxyOrdersHook(ReadingHook):
    """Buys, extends and reads prepaid orders through an Airflow connection of any installed vendor.

    Every purchase has an order key and happens at most once per key, also under retries. A hook looks its
    connection up once and keeps one HTTP session.

    :param conn_id: a connection of type ``proxyscrape``, ``iproyal``, ``voodoo`` or of a vendor from another package.
    """

    hook_name = "Proxy orders"

    # -- spending -------------------------------------------------------------------------------------------------

    def create_order(self, request: Mapping[str, Any], *, order_key: str, max_price: Decimal | str | None = None) -> Purchase:
        """Buy an order, once per key however often you call this.

        :param request: the vendor's own body fields, as its documentation names them.
        :param order_key: our identity of the purchase; the same key is the same purchase for ever.
        :param max_price: the most it may cost, in major currency units.
        :returns: the purchase in the ledger; its order may still be in preparation, see :meth:`wait_for_order`.
        :raises InvalidRequest, CapExceeded, OrderKeyConflict: nothing was sent.
        :raises OutcomeUnknown: it may have been bought; the next call looks for it first and never buys on a guess.
        """
        with telling_of_the_wallet():
            key = required_order_key(order_key)
            return self.buyer().place(body_of(request), order_key=key, max_price=price_cap(max_price))

    def extend_order(
        self,
        order_id: AnyOrder,
        request: Mapping[str, Any],
        *,
        order_key: str | None = None,
        max_price: Decimal | str | None = None,
    ) -> Purchase:
        """Extend an order, once per key. It ignores the vendor's own renewal of the order; ``ExtendProxyOrderOperator`` sees it.

        :param order_key: by default wallet, order id, what of the order is extended, and the expiry that is extended. Outside of
            a task the expiry is read at each call, so pass a key of your own there: a second call would see the new expiry and
            extend again.
        :param max_price: the most it may cost, in major currency units.
        :raises UnsupportedOperation: the vendor cannot extend. Nothing was sent.
        :raises NotDue: without a key of your own, if another purchase or the vendor itself has extended the order meanwhile.
            Nothing was bought.
        """
        from airflow_provider_proxyorders.renewal.due import DueRule
        from airflow_provider_proxyorders.renewal.keys import default_extension_key, expiry_to_extend

        with telling_of_the_wallet():
            buyer, order_id, still_due = self.buyer(), order_id_of(order_id), None
            key, cap = order_key_of(order_key), price_cap(max_price)
            if key is None:
                part = buyer.vendor.part_of(buyer.vendor.prepare_extend(order_id, body_of(request)).body)
                expiry = expiry_to_extend(buyer, order_id)
                key = default_extension_key(buyer, order_id, expiry, part)
                if not part:
                    still_due = DueRule(buyer.vendor.title, expiry=expiry).last_check(order_id)
            return buyer.extend(order_id, body_of(request), order_key=key, max_price=cap, still_due=still_due)

    def wait_for_order(
        self,
        purchase: Purchase,
        *,
        timeout: timedelta | float | str | None = None,
        poll_interval: timedelta | float | str | None = None,
    ) -> Purchase:
        """Wait until a purchase can be used. For an order from elsewhere there is ``ProxyOrderSensor``.

        :param purchase: what :meth:`create_order` or :meth:`extend_order` returned.
        :param timeout: how long, as seconds, timedelta or text such as ``PT5M``; ``None`` = the vendor's default.
        :param poll_interval: the longest pause between two looks, in the same forms; ``None`` = the vendor's rhythm.
        :returns: the purchase; its delivery can be read.
        :raises OrderPending: at the timeout. The order stays in the ledger, and another call waits for the same one.
        :raises OrderNotUsable: the order ended badly. Nothing is bought in its place.
        """
        value: object = purchase
        if not isinstance(value, Purchase):
            rule = "must be what create_order or extend_order returned; for an order id there is ProxyOrderSensor"
            raise InvalidParameter("purchase", rule, "hook.create_order(...)", got=value)
        with telling_of_the_wallet():
            buyer = self.buyer()
            patience = seconds_of("timeout", timeout, buyer.vendor.capabilities.polling.timeout, least=0.0)
            pause = seconds_of("poll_interval", poll_interval)
            deadline = datetime.now(timezone.utc) + timedelta(seconds=patience)
            return buyer.require_usable(buyer.wait(purchase, deadline=deadline, poll_interval=pause))

    def set_auto_extend(self, order_id: AnyOrder, enabled: bool, **options: Any) -> None:
        """Switch the vendor's own renewal of an order on or off. It moves no money now; if on, the vendor charges later.

        :param enabled: true or false; it has no default, since the vendor charges for a renewal.
        :raises UnsupportedOperation: the vendor does not renew by itself.
        """
        enabled = required_flag("enabled", enabled)
        self._read(self.vendor.set_auto_extend(order_id_of(order_id), enabled, options or None))

    # -- the catalogue --------------------------------------------------------------------------------------------

    def iter_products(self) -> Iterator[dict[str, Any]]:
        """The vendor's catalogue like :meth:`get_products`, one product at a time.

        :raises UnsupportedOperation: the vendor has no catalogue.
        """
        from airflow_provider_proxyorders.hooks.catalogue import catalogue_of

        catalogue = catalogue_of(self.vendor, self.log)
        yield from catalogue.products() if catalogue else self.get_products()

    # -- for operators --------------------------------------------------------------------------------------------

    def buyer(self, context: Context | None = None, say: Callable[[str], None] | None = None) -> Buyer:
        """The buyer of this account, for operators: the only way to spend.

        :param context: of the running task; ``None`` = look it up.
        :param say: receives the story of a purchase, line by line; ``None`` = the hook's log.
        """
        from airflow_provider_proxyorders.hooks.wallets import describe_same_key, resolve_wallet, same_key_elsewhere
        from airflow_provider_proxyorders.purchase.buyer import Buyer

        account = self.vendor.account
        if resolve_wallet(account, self.ledger) and (other := same_key_elsewhere(account, self.ledger, key_of)):
            text, advice = describe_same_key(account, other)
            self.log.warning("Connection %s: %s. %s", account.conn_id, text, advice)
        context = context or _compat.context_or_none()
        return Buyer(
            self.vendor,
            self.http,
            self.ledger,
            actor=actor_of(context),
            fence=fence_of(context, self.ledger),
            answers=answers_of(context),
            say=say or self.log.info,
        )


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

    def get_product(self, item_id: int) -> dict[str, Any] | None:
        """One item of the catalogue as the file has it, with its bounds and the ids of its choices; ``None`` for an unknown one.

        :raises VendorError: the catalogue cannot be had or read. It moved no money.
        """
        from airflow_provider_proxyorders.hooks.catalogue import catalogue_of

        catalogue = catalogue_of(self.vendor, self.log)
        return catalogue.product(count_of("item_id", item_id, 0)) if catalogue else None


class IPRoyalHook(ProxyOrdersHook):
    """Orders at IPRoyal through its reseller API."""

    conn_type = "iproyal"
    hook_name = "IPRoyal"
    default_conn_name = "iproyal_default"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any):
        super().__init__(conn_id, **kwargs)

    def get_cards(self) -> list[dict[str, Any]]:
        """The stored cards; an ``id`` is what ``card_id`` of a purchase expects.

        :raises VendorError: they cannot be read.
        """
        return self._read(self.iproyal.cards())

    def change_credentials(self, order_id: AnyOrder, **options: Any) -> None:
        """Give the proxies of an order another login; it moves no money. Read the delivery anew afterwards.

        :param options: ``username``, ``password``, ``random_password``, ``is_reset``, and ``proxies`` (IP addresses) for a part.
        :raises InvalidRequest: there is nothing to change. Nothing was sent.
        """
        if options.get("password"):
            _compat.mask_secret(str(options["password"]))
        self._read(self.iproyal.change_credentials(order_id_of(order_id), options))

    @property
    def iproyal(self) -> IPRoyal:
        """The vendor, with the calls that IPRoyal alone has."""
        return cast("IPRoyal", self.vendor)


class Proxy6Hook(ProxyOrdersHook):
    """Proxies at PROXY6."""

    conn_type = "proxy6"
    hook_name = "PROXY6"
    default_conn_name = "proxy6_default"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any):
        super().__init__(conn_id, **kwargs)
