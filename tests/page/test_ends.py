"""The orders that end next: a bounded number of rows is read, and a list that may go on says so."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.attention import SCANNED_ENDS, Attention

from .conftest import buy
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
