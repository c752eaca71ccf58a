"""The default identity of an extension: the expiry that is extended, read once for all tries of a task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, NotDue, VendorUnavailable
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.renewal.keys import expiry_to_extend, extension_key

from .connections import Shops

PLAN = {"product_plan_id": 22}


@dataclass
class Task:
    """The part of Airflow's task instance that says which task of which run this is."""

    dag_id: str = "dag"
    run_id: str = "run"
    task_id: str = "extend"
    map_index: int | None = -1
    try_number: int | None = 1


def context(**fields: Any) -> Any:
    return {"ti": Task(**fields)}


@pytest.fixture
def order(shops: Shops) -> Purchase:
    """An order that is paid for thirty days."""
    shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed", "expire_date": "2030-02-01 09:15:00"}})
    hook = shops.hook("iproyal")
    order: Any = hook.get_order("7001")
    return order  # type: ignore[no-any-return]


def key(shops: Shops, context: Any = None, order_id: str = "7001", **connection: Any) -> str:
    """As a new worker would have it: nothing kept from before but the ledger."""
    hook: ProxyOrdersHook = shops.hook("iproyal", **connection)
    buyer = hook.buyer(context)
    return extension_key(buyer.account.wallet, order_id, expiry_to_extend(buyer, order_id))


def extend(shops: Shops, order_key: str) -> None:
    shops.hook("iproyal").extend_order("7001", PLAN, order_key=order_key)


def test_it_names_wallet_order_and_expiry(shops: Shops, order: Purchase) -> None:
    assert key(shops, context()) == "extend:iproyal:iproyal_default:7001:2030-02-01T09:15:00+00:00"
    assert key(shops, context(), extra={"wallet": "main"}).startswith("extend:iproyal:main:7001:")


def test_a_retry_after_the_extension_landed_means_the_same(shops: Shops, order: Purchase) -> None:
    first = key(shops, context(try_number=1))
    extend(shops, first)
    assert shops.hook("iproyal").get_order("7001").expires_at == order.expires_at + timedelta(days=30)  # type: ignore[operator]
    assert [key(shops, context(try_number=number)) for number in (2, 3)] == [first, first]
    extend(shops, key(shops, context(try_number=4)))
    assert len(shops.bought("iproyal")) == 1


def test_a_retry_need_not_read_the_order_again(shops: Shops, order: Purchase) -> None:
    first = key(shops, context())
    before = shops.box.book.count("iproyal", "get")
    assert key(shops, context(try_number=2)) == first
    assert shops.box.book.count("iproyal", "get") == before


@pytest.mark.parametrize("other", [{"dag_id": "manual"}, {"run_id": "manual"}, {"task_id": "again"}, {"map_index": 3}])
def test_whoever_extends_the_same_expiry_means_the_same_extension(shops: Shops, order: Purchase, other: dict[str, Any]) -> None:
    first = key(shops, context())
    assert key(shops, context(**other)) == first
    extend(shops, first)
    extend(shops, key(shops, context(**other)))
    assert len(shops.bought("iproyal")) == 1


@pytest.mark.parametrize("other", [{"dag_id": "other"}, {"run_id": "next month"}, {"task_id": "again"}])
def test_who_comes_after_the_extension_means_the_next_one(shops: Shops, order: Purchase, other: dict[str, Any]) -> None:
    first = key(shops, context())
    extend(shops, first)
    second = key(shops, context(**other))
    assert second == first.replace("2030-02-01", "2030-03-03")


def test_an_order_that_a_mapped_task_is_given_twice_is_extended_once(shops: Shops, order: Purchase) -> None:
    """One run means one extension of an order, also where the list holds it twice and its tasks run one after the other."""
    for index in (0, 1):
        extend(shops, key(shops, context(map_index=index)))
    assert len(shops.bought("iproyal")) == 1


