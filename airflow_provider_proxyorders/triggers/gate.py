"""The only way from the triggerer to a vendor: one connection, its key, and reading calls.

Three rules. All calls of a connection share one look-up, one HTTP client, one login and one backoff. After a refusal the gate
looks the key up in Airflow again, since you may have changed it, and only then ends all waits. A running call stops before its
next request as soon as another call has met a refusal or a wish for quiet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from airflow.sdk import BaseHook

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    ConfigError,
    LedgerError,
    OrderingNotPermitted,
    OrderNotFound,
    ProxyOrdersError,
    Throttled,
    VendorUnavailable,
)
from airflow_provider_proxyorders.triggers.backoff import Backoff

if TYPE_CHECKING:
    from airflow_provider_proxyorders.transport.answer_cache import CachedAnswer
    from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
    from airflow_provider_proxyorders.vendors.base import Vendor
    from airflow_provider_proxyorders.wire.messages import Flow

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Calls to one vendor at the same time.
IN_FLIGHT = 8
NEVER = float("inf")
#: A refused key is shown to the vendor again after so many seconds: the refusal may have been a firewall's.
KEY_REFUSED = 3600.0
#: Seconds between two look-ups of a connection whose key was refused.
KEY_LOOKED_UP = 60.0

#: The meaning of a refused key: the connection holds another key by now; another call has reported this refusal already; or
#: all waits are over.
Refusal = Literal["renewed", "reported", "final"]


class CallHeld(Exception):
    """A request stayed here: since its call began, another call has met a refusal or a wish for quiet."""


@dataclass(frozen=True, eq=False)
class Access:
    """One look-up of a connection, and the common parts of its calls. Another key is another access."""

    vendor: Vendor
    http: AsyncHttp
    backoff: Backoff


class Gate:
    """Asks the vendor of one connection.

    :param opened: called with the vendor after the first look-up, and after each one with another key.
    :ivar access: the connection in use; :meth:`open` sets it, and another key replaces it.
    """

    access: Access

    def __init__(self, conn_id: str, opened: Callable[[Vendor], None]):
        self.conn_id = conn_id
        self.loop = asyncio.get_running_loop()
        self.is_open = False
        self._opened = opened
        self._replaced: list[AsyncHttp] = []
        self._looking_up, self._logging_in = asyncio.Lock(), asyncio.Lock()
        self._refusal: tuple[float, Exception] | None = None
        self._refused: Vendor | None = None

    @property
    def vendor(self) -> Vendor:
        return self.access.vendor

    async def open(self) -> Vendor:
        """Look the connection up, once for all waiting triggers.

        :raises ConfigError: the connection is missing or incomplete.
        """
        asked_at = self.loop.time()
        async with self._looking_up:
            if not self.is_open:
                if self._refused_since(asked_at):
                    assert self._refusal is not None
                    raise self._refusal[1]  # another look-up failed while this one stood in line
                try:
                    await self._use(await self._look_up())
                except Exception as error:
                    self._refusal = (self.loop.time(), error)
                    raise
        return self.vendor

    async def ask(self, flow_of: Callable[[Vendor], Flow[T]]) -> T:
        """Make one call as soon as the vendor may be asked. Its trouble counts for all calls of the connection.

        :param flow_of: makes the flow, anew for each key.
        :raises AuthenticationFailed, OrderingNotPermitted: the vendor refuses the connection's present key.
        :raises ProxyOrdersError: the call failed. After passing trouble the next call waits as long as the vendor needs.
        """
        await self.open()
        while True:
            access = self.access
            while (pause := access.backoff.until - self.loop.time()) > 0:
                await asyncio.sleep(pause)
            access.backoff.begin(self.loop.time())
            try:
                return await self.call(access, flow_of(access.vendor))
            except CallHeld:
                async with self._looking_up:  # after a refused key the connection is being looked up
                    continue
            except (AuthenticationFailed, OrderingNotPermitted):
                if not await self.renew(access.vendor):
                    raise
            except (Throttled, VendorUnavailable) as error:  # after an unreadable answer other calls go on
                access.backoff.fail(error, self.loop.time())
                raise

    async def call(self, access: Access, flow: Flow[T], answer: CachedAnswer[T] | None = None) -> T:
        """Make one call now; the caller has asked the backoff, and tells it of trouble.

        :param answer: the last answer to the same question.
        :raises CallHeld: a request stayed here; ask again.
        :raises ProxyOrdersError: the call failed.
        """
        from airflow_provider_proxyorders.transport.flow import arun

        began = self.loop.time()
        send = partial(access.http.asend, check=partial(self._check, access, began))
        try:
            if access.vendor.renews_login:
                async with self._logging_in:  # once for all calls
                    await arun(access.vendor.login(), send)
            result = await arun(flow, send, answer)
        except (AuthenticationFailed, OrderingNotPermitted):
            access.backoff.refuse(self.loop.time())
            raise
        except OrderNotFound:
            access.backoff.succeed(began)
            raise
        access.backoff.succeed(began)
        return result

    def _check(self, access: Access, began: float) -> None:
        """Stop the next request of a running call, where another call has met trouble since its begin.

        :raises CallHeld: the vendor wants quiet, the key was refused, or the connection holds another one.
        """
        backoff = access.backoff
        if self.access is not access or began <= backoff.refused_at or self.loop.time() < backoff.quiet_until:
            raise CallHeld

    async def renew(self, refused: Vendor) -> bool:
        """Use the connection's present key; returns whether it is another one. Asks Airflow only.

        Other settings count as another key: they may decide how the key is shown.
        """
        async with self._looking_up:
            return await self._renew(refused)

    async def wait_for_other_key(self, every: float, at_most: float = NEVER) -> None:
        """Wait until the connection holds another key than the last refused one. Asks Airflow only.

        :param every: seconds between two look-ups.
        :param at_most: the longest wait, in seconds.
        """
        refused, end = self._refused or await self.open(), self.loop.time() + at_most
        while self.loop.time() < end and not await self.renew(refused):
            await asyncio.sleep(min(every, at_most))

    async def judge_refusal(self, refused: Vendor, error: ProxyOrdersError, began: float) -> Refusal:
        """Decide the meaning of a refused key.

        :param began: the moment when the refused call began.
        """
        async with self._looking_up:
            reported = self._refused_since(began)
            if not reported:
                await self._renew(refused)
            if self.vendor is not refused:
                return "renewed"
            self._refusal = (self.loop.time(), error)
        return "reported" if reported else "final"

    async def may_ask_again(self, vendor: Vendor, began: float) -> bool:
        """Whether a held call may be made again. A final refusal since its begin forbids it."""
        async with self._looking_up:  # after a refused key the connection is being looked up
            return self.vendor is not vendor or not self._refused_since(began)

    async def close(self) -> None:
        """Close all HTTP clients, also those of earlier keys."""
        for http in (*self._replaced, *([self.access.http] if self.is_open else [])):
            await http.aclose()

    async def _look_up(self) -> Vendor:
        await asyncio.to_thread(_import_modules)
        from airflow_provider_proxyorders.hooks.connection import vendor_for
        from airflow_provider_proxyorders.hooks.wallets import look_up_wallet

        try:
            connection = await BaseHook.aget_connection(self.conn_id)
        except Exception as error:  # a secrets backend may raise anything
            raise ConfigError(f"the look-up of connection {self.conn_id!r} failed: {type(error).__name__}") from None
        vendor = await asyncio.to_thread(vendor_for, connection)  # the first one of a vendor imports its modules
        _compat.mask_secret(vendor.account.secret)
        if vendor.webhook is not None and vendor.account.takes_webhooks:  # hints are matched by wallet
            try:
                await asyncio.to_thread(look_up_wallet, vendor.account)
            except LedgerError as error:
                log.warning(
                    "Connection %s: looking up its wallet failed, so polling alone may have to wake it: %s", self.conn_id, error
                )
        return vendor

    async def _use(self, vendor: Vendor) -> None:
        """Make all calls with this vendor from now on.

        :raises ConfigError: for an invalid base URL.
        """
        from airflow_provider_proxyorders.transport.triggerer import AsyncHttp

        http = await asyncio.to_thread(AsyncHttp, vendor.account, connections=IN_FLIGHT)  # reads the environment's proxies
        if self.is_open:
            self._replaced.append(self.access.http)  # calls may be under way in it, so it is closed at the end
        self.access = Access(vendor, http, Backoff(vendor.capabilities.polling, IN_FLIGHT))
        self.is_open = True
        self._opened(vendor)

    async def _renew(self, refused: Vendor) -> bool:
        """The same as :meth:`renew`; the caller holds the lock."""
        if self.vendor is refused:
            with contextlib.suppress(ProxyOrdersError):
                vendor = await self._look_up()
                if _shown_to_vendor(vendor) != _shown_to_vendor(refused):
                    await self._use(vendor)
        self._refused = refused
        return self.vendor is not refused

    def _refused_since(self, moment: float) -> bool:
        return self._refusal is not None and self._refusal[0] >= moment


def _import_modules() -> None:
    """Import, in a thread, what a first call needs: in the event loop it would hold up all other triggers."""
    for module in ("hooks.connection", "hooks.settings", "hooks.wallets", "transport.flow", "transport.triggerer"):
        import_module(f"airflow_provider_proxyorders.{module}")
    _compat.import_for_look_up()


def _shown_to_vendor(vendor: Vendor) -> tuple[Any, ...]:
    """What decides whether a vendor takes a connection's key."""
    return vendor.account.secret, vendor.account.base_url, dict(vendor.account.settings)
