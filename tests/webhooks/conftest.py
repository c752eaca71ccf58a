"""A real receiver: uvicorn on a port, connections from the environment, the inbox in a real database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from airflow_provider_proxyorders.ledger.inbox import Inbox, open_inbox
from airflow_provider_proxyorders.webhooks.app import receiver
from airflow_provider_proxyorders.wire.signatures import Scheme
from tests.ledgers import sqlite_ledger

SECRET = "test-webhook-secret"
SCHEME = Scheme()


@dataclass
class Running:
    """A receiver and its inbox."""

    url: str
    inbox: Inbox

    def post(self, body: bytes, *, conn_id: str = "voodoo_default", secret: str = SECRET, **headers: str) -> int:
        """Deliver, signed; ``headers`` replace."""
        signed = {**SCHEME.sign(body, secret), "content-type": "application/json", **headers}
        return requests.post(f"{self.url}/{conn_id}", data=body, headers=signed, timeout=20).status_code

    def kept(self) -> list[Any]:
        return self.inbox.since(0)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_ledger(tmp_path)
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def options() -> dict[str, str]:
    """What ``[proxyorders]`` says, except the ledger's address."""
    return {}


@pytest.fixture
def running(database: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    for name, value in {"ledger_url": database, **options}.items():
        monkeypatch.setenv(f"AIRFLOW__PROXYORDERS__{name.upper()}", value)
    for name, secret in {
        "voodoo_default": SECRET,
        "voodoo_other": "another-secret",
        "voodoo_rotating": ["new-secret-1", SECRET],
        "voodoo_bare": None,
    }.items():
        connection = {"conn_type": "voodoo", "password": "ak_key", "extra": {"webhook_secret": secret} if secret else {}}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_CONN_IPROYAL_DEFAULT", json.dumps({"conn_type": "iproyal", "password": "k"}))
    server = uvicorn.Server(uvicorn.Config(receiver(), port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Running(f"http://127.0.0.1:{port}", open_inbox(database))
    server.should_exit = True
    thread.join(10)


def webhook_body(order_id: str = "018f7a20-3c51-7d14-8b0e-5a1f6c2d9e77", **changes: Any) -> bytes:
    """A webhook's body as the vendor documents it: compact, keys sorted."""
    data = {
        "codes": ["EXAM-PLE1"],
        "completed_at": "2030-01-02T03:04:05Z",
        "created_at": "2030-01-02T03:03:50Z",
        "delivered_quantity": 1,
        "error": "",
        "error_message": "",
        "fields": {},
        "item_id": 5120,
        "item_name": "Example key 5 EUR",
        "merchant_order_id": "af-7c1e9b02",
        "order_id": order_id,
        "quantity": 1,
        "refund_amount": 0,
        "status": "completed",
        "total_price": 4.5,
        **changes,
    }
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
