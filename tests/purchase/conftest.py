"""The buyer against the sandbox, with a real ledger: every vendor, a real HTTP server, nothing stubbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.worker import Http
from tests.ledgers import sqlite_ledger
from tests.vendors import PRICES, REQUESTS, VENDORS

__all__ = ["PRICES", "REQUESTS", "VENDORS"]


@dataclass
class Shop:
    """One vendor of the sandbox, and buyers that buy there."""

    name: str
    box: Sandbox
    ledger: Ledger
    said: list[str] = field(default_factory=list)
    caps: Caps = field(default_factory=lambda: Caps(max_order_price=Decimal("25.00")))
    currency: str | None = "USD"

    @property
    def request(self) -> dict[str, Any]:
        return dict(REQUESTS[self.name])

    def buyer(self, *, timeout: float = 10.0, settle: float = 0.3, **options: Any) -> Buyer:
        """A buyer as a new worker has it: only the ledger is from before."""
        account = Account(
            vendor=self.name,
            conn_id=f"{self.name}_default",
            wallet=f"{self.name}:main",
            base_url=options.pop("base_url", None) or self.box.url(self.name),
            secret=options.pop("secret", None) or self.box.token(self.name),
            settings={"settle": settle},
            caps=self.caps,
            currency=self.currency,
            timeout=timeout,
        )
        http = Http(account, **{name: options[name] for name in ("sleep",) if name in options})
        return Buyer(VENDORS[self.name](account), http, self.ledger, say=self.said.append, **options)

    def bought(self) -> list[Any]:
        """Purchases that the vendor charged, by its own book."""
        return [entry for entry in self.box.book.charges(self.name) if entry.kind in ("create", "extend")]

    def delivered(self, key: str, **options: Any) -> Purchase:
        """Buy and wait."""
        buyer = self.buyer(**options)
        order = buyer.place(self.request, order_key=key)
        order = buyer.wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=30), poll_interval=0.2)
        assert order.step is Step.DELIVERED
        return order


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty ledger, on each database in turn. A file whose ``ledger`` asks for it runs on both."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return sqlite_ledger(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_ledger(tmp_path))


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox.start(port=0) as box:
        box.control([{"processing": 0.2, "vendor": name} for name in VENDORS])
        yield box


@pytest.fixture
def shop_of(box: Sandbox, ledger: Ledger) -> Callable[[str], Shop]:
    return lambda name: Shop(name, box, ledger)


@pytest.fixture(params=sorted(VENDORS))
def shop(request: pytest.FixtureRequest, shop_of: Callable[[str], Shop]) -> Shop:
    """Each vendor in turn."""
    return shop_of(request.param)
