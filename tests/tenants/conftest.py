"""Two tenants of one Airflow and one ledger: each has a connection and a wallet of its own at the same vendor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Ledger
from tests.hooks import connections
from tests.hooks.connections import Shops

VENDOR = "voodoo"
MINE, THEIRS = "shop_mine", "shop_theirs"
MY_WALLET, THEIR_WALLET = f"{VENDOR}:{MINE}", f"{VENDOR}:{THEIRS}"


@dataclass
class Tenants:
    """The vendor, and the connections of both tenants."""

    shops: Shops

    def connect(self, conn_id: str, key: str = "", **extra: Any) -> str:
        """Make a connection, or change it.

        :param key: which of the vendor's accounts it leads to.
        """
        token = self.shops.box.token(VENDOR, key or ("second" if conn_id == THEIRS else ""))
        return self.shops.connect(VENDOR, conn_id, password=token, extra={"webhook_secret": f"secret-of-{conn_id}", **extra})

    def hook(self, conn_id: str) -> ProxyOrdersHook:
        return ProxyOrdersHook(conn_id)

    @property
    def ledger(self) -> Ledger:
        return ProxyOrdersHook(MINE).ledger

    def wallets_charged(self) -> list[str]:
        """The account that paid for each purchase, by the vendor's own book."""
        return [entry.wallet for entry in self.shops.bought(VENDOR)]


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tenants]:
    for shops in connections.shops(tmp_path, monkeypatch):
        shops.box.state.vendors[VENDOR].open_wallet("second", balance="500")
        made = Tenants(shops)
        for conn_id in (MINE, THEIRS):
            made.connect(conn_id)
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def tenants(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tenants]:
    for made in start(tmp_path, monkeypatch):
        if request.param == "postgresql":
            monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", request.getfixturevalue("postgres_url"))
        yield made
