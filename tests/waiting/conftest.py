"""Waiting triggers in this process, against the sandbox, with the vendors' rhythm sped up so that a test takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_proxyorders.triggers import subscription
from airflow_provider_proxyorders.vendors import vendor_class
from airflow_provider_proxyorders.vendors.base import Polling
from tests.hooks import connections
from tests.hooks.connections import VENDORS, Shops

from .room import FASTEST


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """The sandbox, and vendors that are asked ten to fifty times as often as in earnest."""
    for name in VENDORS:
        vendor = vendor_class(name)
        brisk = Polling(first=FASTEST, fastest=FASTEST, slowest=2.0)
        monkeypatch.setattr(vendor, "capabilities", replace(vendor.capabilities, polling=brisk))
    monkeypatch.setattr(subscription, "EARLIEST", 0.05)
    yield from connections.shops(tmp_path, monkeypatch)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The connection id of every call, as our own measure counts them."""
    from airflow.sdk.observability import stats

    calls: list[str] = []

    def incr(name: str, count: int = 1, *args: object, tags: dict[str, str] | None = None, **kwargs: object) -> None:
        if name == "proxyorders.polls":
            calls.extend([(tags or {})["conn_id"]] * count)

    monkeypatch.setattr(stats, "incr", incr)
    return calls
