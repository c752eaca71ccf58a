"""Connections to the ledger's database: kept, replaced after they ended in a pause, and limited in time for others."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import Ledger, engine, open_ledger, schema
from tests.ledgers import sqlite_ledger


def test_a_connection_that_ended_while_idle_is_replaced(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(postgres_url)
    assert ledger.decide_once("a", "1") == "1"
    with ledger.engine.connect() as first, ledger.engine.connect() as second:  # all that the pool keeps
        mine = [link.execute(text("SELECT pg_backend_pid()")).scalar_one() for link in (first, second)]
    another = engine.engine_for(f"{postgres_url}&application_name=another")
    with another.connect() as link:
        for pid in mine:
            link.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    monkeypatch.setattr(engine, "IDLE", 0.0)
    assert ledger.decide_once("a", "2") == "1"
    assert ledger.get("a") == "1"


def test_a_connection_in_use_is_not_asked_again_and_again(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(postgres_url)
    asked = []
    monkeypatch.setattr(engine, "takes_writes", lambda _connection: asked.append(1) or True)
    for _ in range(5):
        assert ledger.get("a") is None
    assert asked == []
    monkeypatch.setattr(engine, "IDLE", 0.0)
    assert ledger.get("a") is None
    assert asked == [1]


def set_read_only(ledger: Ledger) -> None:
    """As a managed service does with a primary that it replaces: the connections stay, and write no more."""
    with ledger.engine.connect() as first, ledger.engine.connect() as second:  # all that the pool keeps
        for link in (first, second):
            link.execute(text("SET default_transaction_read_only = on"))
            link.commit()


def test_a_connection_that_only_reads_by_now_is_replaced(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after its last use nobody asks before: then one write fails, and the next one has a new connection."""
    ledger = open_ledger(postgres_url)
    set_read_only(ledger)
    monkeypatch.setattr(engine, "IDLE", 3600.0)
    with pytest.raises(LedgerError, match="read-only") as error:
        ledger.put("a", "1")
    assert error.value.retry == "soon"
    ledger.put("a", "2")
    set_read_only(ledger)
    monkeypatch.setattr(engine, "IDLE", 0.0)
    ledger.put("a", "3")
    assert ledger.get("a") == "3"


def test_a_process_has_two_connections_at_most(postgres_url: str) -> None:
    ledger = open_ledger(postgres_url)
    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(lambda number: ledger.decide_once(f"a{number}", "1"), range(64))}) == 1
    with ledger.engine.connect() as link:
        ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        assert link.execute(text(ours)).scalar_one() <= 2


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    ledger = open_ledger(sqlite_ledger(tmp_path))
    ledger.decide_once("a", "1")
    with ledger.engine.begin() as writing:  # holds the database's only place for a writer
        writing.execute(text("UPDATE proxyorders_facts SET value = '2'"))
        assert ledger.get("a") == "1"
    assert ledger.get("a") == "2"


def shown(link: Any) -> list[str]:
    names = ("lock_timeout", "idle_in_transaction_session_timeout", "default_transaction_isolation", "transaction_isolation")
    return [link.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]


def test_no_lock_and_no_standstill_lasts_for_ever(postgres_url: str) -> None:
    """The limits are summed up with READ COMMITTED, under every default of the server."""
    postgres_url += "&options=-c%20default_transaction_isolation%3Dserializable"
    ledger = open_ledger(postgres_url)
    expected = ["30s", "20s", "read committed", "read committed"]
    with ledger.engine.begin() as link:
        assert shown(link) == expected
    with engine.autocommitting(ledger.engine).connect() as link:
        assert shown(link) == expected


def test_limits_of_your_own_are_kept(postgres_url: str) -> None:
    options = "-c lock_timeout=7s -c idle_in_transaction_session_timeout=1min".replace(" ", "%20").replace("=", "%3D")
    with open_ledger(f"{postgres_url}&options={options}").engine.begin() as link:
        assert shown(link)[:2] == ["7s", "1min"]


def test_they_are_set_once_a_connection(postgres_url: str) -> None:
    ledger = open_ledger(postgres_url)
    asked: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))
    for _ in range(3):
        ledger.decide_once("a", "1")
        assert ledger.get("a") == "1"
    assert len(asked) == 9 and not any("timeout" in statement for statement in asked)


def test_an_upgrade_may_take_longer(empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several hosts begin at once on a large ledger: they wait until the first one is done."""
    monkeypatch.setattr(engine, "LONGEST_LOCK_WAIT", 0.2)
    monkeypatch.setattr(engine, "LONGEST_STANDSTILL", 0.2)
    real = schema._upgrade

    def slow(connection: Connection) -> None:
        time.sleep(1.0)
        real(connection)

    monkeypatch.setattr(schema, "_upgrade", slow)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda name: open_ledger(f"{empty_postgres_url}&application_name={name}"), ("a", "b", "c")))
    assert [ledger.decide_once("x", "1") for ledger in made] == ["1"] * 3
