"""P1: money that is missing from a wallet is put down to another purchase only where that one is known to have taken it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, Quarantined
from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.purchase.attempt import Attempt
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.purchase.permit import Permit

from .conftest import Shop

CARD = 31
TERM: dict[str, Any] = {"product_plan_id": 22}


@pytest.fixture
def ledger(url: str) -> Ledger:
    """Both databases: what others took is reckoned there."""
    return open_ledger(url)


@pytest.fixture
def shop(shop_of: Callable[[str], Shop]) -> Shop:
    """IPRoyal with two orders, whose extensions are charged at once and show an hour later."""
    shop = shop_of("iproyal")
    for key in ("one", "two"):
        shop.delivered(key)
    shop.box.control([{"vendor": "iproyal", "extend_processing": 3600.0}, {"vendor": "iproyal", "card": {"id": CARD}}])
    return shop


class Extension:
    """One extension, taken through its life a step at a time, as workers that die or overlap would."""

    def __init__(self, shop: Shop, number: int, body: dict[str, Any] | None = None, settle: float = 0.3):
        self.shop, self.key, self.body, self.settle = shop, f"k{number}", {**TERM, **(body or {})}, settle
        self.target = str(shop.ledger.find(("one", "two")[number - 1]).order_id)  # type: ignore[union-attr]
        self.buyer: Buyer = shop.buyer(settle=settle)
        self.prepared = self.buyer.vendor.prepare_extend(self.target, self.body)

    def intend(self) -> Extension:
        self.attempt = Attempt(self.buyer.request_for("extend", self.key, self.prepared, self.target))
        self.order = self.buyer.intend(self.attempt)
        return self

    def look(self) -> Extension:
        permit = Permit(self.buyer.sending.reads, None, self.attempt, self.order)
        permit.read_evidence()
        self.evidence = permit.evidence
        return self

    def claim(self) -> Extension:
        self.order = self.shop.ledger.claim(self.order, Actor(), evidence=self.evidence, sent_seconds=0.0)
        return self

    def reach(self) -> Extension:
        """The vendor takes and charges it."""
        self.vendor_order = self.buyer.http.run(self.buyer.vendor.extend(self.target, self.prepared.body), lambda request: None)
        return self

    def answer(self) -> Extension:
        self.order = self.buyer.sending.placed(self.order, self.vendor_order)
        return self

    def sent(self) -> Extension:
        return self.intend().look().claim()

    def retry(self, **options: Any) -> Purchase:
        return self.shop.buyer(settle=self.settle, **options).extend(self.target, self.body, order_key=self.key)


def extensions(shop: Shop) -> list[str]:
    """The orders that were extended, by the vendor's own book."""
    return [entry.order_id for entry in shop.bought() if entry.kind == "extend"]


def test_two_lost_extensions_do_not_explain_each_others_money(shop: Shop) -> None:
    """A node dies with both of them SENT. The vendor charged one, and neither order shows anything yet."""
    first, second = Extension(shop, 1).sent(), Extension(shop, 2).sent()
    first.reach()
    for extension in (first, second):
        with pytest.raises(OutcomeUnknown):
            extension.retry()
    assert extensions(shop) == [first.target]
    assert "may be another purchase's" in shop.ledger.history("k1")[-1].why
    for key in ("k1", "k2"):
        assert shop.ledger.find(key).step is Step.QUARANTINED  # type: ignore[union-attr]


def test_a_purchase_that_was_charged_before_our_look_explains_nothing(shop: Shop) -> None:
    """The other one was charged before our balance was read, its answer was written down only afterwards."""
    first, second = Extension(shop, 1).intend(), Extension(shop, 2).sent().reach()
    first.look()
    second.answer()
    first.claim().reach()
    with pytest.raises(OutcomeUnknown):
        first.retry()
    assert extensions(shop) == [second.target, first.target]


def test_a_purchase_that_was_sent_later_and_taken_explains_its_price(shop: Shop) -> None:
    """Then nobody has to be asked: what never reached the vendor is sent again, once."""
    first, second = Extension(shop, 1).sent(), Extension(shop, 2).sent().reach().answer()
    assert first.retry().step is Step.PLACED
    assert extensions(shop) == [second.target, first.target]
    assert any("explain" in entry.why for entry in shop.ledger.history("k1"))


def test_a_purchase_that_was_on_its_way_explains_its_price_by_what_was_read_before_it(shop: Shop) -> None:
    """Whether it was charged before our look or after is not known, but it surely was after the look for itself."""
    second = Extension(shop, 2, settle=3.0).sent()  # on a slow machine, too, it is charged within that time
    first = Extension(shop, 1, settle=3.0).sent()
    second.reach().answer()
    assert first.retry().step is Step.PLACED
    assert extensions(shop) == [second.target, first.target]


def test_a_purchase_that_was_on_its_way_does_not_explain_ours_as_well(shop: Shop) -> None:
    second = Extension(shop, 2).sent()
    first = Extension(shop, 1).sent().reach()
    second.reach().answer()
    with pytest.raises(Quarantined):
        first.retry()
    assert extensions(shop) == [first.target, second.target]


def test_more_than_the_others_took_is_not_explained(shop: Shop) -> None:
    first, second = Extension(shop, 1).sent(), Extension(shop, 2).sent().reach().answer()
    first.reach()
    with pytest.raises(Quarantined):
        first.retry()
    assert extensions(shop) == [second.target, first.target]


def test_a_purchase_paid_by_card_explains_no_money_of_the_wallet(shop: Shop) -> None:
    first = Extension(shop, 1).sent().reach()
    second = Extension(shop, 2, {"card_id": CARD})
    assert second.retry().step is Step.PLACED
    with pytest.raises(Quarantined):
        first.retry()
    assert extensions(shop) == [first.target, second.target]


def test_a_purchase_whose_price_is_not_known_explains_nothing(shop: Shop) -> None:
    """The vendor would not quote the other one, so its cap is all that is known: more than both cost together."""
    first = Extension(shop, 1).sent().reach()
    shop.box.fault(vendor="iproyal", operation="quote", action="status", status=422, times=1)
    second = Extension(shop, 2)
    taken = second.retry()
    assert taken.reserved.amount == shop.caps.max_order_price and taken.price is None
    with pytest.raises(Quarantined):
        first.retry()
    assert extensions(shop) == [first.target, second.target]


@pytest.mark.parametrize("reaches", [True, False])
def test_an_extension_paid_by_card_is_never_sent_again_by_itself(shop: Shop, reaches: bool) -> None:
    """Only the order's expiry could show it, and that may come late: a person looks at the card."""
    extension = Extension(shop, 1, {"card_id": CARD}).sent()
    if reaches:
        extension.reach()
    with pytest.raises(Quarantined, match="paid by card"):
        extension.retry()
    assert extensions(shop) == [extension.target] * reaches


def test_an_extension_paid_by_card_that_shows_is_adopted(shop: Shop) -> None:
    shop.box.control([{"vendor": "iproyal", "extend_processing": 0.0}])
    extension = Extension(shop, 1, {"card_id": CARD}).sent().reach()
    assert extension.retry().step is Step.DELIVERED
    assert extensions(shop) == [extension.target]
