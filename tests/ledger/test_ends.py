"""Orders by their end: which purchases a range holds, and that each query reads one index range."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, bulk, ends
from airflow_provider_proxyorders.ledger.schema import purchases

from .plans import fill, plans_of

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
USD = Money(Decimal("1.00"), "USD")


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    ledger.clock = lambda: NOW
    return ledger


def bought(
    ledger: Ledger, order_id: str, ends_in: timedelta | None, step: Step = Step.DELIVERED, *, wallet: str = "v:a", **columns: Any
) -> None:
    """A purchase that was sent now."""
    kind = columns.pop("kind", "create")
    key = f"{kind}-{order_id}-{wallet}"
    intent = Intent(key, kind, "v", "c", wallet, "f" * 64, {}, USD, target=order_id, takes_turn=False)
    purchase = ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=60)
    end = None if ends_in is None else NOW + ends_in
    order = VendorOrder(order_id, OrderStatus.DELIVERED, "done", expires_at=end, price=USD)
    if step in (Step.REFUNDED, Step.FAILED):
        purchase = ledger.record(purchase, Step.PLACED, "taken", Actor(), vendor_order=order)
    ledger.record(purchase, step, "so it went", Actor(), vendor_order=order)
    if columns:
        with ledger.engine.begin() as connection:
            connection.execute(update(purchases).where(purchases.c.order_key == key).values(**columns))


def test_a_range_of_known_ends(ledger: Ledger) -> None:
    for order_id, ends_in in (("1", DAY), ("2", 2 * DAY), ("3", 2 * DAY + timedelta(microseconds=1)), ("4", -DAY), ("5", None)):
        bought(ledger, order_id, ends_in)
    bought(ledger, "6", DAY, wallet="v:b")
    bought(ledger, "7", DAY, Step.PLACED)
    bought(ledger, "4", DAY, kind="extend")
    fill(ledger, "create-4-v:a")
    with plans_of(ledger) as plans:
        assert ends.ending(ledger, "v:a", NOW + DAY, NOW + 2 * DAY) == {"1", "2", "4", "7"}
    assert plans == ["expires"]


def test_a_range_of_beginnings_without_a_known_end(ledger: Ledger) -> None:
    old = (NOW - 9 * DAY).isoformat(timespec="microseconds")
    bought(ledger, "1", None)
    bought(ledger, "2", DAY)
    bought(ledger, "3", None, Step.PLACED)
    bought(ledger, "4", None, sent_at=old)
    bought(ledger, "5", None, sent_at=None)
    bought(ledger, "6", None, sent_at=None, created_at=old)
    bought(ledger, "7", None, wallet="v:b")
    bought(ledger, "8", None, Step.REFUNDED)
    bought(ledger, "9", None, kind="extend")
    fill(ledger, "create-2-v:a", sent_at=old)
    with plans_of(ledger) as plans:
        assert ends.begun(ledger, "v:a", NOW, NOW + DAY) == {"1", "3", "5"}
    assert plans == ["undated"] * 6


def test_orders_without_a_known_end_are_counted_and_the_first_are_named(ledger: Ledger) -> None:
    for number in range(5):
        sent_at = (NOW - number * DAY).isoformat(timespec="microseconds")
        bought(ledger, f"{number}", None, sent_at=sent_at)
    bought(ledger, "dated", DAY)
    bought(ledger, "refunded", None, Step.REFUNDED)
    bought(ledger, "other", None, wallet="v:b")
    bought(ledger, "placed", None, Step.PLACED)
    bought(ledger, "0", 30 * DAY, kind="extend")
    fill(ledger, "create-dated-v:a")
    with plans_of(ledger) as plans:
        assert ends.undated(ledger, "v:a", most=3, extended=False) == (6, ("placed", "4", "3"))
    assert set(plans) <= {"undated", "expires"}, "few purchases without an end are few in either index"
    assert ends.undated(ledger, "v:a", most=9, extended=True) == (5, ("placed", "4", "3", "2", "1"))
    assert ends.undated(ledger, "v:c", most=3, extended=False) == (0, ())


def test_orders_that_the_vendor_should_list(ledger: Ledger) -> None:
    """Those whose term runs. What ended long ago is not read."""
    later = (NOW + DAY).isoformat(timespec="microseconds")
    for order_id, ends_in, step in (("1", DAY, Step.DELIVERED), ("2", -DAY, Step.DELIVERED), ("3", None, Step.DELIVERED)):
        bought(ledger, order_id, ends_in, step)
    bought(ledger, "4", -DAY, Step.PLACED)
    bought(ledger, "5", DAY, Step.REFUNDED)
    bought(ledger, "6", DAY, wallet="v:b")
    bought(ledger, "7", DAY, updated_at=later)
    bought(ledger, "1", 9 * DAY, kind="extend")
    fill(ledger, "create-2-v:a")
    with plans_of(ledger) as plans:
        keys = sorted(each.order_key for each in ends.expected(ledger, "v:a", NOW))
    assert keys == ["create-1-v:a", "create-3-v:a", "create-4-v:a", "extend-1-v:a"]
    assert set(plans) <= {"open", "step", "expires", "undated"}


def test_keys_of_all_unresolved_purchases(ledger: Ledger) -> None:
    for order_id, step in (("1", Step.UNKNOWN), ("2", Step.DELIVERED), ("3", Step.REJECTED), ("5", Step.PLACED)):
        bought(ledger, order_id, None, step)
    bought(ledger, "4", None, Step.REJECTED, maybe_sent=True)
    assert sorted(bulk.unresolved_keys(ledger, "v:a")) == ["create-1-v:a", "create-4-v:a"]
    assert bulk.keys_at(ledger, "v:a", Step.PLACED) == ["create-5-v:a"]
    assert bulk.keys_at(ledger, "v:a", Step.PLACED, since=NOW + DAY) == []
    (found,) = bulk.purchases_of(ledger, ["create-5-v:a", "nobody", "create-1-v:a"])
    assert [purchase.order_id for purchase in found] == ["5", "1"]
    assert bulk.owned_among(ledger, "v:a", ["5", "6", "2"]) == {"2", "5"}


def test_refusals_of_before_cost_the_unresolved_nothing(ledger: Ledger) -> None:
    """Only purchases that may have been sent are read, of which a refusal is rarely one."""
    bought(ledger, "1", None, Step.REJECTED)
    bought(ledger, "2", None, Step.REJECTED, maybe_sent=True)
    fill(ledger, "create-1-v:a")
    with plans_of(ledger) as plans:
        assert [purchase.order_key for purchase in ledger.unresolved(wallet="v:a")] == ["create-2-v:a"]
        assert [purchase.order_key for purchase in ledger.unresolved()] == ["create-2-v:a"]
    assert plans.count("doubtful") == 4 and set(plans) <= {"doubtful", "open", "step"}
