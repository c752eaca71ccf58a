"""Every ledger test runs on real SQLite and on real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from tests.ledgers import sqlite_ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty ledger."""
    if request.param == "sqlite":
        return sqlite_ledger(tmp_path)
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    return open_ledger(ledger_url)
