"""Lists of purchases: the newest first, by wallet and step, through an index."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event

from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """A ledger with one second between two steps."""
    begin = datetime(2030, 1, 1, tzinfo=timezone.utc)
    ticks = iter(range(10_000))
    ledger = open_ledger(ledger_url, clock=lambda: begin + timedelta(seconds=next(ticks)))
    for key, wallet, kind, step in (
        ("a1", "v:a", "create", Step.DELIVERED),
        ("b1", "v:b", "create", Step.UNKNOWN),
        ("a2", "v:a", "create", Step.REJECTED),
        ("a3", "v:a", "extend", Step.DELIVERED),
        ("b2", "v:b", "create", Step.SENT),
        ("a4", "v:a", "create", Step.PLACED),
    ):
        money = Money(Decimal("1.00"), "USD")
        body: dict[str, Any] = {"quantity": 1}
        purchase = ledger.intend(Intent(key, kind, "v", "c", wallet, "f" * 64, body, money, takes_turn=False), Actor())
        purchase = ledger.claim(purchase, Actor(), evidence={}, sent_seconds=60)
        vendor_order = VendorOrder("id-1" if kind == "extend" else f"id-{key[1]}", OrderStatus.PENDING, "paid", price=money)
        if step is not Step.SENT:
            ledger.record(
                purchase,
                step,
                "so it went",
                Actor(),
                vendor_order=vendor_order if step in (Step.DELIVERED, Step.PLACED) else None,
            )
    return ledger


def keys(listed: Any) -> list[str]:
    return [purchase.order_key for purchase in listed]


def test_the_newest_first(ledger: Ledger) -> None:
    assert keys(ledger.purchases()) == ["a4", "b2", "a3", "a2", "b1", "a1"]
    assert keys(ledger.purchases(limit=2)) == ["a4", "b2"]
    assert keys(ledger.purchases(wallet="v:a")) == ["a4", "a3", "a2", "a1"]
    assert keys(ledger.purchases(wallet="v:a", limit=1)) == ["a4"]


def test_by_step(ledger: Ledger) -> None:
    assert keys(ledger.purchases(in_steps=[Step.SENT, Step.UNKNOWN])) == ["b2", "b1"]
    assert keys(ledger.purchases(in_steps=[Step.UNKNOWN, Step.PLACED, Step.UNKNOWN], limit=1)) == ["a4"]
    assert keys(ledger.purchases(wallet="v:a", in_steps=[Step.DELIVERED, Step.SENT])) == ["a3", "a1"]
    assert keys(ledger.purchases(wallet="v:a", in_steps=[Step.DELIVERED], limit=1)) == ["a3"]
    assert ledger.purchases(in_steps=[]) == []


def test_by_the_vendors_id(ledger: Ledger) -> None:
    assert keys(ledger.by_order_id("v:a", "id-1")) == ["a3", "a1"]
    assert ledger.by_order_id("v:b", "id-1") == []


def test_no_list_reads_a_whole_table(ledger: Ledger) -> None:
    if ledger.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL rightly reads a table of six rows as a whole; `bench/growth.py` fills it first")
    asked: list[tuple[str, Any]] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda _c, _k, statement, values, *_: asked.append((statement, values)))
    ledger.purchases(wallet="v:a")
    ledger.purchases(in_steps=[Step.UNKNOWN, Step.SENT])
    ledger.purchases(wallet="v:a", in_steps=[Step.UNKNOWN, Step.DELIVERED])
    ledger.unresolved(wallet="v:a")
    ledger.unresolved()
    ledger.by_order_id("v:a", "id-1")
    plans = []
    with ledger.engine.connect() as connection:
        for statement, values in list(asked):
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            plans.append([row[3] for row in rows if "proxyorders_purchases" in row[3]])
    search = "SEARCH proxyorders_purchases USING INDEX proxyorders_purchases_"
    assert plans == [
        [f"{search}wallet (wallet=?)"],
        [f"{search}step (step=?)"] * 2,
        [f"{search}open (wallet=? AND step=?)"] * 2,
        [*[f"{search}open (wallet=? AND step=?)"] * 3, *[f"{search}doubtful (step=?)"] * 2],
        [*[f"{search}step (step=?)"] * 3, *[f"{search}doubtful (step=?)"] * 2],
        [f"{search}order (wallet=? AND order_id=?)"],
    ]


def doubtful(ledger: Ledger, key: str, wallet: str, step: Step) -> None:
    """A purchase after a lost answer: it waits to be sent again, or its second sending was refused."""
    intent = Intent(key, "create", "v", "c", wallet, "f" * 64, {}, Money(Decimal("1.00"), "USD"), takes_turn=False)
    purchase = ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=0)
    purchase = ledger.record(purchase, Step.UNKNOWN, "no answer", Actor())
    purchase = ledger.record(purchase, Step.INTENDED, "sent again with the same reference", Actor())
    if step is Step.REJECTED:
        ledger.record(ledger.claim(purchase, Actor(), evidence={}, sent_seconds=0), step, "refused", Actor())


def test_every_unresolved_purchase_is_listed(ledger: Ledger) -> None:
    """P2: a purchase that waits to be sent again counts too. Its first sending may have landed, and its task may stay away."""
    assert keys(ledger.unresolved()) == ["b2", "b1"]
    intent = Intent("a5", "create", "v", "c", "v:a", "f" * 64, {}, Money(Decimal("1.00"), "USD"), takes_turn=False)
    ledger.intend(intent, Actor())  # nothing of it has left yet
    doubtful(ledger, "a6", "v:a", Step.INTENDED)
    doubtful(ledger, "a7", "v:a", Step.REJECTED)
    assert keys(ledger.unresolved()) == ["a7", "a6", "b2", "b1"]
    assert keys(ledger.unresolved(wallet="v:a")) == ["a7", "a6"]
    assert keys(ledger.unresolved(wallet="v:a", limit=1)) == ["a7"]
    assert keys(ledger.unresolved()) == keys(purchase for purchase in ledger.purchases() if purchase.unresolved)
