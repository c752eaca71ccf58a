"""Connections for ``requests``: one time limit for opening each, and a purchase that leaves on an open one only.

Three rules. Everything before the first byte has one time limit together: the name, all its addresses, the proxy and TLS. A
purchase is permitted when its connection stands and its bytes are ready. Then it leaves in one piece on that connection, and
nothing of it on another.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.transport.whole_answer import TimedAnswer, TimedTunnel

#: Seconds for opening a connection for a request without a limit of its own.
LONGEST_OPENING = 60.0
#: Seconds for one address of several. A living one answers far sooner.
LONGEST_ADDRESS = 10.0


class Stopped(Exception):
    """A purchase that stays here, on its way through the libraries. They would take some errors for those of a connection.

    :param error: the reason.
    """

    def __init__(self, error: Exception):
        self.error = error
        super().__init__(str(error))


class Departure:
    """A purchase before its first byte. It stands in for the body, so a connection of another make fails with it unsent.

    :param content: the body.
    :param permit: called once the connection stands and all bytes are ready; raises to stop the purchase.
    :ivar left: whether anything of the purchase can have left.
    """

    def __init__(self, content: bytes | None, permit: Callable[[], None]):
        self.content, self.permit = content, permit
        self.left = False

    def leave(self, sock: socket.socket, message: bytes) -> None:
        """Ask the permit, then send the whole purchase at once.

        :raises Stopped: by the permit, or because the other side hung up meanwhile. Nothing left.
        """
        try:
            self.permit()
            if _is_hung_up(sock):
                raise Unreached("the other side closed the connection before the purchase could leave")
        except Exception as error:
            raise Stopped(error) from error
        self.left = True
        sock.sendall(message)


class _Connection(HTTPConnection):
    """A connection that opens within ``timeout`` seconds. A purchase leaves on it only once it is open.

    :cvar address: makes the address that leaves of the one that the libraries know, log and tell in their errors.
    :ivar timeout: seconds; of opening while it opens, of one part of the traffic later.
    """

    response_class = TimedAnswer
    address: Callable[[str], str] = staticmethod(str)
    _opens_until = 0.0
    _ready: list[bytes] | None = None

    def connect(self) -> None:
        self._opens_until = time.monotonic() + self._limit
        super().connect()
        self._seconds_left()  # some waits cannot be cut short

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        """Send a request; a :class:`Departure` as its body is asked right before the first byte."""
        url = self.address(url)
        if not isinstance(body, Departure):
            super().request(method, url, body, headers, **options)
            return
        if self.sock is None:
            self._connect_with_clear_errors()
        self._ready = []
        try:
            super().request(method, url, body.content, headers, **{**options, "chunked": False})
        finally:
            message, self._ready = b"".join(self._ready), None
        body.leave(self.sock, message)

    def send(self, data: Any) -> None:
        """Send bytes, or collect them while a purchase is made ready."""
        if self._ready is None:
            super().send(data)
        else:
            self._ready.append(data)

    def _connect_with_clear_errors(self) -> None:
        try:
            self.connect()
        except OSError as error:  # urllib3 forgives some of them while it sends, and then waits for an answer
            raise NewConnectionError(self, str(error)) from error

    @property
    def _limit(self) -> float:
        return self.timeout if isinstance(self.timeout, (int, float)) else LONGEST_OPENING

    def _seconds_left(self) -> float:
        """The rest of the time for opening.

        :raises ConnectTimeoutError: when it is over.
        """
        left = self._opens_until - time.monotonic()
        if left <= 0:
            raise ConnectTimeoutError(self, f"no connection within {self._limit:g} s")
        return left

    def _new_conn(self) -> socket.socket:
        sock = self._open_socket()
        sock.settimeout(self._seconds_left())
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # else the system would go on sending for minutes after we gave up
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(self._limit * 1000)))
        return sock

    def _open_socket(self) -> socket.socket:
        addresses = self._addresses()
        failure: OSError = OSError("the name has no address")
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            share = self._seconds_left() / (len(addresses) - position)
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(min(share, LONGEST_ADDRESS))
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting to {self.host} took too long") from failure
        raise NewConnectionError(self, f"Failed to establish a new connection: {failure}") from failure

    def _addresses(self) -> list[Any]:
        host = self._dns_host.strip("[]")
        try:
            host.encode("idna")
            return socket.getaddrinfo(host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except UnicodeError:
            raise LocationParseError(f"'{host}', label empty or too long") from None
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error

    def _tunnel(self) -> None:
        """Ask the proxy for a way to the vendor."""
        self.sock.settimeout(self._seconds_left())
        self.response_class = TimedTunnel
        try:
            super()._tunnel()
        finally:
            del self.response_class
        self.sock.settimeout(self._seconds_left())


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Adapter(HTTPAdapter):
    """Makes every connection of a session one of these, also those through a proxy.

    :param address: see :class:`_Connection`. If it led to the session, nothing could end that: urllib3 keeps each open connection
        until its pool is gone.
    """

    def __init__(self, address: Callable[[str], str]):
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools({"http": _Pool, "https": _SecurePool})

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        socks = proxy.lower().startswith("socks")
        manager.pool_classes_by_scheme = self._pools(_socks_pools()) if socks else self.poolmanager.pool_classes_by_scheme
        return manager

    def _pools(self, kinds: Mapping[str, type[HTTPConnectionPool]]) -> dict[str, type[HTTPConnectionPool]]:
        """The same kinds of pools, with connections that know the address that leaves."""
        address = {"address": staticmethod(self._address)}
        return {
            scheme: type(pool.__name__, (pool,), {"ConnectionCls": type(pool.__name__, (pool.ConnectionCls,), address)})
            for scheme, pool in kinds.items()
        }


@cache
def _socks_pools() -> Mapping[str, type[HTTPConnectionPool]]:
    """The pools of a SOCKS proxy. They need PySocks."""
    from urllib3.contrib.socks import SOCKSConnection

    class SocksConnection(_Connection, SOCKSConnection):
        def _open_socket(self) -> socket.socket:
            sock: socket.socket = SOCKSConnection._new_conn(self)
            return sock

    class SecureSocksConnection(SocksConnection, _SecureConnection):
        pass

    class SocksPool(HTTPConnectionPool):
        ConnectionCls = SocksConnection

    class SecureSocksPool(HTTPSConnectionPool):
        ConnectionCls = SecureSocksConnection

    return {"http": SocksPool, "https": SecureSocksPool}


def _is_hung_up(sock: socket.socket) -> bool:
    """Whether the other side closed the connection, also behind bytes that wait to be read, such as a ticket of TLS."""
    events = select.poll()
    events.register(sock, getattr(select, "POLLRDHUP", 0))  # a broken connection is reported in any case
    return bool(events.poll(0))
