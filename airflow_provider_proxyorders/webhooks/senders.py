"""Who may send webhooks: connections, looked up now and then and not for every delivery.

Two rules: names that anybody can make up neither push out nor hold up those that have proven a delivery; and what is proven is
served while it is looked up anew, but not for long, so that a secret that was taken out stops counting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.wire.signatures import Scheme, has_key

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors import Vendor

log = logging.getLogger(__name__)

#: Seconds after which a connection is looked up again, so that a changed secret counts soon; an unknown one sooner.
FRESH, UNKNOWN_FRESH = 10.0, 2.0
#: Seconds after its look-up until which a proven connection is served while it is looked up anew.
STALE = 30.0
#: Names that are remembered, proven and others; an attacker must not fill the memory.
MOST = 1000
#: Look-ups at a time, of proven names and as many of others.
AT_ONCE = 4
#: Names not proven that may wait for their look-up, and the seconds that anybody waits for one.
WAITING, PATIENCE = 64, 5.0


class Busy(Exception):
    """The look-up did not come to an end, or to a beginning."""


@dataclass(frozen=True)
class Sender:
    """A connection whose vendor sends webhooks.

    :param secrets: the current one, and others while it is being changed; empty refuses every delivery.
    :param looked_up: when, on the clock of who looked it up.
    """

    conn_id: str
    wallet: str
    vendor: Vendor = field(repr=False)
    scheme: Scheme
    secrets: Sequence[str] = field(repr=False)
    looked_up: float = 0.0


class Senders:
    """Finds senders by connection id.

    :param look_up: blocking; gives the vendor behind a connection, raises ConfigError where there is none.
    """

    def __init__(self, look_up: Callable[[str], Vendor], clock: Callable[[], float] = time.monotonic):
        self._look_up, self._clock = look_up, clock
        self._proven: dict[str, Sender] = {}
        self._others: dict[str, tuple[float, Sender | None]] = {}  # until when; also who is found but has proven nothing:
        # a secrets backend may find one connection under many names, the environment does so in capitals and small letters
        self._looking: dict[str, asyncio.Task[Sender | None]] = {}
        # threads of their own: nobody can fill those that proven names are looked up in, or those that write
        self._for_proven, self._for_others = ThreadPoolExecutor(AT_ONCE), ThreadPoolExecutor(AT_ONCE)

    async def find(self, conn_id: str, *, newest: bool = False) -> Sender | None:
        """The sender, None where there is no such connection or its vendor sends no webhooks.

        :param newest: wait for a look-up also where a somewhat older one could be served meanwhile.
        :raises Busy: when it cannot be looked up soon.
        :raises Exception: whatever the look-up raises.
        """
        now = self._clock()
        proven = self._proven.get(conn_id)
        if proven is not None and now - proven.looked_up < FRESH:
            return proven
        until, other = self._others.get(conn_id, (now, None))
        if proven is None and until > now:
            return other
        looking = self._looking.get(conn_id) or self._begin(conn_id)
        if proven is not None and not newest and now - proven.looked_up < STALE:
            return proven
        if not (await asyncio.wait({looking}, timeout=PATIENCE))[0]:
            raise Busy(f"not looked up within {PATIENCE:g} s")
        return looking.result()

    def proven(self, sender: Sender) -> None:
        """Note that somebody sent a delivery with a secret of this sender."""
        if sender.conn_id not in self._proven and len(self._proven) < MOST:
            self._proven[sender.conn_id] = sender

    def _begin(self, conn_id: str) -> asyncio.Task[Sender | None]:
        if conn_id in self._proven:
            threads = self._for_proven
        elif len(self._looking.keys() - self._proven.keys()) < WAITING:
            threads = self._for_others
        else:
            raise Busy(f"{WAITING} other names are being looked up")
        looking = asyncio.get_running_loop().create_task(self._refresh(conn_id, threads))
        self._looking[conn_id] = looking
        looking.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # it was logged, whoever waits
        return looking

    async def _refresh(self, conn_id: str, threads: ThreadPoolExecutor) -> Sender | None:
        try:
            sender = await asyncio.get_running_loop().run_in_executor(threads, self._load, conn_id)
        except Exception:
            log.exception("Webhook for %s: the connection cannot be looked up", conn_id)
            raise
        finally:
            del self._looking[conn_id]
        if conn_id in self._proven and sender is not None:
            self._proven[conn_id] = sender
            return sender
        self._proven.pop(conn_id, None)
        if len(self._others) >= MOST:
            self._others.clear()
        self._others[conn_id] = (sender.looked_up + FRESH if sender else self._clock() + UNKNOWN_FRESH, sender)
        return sender

    def _load(self, conn_id: str) -> Sender | None:
        now = self._clock()
        try:
            vendor = self._look_up(conn_id)
        except ProxyOrdersError:
            return None
        if vendor.webhook is None:
            return None
        secrets = secrets_of(vendor.account.webhook_secret)
        return Sender(conn_id, vendor.account.wallet, vendor, scheme_of(vendor), secrets, now)


def scheme_of(vendor: Vendor) -> Scheme:
    """The vendor's way to sign, changed by what the connection's setting ``webhook_scheme`` says.

    :raises ConfigError: when the setting is none.
    """
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
    return [secret for secret in given if isinstance(secret, str) and has_key(secret)]
