"""Buy, wait, read what was bought, extend: each vendor, no faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from airflow_provider_proxyorders.domain.errors import OrderNotUsable, OrderPending, UnsupportedOperation
from airflow_provider_proxyorders.domain.model import Money, Step
from airflow_provider_proxyorders.purchase.outcome import result_of
from tests.vendors import ROWS

from .conftest import PRICES, Shop


def test_buy_wait_and_read_what_was_bought(shop: Shop) -> None:
    order = shop.delivered("k")
    assert [entry.order_id for entry in shop.bought()] == [order.order_id]
    assert order.price == Money(PRICES[shop.name], "USD")
    assert sum(Decimal(charge.amount) for charge in shop.box.book.charges(shop.name)) == PRICES[shop.name]
    buyer = shop.buyer()
    delivery = buyer.http.run(buyer.vendor.delivery(order.order_id or ""))
    assert delivery.count == ROWS[shop.name].units


def test_the_same_key_is_the_same_order_for_ever(shop: Shop) -> None:
    first = shop.delivered("k")
    again = shop.buyer().place(shop.request, order_key="k")
    assert (again.order_id, again.step) == (first.order_id, Step.DELIVERED)
    other = shop.buyer().place(shop.request, order_key="another")
    assert other.order_id != first.order_id
    assert len(shop.bought()) == 2


def test_the_log_tells_the_story(shop: Shop) -> None:
    order = shop.delivered("k")
    story = "\n".join(shop.said)
    assert "Order key 'k': intended at" in story
    assert f"placed as order {order.order_id}" in story
    assert "(delivered)" in story
    assert len(shop.said) <= 6


def test_result_is_plain_json_without_secrets(shop: Shop) -> None:
    import json

    purchase = shop.delivered("k")
    result = result_of(purchase, purchase.vendor)
    assert list(result) == [
        "order_key", "order_id", "vendor", "kind", "status", "vendor_status", "price", "refund", "currency", "expires_at",
        "delivered", "handles", "ledger_url",
    ]  # fmt: skip
    assert json.loads(json.dumps(result)) == result
    handles = result.pop("handles") or {}
    assert all(isinstance(value, str) for value in handles.values()) and bool(handles) is (shop.name in ("proxyscrape", "proxy6"))
    assert all(value is None or isinstance(value, (str, int)) for value in result.values())
    assert Decimal(str(result["price"])) == PRICES[shop.name] and result["status"] == "delivered"


def test_at_the_deadline_the_order_stays_and_the_next_try_waits_for_it(shop: Shop) -> None:
    shop.box.control([{"processing": 3600.0, "vendor": shop.name}])
    buyer = shop.buyer()
    order = buyer.place(shop.request, order_key="k")
    with pytest.raises(OrderPending, match=r"is still .* buys nothing") as pending:
        buyer.wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=0.5), poll_interval=0.1)
    assert (pending.value.money, pending.value.retry) == ("charged", "later")
    shop.box.control([{"advance": 3600.0}])
    assert shop.delivered("k").order_id == order.order_id
    assert len(shop.bought()) == 1


@pytest.mark.parametrize(
    ("vendor", "outcome", "step"),
    [(name, word, step) for name, row in ROWS.items() for word, (step, _) in row.bad_ends.items()],
)
def test_an_order_that_ends_badly_fails_and_buys_nothing_in_its_place(
    shop_of: Callable[[str], Shop], vendor: str, outcome: str, step: Step
) -> None:
    shop = shop_of(vendor)
    shop.box.control([{"next_outcome": outcome, "vendor": vendor}])
    buyer = shop.buyer()
    order = buyer.place(shop.request, order_key="k")
    order = buyer.wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=20), poll_interval=0.2)
    assert order.step is step
    with pytest.raises(OrderNotUsable, match="Nothing is bought in its place") as error:
        buyer.require_usable(order)
    assert (error.value.money, error.value.retry) == ("charged", "never")
    assert shop.buyer().place(shop.request, order_key="k").order_id == order.order_id
    assert len(shop.bought()) == 1
    if step is Step.PARTIAL:
        assert buyer.require_usable(order, on_partial="accept") is order


def test_an_unknown_word_is_still_pending_and_reported_verbatim(shop: Shop) -> None:
    shop.box.control([{"next_outcome": "under-review", "vendor": shop.name}])
    buyer = shop.buyer()
    order = buyer.place(shop.request, order_key="k")
    with pytest.raises(OrderPending, match="'under-review'"):
        buyer.wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=1.5), poll_interval=0.2)


def test_extend_once_and_see_the_expiry_grow(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    order = shop.delivered("k")
    assert order.order_id is not None and order.expires_at is not None
    for _ in range(2):
        buyer = shop.buyer()
        extension = buyer.extend(order.order_id, {"product_plan_id": 22}, order_key="e")
        extension = buyer.wait(extension, deadline=datetime.now(timezone.utc) + timedelta(seconds=20), poll_interval=0.2)
        assert extension.step is Step.DELIVERED
        assert extension.expires_at == order.expires_at + timedelta(days=30)
        assert extension.price == Money(Decimal("6.00"), "USD")
    assert [entry.kind for entry in shop.bought()] == ["create", "extend"]


@pytest.mark.parametrize("vendor", [name for name, row in ROWS.items() if row.extension is None])
def test_what_a_vendor_cannot_do_is_refused_before_anything_is_sent(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    with pytest.raises(UnsupportedOperation, match=r"offers no call for extending.*Nothing was sent"):
        shop.buyer().extend("1", {}, order_key="e")
    assert shop.box.book.count(vendor, "extend") == 0 and shop.bought() == []
    assert shop.ledger.find("e") is None


def test_a_clock_that_is_far_off_is_said_once_before_money_moves(shop: Shop) -> None:
    """It decides nothing about the purchase; dates of expiry would be judged by it."""
    buyer = shop.buyer()
    buyer.http._clock = lambda: time.time() - 3600
    for key in ("a", "b"):
        buyer.place(shop.request, order_key=key)
    said = [line for line in shop.said if "clock of this machine" in line]
    assert len(said) == 1 and "s behind that of" in said[0]
    assert shop.said.index(said[0]) < next(number for number, line in enumerate(shop.said) if "placed as order" in line)
    assert len(shop.bought()) == 2
