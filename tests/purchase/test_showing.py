"""Lists and searches: an order that one read leaves out is asked for again before it is called missing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_proxyorders.purchase.polling import LEAST_MISSES
from airflow_provider_proxyorders.purchase.showing import read_orders
from airflow_provider_proxyorders.renewal.search import find_due
from airflow_provider_proxyorders.wallet.reconcile import reconcile

from .conftest import Shop


def test_one_miss_is_nothing_and_a_missing_order_is_waited_for_once(shop: Shop) -> None:
    order_id = shop.delivered("k").order_id
    assert order_id is not None
    buyer = shop.buyer()
    asked = "list" if buyer.vendor.capabilities.ids_per_read > 1 else "get"
    rule = shop.box.fault(shop.name, asked, action="unseen", times=1)
    assert [*read_orders(buyer, [order_id])] == [order_id] and rule.hits == 1
    rule = shop.box.fault(shop.name, asked, action="unseen")
    assert read_orders(shop.buyer(), [order_id]) == {}
    hits = rule.hits
    assert hits >= LEAST_MISSES
    assert read_orders(shop.buyer(), [order_id]) == {} and rule.hits == hits + 1, "the ledger knows it as missing"
    shop.box.clear_faults()
    assert [*read_orders(shop.buyer(), [order_id])] == [order_id]
    rule = shop.box.fault(shop.name, asked, action="unseen", times=1)
    assert [*read_orders(shop.buyer(), [order_id])] == [order_id], "shown once more, it is asked for again"


@pytest.mark.parametrize("times", [1, 2])
def test_a_search_finds_an_order_that_a_list_left_out(shop: Shop, times: int) -> None:
    purchase = shop.delivered("k")
    buyer = shop.buyer()
    ends = purchase.expires_at or datetime.now(timezone.utc)
    asked = "list" if buyer.vendor.capabilities.list_orders else "get"
    rule = shop.box.fault(shop.name, asked, action="unseen", times=times)
    term = None if purchase.expires_at else timedelta(days=1)
    found = find_due(buyer, as_of=ends - timedelta(hours=1), within=timedelta(days=2), auto_extending=True, term=term)
    one_by_one = buyer.vendor.capabilities.list_orders and buyer.vendor.capabilities.ids_per_read == 1
    assert [each.order_id for each in found.due] == [purchase.order_id] and rule.hits == (1 if one_by_one else times)


def test_a_comparison_asks_again_for_what_a_list_left_out(shop: Shop) -> None:
    if not shop.buyer().vendor.capabilities.list_orders:
        pytest.skip("without a list nothing is missing in it")
    shop.delivered("k")
    rule = shop.box.fault(shop.name, "list", action="unseen", times=1)
    assert reconcile(shop.buyer()).missing == [] and rule.hits == 1
    for asked in ("list", "get"):
        shop.box.fault(shop.name, asked, action="unseen")
    assert reconcile(shop.buyer()).missing == ["k"]
