"""Airflow connections to the sandbox, given as Airflow takes them from the environment, and a ledger of a test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.sandbox import Entry, Sandbox
from tests import vendors
from tests.ledgers import sqlite_ledger
from tests.vendors import NAMES, REQUESTS

__all__ = ["PRICES", "REQUESTS", "VENDORS", "Shops", "shops"]

VENDORS = tuple(NAMES)
PRICES = {name: str(price) for name, price in vendors.PRICES.items()}


@dataclass
class Shops:
    """The sandbox, and connections to it.

    :param looked_up: ids of the connections that were looked up, in turn.
    """

    box: Sandbox
    patch: pytest.MonkeyPatch
    looked_up: list[str] = field(default_factory=list)

    def connect(self, vendor: str, conn_id: str = "", **fields: Any) -> str:
        """Make a connection; ``extra`` and other fields override what fits the sandbox. Returns its id."""
        conn_id = conn_id or f"{vendor}_default"
        extra = {"max_order_price": "25.00", "timeout": 30, "settle": 0.3, **fields.pop("extra", {})}
        if vendor == "voodoo":  # else it would ask the real host
            extra.setdefault("catalogue_url", f"{fields.get('host', self.box.url(vendor))}/downloads")
        connection = {**self.box.connection(vendor, **extra), **fields}
        self.patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return conn_id

    def hook(self, vendor: str, **fields: Any) -> ProxyOrdersHook:
        """A hook as a new task would have it."""
        return ProxyOrdersHook(self.connect(vendor, **fields))

    def bought(self, vendor: str) -> list[Entry]:
        """What the vendor charged for, by its own book."""
        return [entry for entry in self.box.book.charges(vendor) if entry.kind in ("create", "extend")]


def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """Body of the fixture: a sandbox, a ledger in a file, and a count of what Airflow is asked for."""
    from airflow.secrets.environment_variables import EnvironmentVariablesBackend

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", sqlite_ledger(tmp_path))
    with Sandbox.start(port=0, processing=0) as box:
        made = Shops(box, monkeypatch)
        real = EnvironmentVariablesBackend.get_conn_value

        def counting(self: Any, conn_id: str, *args: Any, **options: Any) -> Any:
            made.looked_up.append(conn_id)
            return real(self, conn_id, *args, **options)

        monkeypatch.setattr(EnvironmentVariablesBackend, "get_conn_value", counting)
        yield made
