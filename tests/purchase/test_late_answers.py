"""The order of an answer that comes too late stays on its purchase, until it is adopted or a person has decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, OutcomeUnknown
from airflow_provider_proxyorders.domain.model import Actor, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.purchase import resolving
from airflow_provider_proxyorders.purchase.attempt import Attempt
from tests.counted import counted

from .conftest import Shop

WHO = Actor(host="a person")


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


@pytest.fixture
def shop(shop_of: Callable[[str], Shop]) -> Shop:
    return shop_of("iproyal")


def find(shop: Shop, key: str) -> Purchase:
    purchase = shop.ledger.find(key)
    assert purchase is not None
    return purchase


def claim(shop: Shop, buyer: Any, key: str) -> tuple[Purchase, Any]:
    prepared = buyer.vendor.prepare_create(shop.request, buyer.reference(key))
    intended = buyer.intend(Attempt(buyer.request_for("create", key, prepared)))
    evidence = buyer.http.run(buyer.vendor.snapshot("create", prepared.body, None))
    return shop.ledger.claim(intended, WHO, evidence=evidence, sent_seconds=0.0), prepared.body


def late_answer_of(shop: Shop, key: str, then: Callable[[Any, Purchase, VendorOrder], None]) -> None:
    """The vendor takes a first sending late; meanwhile it is given up and sent again, which has not been answered yet."""
    buyer = shop.buyer()
    first, body = claim(shop, buyer, key)
    given_up = shop.ledger.record(first, Step.UNKNOWN, "its worker is gone", WHO)
    shop.ledger.record(given_up, Step.INTENDED, "proven absent", WHO, maybe_sent=False)
    claim(shop, buyer, key)
    order = buyer.http.run(buyer.vendor.create(body), lambda request: None)
    then(buyer, first, order)


def answered_late(buyer: Any, first: Purchase, order: VendorOrder) -> None:
    with pytest.raises(OutcomeUnknown, match="is frozen"):
        buyer.sending.placed(first, order)


def test_a_late_order_is_an_open_question(shop: Shop) -> None:
    late_answer_of(shop, "k", answered_late)
    [question] = shop.ledger.questions(order_key="k")
    [bought] = shop.bought()
    wallet = find(shop, "k").wallet
    assert (question.order_id, question.wallet) == (bought.order_id, wallet)
    assert shop.ledger.freeze_reason(wallet) == question.why
    assert counted(shop.ledger, wallet) == 2 * find(shop, "k").reserved.amount, "both may have been charged"
    with pytest.raises(ConfigError, match=rf"--adopt {bought.order_id} .*--foreign {bought.order_id}.*Nothing was changed"):
        resolving.unfreeze(shop.ledger, wallet)


@pytest.mark.parametrize("step", [Step.REJECTED, Step.INTENDED])
def test_when_the_second_sending_bought_nothing_the_late_order_is_adopted(shop: Shop, step: Step) -> None:
    late_answer_of(shop, "k", answered_late)
    settled = shop.ledger.record(find(shop, "k"), step, "refused, or never left", WHO, maybe_sent=False)
    assert counted(shop.ledger, settled.wallet) == settled.reserved.amount, "it counts for the limits"
    adopted = shop.buyer().place(shop.request, order_key="k")
    assert adopted.order_id == shop.bought()[0].order_id and adopted.confirmed and len(shop.bought()) == 1
    assert shop.ledger.questions() == [] and shop.ledger.freeze_reason(adopted.wallet) is None
    assert adopted.price is not None and counted(shop.ledger, adopted.wallet) == adopted.price.amount


def test_nothing_is_sent_under_a_key_with_an_open_question(shop: Shop) -> None:
    """Not even when the wallet was unfrozen by force, and the late order cannot be read."""
    late_answer_of(shop, "k", answered_late)
    rejected = shop.ledger.record(find(shop, "k"), Step.REJECTED, "refused", WHO)
    shop.ledger.freeze(rejected.wallet, None)
    shop.box.fault(vendor="iproyal", operation="get", action="status", status=404)
    with pytest.raises(OutcomeUnknown, match="--foreign"):
        shop.buyer().place(shop.request, order_key="k")
    assert len(shop.bought()) == 1
    prepared = shop.buyer().vendor.prepare_create(shop.request, "r")
    with pytest.raises(OutcomeUnknown, match="Nothing is sent under this key"):
        shop.buyer().intend(Attempt(shop.buyer().request_for("create", "k", prepared)))


def test_a_person_adopts_the_late_order(shop: Shop) -> None:
    late_answer_of(shop, "k", answered_late)
    shop.ledger.record(find(shop, "k"), Step.REJECTED, "refused", WHO)
    purchase, order_id = find(shop, "k"), shop.bought()[0].order_id
    with pytest.raises(ConfigError, match="Decide about that order first"):
        resolving.resolve_as_absent(shop.ledger, purchase, WHO)
    taken = resolving.read_taken_order(shop.ledger, shop.buyer().vendor, shop.buyer().http, purchase, order_id)
    assert resolving.resolve_as_taken(shop.ledger, purchase, taken, WHO).order_id == order_id
    assert shop.ledger.questions() == []


def test_a_person_says_that_the_late_order_was_paid_back(shop: Shop) -> None:
    late_answer_of(shop, "k", answered_late)
    rejected = shop.ledger.record(find(shop, "k"), Step.REJECTED, "refused", WHO)
    with pytest.raises(ConfigError, match="no open question"):
        resolving.resolve_as_foreign(shop.ledger, rejected, "4711", WHO)
    resolving.resolve_as_foreign(shop.ledger, rejected, shop.bought()[0].order_id, WHO)
    assert shop.ledger.questions() == [] and counted(shop.ledger, rejected.wallet) == 0
    assert shop.ledger.freeze_reason(rejected.wallet) is not None, "the freeze is lifted on its own"
    resolving.unfreeze(shop.ledger, rejected.wallet)
    assert "decided by a person" in shop.ledger.history("k")[-1].why


def test_an_order_that_a_person_called_foreign_is_not_found_by_later_looks(shop: Shop) -> None:
    """The order is in the vendor's list, and it fits. The decision counts for every look after it."""
    late_answer_of(shop, "k", answered_late)
    rejected = shop.ledger.record(find(shop, "k"), Step.REJECTED, "refused", WHO)
    foreign = shop.bought()[0].order_id
    resolving.resolve_as_foreign(shop.ledger, rejected, foreign, WHO)
    shop.box.control([{"vendor": shop.name, "wallet": {"name": "main", "balance": "1000.00"}}])  # it was paid back
    resolving.unfreeze(shop.ledger, rejected.wallet)
    assert shop.buyer().place(shop.request, order_key="k").order_id not in (None, foreign)


def test_a_second_order_beside_a_late_one_waits_for_a_person(shop: Shop) -> None:
    """The second sending landed, too: both count, and the purchase keeps its order."""
    late_answer_of(shop, "k", answered_late)
    order = VendorOrder("7999", OrderStatus.PENDING, "in-progress")
    placed = shop.ledger.record(
        find(shop, "k"), Step.PLACED, "the answer", WHO, vendor_order=order, price=find(shop, "k").reserved
    )
    assert placed.price is not None and counted(shop.ledger, placed.wallet) == 2 * placed.price.amount
    with pytest.raises(ConfigError, match="only an unresolved purchase"):
        resolving.check_resolvable(shop.ledger, placed)
    resolving.resolve_as_foreign(shop.ledger, placed, shop.bought()[0].order_id, WHO)
    assert counted(shop.ledger, placed.wallet) == placed.price.amount and find(shop, "k").order_id == "7999"
