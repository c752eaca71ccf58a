"""An engine that a child adopts works for the child's ledger, not for the one that it was made for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airflow_provider_proxyorders.ledger import open_ledger

from ..crash.forks import Child, Say
from ..ledgers import Postgres, sqlite_ledger
from . import engines


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_each_run_has_its_own_ledger(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    server: Postgres | None = request.getfixturevalue("postgres") if kind == "postgres" else None
    kept, own = [server.new_ledger() if server else sqlite_ledger(tmp_path, f"{name}.db") for name in ("kept", "own")]

    def work(_say: Say) -> None:
        open_ledger(kept).freeze("w", "kept")
        engines.keep({kind: kept})
        engines.adopt(kind, own)
        open_ledger(own).freeze("w", "own")

    child = Child(work, tmp_path / "log")
    assert asyncio.run(child.ended()) == 0, (tmp_path / "log").read_text()
    assert [open_ledger(url).freeze_reason("w") for url in (kept, own)] == ["kept", "own"]
