"""Races that the matrix meets by chance, here at the moment they happen: what the slower worker does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import CapExceeded, NeverSent, OutcomeUnknown, ProxyOrdersError, WalletHeld
from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import StaleClaim
from airflow_provider_proxyorders.purchase.attempt import Attempt
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.transport.worker import Http
from tests.counted import counted

from ..purchase.conftest import Shop


def test_a_worker_that_came_second_goes_on_with_what_the_first_bought(shop: Shop) -> None:
    """Both are about to send; the other one does. There is nothing to fail about: this one takes the same order."""
    others: list[str | None] = []

    def other_worker(order_key: str) -> None:
        if not others:
            others.append(shop.buyer().place(shop.request, order_key=order_key).order_id)

    order = shop.buyer(fence=other_worker).place(shop.request, order_key="k")
    assert [entry.order_id for entry in shop.bought()] == [order.order_id] == others


@pytest.mark.parametrize(
    "error", [NeverSent("the line is down."), CapExceeded("the wallet is frozen."), WalletHeld("it is held.")]
)
def test_a_worker_that_fails_goes_on_with_what_another_one_bought(shop: Shop, error: ProxyOrdersError) -> None:
    """Its error is true for its own try and false for the key: "Nothing was bought" would be said of a charge."""
    others: list[str | None] = []

    def other_worker(order_key: str) -> None:
        others.append(shop.buyer().place(shop.request, order_key=order_key).order_id)
        raise error

    order = shop.buyer(fence=other_worker).place(shop.request, order_key="k")
    assert [entry.order_id for entry in shop.bought()] == [order.order_id] == others


def test_a_worker_that_fails_says_so_where_nobody_bought(shop: Shop) -> None:
    def stop(order_key: str) -> None:
        raise NeverSent("the line is down.")

    with pytest.raises(NeverSent, match="This try bought nothing"):
        shop.buyer(fence=stop).place(shop.request, order_key="k")
    assert shop.bought() == []


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_worker_whose_doubt_another_one_settled_goes_on_with_the_answer(shop_of: Callable[[str], Shop], vendor: str) -> None:
    """Two tries look for the same lost purchase; the other one finds it between this one's two looks."""
    shop = shop_of(vendor)
    shop.box.fault(vendor=vendor, operation="create", when="before", times=1, action="reset")
    others: list[str | None] = []

    def sleep(seconds: float) -> None:
        if not others:
            others.append(None)
            others[0] = shop.buyer().place(shop.request, order_key="k").order_id

    order = shop.buyer(sleep=sleep).place(shop.request, order_key="k")
    assert [entry.order_id for entry in shop.bought()] == [order.order_id] == others


def bought_late(shop: Shop, buyer: Buyer) -> tuple[Purchase, VendorOrder]:
    """A purchase that the vendor took, and whose worker has not heard of it yet; others may look for it by now."""
    prepared = buyer.vendor.prepare_create(shop.request, "")
    order = buyer.intend(Attempt(buyer.request_for("create", "k", prepared)))
    claimed = shop.ledger.claim(order, Actor(), evidence={}, sent_seconds=0)
    return claimed, buyer.http.run(buyer.vendor.create(prepared.body), lambda request: None)


