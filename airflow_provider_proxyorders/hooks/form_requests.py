"""What Airflow's pages send about connections of our types, put right before Airflow reads it.

Two rules. The *Test connection* button works from the first save on: the page sends ``port: 0`` for a connection without a port.
Airflow compares that with the stored connection, takes the test for one of another host, and refuses it ("The host or port to
test differs from the stored connection", status 400). No host listens on port 0, so it is left out of the request. And a limit
that no purchase could read is refused when the connection is saved, since Airflow's form checks no text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.hooks.connection import check_limits
from airflow_provider_proxyorders.vendors.registry import vendor_names

#: The ends of the paths that the form and the button call; a prefix of the whole Airflow may stand before them.
TEST_PATH = "/api/v2/connections/test"
_SAVING = {"POST": re.compile(r".*/api/v2/connections"), "PATCH": re.compile(r".*/api/v2/connections/[^/]+")}
#: A longer body goes on as it is, in bytes.
LONGEST_BODY = 1_000_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class FormMiddleware:
    """An ASGI middleware around Airflow's API server. It reads requests about one connection only."""

    def __init__(self, app: App):
        self.app, self._conn_types = app, frozenset(vendor_names())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        method, path = (scope["method"], scope["path"]) if scope["type"] == "http" else ("", "")
        tests = method == "POST" and path.endswith(TEST_PATH)
        if not tests and not (method in _SAVING and _SAVING[method].fullmatch(path)):
            await self.app(scope, receive, send)
            return
        messages, body = await _read(receive)
        connection = self._of_ours(body)
        if connection is not None and not tests and (mistake := _mistake(connection)):
            await _refuse(send, mistake)
            return
        if connection is not None and tests and connection.get("port") == 0:
            body = json.dumps({name: value for name, value in connection.items() if name != "port"}).encode()
            messages = [{"type": "http.request", "body": body, "more_body": False}]
            scope = {**scope, "headers": _with_length(scope["headers"], len(body))}

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, replay, send)

    def _of_ours(self, body: bytes | None) -> Mapping[str, Any] | None:
        """The connection in a body; ``None`` for one of another type, and for everything else."""
        try:
            connection = json.loads(body) if body is not None else None
        except ValueError:
            return None
        if isinstance(connection, dict) and str(connection.get("conn_type")) in self._conn_types:
            return connection
        return None


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """The messages of a request, and its body; ``None`` where it is cut short or too long."""
    messages, body = [], b""
    while True:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body")
        if not more or len(body) > LONGEST_BODY:
            break
    whole = message["type"] == "http.request" and not more and len(body) <= LONGEST_BODY
    return messages, body if whole else None


def _mistake(connection: Mapping[str, Any]) -> str | None:
    """Why no purchase could read the limits of a connection; ``None`` for a good one."""
    extra = connection.get("extra")
    try:
        check_limits(str(connection.get("connection_id")), connection.get("login"), extra if isinstance(extra, str) else None)
    except ConfigError as error:
        return str(error)
    return None


async def _refuse(send: Send, mistake: str) -> None:
    body = json.dumps({"detail": mistake.replace("Nothing was sent", "Nothing was saved")}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 422, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_length(headers: Any, length: int) -> list[tuple[bytes, bytes]]:
    others = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*others, (b"content-length", str(length).encode())]


def middlewares() -> list[Mapping[str, Any]]:
    """What the plugin gives to the API server."""
    return [{"middleware": FormMiddleware, "name": "Proxy orders: connection form"}]
