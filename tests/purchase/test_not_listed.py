"""P3: where the balance cannot tell two purchases apart, a list without one of them decides after several settle times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, Quarantined, WalletHeld
from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.purchase.attempt import Attempt
from airflow_provider_proxyorders.purchase.permit import Permit

from .conftest import Shop
from .test_missing_money import Extension


@pytest.fixture
def ledger(url: str) -> Ledger:
    """Both databases: what others took is reckoned there."""
    return open_ledger(url)


@pytest.fixture
def shop(shop_of: Callable[[str], Shop]) -> Shop:
    """IPRoyal with an order, whose extensions are charged at once and show an hour later."""
    shop = shop_of("iproyal")
    shop.delivered("one")
    shop.box.control([{"vendor": "iproyal", "extend_processing": 3600.0}])
    return shop


def send(shop: Shop, key: str, *, taken: bool) -> None:
    """A purchase whose worker dies while it sends."""
    buyer = shop.buyer()
    attempt = Attempt(buyer.request_for("create", key, buyer.vendor.prepare_create(shop.request, "")))
    purchase = buyer.intend(attempt)
    permit = Permit(buyer.sending.reads, None, attempt, purchase)
    permit.read_evidence()
    shop.ledger.claim(purchase, Actor(), evidence=permit.evidence, sent_seconds=0.0)
    if taken:
        buyer.http.run(buyer.vendor.create(shop.request), lambda request: None)


def settled(shop: Shop, key: str) -> Purchase:
    """The purchase after as many tries as it takes."""
    for _ in range(8):
        try:
            return shop.buyer(timeout=1.5).place(shop.request, order_key=key)
        except OutcomeUnknown as error:
            assert not isinstance(error, Quarantined), f"a person is asked: {error}"
    raise AssertionError("it is never settled")


@pytest.mark.parametrize("taken", [False, True])
def test_the_list_decides_beside_a_charge_of_either(shop: Shop, taken: bool) -> None:
    """An extension and a purchase are sent, both workers die, and money for the extension is gone. The list shows the purchase if
    it was taken; else it is proven absent, and waits for a person's word about the extension."""
    send(shop, "lost", taken=taken)
    Extension(shop, 1).sent().reach()
    if taken:
        assert settled(shop, "lost").step in (Step.PLACED, Step.DELIVERED)
    else:
        with pytest.raises(WalletHeld, match="'k1' .* is quarantined"):
            settled(shop, "lost")
        purchase = shop.ledger.find("lost")
        assert purchase is not None and (purchase.step, purchase.maybe_sent) == (Step.INTENDED, False)
    assert [entry.kind for entry in shop.bought()] == ["create", *(["create"] if taken else []), "extend"]
    why = [entry.why for entry in shop.ledger.history("lost")]
    assert any(each.startswith("not listed") for each in why) is not taken, why


@pytest.mark.parametrize(("expected", "verdict"), [({}, "not visible"), ({"maybe": "6.00"}, "not listed")])
def test_balances_that_cannot_be_compared_leave_no_word_to_the_list(shop: Shop, expected: dict[str, str], verdict: str) -> None:
    """The list alone decides beside money that others may have taken. Where nobody knows of any money, it does not."""
    buyer, now = shop.buyer(), datetime.now(timezone.utc)
    balance = buyer.http.run(buyer.vendor.balance()).available
    before = {"balance": f"{balance.amount + 6:f}", "currency": balance.currency, **expected} if expected else {}
    evidence = {"newest": 7001, "plan": "30 Days", "expected": before}
    body = buyer.vendor.prepare_create(shop.request, "").body
    look = buyer.http.run_reading(lambda: buyer.vendor.resolve("create", body, None, evidence, now, frozenset()))
    assert look.verdict == verdict and look.has_trace, look
