"""One clock for all workers of a ledger: the database's on PostgreSQL, whatever a host's own clock says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import event, text

from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase
from airflow_provider_proxyorders.ledger import Intent, Ledger, clock, engine, open_ledger
from airflow_provider_proxyorders.ledger.alarms import Alarms
from tests.ledgers import Postgres, sqlite_ledger

ME = Actor(host="h")


class Host:
    """A host with a clock of its own; its processes open their own connections."""

    def __init__(self, patch: pytest.MonkeyPatch, url: str):
        self.patch, self.url, self.ahead = patch, url, timedelta(0)
        patch.setattr(clock, "host_clock", lambda: datetime.now(timezone.utc) + self.ahead)

    def process(self, ahead: float = 0.0) -> Ledger:
        """A new process on a host whose clock is so many seconds ahead."""
        self.ahead = timedelta(seconds=ahead)
        engine._engines.pop((self.url, engine.os.getpid()), None)
        return open_ledger(self.url)


@pytest.fixture
def host(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    yield Host(monkeypatch, postgres_url)
    engine.close()


def intent(key: str) -> Intent:
    return Intent(key, "create", "iproyal", "c", "iproyal:c", "a" * 64, {}, Money(Decimal(6), "USD"))


def send(ledger: Ledger, key: str = "k") -> Purchase:
    return ledger.claim(ledger.intend(intent(key), ME), ME, evidence={}, sent_seconds=95)


@pytest.mark.parametrize("ahead", [-6 * 3600.0, -600.0, 600.0, 6 * 3600.0])
def test_a_worker_with_a_wrong_clock_writes_the_right_time(host: Host, ahead: float) -> None:
    """With a slow clock its sending would seem to be over while it waits; with a fast one nobody could go on for hours."""
    sent = send(host.process(ahead))
    right = host.process(0.0)
    assert sent.sent_at is not None and sent.sent_until is not None
    assert abs((sent.sent_at - datetime.now(timezone.utc)).total_seconds()) < 30
    assert 0 < (sent.sent_until - right.clock()).total_seconds() <= 95


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_two_looks_of_different_hosts_are_as_far_apart_as_they_were(host: Host, ahead: float) -> None:
    first, second = host.process(ahead).clock(), host.process(-ahead).clock()
    assert abs((second - first).total_seconds()) < 30


def test_the_hold_of_an_alarm(host: Host) -> None:
    assert Alarms(host.process(6 * 3600.0).engine).observe("iproyal:c", "low", "low") is not None
    with host.process(0.0).engine.connect() as connection:
        until = connection.execute(text("SELECT held_until FROM proxyorders_alarms")).scalar_one()
    assert (datetime.fromisoformat(until) - datetime.now(timezone.utc)).total_seconds() < 150


def test_a_host_whose_clock_is_set_asks_the_database_again(host: Host) -> None:
    ledger = host.process(0.0)
    before = ledger.clock()
    host.ahead = timedelta(hours=6)
    assert 0 <= (ledger.clock() - before).total_seconds() < 30
    host.ahead = timedelta(hours=-6)
    assert 0 <= (ledger.clock() - before).total_seconds() < 30


def test_reading_the_time_costs_no_trip_of_its_own(host: Host) -> None:
    """It comes with the settings of a new connection, and serves for a minute."""
    ledger = host.process(0.0)
    asked: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    for _ in range(100):
        ledger.clock()
    assert asked == []


def test_a_database_that_is_away_leaves_the_time_going(
    host: Host, postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = host.process(0.0)
    before = ledger.clock()
    postgres.drop(postgres_url)
    monkeypatch.setattr(clock, "FRESH", -1.0)
    assert 0 <= (ledger.clock() - before).total_seconds() < 30


def test_on_one_host_its_own_clock_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "host_clock", lambda: datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert open_ledger(sqlite_ledger(tmp_path)).clock() == datetime(2026, 1, 1, tzinfo=timezone.utc)
