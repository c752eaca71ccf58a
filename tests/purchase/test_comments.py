"""A reference that is searched and not unique, and proxies that end one by one: PROXY6 is the vendor with both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.errors import CapExceeded, InvalidRequest, OutcomeUnknown, Quarantined, RequestRefused
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.renewal.keys import default_extension_key, expiry_to_extend
from airflow_provider_proxyorders.sandbox.vendor_base import Ask
from tests.ledgers import sqlite_ledger

from .conftest import Shop

MONTH = {"period": 30}


@pytest.fixture
def shop(shop_of: Callable[[str], Shop]) -> Shop:
    return shop_of("proxy6")


def ends(shop: Shop, order_id: str) -> dict[str, int]:
    pretended = shop.box.state.vendors["proxy6"]
    return {str(each.proxy_id): int(each.ends) for each in pretended.proxies if each.descr == order_id}  # type: ignore[attr-defined]


def repeat_last(shop: Shop) -> None:
    """A hop on the way sends the purchase once more, as a GET may be."""
    pretended, descr = shop.box.state.vendors["proxy6"], shop.bought()[-1].order_id
    params = [*((name, str(value)) for name, value in shop.request.items()), ("descr", descr)]
    call = pretended.route(Ask("GET", ["api", shop.box.token("proxy6"), "buy"], params))
    assert call is not None and call.run().data["status"] == "yes"


class TestTwoPurchasesUnderOneComment:
    def test_after_a_lost_answer_a_person_decides(self, shop: Shop) -> None:
        shop.box.fault(vendor="proxy6", operation="create", when="after", action="reset", times=1)
        read = shop.box.fault(vendor="proxy6", operation="get", nth=2, action="pause", seconds=30)
        caught: list[BaseException] = []

        def buy() -> None:
            try:
                shop.buyer().place(shop.request, order_key="k")
            except OutcomeUnknown as error:
                caught.append(error)

        thread = threading.Thread(target=buy)
        thread.start()
        assert read.wait()
        repeat_last(shop)
        read.release()
        thread.join()
        assert isinstance(caught[0], Quarantined) and "bought twice" in str(caught[0])
        with pytest.raises(Quarantined):
            shop.buyer().place(shop.request, order_key="k")
        assert len(shop.bought()) == 2, "what the hop bought, and nothing more"

    def test_after_a_good_answer_the_first_read_tells(self, shop: Shop) -> None:
        placed = shop.buyer().place(shop.request, order_key="k")
        repeat_last(shop)
        after = shop.buyer().refresh(placed)
        assert after.step is Step.UNKNOWN and after.order_id is None
        assert any("bought twice" in line for line in shop.said)


def test_a_key_that_was_bought_with_another_ledger_is_not_bought_again(shop: Shop, tmp_path: Path) -> None:
    order = shop.delivered("k")
    (tmp_path / "new").mkdir()
    lost = Shop("proxy6", shop.box, open_ledger(sqlite_ledger(tmp_path / "new")))
    with pytest.raises(RequestRefused, match=r"bought before, perhaps with another ledger.*Nothing was bought") as error:
        lost.buyer().place(shop.request, order_key="k")
    assert order.order_id is not None and order.order_id in str(error.value)
    assert len(shop.bought()) == 1


class TestAPartOfAnOrder:
    def extend(self, shop: Shop, order: Purchase, key: str, **more: object) -> Purchase:
        assert order.order_id is not None
        return shop.buyer().extend(order.order_id, {**MONTH, **more}, order_key=key)

    @pytest.mark.parametrize("lost", [False, True])
    def test_only_the_named_proxy_ends_later(self, shop: Shop, lost: bool) -> None:
        order = shop.delivered("k")
        before = ends(shop, str(order.order_id))
        first, second = sorted(before)
        if lost:
            shop.box.fault(vendor="proxy6", operation="extend", when="after", action="reset", times=1)
        extended = self.extend(shop, order, "one", ids=[second])
        after = ends(shop, str(order.order_id))
        assert (after[first], after[second]) == (before[first], before[second] + 30 * 86400)
        assert extended.step is Step.DELIVERED and extended.price is not None and extended.price.amount == Decimal("1.5")
        assert self.extend(shop, order, "one", ids=[second]).step is Step.DELIVERED and len(shop.bought()) == 2

    def test_it_has_its_own_key(self, shop: Shop) -> None:
        order = shop.delivered("k")
        buyer, order_id = shop.buyer(), str(order.order_id)
        bodies = ({}, {"ids": ["9001"]}, {"ids": ["9002", "9001"]}, {"ids": [str(number) for number in range(100)]})
        parts = [buyer.vendor.part_of(buyer.vendor.prepare_extend(order_id, {**MONTH, **body}).body) for body in bodies]
        keys = {default_extension_key(buyer, order_id, expiry_to_extend(buyer, order_id), part) for part in parts}
        assert len(keys) == 4 and parts[0] == "" and max(map(len, keys)) < 300

    def test_a_foreign_proxy_is_refused(self, shop: Shop) -> None:
        order = shop.delivered("k")
        with pytest.raises(InvalidRequest, match="must be proxies of order"):
            self.extend(shop, order, "one", ids=["1"])
        assert len(shop.bought()) == 1

    def test_an_extension_of_some_proxies_only_asks_a_person(self, shop: Shop) -> None:
        """The vendor extends fewer than asked for, as its page says it may."""
        order = shop.delivered("k")
        pretended = shop.box.state.vendors["proxy6"]
        held_back = pretended.proxies[-1]  # type: ignore[attr-defined]
        rule = shop.box.fault(vendor="proxy6", operation="extend", when="after", action="reset", times=1)
        move = pretended._move  # type: ignore[attr-defined]
        pretended._move = lambda chosen, new: move([each for each in chosen if each is not held_back], new)  # type: ignore[attr-defined]
        with pytest.raises(Quarantined, match="1 of 2 proxies end later"):
            self.extend(shop, order, "some")
        assert rule.hits == 1 and len(shop.bought()) == 2

    def test_without_a_cap_nothing_is_extended(self, shop: Shop) -> None:
        order = shop.delivered("k")
        shop.caps = type(shop.caps)()
        with pytest.raises(CapExceeded):
            self.extend(shop, order, "one")
        assert len(shop.bought()) == 1

    def test_an_ended_proxy_is_refused(self, shop: Shop) -> None:
        order = shop.delivered("k")
        shop.box.control({"vendor": "proxy6", "set_status": {"order_id": order.order_id, "status": "expired"}})
        with pytest.raises(InvalidRequest, match="set extend_ended in the connection. Nothing was bought"):
            self.extend(shop, order, "one")
        assert len(shop.bought()) == 1
