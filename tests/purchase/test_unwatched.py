"""Orders that nobody waits for are read together by the next purchase, and each answer counts from its own moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.purchase.ownership import MISSING_SINCE
from airflow_provider_proxyorders.purchase.unwatched import Unwatched
from airflow_provider_proxyorders.transport.worker import SLOW_ANSWER

from .conftest import Shop

ShopOf = Callable[[str], Shop]
KEYS = ["k1", "k2", "k3"]


@pytest.fixture
def shop(shop_of: ShopOf) -> Shop:
    """A vendor with an answer for each order alone, and slow enough to be asked for several at a time."""
    shop = shop_of("proxyscrape")
    shop.box.control([{"vendor": "proxyscrape", "processing": 600.0}])
    for key in KEYS:
        shop.buyer().place(shop.request, order_key=key)
    shop.box.fault(vendor="proxyscrape", action="delay", seconds=SLOW_ANSWER * 2, when="before")
    return shop


def read_all(shop: Shop) -> bool:
    buyer = shop.buyer()
    buyer.http.run(buyer.vendor.balance())
    return Unwatched(buyer).refresh(KEYS, at_once=True)


def test_their_prices_get_known(shop: Shop) -> None:
    before, connections = shop.box.book.count("proxyscrape", "get"), shop.box.book.connections
    assert read_all(shop)
    assert shop.box.book.connections - connections > 1, "they were on their way together"
    purchases = [shop.ledger.find(key) for key in KEYS]
    assert all(purchase is not None and purchase.price is not None for purchase in purchases)
    assert shop.box.book.count("proxyscrape", "get") - before <= len(KEYS)


def test_a_miss_beside_others_is_read_once_more_before_it_counts(shop: Shop) -> None:
    shop.box.fault(vendor="proxyscrape", operation="get", action="status", status=404, times=1)
    assert read_all(shop)
    for purchase in map(shop.ledger.find, KEYS):
        assert purchase is not None and purchase.step is Step.PLACED
        assert purchase.price is not None and MISSING_SINCE not in purchase.evidence


def test_one_that_stays_missing_keeps_no_other_from_being_read(shop: Shop) -> None:
    lost = shop.ledger.find("k3")
    assert lost is not None
    del shop.box.state.vendors["proxyscrape"].orders[str(lost.order_id)]
    assert read_all(shop)
    first, second, third = map(shop.ledger.find, KEYS)
    assert first is not None and second is not None and third is not None
    assert first.price is not None and second.price is not None
    assert third.step is Step.PLACED and third.price is None