def test_an_order_whose_place_in_the_list_moved_is_not_extended_again(shops: Shops, order: Purchase) -> None:
    """The run was cleared with the task that makes the list, and the order stands elsewhere in it by now."""
    first = key(shops, context(map_index=1))
    extend(shops, first)
    assert key(shops, context(map_index=0, try_number=2)) == first


def test_tasks_that_extend_several_orders_keep_them_apart(shops: Shops, order: Purchase) -> None:
    shops.box.control({"vendor": "iproyal", "order": {"id": 7002, "status": "confirmed", "expire_date": "2030-02-01 09:15:00"}})
    assert key(shops, context()) != key(shops, context(), order_id="7002")


def test_names_that_run_into_each_other_are_kept_apart(shops: Shops, order: Purchase) -> None:
    """Both tasks would be called the same if their names were only put together."""
    first = key(shops, context(dag_id="a.b", task_id="c"))
    extend(shops, first)
    assert key(shops, context(dag_id="a", task_id="b.c")) != first


def test_long_names_fit_and_are_kept_apart(shops: Shops, order: Purchase) -> None:
    long = {"dag_id": "d" * 250, "run_id": "r" * 250, "task_id": "t" * 250}
    first = key(shops, context(**long))
    extend(shops, first)
    assert key(shops, context(**long)) == first
    assert key(shops, context(**{**long, "run_id": "r" * 249 + "s"})) != first


def test_outside_a_task_the_expiry_is_read_every_time(shops: Shops, order: Purchase) -> None:
    first = key(shops)
    extend(shops, first)
    assert key(shops) != first


def test_an_order_without_expiry_has_no_default(shops: Shops) -> None:
    shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "in-progress"}})
    for task_context in (context(), None):
        with pytest.raises(ConfigError, match=r"order 7001 has no expiry at IPRoyal yet.*Nothing was sent.*order_key of its own"):
            key(shops, task_context)


def test_an_order_that_cannot_be_read_fixes_nothing(shops: Shops, order: Purchase) -> None:
    rule = shops.box.fault("iproyal", "get", action="status", status=500)
    hook = shops.hook("iproyal")
    hook.http._sleep = lambda seconds: None
    with pytest.raises(VendorUnavailable):
        expiry_to_extend(hook.buyer(context()), "7001")
    rule.release()
    assert key(shops, context()).endswith("2030-02-01T09:15:00+00:00")


class TestInATask:
    """``extend_order`` as a function of a DAG calls it, without a key of its own."""

    @pytest.fixture(autouse=True)
    def running(self) -> Iterator[None]:
        from airflow.sdk.execution_time.context import set_current_context

        with set_current_context(context()):
            yield

    def test_it_extends_once(self, shops: Shops, order: Purchase) -> None:
        first = shops.hook("iproyal").extend_order("7001", PLAN)
        assert shops.hook("iproyal").extend_order("7001", PLAN).order_key == first.order_key
        assert len(shops.bought("iproyal")) == 1

    def test_a_period_that_somebody_else_extended_meanwhile_is_not_paid_twice(self, shops: Shops, order: Purchase) -> None:
        """The first try fixed the expiry and died; before the next one another key, or the vendor itself, extended the order."""
        hook = shops.hook("iproyal")
        expiry_to_extend(hook.buyer(), "7001")
        extend(shops, "a key of somebody's own")
        with pytest.raises(NotDue, match=r"7001 runs until 2030-03-03 09:15.*from 2030-02-01 09:15.*Nothing was bought"):
            shops.hook("iproyal").extend_order("7001", PLAN)
        assert len(shops.bought("iproyal")) == 1

    def test_a_key_of_its_own_means_what_it_says(self, shops: Shops, order: Purchase) -> None:
        hook = shops.hook("iproyal")
        expiry_to_extend(hook.buyer(), "7001")
        extend(shops, "a key of somebody's own")
        shops.hook("iproyal").extend_order("7001", PLAN, order_key="another")
        assert len(shops.bought("iproyal")) == 2
