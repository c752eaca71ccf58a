"""A worker that stands still in the middle of a ledger transaction (SIGSTOP, a suspended machine) holds its wallet's row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, text

from airflow_provider_proxyorders.domain.errors import LedgerError, OutcomeUnknown
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger, engine, open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox

from .conftest import Shop

HOLD = text("SELECT wallet FROM proxyorders_wallets WHERE wallet = 'iproyal:main' FOR UPDATE")


@pytest.fixture
def ledger(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(engine, "LONGEST_LOCK_WAIT", 0.3)
    ledger = open_ledger(postgres_url)
    ledger.freeze("iproyal:main", None)  # makes its row
    return ledger


@pytest.fixture
def shop(box: Sandbox, ledger: Ledger) -> Shop:
    return Shop("iproyal", box, ledger)


@pytest.fixture
def frozen(postgres_url: str, ledger: Ledger) -> Iterator[Connection]:
    """A connection as another worker has it."""
    with engine.engine_for(f"{postgres_url}&application_name=frozen").connect() as connection:
        yield connection


def test_nobody_waits_for_hours(shop: Shop, frozen: Connection) -> None:
    frozen.execute(text("SET idle_in_transaction_session_timeout = 0"))  # the lock must outlast a slow test
    frozen.execute(HOLD)
    with pytest.raises(
        LedgerError, match="another process held the ledger at .* for longer than its lock_timeout.*This try bought nothing"
    ) as error:
        shop.buyer().place(shop.request, order_key="k")
    assert (error.value.money, error.value.retry) == ("untouched", "soon") and "ledger_url" not in str(error.value)
    assert shop.bought() == [] and shop.ledger.find("k") is None
    frozen.rollback()
    assert shop.buyer().place(shop.request, order_key="k").order_id


def test_an_order_that_waits_is_bought_all_the_same(shop: Shop, frozen: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database ends its connections during a wait: its error is no word about the purchase before it."""
    monkeypatch.setattr(engine, "IDLE", 60.0)
    buyer = shop.buyer()
    placed = buyer.place(shop.request, order_key="k")
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    frozen.execute(text(f"SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE {others}"))
    with pytest.raises(LedgerError, match=f"Order {placed.order_id} was bought before that") as error:
        buyer.wait(placed, deadline=datetime.now(timezone.utc) + timedelta(seconds=20), poll_interval=0.1)
    assert error.value.money == "charged" and "Nothing was" not in str(error.value)


def test_what_the_vendor_took_is_not_lost_meanwhile(shop: Shop, frozen: Connection) -> None:
    rule = shop.box.fault("iproyal", "create", when="after", times=1, action="pause")
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        frozen.rollback()

    order = in_between(rule, lambda: frozen.execute(HOLD), lambda: shop.buyer(sleep=sleep).place(shop.request, order_key="k"))
    assert pauses == [0.2] and order.step is Step.PLACED
    assert [entry.order_id for entry in shop.bought()] == [order.order_id]


def test_when_it_lasts_the_next_try_finds_it(shop: Shop, frozen: Connection) -> None:
    rule = shop.box.fault("iproyal", "create", when="after", times=1, action="pause")
    buyer = shop.buyer(sleep=lambda seconds: None)
    with pytest.raises(
        OutcomeUnknown, match="took 'k' as order .* the ledger could not be written.*another process held the ledger"
    ):
        in_between(rule, lambda: frozen.execute(HOLD), lambda: buyer.place(shop.request, order_key="k"))
    frozen.rollback()
    purchase = shop.ledger.find("k")
    assert purchase is not None and purchase.step is Step.SENT and purchase.sent_until is not None
    shop.ledger.clock = lambda: purchase.sent_until  # type: ignore[assignment, return-value]
    assert shop.buyer().settle(purchase).order_id == shop.bought()[0].order_id and len(shop.bought()) == 1


def test_who_stands_still_for_too_long_is_ended(
    shop: Shop, frozen: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LONGEST_STANDSTILL", 0.5)
    monkeypatch.setattr(engine, "LONGEST_LOCK_WAIT", 10.0)
    other = engine.engine_for(f"{postgres_url}&application_name=standing_still")
    shop.ledger = open_ledger(f"{postgres_url}&application_name=patient")
    with pytest.raises(LedgerError) as ended, engine.translated_errors(other.url), other.begin() as connection:
        connection.execute(HOLD)
        began = time.monotonic()
        assert shop.buyer().place(shop.request, order_key="k").order_id
        assert 0.2 < time.monotonic() - began < 9
        connection.execute(text("UPDATE proxyorders_wallets SET frozen = 'by a ghost'"))
    assert "cannot be used" in str(ended.value) or "taken back" in str(ended.value)
    assert shop.ledger.freeze_reason("iproyal:main") is None
    with other.connect() as connection:  # the pool has replaced it
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def in_between(rule: Any, then: Callable[[], object], act: Callable[[], Any]) -> Any:
    """Do something while the vendor, which has acted, holds its answer back."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(act)
        assert rule.wait(60)
        then()
        rule.release()
        return acting.result(60)
