"""The delivered proxies at work: a small real HTTP forward proxy within this machine.

Two rules. A request needs the login of a delivered order within its term (else 407). Its target must be 127.0.0.1 or localhost
(else 403) and is reached at 127.0.0.1 without a resolver. Plain requests with an absolute URI (and a body of at most 1 MiB) and
CONNECT tunnels both work; each is one connection to the target and ends with it.
"""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import urlsplit

from aiohttp import web  # noqa: TID253 - a server, imported by no DAG

from airflow_provider_proxyorders.sandbox.on_the_way import drop
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST, ProxyBatch, ProxyPool

_LOCAL = ("127.0.0.1", "localhost")
#: headers that belong to one connection, or that are made anew
_NOT_PASSED_ON = (b"connection", b"keep-alive", b"te", b"transfer-encoding", b"content-length", b"upgrade", b"trailer")


class ForwardProxy:
    """Forwards requests, and remembers through which order's proxy a connection came."""

    def __init__(self, pool: ProxyPool):
        self._pool = pool
        self._origins: dict[tuple[str, int], tuple[ProxyBatch, str]] = {}

    def origin(self, request: web.BaseRequest) -> tuple[ProxyBatch, str] | None:
        """The order and the user name of the proxy behind this connection; ``None`` for a direct one."""
        peer = request.transport and request.transport.get_extra_info("peername")
        return self._origins.get(tuple(peer[:2])) if peer else None

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to a proxy."""
        owner = self._pool.owner(request.headers.get("Proxy-Authorization"))
        if owner is None:
            headers = {"Proxy-Authenticate": 'Basic realm="proxyorders sandbox"'}
            return _refusal(407, "This proxy wants the login of a delivered order whose term has not run out.", headers)
        tunnel = request.method == "CONNECT"
        try:
            target = urlsplit(f"//{request.raw_path}" if tunnel else request.raw_path)
            port = target.port or (443 if tunnel else 80)
        except ValueError:
            return _refusal(400, "The target cannot be read.")
        if target.hostname not in _LOCAL or (not tunnel and target.scheme != "http"):
            return _refusal(403, "The sandbox's proxies only reach http://127.0.0.1 and localhost.")
        if tunnel:
            first = b""
        else:
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
            first = _request(request, path, await request.read())
        try:
            return await self._pipe(request, owner, port, first)
        except OSError as error:
            return _refusal(502, f"The target cannot be reached: {error.strerror or error}")

    async def _pipe(self, request: web.BaseRequest, owner: tuple[ProxyBatch, str], port: int, first: bytes) -> web.StreamResponse:
        """Connect both ends and wait until either hangs up.

        :param first: the first bytes for the target; empty for a tunnel, where the client gets a 200 first.
        """
        near_transport = request.transport
        if near_transport is None or near_transport.is_closing():
            return drop(request)
        near = _End(near_transport, request.protocol)
        far = _End()
        near.other, far.other = far, near
        loop = asyncio.get_running_loop()
        far_transport, _ = await loop.create_connection(lambda: far, HOST, port)
        address: tuple[str, int] = far_transport.get_extra_info("sockname")[:2]
        self._origins[address] = owner
        try:
            near_transport.set_protocol(near)
            if first:
                far_transport.write(first)
            else:
                near_transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            near_transport.resume_reading()
            far_transport.resume_reading()
            await asyncio.wait([near.lost, far.lost], return_when=asyncio.FIRST_COMPLETED)
            return drop(request)
        finally:
            near_transport.close()
            far_transport.close()
            del self._origins[address]


class _End(asyncio.Protocol):
    """One end of a pipe: it sends its input out at the other end, at the pace of that end.

    :param transport: of a connection that stands already.
    :param former: the protocol that had that connection before, and must learn of its end.
    """

    other: _End

    def __init__(self, transport: asyncio.Transport | None = None, former: asyncio.BaseProtocol | None = None):
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._former = former

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()  # until the other end is ready to hear

    def data_received(self, data: bytes) -> None:
        if self.other._transport is not None:
            self.other._transport.write(data)

    def pause_writing(self) -> None:
        if self.other._transport is not None:
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other._transport is not None:
            self.other._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other._transport is not None:
            self.other._transport.close()  # what was written before still goes out
        if not self.lost.done():
            self.lost.set_result(None)
        if self._former is not None:
            self._former.connection_lost(exc)


def _request(request: web.BaseRequest, path: str, body: bytes) -> bytes:
    lines = [f"{request.method} {path} HTTP/1.1".encode()]
    for name, value in request.raw_headers:
        if name.lower() not in _NOT_PASSED_ON and not name.lower().startswith(b"proxy-"):
            lines.append(name + b": " + value)
    if body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def _refusal(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    response = web.Response(status=status, text=text + "\n", headers=headers)
    response.force_close()
    return response
