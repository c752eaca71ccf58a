"""The command at a terminal and the receiver by itself, with ``DEV=1`` and wrong addresses of the ledger: no secret is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, open_ledger
from tests.ledgers import sqlite_ledger

from . import outside
from .scan import Canary, Scanner

KEY, SECRET, PASSWORD = "ak_key-4d1f0a8871c2", "whsec-of-a-test-77ab01c2", "database-93fe11ab0d"


@pytest.fixture
def airflow(tmp_path: Path) -> Any:
    """The home and the environment of an Airflow, with two connections and one purchase; nothing of it runs."""
    ledger = open_ledger(sqlite_ledger(tmp_path, "proxyorders.db"))
    intent = Intent("some-key", "create", "voodoo", "voodoo_default", "voodoo:voodoo_default", "f" * 64, {"quantity": 2},
                    Money.parse("9.00", "USD"), takes_turn=False)  # fmt: skip
    purchase = ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=0)
    order = VendorOrder("o-1", OrderStatus.PENDING, "processing", price=Money.parse("9.00", "USD"))
    ledger.record(purchase, Step.PLACED, "as the vendor says", Actor(), vendor_order=order, confirmed=True)
    good = {"conn_type": "voodoo", "host": "http://127.0.0.1:1", "password": KEY, "extra": {"webhook_secret": SECRET}}
    odd = {**good, "extra": {"webhook_secret": SECRET, "webhook_scheme": {"kind": "hmac"}}}
    settings = {
        "AIRFLOW_CONN_VOODOO_DEFAULT": json.dumps(good),
        "AIRFLOW_CONN_ODD_SCHEME": json.dumps(odd),
        "AIRFLOW__PROXYORDERS__LEDGER_URL": f"sqlite:///{tmp_path / 'proxyorders.db'}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    }
    return SimpleNamespace(home=tmp_path, env={**os.environ, **settings})


@pytest.mark.timeout(900)
def test_no_secret_is_printed(airflow: Any, tmp_path: Path) -> None:
    outside.print_at_a_terminal(airflow, ["voodoo_default", "odd_scheme"], PASSWORD, tmp_path / "said")
    outside.receive_alone(airflow, SECRET, PASSWORD, tmp_path / "said")
    scanner = Scanner([Canary("API key", KEY), Canary("webhook secret", SECRET), Canary("password of the ledger", PASSWORD)])
    scanner.folder(tmp_path)
    assert scanner.hits == set()
    assert scanner.places >= 3 and scanner.size > 10_000
