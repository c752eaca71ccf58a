"""Connections to the ledger's database: kept, and replaced when they ended while nobody used them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from airflow_provider_proxyorders.core.ledger import engine, open_ledger


def test_a_connection_that_ended_while_idle_is_replaced(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(postgres_url)
    assert ledger.fix("a", "1") == "1"
    with ledger.engine.connect() as one, ledger.engine.connect() as other:  # all that the pool keeps
        mine = [link.execute(text("SELECT pg_backend_pid()")).scalar_one() for link in (one, other)]
    another = engine.engine_for(f"{postgres_url}&application_name=another")
    with another.connect() as link:
        for pid in mine:
            link.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    monkeypatch.setattr(engine, "IDLE", 0.0)
    assert ledger.fix("a", "2") == "1"
    assert ledger.fixed("a") == "1"


def test_a_connection_in_use_is_not_asked_again_and_again(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(postgres_url)
    asked = []
    monkeypatch.setattr(ledger.engine.dialect, "do_ping", lambda _connection: asked.append(1) or True)
    for _ in range(5):
        assert ledger.fixed("a") is None
    assert asked == []
    monkeypatch.setattr(engine, "IDLE", 0.0)
    assert ledger.fixed("a") is None
    assert asked == [1]


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.fix("a", "1")
    with ledger.engine.begin() as writing:  # holds the database's only place for a writer
        writing.execute(text("UPDATE proxyorders_anchors SET value = '2'"))
        assert ledger.fixed("a") == "1"
    assert ledger.fixed("a") == "2"
