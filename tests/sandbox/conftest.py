"""A sandbox whose clock stands still, and a plain HTTP client that shares no code with the package."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from airflow_provider_proxyorders.sandbox import Sandbox
from tests.vendors import ROWS


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Buyer:
    """Asks one sandbox; logs in where the vendor wants it."""

    def __init__(self, box: Sandbox):
        self.box = box
        self._jwt: dict[str, str] = {}

    def auth(self, vendor: str, wallet: str = "main") -> dict[str, str]:
        token = self.box.token(vendor, wallet)
        if ROWS[vendor].key_in_path:
            return {}
        if ROWS[vendor].key_header:
            return {ROWS[vendor].key_header: token}
        if wallet not in self._jwt:
            self._jwt[wallet] = self.login(vendor, wallet)["Authorization"]
        return {"Authorization": self._jwt[wallet]}

    def login(self, vendor: str, wallet: str = "main") -> dict[str, str]:
        answer = self(vendor, "POST", ROWS[vendor].login_path, {"api_key": self.box.token(vendor, wallet)}, headers={})
        return {"Authorization": f"Bearer {answer.data['access_token']}"}

    def __call__(
        self,
        vendor: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Any = (),
        headers: dict[str, str] | None = None,
        wallet: str = "main",
        timeout: float = 10,
    ) -> Said:
        if headers is None:
            headers = self.auth(vendor, wallet)
        if vendor and ROWS[vendor].key_in_path:
            path = path.replace("/:key", f"/{self.box.token(vendor, wallet)}")
        root = self.box.url(vendor) if vendor else f"http://127.0.0.1:{self.box.port}"
        return send(method, root + path + (f"?{urlencode(params)}" if params else ""), body, headers, timeout)


def send(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 10) -> Said:
    to = urlsplit(url)
    connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=timeout)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, to.path + (f"?{to.query}" if to.query else ""), payload, headers or {})
        response = connection.getresponse()
        return Said(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@pytest.fixture
def box(caplog: pytest.LogCaptureFixture) -> Iterator[Sandbox]:
    """Time passes by ``box.advance`` only, an order is usable after one second of it, and an error inside fails the test."""
    with Sandbox.start(processing=1, seed=7, speed=0) as box:
        yield box
    records = [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.records]
    assert [record.getMessage() for record in records if record.levelname in ("ERROR", "CRITICAL")] == []


@pytest.fixture
def ask(box: Sandbox) -> Buyer:
    return Buyer(box)


@pytest.fixture
def buyer() -> type[Buyer]:
    """For tests that start a sandbox of their own."""
    return Buyer


@pytest.fixture
def plain_send() -> Callable[..., Said]:
    return send
