"""The *Test connection* button of Airflow's pages works for our connections from the first save on.

The page sends ``port: 0`` for a connection without a port. Airflow compares that with the stored connection, which has no port,
takes the test for one of another host, and refuses it ("The host or port to test differs from the stored connection", status
400). No host listens on port 0, so for connections of our types this port is left out of the request.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from airflow_provider_proxyorders.vendors.registry import vendor_names

#: The end of the path that the button calls; a prefix of the whole Airflow may stand before it.
PATH = "/api/v2/connections/test"
#: A longer body goes on as it is, in bytes.
LONGEST_BODY = 1_000_000

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[MutableMapping[str, Any], Receive, Any], Awaitable[None]]


class ButtonMiddleware:
    """An ASGI middleware around Airflow's API server. It changes requests of the button only."""

    def __init__(self, app: App):
        self.app, self._conn_types = app, frozenset(vendor_names())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(PATH):
            scope, receive = await self._without_port_0(scope, receive)
        await self.app(scope, receive, send)

    async def _without_port_0(
        self, scope: MutableMapping[str, Any], receive: Receive
    ) -> tuple[MutableMapping[str, Any], Receive]:
        """The request without its port 0; any other request as it came."""
        messages, body = [], b""
        while True:
            message = await receive()
            messages.append(message)
            body += message.get("body", b"")
            if message["type"] != "http.request" or not message.get("more_body") or len(body) > LONGEST_BODY:
                break
        complete = message["type"] == "http.request" and not message.get("more_body") and len(body) <= LONGEST_BODY
        changed = self._changed(body) if complete else None
        if changed is not None:
            messages = [{"type": "http.request", "body": changed, "more_body": False}]
            scope = {**scope, "headers": _with_length(scope["headers"], len(changed))}

        async def replay() -> MutableMapping[str, Any]:
            return messages.pop(0) if messages else await receive()

        return scope, replay

    def _changed(self, body: bytes) -> bytes | None:
        """The body without its port 0; ``None`` for a body that stays as it is."""
        try:
            connection = json.loads(body)
        except ValueError:
            return None
        if not isinstance(connection, dict) or str(connection.get("conn_type")) not in self._conn_types:
            return None
        if connection.get("port") != 0:
            return None
        return json.dumps({name: value for name, value in connection.items() if name != "port"}).encode()


def _with_length(headers: Any, length: int) -> list[tuple[bytes, bytes]]:
    others = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*others, (b"content-length", str(length).encode())]


def middlewares() -> list[Mapping[str, Any]]:
    """What the plugin gives to the API server."""
    return [{"middleware": ButtonMiddleware, "name": "Proxy orders: test connection"}]
