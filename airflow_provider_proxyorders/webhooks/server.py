"""The receiver's own server, for ``proxyorders webhooks serve``: strangers cannot use up its connections.

Two rules. Connections are bounded, in all and for each address, so the process never runs out of descriptors. A connection
without a whole request head soon ends.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import Counter
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Bytes of a request's head.
LARGEST_HEAD = 16 * 1024
#: Seconds for a whole head, from the begin of the connection, or from its first byte after the request before.
HEAD_TIMEOUT = 10.0
#: Connections in all, and of one address. A proxy on this machine may use all of them.
MOST_CONNECTIONS, MOST_OF_ADDRESS = 1000, 100
#: Descriptors for everything else: the ledger, logs, libraries.
OTHER_DESCRIPTORS = 128


class Places:
    """The connections that are open.

    :param most: in all.
    :param most_of_address: of one address, or of one IPv6 network: a host has a whole one.
    """

    def __init__(self, most: int, most_of_address: int = MOST_OF_ADDRESS):
        self._most, self._most_of_address = most, most_of_address
        self._taken = Counter[str]()

    def take(self, host: str) -> str | None:
        """Take a place; returns its name for :meth:`leave`, ``None`` if there is none left."""
        name, local = _place_of(host)
        if self._taken.total() >= self._most or (not local and self._taken[name] >= self._most_of_address):
            return None
        self._taken[name] += 1
        return name

    def leave(self, name: str) -> None:
        """Give a place back."""
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, places: Places, **options: Any):
        super().__init__(**options)
        self._places = places
        self._place: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peername")
        self._place = self._places.take(peer[0] if isinstance(peer, tuple) else "")
        super().connection_made(transport)
        if self._place is None:
            transport.abort()
        else:
            self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._place is not None:
            self._places.leave(self._place)
            self._place = None
        self._stop_watch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def _watch_head(self) -> None:
        """Run the timer exactly while no request is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_watch()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.abort)

    def _stop_watch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def config(app: Any, host: str, port: int) -> uvicorn.Config:
    """The settings of the server."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    places = Places(max(16, min(MOST_CONNECTIONS, descriptors - OTHER_DESCRIPTORS)))
    protocol: Any = partial(BoundedProtocol, places)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        h11_max_incomplete_event_size=LARGEST_HEAD,
        log_level="error",
        access_log=False,
        server_header=False,
    )


def _place_of(host: str) -> tuple[str, bool]:
    """The name of an address for the limits, and whether it is this machine's own."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host, not host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped), address.ipv4_mapped.is_loopback
        return str(ipaddress.ip_network((address, 64), strict=False)), address.is_loopback
    return str(address), address.is_loopback
