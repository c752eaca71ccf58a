"""The connections with webhooks. They are looked up every few seconds instead of for every webhook.

Three rules. Requests for made-up names cannot delay or push out a proven connection. A connection has one name, however a sender
spells it: the environment finds a connection in capitals and small letters, and some vaults take ``_`` for ``-``. A connection
is proven by a valid webhook since the receiver started. It keeps its old secrets during a new look-up, but for a short time
only, so a withdrawn secret soon stops counting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.hooks.signing import scheme_of, secrets_of
from airflow_provider_proxyorders.ledger.accounts import folded
from airflow_provider_proxyorders.wire.signatures import Scheme

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors import Vendor

#: Seconds after which a connection is looked up again, so a changed secret counts soon; fewer for an unknown name.
FRESH, UNKNOWN_FRESH = 10.0, 2.0
#: Seconds after its look-up for which a proven connection is served during a new look-up.
STALE = 30.0
#: Remembered names, proven ones and as many others: an attacker cannot fill the memory.
MOST_NAMES = 1000
#: Look-ups at a time, of proven names and as many of others.
LOOK_UPS_AT_ONCE = 4
#: Unproven names in the queue for a look-up.
MOST_WAITING = 64
#: Seconds for which a webhook waits for a look-up.
LOOK_UP_TIMEOUT = 5.0


class Busy(Exception):
    """The look-up takes too long, or too many wait for one."""


@dataclass(frozen=True)
class Sender:
    """A connection with webhooks.

    :param secrets: the current secret, and others during a change. Without one every webhook is refused.
    :param looked_up: seconds on the clock of :class:`Senders`.
    """

    conn_id: str
    wallet: str
    vendor: Vendor = field(repr=False)
    scheme: Scheme
    secrets: Sequence[str] = field(repr=False)
    looked_up: float = 0.0


@dataclass(frozen=True)
class Unknown:
    """A name without a connection that takes webhooks.

    :param why: for the log, without the name.
    """

    why: str


class Senders:
    """Finds senders by connection id.

    :param look_up: gives the vendor behind a connection, raises ConfigError for an unknown name; it may block.
    :param wallet_of: gives the name of its wallet; it may block. After an error the vendor has to send its webhook again: under a
        wrong wallet it would be lost.
    """

    def __init__(
        self,
        look_up: Callable[[str], Vendor],
        clock: Callable[[], float] = time.monotonic,
        wallet_of: Callable[[Vendor], str] = lambda vendor: vendor.account.wallet,
    ):
        self._look_up, self._clock = look_up, clock
        self._wallet_of = wallet_of
        self._proven: dict[str, Sender] = {}
        #: The name that counts, by the hash of a connection.
        self._names: dict[int, str] = {}
        #: Unproven names, each with the end of its freshness.
        self._others: dict[str, tuple[float, Sender | Unknown]] = {}
        self._looking: dict[str, asyncio.Task[Sender | Unknown]] = {}
        # separate threads: made-up names cannot occupy the threads for proven names, or the threads that write
        self._for_proven, self._for_others = ThreadPoolExecutor(LOOK_UPS_AT_ONCE), ThreadPoolExecutor(LOOK_UPS_AT_ONCE)

    async def find(self, conn_id: str, *, newest: bool = False) -> Sender | Unknown:
        """The sender of a name, or why there is none.

        :param newest: wait for a new look-up, even for a proven connection.
        :raises Busy: the look-up takes too long.
        :raises Exception: the error of the look-up.
        """
        now = self._clock()
        proven = self._proven.get(conn_id)
        if proven is not None and now - proven.looked_up < FRESH:
            return proven
        until, other = self._others.get(conn_id, (now, None))
        if proven is None and other is not None and until > now:
            return other
        looking = self._looking.get(conn_id) or self._begin(conn_id)
        if proven is not None and not newest and now - proven.looked_up < STALE:
            return proven
        if not (await asyncio.wait({looking}, timeout=LOOK_UP_TIMEOUT))[0]:
            raise Busy(f"the look-up takes longer than {LOOK_UP_TIMEOUT:g} s")
        return looking.result()

    def note_proven(self, sender: Sender) -> Sender:
        """Note a valid webhook of this sender; returns its connection under the one name that counts.

        That is the name of its first valid webhook, or the first in small letters, as Airflow writes names of the environment.
        """
        account = sender.vendor.account
        connection = hash((_without_spelling(sender.conn_id), account.vendor, account.base_url, account.secret))
        name = self._names.get(connection)
        if name is None or (sender.conn_id.islower() and not name.islower()):
            if len(self._names) >= 2 * MOST_NAMES:
                self._names.clear()
            self._proven.pop(name or "", None)
            name = self._names[connection] = sender.conn_id
        if name != sender.conn_id:
            return self._proven.get(name) or replace(sender, conn_id=name)
        if name not in self._proven and len(self._proven) < MOST_NAMES:
            self._proven[name] = sender
        return sender

    @property
    def crowded(self) -> bool:
        """Whether a further unproven name would be refused."""
        return len(self._looking.keys() - self._proven.keys()) >= MOST_WAITING

    def _begin(self, conn_id: str) -> asyncio.Task[Sender | Unknown]:
        if conn_id in self._proven:
            threads = self._for_proven
        elif not self.crowded:
            threads = self._for_others
        else:
            raise Busy(f"{MOST_WAITING} other names are being looked up")
        looking = asyncio.get_running_loop().create_task(self._refresh(conn_id, threads))
        self._looking[conn_id] = looking
        looking.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # logged already
        return looking

    async def _refresh(self, conn_id: str, threads: ThreadPoolExecutor) -> Sender | Unknown:
        try:
            sender = await asyncio.get_running_loop().run_in_executor(threads, self._load, conn_id)
        finally:
            del self._looking[conn_id]
        if conn_id in self._proven and isinstance(sender, Sender):
            self._proven[conn_id] = sender
            return sender
        self._proven.pop(conn_id, None)
        if len(self._others) >= MOST_NAMES:
            self._others.clear()
        until = sender.looked_up + FRESH if isinstance(sender, Sender) else self._clock() + UNKNOWN_FRESH
        self._others[conn_id] = until, sender
        return sender

    def _load(self, conn_id: str) -> Sender | Unknown:
        now = self._clock()
        try:
            vendor = self._look_up(conn_id)
        except ProxyOrdersError as error:
            return Unknown(str(error).replace(conn_id, "..."))
        if vendor.webhook is None:
            return Unknown(f"{vendor.title} sends no webhooks")
        secrets = secrets_of(vendor.account.webhook_secret)
        return Sender(conn_id, self._wallet_of(vendor), vendor, scheme_of(vendor), secrets, now)


def _without_spelling(conn_id: str) -> str:
    """A name in the form that all its spellings share, for every secrets backend."""
    return folded(conn_id).replace("_", "-")
