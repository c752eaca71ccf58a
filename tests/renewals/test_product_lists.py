"""A vendor that refuses its list without a product is listed product by product, and no order counts as gone for that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_proxyorders.doctor.checkup import Checkup
from airflow_provider_proxyorders.domain.errors import InvalidRequest, ProxyOrdersError, RequestRefused, UnreadableAnswer
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.renewal.search import OrderFilter, find_due
from airflow_provider_proxyorders.wallet.reconcile import reconcile
from tests.hooks.connections import REQUESTS, Shops

Put = Callable[..., str]
DAYS = timedelta(days=3)
OTHER, GONE = 10, 11


@pytest.fixture(autouse=True)
def by_product(shops: Shops, vendor_has: Put) -> None:
    """Three products, one of them gone from the catalogue; an order each."""
    products = [{"id": OTHER, "name": "DC"}, {"id": GONE, "name": "Old", "listed": False}]
    shops.box.control([{"vendor": "iproyal", "product": product} for product in products])
    shops.box.control({"vendor": "iproyal", "product_required": True})
    for number, product in ((7001, 9), (7002, OTHER), (7003, GONE)):
        vendor_has(number, product_id=product)


@pytest.fixture
def hook(shops: Shops) -> ProxyOrdersHook:
    return shops.hook("iproyal")


def calls(shops: Shops, operation: str = "list") -> int:
    return shops.box.book.count("iproyal", operation)


def ids(orders: Any) -> list[str]:
    return [order.order_id for order in orders]


def buy_and_withdraw(shops: Shops, hook: ProxyOrdersHook, key: str = "k") -> str:
    """Buy an order of a product that leaves the catalogue afterwards."""
    order = hook.create_order({**REQUESTS["iproyal"], "product_id": GONE}, order_key=key)
    assert order.order_id is not None
    return order.order_id


def test_listing_asks_for_each_product_of_the_catalogue(shops: Shops, hook: ProxyOrdersHook) -> None:
    assert ids(hook.list_orders()) == ["7001", "7002"]
    assert calls(shops) == 3  # the refused one, and one for each product
    assert ids(hook.list_orders(status="confirmed")) == ["7001", "7002"]
    assert calls(shops) == 5  # the refusal is remembered
    assert ids(hook.list_orders(sort_by="id", order="desc", limit=1)) == ["7002"]
    assert ids(hook.list_orders(product_id=OTHER)) == ["7002"]


def test_orders_of_the_ledger_outlive_their_product(shops: Shops, hook: ProxyOrdersHook) -> None:
    bought = buy_and_withdraw(shops, hook)
    assert sorted(ids(shops.hook("iproyal").list_orders())) == ["7001", "7002", "7003", bought]


def test_a_product_of_the_ledger_that_the_vendor_has_forgotten_hides_no_other(shops: Shops, hook: ProxyOrdersHook) -> None:
    buy_and_withdraw(shops, hook)
    shops.box.fault("iproyal", "list", action="refuse", reason="invalid", nth=2)  # the products of the ledger come first
    assert ids(shops.hook("iproyal").list_orders()) == ["7001", "7002"]


def test_ids_are_found_whatever_their_product(hook: ProxyOrdersHook) -> None:
    assert sorted(ids(hook.list_orders(order_ids=["7001", "7002", "7003", "7999"]))) == ["7001", "7002", "7003"]


def test_a_page_of_several_lists_is_refused_here(shops: Shops, hook: ProxyOrdersHook) -> None:
    hook.list_orders()
    with pytest.raises(InvalidRequest, match="'page' needs product_id"):
        hook.list_orders(page=2)
    with pytest.raises(RequestRefused, match="product id field is required"):
        shops.hook("iproyal").list_orders(page=2)
    assert ids(hook.list_orders(product_id=9, page=1)) == ["7001"]


def test_a_refusal_of_something_else_is_told_as_it_is(hook: ProxyOrdersHook) -> None:
    with pytest.raises(RequestRefused, match="sort by is invalid"):
        hook.list_orders(product_id=9, sort_by="price", order="asc")
    with pytest.raises(RequestRefused, match="product id field is required"):
        hook.list_orders(sort_by="price", order="asc")


def test_an_empty_catalogue_is_no_empty_list(shops: Shops, hook: ProxyOrdersHook) -> None:
    shops.box.control([{"vendor": "iproyal", "product": {"id": number, "listed": False}} for number in (9, OTHER)])
    with pytest.raises(RequestRefused, match="product id field is required"):
        hook.list_orders()


@pytest.mark.parametrize(("operation", "nth"), [("products", 1), ("list", 3)])
def test_an_unreadable_part_makes_the_whole_unreadable(shops: Shops, hook: ProxyOrdersHook, operation: str, nth: int) -> None:
    shops.box.fault("iproyal", operation, action="body", body="[]", nth=nth)
    with pytest.raises(UnreadableAnswer):
        hook.list_orders()


def test_expiring_orders_are_found(shops: Shops, hook: ProxyOrdersHook, now: datetime) -> None:
    buyer = hook.buyer()
    assert ids(find_due(buyer, as_of=now, within=DAYS).due) == ["7001", "7002"]
    only = OrderFilter(order_ids=["7003", "7002"])
    assert sorted(ids(find_due(buyer, as_of=now, within=DAYS, only=only).due)) == ["7002", "7003"]


def test_reconcile_sees_every_product_and_misses_none(shops: Shops, hook: ProxyOrdersHook, vendor_has: Put) -> None:
    bought = buy_and_withdraw(shops, hook)
    assert reconcile(hook.buyer()).clean
    vendor_has(7100, product_id=OTHER)
    report = reconcile(shops.hook("iproyal").buyer())
    assert report.foreign == ["7100"] and report.missing == []
    shops.box.fault("iproyal", "list", action="refuse", reason="invalid", nth=2)  # the list of the withdrawn product
    report = reconcile(shops.hook("iproyal").buyer())
    assert report.missing == [], bought  # it is read by its id


def test_the_doctor_reads_the_list(hook: ProxyOrdersHook) -> None:
    checks = {check.name: check for check in Checkup(hook.vendor, hook.http).checks()}
    assert (checks["list"].state, checks["list"].text) == ("ok", "2 orders readable")


def test_waiting_orders_are_read_by_product_and_else_alone(shops: Shops, hook: ProxyOrdersHook, vendor_has: Put) -> None:
    for number in range(7010, 7020):
        vendor_has(number, product_id=OTHER)
    waiting = ["7001", "7003", "7999", *map(str, range(7010, 7020))]
    for lists, gets in ((3, 2), (2, 2)):  # the first look meets the refusal
        before = calls(shops), calls(shops, "get")
        assert sorted(hook._read(hook.vendor.get_many(waiting))) == sorted({*waiting} - {"7999"})
        assert (calls(shops) - before[0], calls(shops, "get") - before[1]) == (lists, gets)
    assert calls(shops, "products") == 1
    before = calls(shops)
    assert list(hook._read(hook.vendor.get_many(["7002"]))) == ["7002"]
    assert calls(shops) == before  # one order costs one call, not one for each product


@pytest.mark.parametrize("landed", [True, False])
def test_a_lost_answer_is_resolved(shops: Shops, hook: ProxyOrdersHook, landed: bool) -> None:
    request = {**REQUESTS["iproyal"], "product_id": OTHER}
    shops.box.fault("iproyal", "create", action="reset", when="after" if landed else "before", times=1)
    assert hook.create_order(request, order_key="k").step in (Step.PLACED, Step.DELIVERED)
    assert len(shops.bought("iproyal")) == 1


def test_a_product_list_that_cannot_be_read_proves_nothing(shops: Shops, hook: ProxyOrdersHook) -> None:
    request = {**REQUESTS["iproyal"], "product_id": OTHER}
    shops.box.fault("iproyal", "create", action="reset", when="before", times=1)

    def say(line: str) -> None:
        if "outcome unknown" in line:
            shops.box.fault("iproyal", "list", action="status", status=500)

    hook.http._sleep = lambda seconds: None
    with pytest.raises(ProxyOrdersError) as error:
        hook.buyer(say=say).place(request, order_key="k")
    assert error.value.money == "unknown"
    shops.box.clear_faults()
    assert shops.hook("iproyal").create_order(request, order_key="k").order_id
    assert len(shops.bought("iproyal")) == 1
