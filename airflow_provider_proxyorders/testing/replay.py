"""For whoever writes a vendor, here or in another package: replays golden exchanges against the vendor's code.

:func:`verify` drives a flow with the recorded answers and checks what it asked and what it made of them. The format of an
exchange is described in ``sandbox/exchanges/README.md`` of this package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import airflow_provider_proxyorders
from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.domain.exact_json import dump_json, exact, load_json
from airflow_provider_proxyorders.domain.model import Balance, Money, OrderStatus
from airflow_provider_proxyorders.vendors.base import Filters, Vendor
from airflow_provider_proxyorders.vendors.registry import vendor_class
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

FOLDER = Path(airflow_provider_proxyorders.__file__).parent / "sandbox" / "exchanges"


@dataclass(frozen=True)
class Exchange:
    """One recorded conversation, as its file holds it."""

    path: Path
    data: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.vendor}/{self.path.stem}"

    @property
    def vendor(self) -> str:
        return str(self.data["vendor"])

    @property
    def operation(self) -> str:
        return str(self.data["operation"])

    def responses(self) -> list[Response]:
        return [response_of(step["response"]) for step in self.data["steps"]]


@dataclass
class Played:
    """What a replay showed.

    :param unused: recorded answers that the flow did not ask for.
    """

    account: Account
    requests: list[Request] = field(default_factory=list)
    result: Any = None
    error: ProxyOrdersError | None = None
    unused: int = 0


@cache
def exchanges(folder: Path = FOLDER) -> list[Exchange]:
    """All exchanges below a folder, ``<vendor>/<operation>.<case>.json``.

    :param folder: by default the exchanges of this package, part of its source but not of its wheel.
    :raises FileNotFoundError: when there are none, since a test over no exchange would pass.
    """
    paths = sorted(folder.glob("*/*.json"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} is without exchanges. Name the folder of your own, as in exchanges(Path('exchanges'))."
        )
    return [Exchange(path, load_json(path.read_bytes())) for path in paths]


def verify(exchange: Exchange) -> None:
    """Check that a vendor asks exactly what is recorded and makes of the answers exactly what is expected.

    :raises AssertionError: saying where they differ.
    """
    played = play(exchange)
    for step, asked in zip(exchange.data["steps"], played.requests, strict=True):
        _verify_asked(step["request"], asked)
    assert played.unused == 0, f"{played.unused} recorded answers were not asked for"
    expected = exchange.data["expect"]
    if "raises" in expected:
        assert type(played.error).__name__ == expected["raises"], f"got {played.error or played.result!r}"
        assert expected["says"] in str(played.error), f"{expected['says']!r} is not in {str(played.error)!r}"
        return
    assert played.error is None, f"{type(played.error).__name__}: {played.error}"
    got = view(played.result)
    if exchange.operation == "resolve":
        detail = got.pop("detail")
        assert expected["says"] in detail, f"{expected['says']!r} is not in {detail!r}"
    assert got == expected["returns"], f"got {got}"


def _verify_asked(recorded: Mapping[str, Any], asked: Request) -> None:
    assert (asked.method, asked.path) == (recorded["method"], recorded["path"])
    assert [list(pair) for pair in asked.params] == recorded.get("params", [])
    assert exact(asked.json) == recorded.get("json"), f"asked with {asked.body!r}"
    headers = recorded.get("headers", {})
    assert {name: asked.headers.get(name) for name in headers} == headers
    assert "Authorization" in headers or "Authorization" not in asked.headers, "a bearer that no step recorded"


def vendor_for(name: str, **account: Any) -> Vendor:
    """A vendor on a made-up connection; ``account`` overrides its fields."""
    kind = vendor_class(name)
    fields = {
        "vendor": name,
        "conn_id": f"{name}_default",
        "wallet": name,
        "base_url": kind.base_url,
        "secret": "test-token",
        **account,
    }
    return kind(Account(**fields))


def response_of(recorded: Mapping[str, Any]) -> Response:
    headers = {name.lower(): str(value) for name, value in recorded.get("headers", {}).items()}
    if "json" in recorded:
        headers.setdefault("content-type", "application/json")
        body = dump_json(recorded["json"]).encode()
    else:
        body = str(recorded.get("text", "")).encode()
    return Response(int(recorded["status"]), headers, body)


def play(exchange: Exchange, responses: Sequence[Response] | None = None) -> Played:
    """Drive the flow of an exchange to its end, with its own answers or with others."""
    vendor = vendor_for(exchange.vendor, **deepcopy(exchange.data.get("account", {})))  # a login changes its session
    answers = list(exchange.responses() if responses is None else responses)
    played = Played(vendor.account)
    try:
        drive(flow_of(vendor, exchange), answers, played)
    except ProxyOrdersError as error:
        played.error = error
    played.unused = len(answers)
    return played


def drive(flow: Flow[Any], answers: list[Response], played: Played) -> None:
    """:raises AssertionError: when the flow asks for more than there are answers."""
    try:
        request = next(flow)
        while True:
            played.requests.append(request)
            assert answers, f"one request too many: {request}"
            request = flow.send(answers.pop(0))
    except StopIteration as stop:
        played.result = stop.value


def flow_of(vendor: Vendor, exchange: Exchange) -> Flow[Any]:
    call = exchange.data["call"]
    arguments = {name: _argument(name, value) for name, value in call.get("kwargs", {}).items()}
    positional = [Filters(**value) if exchange.operation == "list" else value for value in call.get("args", [])]
    flow: Flow[Any] = getattr(vendor, exchange.operation)(*positional, **arguments)
    return flow


def _argument(name: str, value: Any) -> Any:
    if name == "sent_at":
        return datetime.fromisoformat(value)
    return frozenset(value) if name == "owned" else value


def view(value: Any) -> Any:
    """A result as plain JSON: money with the vendor's digits and numbers as text, times as ISO text, empty fields left out."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, (Money, Balance)):
        money = value.available if isinstance(value, Balance) else value
        return f"{money.amount:f} {money.currency or ''}".rstrip()
    if isinstance(value, Proxy):
        return value.url
    if isinstance(value, Delivery):
        return {"order_id": value.order_id, **_filled(value, "proxies", "codes", "skipped")}
    if isinstance(value, OrderStatus):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _filled(value, *(item.name for item in dataclasses.fields(value)))
    if isinstance(value, Mapping):
        return {str(key): view(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [view(item) for item in value]
    assert value is None or isinstance(value, (str, int, Enum)), f"no plain form: {type(value)}"
    return value


def _filled(value: Any, *names: str) -> dict[str, Any]:
    fields = {name: getattr(value, name) for name in names}
    return {name: view(item) for name, item in fields.items() if item is not None and item != "" and item != () and item != {}}
