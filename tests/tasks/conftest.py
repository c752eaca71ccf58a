"""Operators, sensor and trigger in this process, without a scheduler, against the sandbox and a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_proxyorders.vendors import vendor_class
from tests.hooks import connections
from tests.hooks.connections import VENDORS, Shops


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    yield from connections.shops(tmp_path, monkeypatch)


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    """The name of each vendor in turn."""
    name: str = request.param
    return name


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick rhythm, and no first pause: what the race of Airflow 3.3 asks for is shown by a test of its own."""
    from airflow_provider_proxyorders.triggers import subscription

    monkeypatch.setattr(subscription, "EARLIEST", 0.05)
    for name in VENDORS:
        offered = vendor_class(name).capabilities
        quick = replace(offered.polling, first=0.05, fastest=0.05)
        monkeypatch.setattr(vendor_class(name), "capabilities", replace(offered, polling=quick))
