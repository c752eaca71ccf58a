"""P2: a purchase whose answer was lost is adopted only as an order that is its own, and as whichever of them that is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_proxyorders.domain.errors import Quarantined
from airflow_provider_proxyorders.domain.model import Actor, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from airflow_provider_proxyorders.purchase.attempt import Attempt

from .conftest import REQUESTS, Shop


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


@pytest.fixture
def shop(shop_of: Callable[[str], Shop]) -> Shop:
    return shop_of("voodoo")


def report(shop: Shop, reference: str, *order_ids: str) -> None:
    """Verified deliveries about orders, as the receiver keeps them."""
    inbox = Inbox(shop.ledger.engine)
    for order_id in order_ids:
        inbox.keep([Hint(f"digest of {order_id}", "voodoo_default", "voodoo:main", order_id, reference, "completed")])


def test_an_order_of_an_earlier_purchase_with_the_same_reference_is_not_adopted(shop: Shop) -> None:
    """The user's own reference; the second purchase never reaches the vendor, and the first one's webhook is in the inbox."""
    request = {**REQUESTS["voodoo"], "merchant_order_id": "daily"}
    first = shop.buyer().place(request, order_key="run1")
    assert first.order_id is not None
    report(shop, "daily", first.order_id)
    shop.box.fault(vendor="voodoo", operation="create", when="before", times=1, action="reset")
    with pytest.raises(Quarantined):
        shop.buyer().place(request, order_key="run2")
    second = shop.ledger.find("run2")
    assert second is not None and second.order_id is None and second.step is Step.QUARANTINED
    assert len(shop.bought()) == 1


def test_an_order_that_is_read_without_our_reference_is_not_adopted(shop: Shop) -> None:
    shop.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    foreign = '{"id": "foreign-1", "status": "completed", "price": 9}'
    shop.box.fault(vendor="voodoo", operation="get", action="body", body=foreign)
    report(shop, shop.buyer().reference("k"), "foreign-1")
    with pytest.raises(Quarantined):
        shop.buyer().place(shop.request, order_key="k")
    assert shop.ledger.find("k").order_id is None  # type: ignore[union-attr]


def test_of_several_orders_that_were_told_its_own_is_adopted(shop: Shop) -> None:
    """The first delivery names an order that the vendor does not find."""
    shop.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    with pytest.raises(Quarantined):
        shop.buyer().place(shop.request, order_key="k")
    [bought] = shop.bought()
    report(shop, shop.buyer().reference("k"), "018f0000-0000-7000-8000-000000000000", bought.order_id)
    adopted = shop.buyer().place(shop.request, order_key="k")
    assert adopted.order_id == bought.order_id and len(shop.bought()) == 1


def test_a_sub_account_that_opens_after_days_is_that_of_the_old_order(shop_of: Callable[[str], Shop], url: str) -> None:
    """An order placed three days ago opens its sub-account just while the answer to another one is lost."""
    shop = shop_of("proxyscrape")
    shop.box.control([{"vendor": "proxyscrape", "processing": 3600.0}])
    now = datetime.now(timezone.utc)
    shop.ledger = open_ledger(url, lambda: now - timedelta(days=3))
    old = shop.buyer().place(shop.request, order_key="old")
    shop.ledger = open_ledger(url)
    buyer = shop.buyer()
    prepared = buyer.vendor.prepare_create(shop.request, buyer.reference("k"))
    order = buyer.intend(Attempt(buyer.request_for("create", "k", prepared)))
    evidence = buyer.http.run(buyer.vendor.snapshot("create", prepared.body, None))
    shop.ledger.claim(order, Actor(), evidence=evidence, sent_seconds=0.0)
    shop.box.control([{"vendor": "proxyscrape", "set_status": {"order_id": old.order_id, "status": "processed"}}])
    placed = shop.buyer().place(shop.request, order_key="k")
    assert placed.order_id not in (None, old.order_id) and len(shop.bought()) == 2