def test_a_late_answer_is_never_thrown_away(shop_of: Callable[[str], Shop]) -> None:
    """The answer comes while another worker declares the purchase absent: it is kept, whoever writes first."""
    shop = shop_of("proxyscrape")
    buyer = shop.buyer()
    claimed, vendor_order = bought_late(shop, buyer)
    unknown = shop.ledger.record(claimed, Step.UNKNOWN, "its worker is gone", Actor())
    real = shop.ledger.find

    def find(order_key: str) -> Purchase | None:
        purchase = real(order_key)
        shop.ledger.find = real  # type: ignore[method-assign]
        shop.ledger.record(unknown, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
        return purchase

    shop.ledger.find = find  # type: ignore[method-assign]
    assert buyer.sending.placed(claimed, vendor_order).order_id == vendor_order.order_id
    assert shop.ledger.freeze_reason("proxyscrape:main") is None
    assert shop.delivered("k").order_id == vendor_order.order_id and len(shop.bought()) == 1


def test_a_try_whose_purchase_was_taken_further_goes_on_with_it(shop_of: Callable[[str], Shop]) -> None:
    """Its answer is lost, and by then another try has looked for the purchase and sent it again."""
    shop = shop_of("iproyal")
    shop.box.fault(vendor="iproyal", operation="create", action="reset", when="before", times=1)
    real = shop.ledger.record

    def record(purchase: Purchase, *arguments: Any, **options: Any) -> Purchase:
        shop.ledger.record = real  # type: ignore[method-assign]
        real(purchase, Step.UNKNOWN, "its worker is gone", Actor())
        shop.buyer().place(shop.request, order_key="k")
        return real(purchase, *arguments, **options)

    shop.ledger.record = record  # type: ignore[method-assign]
    placed = shop.buyer().place(shop.request, order_key="k")
    assert [placed.order_id] == [entry.order_id for entry in shop.bought()]


@pytest.mark.parametrize("refused", [False, True])
def test_a_late_answer_about_what_stands_to_be_sent_again_keeps_it_from_being_sent(
    shop_of: Callable[[str], Shop], refused: bool
) -> None:
    shop = shop_of("iproyal")
    buyer = shop.buyer()
    claimed, vendor_order = bought_late(shop, buyer)
    unknown = shop.ledger.record(claimed, Step.UNKNOWN, "its worker is gone", Actor())
    again = shop.ledger.record(unknown, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
    if refused:
        shop.ledger.record(shop.ledger.claim(again, Actor(), evidence={}, sent_seconds=0), Step.REJECTED, "no money", Actor())
    placed = buyer.sending.placed(claimed, vendor_order)
    assert (placed.order_id, placed.price) == (vendor_order.order_id, claimed.reserved)
    assert counted(shop.ledger, "iproyal:main") == claimed.reserved.amount, "it counts again"
    with pytest.raises(StaleClaim):
        shop.ledger.claim(again, Actor(), evidence={}, sent_seconds=0)
    assert shop.buyer().place(shop.request, order_key="k").order_id == vendor_order.order_id
    assert len(shop.bought()) == 1 and shop.ledger.freeze_reason("iproyal:main") is None


def test_a_late_answer_while_it_is_sent_again_stays_an_open_question(shop_of: Callable[[str], Shop]) -> None:
    """The second sending is refused; that does not make the first one disappear. The next try takes its order."""
    shop = shop_of("iproyal")
    buyer = shop.buyer()
    claimed, vendor_order = bought_late(shop, buyer)
    unknown = shop.ledger.record(claimed, Step.UNKNOWN, "its worker is gone", Actor())
    again = shop.ledger.record(unknown, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
    sending = shop.ledger.claim(again, Actor(), evidence={}, sent_seconds=60)
    with pytest.raises(OutcomeUnknown, match=vendor_order.order_id):
        buyer.sending.placed(claimed, vendor_order)
    shop.ledger.record(sending, Step.REJECTED, "no money", Actor())
    questions = shop.ledger.questions(wallet="iproyal:main")
    assert [(question.order_key, question.order_id) for question in questions] == [("k", vendor_order.order_id)]
    assert vendor_order.order_id in (shop.ledger.freeze_reason("iproyal:main") or "")
    assert shop.buyer().place(shop.request, order_key="k").order_id == vendor_order.order_id
    assert len(shop.bought()) == 1 and not shop.ledger.questions() and shop.ledger.freeze_reason("iproyal:main") is None


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_late_answer_about_an_order_that_was_found_meanwhile_is_no_alarm(shop_of: Callable[[str], Shop], vendor: str) -> None:
    """Another worker adopted the order, at ProxyScrape by the sub-account it opened; then its answer comes after all."""
    shop = shop_of(vendor)
    buyer = shop.buyer()
    prepared = buyer.vendor.prepare_create(shop.request, "")
    order = buyer.intend(Attempt(buyer.request_for("create", "k", prepared)))
    evidence = buyer.http.run(buyer.vendor.snapshot("create", prepared.body, None))
    claimed = shop.ledger.claim(order, Actor(), evidence=evidence, sent_seconds=0)
    vendor_order = buyer.http.run(buyer.vendor.create(prepared.body), lambda request: None)
    adopted = shop.buyer().place(shop.request, order_key="k")
    assert buyer.sending.placed(claimed, vendor_order) == adopted
    assert shop.ledger.freeze_reason(adopted.wallet) is None


def test_a_late_answer_about_another_order_than_the_one_found_stops_the_wallet(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("proxyscrape")
    buyer = shop.buyer()
    prepared = buyer.vendor.prepare_create(shop.request, "")
    order = buyer.intend(Attempt(buyer.request_for("create", "k", prepared)))
    evidence = buyer.http.run(buyer.vendor.snapshot("create", prepared.body, None))
    claimed = shop.ledger.claim(order, Actor(), evidence=evidence, sent_seconds=0)
    bought = shop.buyer().place(shop.request, order_key="k")  # nothing was there, so it was sent again
    vendor_order = buyer.http.run(buyer.vendor.create(prepared.body), lambda request: None)
    with pytest.raises(OutcomeUnknown, match=vendor_order.order_id):
        buyer.sending.placed(claimed, vendor_order)
    assert vendor_order.order_id != bought.order_id and vendor_order.order_id in (shop.ledger.freeze_reason(bought.wallet) or "")


def test_the_pace_is_kept_before_a_purchase_is_said_to_leave(shop_of: Callable[[str], Shop]) -> None:
    """A slow pace holds the purchase back; whoever comes meanwhile must not take SENT for "gone by now"."""
    shop = shop_of("iproyal")
    ahead = 0.0
    shop.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=ahead)
    buyer = shop.buyer(settle=60)
    buyer.account.requests_per_second = 0.1
    steps = []

    def sleep(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        purchase = shop.ledger.find("k")
        if purchase is not None and purchase.step is Step.SENT:
            shop.buyer(sleep=sleep).place(shop.request, order_key="k")
        steps.append(purchase.step if purchase else None)

    buyer.http = Http(buyer.account, sleep)
    order = buyer.place(shop.request, order_key="k")
    assert Step.INTENDED in steps and Step.SENT not in steps
    assert [entry.order_id for entry in shop.bought()] == [order.order_id]


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_machine_that_slept_sends_nothing_afterwards(shop_of: Callable[[str], Shop], vendor: str) -> None:
    """A suspended machine's monotonic clock stands still; the time of day tells that others may have gone on."""
    shop = shop_of(vendor)
    shop.box.control({"processing": 0.0, "vendor": vendor})
    ahead, claim = 0.0, shop.ledger.claim
    shop.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=ahead)

    def sleep(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    def claim_and_sleep(*args: object, **kwargs: object) -> object:
        shop.ledger.claim = claim  # type: ignore[method-assign]
        claimed = claim(*args, **kwargs)  # type: ignore[arg-type]
        sleep(3600)
        shop.buyer(sleep=sleep).place(shop.request, order_key="k")
        return claimed

    buyer = shop.buyer()
    shop.ledger.claim = claim_and_sleep  # type: ignore[assignment,method-assign]
    placed = buyer.place(shop.request, order_key="k")
    assert [placed.order_id] == [entry.order_id for entry in shop.bought()]
