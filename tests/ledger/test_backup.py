"""A restored ledger: every wallet is frozen, also one that the ledger sees for the first time."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from airflow_provider_proxyorders.domain.errors import CapExceeded
from airflow_provider_proxyorders.domain.model import Actor, Money, decimal
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger
from airflow_provider_proxyorders.ledger.backup import mark_restored


def intend(ledger: Ledger, key: str, wallet: str) -> None:
    price = Money(decimal("3"), "USD")
    ledger.intend(Intent(key, "create", "iproyal", "c", wallet, "a" * 64, {}, price, takes_turn=False), Actor())


def test_a_restored_ledger_buys_nothing(ledger_url: str) -> None:
    ledger = open_ledger(ledger_url)
    ledger.freeze("w", "a charge above its cap")
    for _ in range(2):
        mark_restored(ledger.engine, datetime(2026, 11, 28, tzinfo=timezone.utc))
    reason = ledger.freeze_reason("w")
    assert reason is not None and reason.startswith("a charge above its cap; and ") and reason.count("backup of") == 1
    with pytest.raises(CapExceeded, match="backup of 2026-11-28T00:00:00"):
        intend(ledger, "k", "new")
