"""Who may send webhooks: connections, looked up now and then and not for every delivery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.core.errors import ProxyOrdersError
from airflow_provider_proxyorders.core.signatures import Scheme

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors import Vendor

#: Seconds after which a connection is looked up again, so that a changed secret counts soon; an unknown one sooner.
FRESH, UNKNOWN_FRESH = 10.0, 2.0
#: Names that are remembered as unknown; an attacker must not fill the memory.
MOST = 1000


@dataclass(frozen=True)
class Sender:
    """A connection whose vendor sends webhooks.

    :param secrets: the current one, and others while it is being changed; empty refuses every delivery.
    """

    conn_id: str
    wallet: str
    vendor: Vendor = field(repr=False)
    scheme: Scheme
    secrets: Sequence[str] = field(repr=False)


class Senders:
    """Finds senders by connection id.

    :param look_up: blocking; gives the vendor behind a connection, raises ConfigError where there is none.
    """

    def __init__(self, look_up: Callable[[str], Vendor], clock: Callable[[], float] = time.monotonic):
        self._look_up, self._clock = look_up, clock
        self._known: dict[str, tuple[float, Sender | None]] = {}
        self._looking = asyncio.Lock()

    async def find(self, conn_id: str) -> Sender | None:
        """The sender, None where there is no such connection or its vendor sends no webhooks."""
        found = self._fresh(conn_id)
        if found is not None:
            return found[1]
        async with self._looking:
            found = self._fresh(conn_id)
            if found is None:
                sender = await asyncio.to_thread(self._load, conn_id)
                if len(self._known) >= MOST:
                    self._known.clear()
                found = (self._clock() + (FRESH if sender else UNKNOWN_FRESH), sender)
                self._known[conn_id] = found
        return found[1]

    def _fresh(self, conn_id: str) -> tuple[float, Sender | None] | None:
        found = self._known.get(conn_id)
        return found if found is not None and found[0] > self._clock() else None

    def _load(self, conn_id: str) -> Sender | None:
        try:
            vendor = self._look_up(conn_id)
        except ProxyOrdersError:
            return None
        if vendor.webhook is None:
            return None
        secrets = secrets_of(vendor.account.settings.get("webhook_secret"))
        return Sender(conn_id, vendor.account.wallet, vendor, scheme_of(vendor), secrets)


def scheme_of(vendor: Vendor) -> Scheme:
    """The vendor's way to sign, changed by what the connection's setting ``webhook_scheme`` says.

    :raises ConfigError: when the setting is none.
    """
    from airflow_provider_proxyorders.core.errors import ConfigError

    assert vendor.webhook is not None
    changes: Any = vendor.account.settings.get("webhook_scheme")
    if not changes:
        return vendor.webhook
    try:
        return Scheme(**{**vars(vendor.webhook), **changes})
    except TypeError:
        raise ConfigError(
            f"connection {vendor.account.conn_id!r}: webhook_scheme must be an object of {', '.join(vars(vendor.webhook))}"
        ) from None


def secrets_of(setting: Any) -> list[str]:
    """One secret or a list of them; empty ones do not count, since anybody could sign with those."""
    given = [setting] if isinstance(setting, str) else setting if isinstance(setting, list) else []
    return [secret for secret in given if isinstance(secret, str) and secret.strip()]
