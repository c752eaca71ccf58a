"""Fetches one page through a SOCKS5 proxy (RFC 1928, with the login of RFC 1929), for the check of delivered proxies.

Two rules. The proxy looks the page's name up, as it does for its users. Nothing but the request for the page goes through.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import unquote, urlsplit

from airflow_provider_proxyorders.transport.endpoint import USER_AGENT

#: What an HTTP proxy would answer: the login is refused, the page is out of its reach.
LOGIN_REFUSED, OUT_OF_REACH = 407, 502
_VERSION, _CONNECT, _BY_NAME = 5, 1, 3
_WITHOUT_LOGIN, _WITH_LOGIN = 0, 2
_LONGEST_LINE = 8192


async def fetch_status(url: str, proxy: str, context: ssl.SSLContext | None, to_connect: float) -> int:
    """The HTTP status of a page, or of the proxy in its place.

    :param proxy: ``socks5://user:password@host:port``.
    :param context: of TLS, for an ``https`` page.
    :param to_connect: seconds in which the proxy has to take the connection.
    :raises OSError, EOFError, ValueError: the proxy or the page is silent, or answers something else.
    """
    page = urlsplit(url)
    assert page.hostname
    port = page.port or (443 if page.scheme == "https" else 80)
    opening = asyncio.open_connection(urlsplit(proxy).hostname, urlsplit(proxy).port)
    reader, plain = await asyncio.wait_for(opening, to_connect)
    writer = plain  # a plain writer that is let go closes the connection below TLS
    try:
        refusal = await _log_in(reader, writer, proxy) or await _connect(reader, writer, page.hostname, port)
        if refusal:
            return refusal
        if page.scheme == "https":
            reader, writer = await _secure(plain, context, page.hostname)
        path = f"{page.path or '/'}{'?' + page.query if page.query else ''}"
        host = page.netloc.rpartition("@")[2]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readuntil(b"\n")
        version, status, *_ = line.decode("latin-1").split()
        if not version.startswith("HTTP/") or len(line) > _LONGEST_LINE:
            raise ValueError("it is not HTTP")
        return int(status)
    finally:
        writer.close()
        plain.close()


async def _log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: str) -> int | None:
    parts = urlsplit(proxy)
    user, password = unquote(parts.username or "").encode(), unquote(parts.password or "").encode()
    methods = [_WITHOUT_LOGIN, _WITH_LOGIN] if parts.username is not None else [_WITHOUT_LOGIN]
    writer.write(bytes([_VERSION, len(methods), *methods]))
    version, method = await reader.readexactly(2)
    if version != _VERSION:
        raise ValueError("it is not SOCKS5")
    if method == _WITH_LOGIN and len(methods) == 2:
        writer.write(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        _, refused = await reader.readexactly(2)
        return LOGIN_REFUSED if refused else None
    return None if method == _WITHOUT_LOGIN else LOGIN_REFUSED


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> int | None:
    name = host.encode("idna")
    writer.write(bytes([_VERSION, _CONNECT, 0, _BY_NAME, len(name)]) + name + port.to_bytes(2, "big"))
    _, refused, _, kind = await reader.readexactly(4)
    if refused:
        return OUT_OF_REACH
    length = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
    await reader.readexactly(length + 2)  # the proxy's own address and port
    return None


async def _secure(
    writer: asyncio.StreamWriter, context: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The same connection under TLS; ``StreamWriter.start_tls`` is newer than our oldest Python."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = await loop.start_tls(writer.transport, protocol, context or ssl.create_default_context(), server_hostname=host)
    assert transport is not None
    protocol.connection_made(transport)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
