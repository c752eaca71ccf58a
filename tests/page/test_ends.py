"""The orders that end next: a bounded number of rows is read, and a list that may go on says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.settings import ledger as ledger_of_settings
from airflow_provider_proxyorders.ledger import Ledger, facts
from airflow_provider_proxyorders.ledger.attention import SCANNED_ENDS, Attention
from airflow_provider_proxyorders.renewal.keys import period_of, replacement_key
from tests.hooks.connections import Shops

from .conftest import Visitor, buy
from .many import FIRST, fill

WEEK = timedelta(days=7)


@pytest.fixture
def attention(ledger: Ledger) -> Attention:
    """A ledger with an order that ends every second, for longer than one look reads."""
    fill(ledger.engine, SCANNED_ENDS + 1)
    buy(ledger, "under way", Step.UNKNOWN, kind="extend", target="b8", conn_id="iproyal_1")
    return Attention(ledger.engine)


def test_the_next_ends_by_connection(attention: Attention) -> None:
    ends, more = attention.ends(FIRST, FIRST + timedelta(seconds=10))
    assert ([end.order_id for end in ends], more) == (["b0", "b1", "b2", "b4", "b5", "b6", "b7", "b8"], False), "b3 failed"
    assert [end.order_id for end in ends if end.extended] == ["b8"]
    ends, more = attention.ends(FIRST, FIRST + timedelta(seconds=10), frozenset({"iproyal_1"}))
    assert ([(end.order_id, end.conn_id) for end in ends], more) == ([("b1", "iproyal_1"), ("b8", "iproyal_1")], False)


def test_a_list_that_may_go_on_says_so(attention: Attention) -> None:
    ends, more = attention.ends(FIRST, FIRST + WEEK)
    assert (len(ends), more) == (1000, True)
    assert attention.ends(FIRST, FIRST + WEEK, frozenset({"elsewhere"})) == ([], True)
    last = FIRST + timedelta(seconds=SCANNED_ENDS)
    assert attention.ends(FIRST + timedelta(seconds=1), last + WEEK, frozenset({"elsewhere"})) == ([], False)
    assert attention.ends(last + timedelta(seconds=1), last + WEEK) == ([], False)


SOON = datetime.now(timezone.utc) + timedelta(days=2)


def listed(visitor: Visitor) -> set[str]:
    return {end["order_id"] for end in visitor.get("attention").json()["ending"]}


def test_an_order_that_its_vendor_renews_is_left_out(log_in: Callable[[str], Visitor], shops: Shops) -> None:
    ledger = ledger_of_settings()
    for vendor, field in (("iproyal", "auto_extend"), ("proxyscrape", "is_subscription")):
        conn_id = shops.connect(vendor)
        for renews in (True, False):
            buy(
                ledger,
                f"{vendor} {renews}",
                Step.DELIVERED,
                conn_id=conn_id,
                order_id=f"{vendor}-{renews}",
                request={field: renews},
                expires_at=SOON,
            )
    assert listed(log_in("admin")) == {"iproyal-False", "proxyscrape-False"}


@pytest.mark.parametrize(("step", "left"), [(Step.DELIVERED, True), (Step.FAILED, False), (Step.REJECTED, False), (None, False)])
def test_an_order_with_a_replacement_is_left_out(
    log_in: Callable[[str], Visitor], shops: Shops, step: Step | None, left: bool
) -> None:
    """A replacement that failed, was refused or is missing replaces nothing."""
    ledger, conn_id = ledger_of_settings(), shops.connect("proxyscrape")
    old = buy(ledger, "old", Step.DELIVERED, conn_id=conn_id, order_id="o-1", expires_at=SOON)
    period = facts.replaced_period(ledger, old.wallet, "o-1").decide_once(period_of(SOON, SOON))
    if step is not None:
        buy(ledger, replacement_key(old.wallet, "o-1", period), step, conn_id=conn_id, order_id="o-2")
    assert listed(log_in("admin")) == (set() if left else {"o-1"})
