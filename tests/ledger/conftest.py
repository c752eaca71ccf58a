"""Every ledger test runs on real SQLite and on real PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.ledger import Ledger, open_ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: Any = request.getfixturevalue("postgres_url")
    return str(url)


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    return open_ledger(ledger_url)
