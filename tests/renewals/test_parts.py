"""An extension of some proxies of an order: its own key, and an end of its own, of which the order's date tells nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidParameter, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.renewal.extension import extend
from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger
from tests.hooks.connections import Shops

from .conftest import PLAN

Put = Callable[..., str]
FIRST, SECOND = "203.0.113.21", "203.0.113.22"


@pytest.fixture
def order(vendor_has: Put) -> str:
    return vendor_has(7001, quantity=2)


def buy(shops: Shops, order_id: str, *proxies: str, **options: Any) -> Purchase:
    """Extend a part as a new worker does, and wait until it ends."""
    buyer = shops.hook("iproyal").buyer()
    purchase = extend(buyer, order_id, {**PLAN, "proxies": [*proxies]}, **options)
    return buyer.wait(purchase, deadline=datetime.now(timezone.utc) + timedelta(seconds=5), poll_interval=0.05)


@pytest.mark.parametrize("shown", ["history", "date", "silent"])
def test_each_part_is_extended_once(shops: Shops, order: str, now: datetime, shown: str) -> None:
    shops.box.control({"vendor": "iproyal", "partial_extensions": shown})
    first, second = buy(shops, order, FIRST), buy(shops, order, SECOND, expiry=now + timedelta(days=1))
    assert [first.step, second.step] == [Step.DELIVERED, Step.DELIVERED]
    assert first.order_key.endswith(f":{FIRST}") and second.order_key == first.order_key.replace(FIRST, SECOND)
    assert buy(shops, order, FIRST, expiry=now + timedelta(days=1)).order_key == first.order_key
    assert [entry.amount for entry in shops.bought("iproyal")] == ["3.00", "3.00"]


def test_the_order_of_the_proxies_makes_no_other_part(shops: Shops, order: str) -> None:
    shops.box.control({"vendor": "iproyal", "partial_extensions": "silent"})
    hook = shops.hook("iproyal")
    first = hook.extend_order(order, {**PLAN, "proxies": [FIRST, SECOND]}).order_key
    assert first.endswith(f":{FIRST}+{SECOND}")
    assert hook.buyer().vendor.part_of({"proxies": [SECOND, FIRST]}) == f"{FIRST}+{SECOND}"


def test_the_whole_order_is_another_extension_than_a_part(shops: Shops, order: str) -> None:
    shops.box.control({"vendor": "iproyal", "partial_extensions": "silent"})
    hook = shops.hook("iproyal")
    part, whole = hook.extend_order(order, {**PLAN, "proxies": [FIRST]}), hook.extend_order(order, PLAN)
    assert part.order_key == f"{whole.order_key}:{FIRST}"
    assert [entry.amount for entry in shops.bought("iproyal")] == ["3.00", "6.00"]


def test_the_end_of_the_order_is_no_target_for_a_part(shops: Shops, order: str, now: datetime) -> None:
    with pytest.raises(InvalidParameter, match=r"paid_through.*no end of a part"):
        buy(shops, order, FIRST, paid_through=now + timedelta(days=9))
    assert shops.bought("iproyal") == []


def test_a_lost_answer_about_a_part_is_never_taken_for_granted(shops: Shops, order: str) -> None:
    """Nothing in the order shows it. The missing money keeps the purchase open, and nothing is bought again."""
    shops.box.control({"vendor": "iproyal", "partial_extensions": "silent"})
    shops.box.fault("iproyal", "extend", action="reset", when="after", times=1)
    for _ in range(2):
        with pytest.raises(ProxyOrdersError) as error:
            buy(shops, order, FIRST)
        assert error.value.money == "unknown"
    assert len(shops.bought("iproyal")) == 1


def test_a_lost_answer_about_a_part_that_shows_is_found(shops: Shops, order: str) -> None:
    shops.box.fault("iproyal", "extend", action="reset", when="after", times=1)
    assert buy(shops, order, FIRST).step is Step.DELIVERED
    assert len(shops.bought("iproyal")) == 1


def test_a_waiting_trigger_takes_the_answer_as_the_last_word(shops: Shops, order: str) -> None:
    hook = shops.hook("iproyal")
    trigger = ProxyOrderTrigger.__new__(ProxyOrderTrigger)
    shown = hook.get_order(order)
    for evidence, ended in (({"part": FIRST}, True), ({"expires_at": None, "extensions": 0}, False)):
        trigger.evidence = evidence
        assert trigger._extended(hook.vendor, shown) is ended
