"""What Airflow's pages send about a connection: a test goes on without port 0, a wrong limit is not saved."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_proxyorders.hooks.form_requests import LONGEST_BODY, FormMiddleware
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
    asyncio.run(FormMiddleware(airflow)(scope, receive, None))
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


@pytest.mark.parametrize(
    ("path", "method"), [("/api/v2/connections", "POST"), (PATH, "PUT"), (f"{PATH}/x", "POST"), ("/x", "PATCH")]
)
def test_every_other_call_goes_on_as_it_came(path: str, method: str) -> None:
    body = json.dumps(FORM).encode()
    assert through(body, path=path, method=method) == (body, len(body))


SAVES = [("/api/v2/connections", "POST"), ("/team/af/api/v2/connections/voodoo_default", "PATCH")]


def refusal(connection: dict[str, Any], path: str, method: str) -> str | None:
    """The answer to a save that Airflow does not hear of; ``None`` where it hears of it."""
    body, sent, heard = json.dumps(connection).encode(), [], []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())

    scope: Any = {"type": "http", "method": method, "path": path, "headers": []}
    asyncio.run(FormMiddleware(airflow)(scope, receive, send))
    assert bool(sent) != bool(heard)
    if heard:
        assert heard[0]["body"] == body
        return None
    assert sent[0]["status"] == 422
    detail: str = json.loads(sent[1]["body"])["detail"]
    return detail


@pytest.mark.parametrize(("path", "method"), SAVES)
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"login": "fifty"}, "login is the most one order may cost"),
        ({"login": "-1"}, "login is the most one order may cost"),
        ({"login": "5", "extra": '{"max_order_price": "6"}'}, "are the same limit"),
        ({"extra": '{"daily_limit": "1,50"}'}, "daily_limit must be a number"),
        ({"extra": '{"min_balance": "$5"}'}, "min_balance must be a number"),
        ({"extra": "{"}, "the extra must be JSON"),
    ],
)
def test_a_limit_that_no_purchase_could_read_is_not_saved(path: str, method: str, fields: dict[str, Any], says: str) -> None:
    detail = refusal({**FORM, **fields}, path, method)
    assert detail is not None and says in detail and "'voodoo_default'" in detail and detail.endswith("Nothing was saved.")
    assert refusal({**FORM, **fields, "conn_type": "http"}, path, method) is None, "a connection of another provider"


@pytest.mark.parametrize(("path", "method"), SAVES)
@pytest.mark.parametrize("fields", [{}, {"login": "50.00"}, {"login": None, "extra": None}, {"extra": '{"daily_limit": "150"}'}])
def test_a_good_one_is_saved(path: str, method: str, fields: dict[str, Any]) -> None:
    assert refusal({**FORM, **fields}, path, method) is None
