"""The button *Test connection*: the request that Airflow's page sends goes on without its port 0, every other as it came."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_proxyorders.hooks.test_button import LONGEST_BODY, ButtonMiddleware
from airflow_provider_proxyorders.vendors.registry import vendor_names

PATH = "/api/v2/connections/test"
FORM = {
    "conn_type": "voodoo",
    "connection_id": "voodoo_default",
    "description": "",
    "extra": "{}",
    "host": "",
    "login": "",
    "password": "***",
    "port": 0,
    "schema": "",
}


def through(body: bytes, *, path: str = PATH, method: str = "POST", chunk: int = 10**7) -> tuple[bytes, int]:
    """What Airflow gets: the body, and the length that the headers name."""
    parts = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]
    messages = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    arrived: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        read, more = b"", True
        while more:
            message = await receive()
            read, more = read + message["body"], message["more_body"]
        arrived.append((read, int(dict(scope["headers"])[b"content-length"])))

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope: Any = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(ButtonMiddleware(airflow)(scope, receive, None))
    (request,) = arrived
    return request


@pytest.mark.parametrize("conn_type", vendor_names())
@pytest.mark.parametrize("path", [PATH, f"/team/af{PATH}"])
@pytest.mark.parametrize("chunk", [10**7, 7])
def test_port_0_of_our_connections_is_left_out(conn_type: str, path: str, chunk: int) -> None:
    body, length = through(json.dumps({**FORM, "conn_type": conn_type}).encode(), path=path, chunk=chunk)
    assert length == len(body)
    assert json.loads(body) == {**{name: value for name, value in FORM.items() if name != "port"}, "conn_type": conn_type}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({**FORM, "port": 8443}).encode(),
        json.dumps({**FORM, "port": None}).encode(),
        json.dumps({**FORM, "conn_type": "http"}).encode(),
        json.dumps({**FORM, "conn_type": ["voodoo"]}).encode(),
        json.dumps([FORM]).encode(),
        json.dumps({**FORM, "description": "x" * LONGEST_BODY}).encode(),
        b"{",
        b"\xff",
        b"",
    ],
    ids=["port", "no port", "another type", "no type", "list", "long", "cut", "bytes", "empty"],
)
def test_every_other_body_goes_on_as_it_came(body: bytes) -> None:
    assert through(body, chunk=100_000) == (body, len(body))


@pytest.mark.parametrize(("path", "method"), [("/api/v2/connections", "POST"), (PATH, "PUT"), (f"{PATH}/x", "POST")])
def test_every_other_call_goes_on_as_it_came(path: str, method: str) -> None:
    body = json.dumps(FORM).encode()
    assert through(body, path=path, method=method) == (body, len(body))
