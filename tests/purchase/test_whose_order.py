"""One creation owns an order id: an answer, a read, a webhook or a person can give it to one order key only."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import (
    ConfigError,
    OrderNotFound,
    OutcomeUnknown,
    ProxyOrdersError,
    Quarantined,
    RequestRefused,
    UnreadableAnswer,
    WalletHeld,
)
from airflow_provider_proxyorders.domain.model import TAKEN, Actor, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger, OwnedElsewhere, open_ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from airflow_provider_proxyorders.purchase import resolving
from airflow_provider_proxyorders.purchase.attempt import Attempt
from airflow_provider_proxyorders.purchase.permit import Permit
from tests.counted import counted

from .conftest import REQUESTS, Shop

ShopOf = Callable[[str], Shop]
WHO = Actor("dag", "run", "task", 0, 1, "host")


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


class Ahead:
    """The ledger's clock, moved by hand by whoever sleeps."""

    def __init__(self, shop: Shop):
        self.seconds = 0.0
        shop.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Behind(Ahead):
    """The same, and the vendor's reads are behind until somebody sleeps."""

    def __init__(self, shop: Shop):
        super().__init__(shop)
        self.lag = shop.box.fault(vendor=shop.name, operation="*", action="lag", seconds=3600)

    def sleep(self, seconds: float) -> None:
        self.lag.release()
        super().sleep(seconds)


def find(shop: Shop, key: str) -> Purchase:
    purchase = shop.ledger.find(key)
    assert purchase is not None
    return purchase


def owned_by(shop: Shop, *keys: str) -> set[str | None]:
    """Orders of these keys; at most one key for each order that was bought."""
    orders = [find(shop, key).order_id for key in keys]
    assert len({order for order in orders if order}) == len([order for order in orders if order])
    return set(orders)


def settled(shop: Shop, key: str, **options: Any) -> Purchase | ProxyOrdersError:
    """Buy and wait, as a task does."""
    buyer = shop.buyer(**options)
    try:
        purchase = buyer.place(shop.request, order_key=key)
        return buyer.wait(purchase, deadline=buyer.ledger.clock() + timedelta(seconds=60), poll_interval=0.2)
    except ProxyOrdersError as error:
        return error


@pytest.mark.parametrize("action", ["another_order", "another_id", "doubled_id"])
@pytest.mark.parametrize("order", ["previous", "foreign", "missing"])
def test_an_answer_that_names_another_order_is_not_believed(shop: Shop, action: str, order: str) -> None:
    """The vendor took the second order, and its answer names the first one, or none that exists: both keys get their own."""
    shop.delivered("first")
    time = Ahead(shop)
    if order == "foreign":
        order = seed_foreign(shop)
    shop.box.fault(vendor=shop.name, operation="create", action=action, order=order, times=1)
    outcome = settled(shop, "second", sleep=time.sleep)
    again = settled(shop, "second", sleep=time.sleep)
    assert len(shop.bought()) == 2, "never bought twice"
    first, second = find(shop, "first"), find(shop, "second")
    mine = [entry.order_id for entry in shop.bought() if entry.order_id != first.order_id][0]
    assert second.order_id != first.order_id
    if second.order_id is None:
        assert second.unresolved and isinstance(again, OutcomeUnknown), "in doubt, and said so"
    elif second.order_id.startswith("subaccount:"):
        order_of = shop.buyer().http.run(shop.buyer().vendor.get(mine))
        assert second.order_id.removeprefix("subaccount:") == order_of.handle
    else:
        assert second.order_id == mine
    if shop.name == "iproyal":
        assert second.step is Step.DELIVERED, (outcome, again)


def seed_foreign(shop: Shop) -> str:
    """An order at the vendor that this ledger did not buy, from before; returns its id."""
    seeds = {
        "iproyal": {"product_id": 9, "product_plan_id": 22, "quantity": 7},
        "proxyscrape": {"type": "new_datacenter_shared", "status": "processed"},
        "voodoo": {"item_id": 5120, "quantity": 7},
        "proxy6": {"count": 7},
    }
    return str(shop.box.control([{"vendor": shop.name, "order": seeds[shop.name]}])[0])


def test_an_id_that_nobody_finds_goes_back_to_the_evidence(shop_of: ShopOf) -> None:
    """Reads of the id get 404: asked again, and after the settle time the list decides."""
    shop = shop_of("iproyal")
    time = Ahead(shop)
    shop.box.fault(vendor="iproyal", operation="create", action="another_id", order="missing", times=1)
    buyer = shop.buyer(sleep=time.sleep, settle=30)
    placed = buyer.place(shop.request, order_key="k")
    assert placed.step is Step.PLACED and not placed.confirmed
    with pytest.raises(UnreadableAnswer, match="asked again"):
        buyer.refresh(placed)
    assert find(shop, "k").step is Step.PLACED, "one read without it proves nothing"
    time.sleep(29)
    with pytest.raises(UnreadableAnswer):
        buyer.refresh(find(shop, "k"))
    time.sleep(2)
    doubted = buyer.refresh(find(shop, "k"))
    assert doubted.step is Step.UNKNOWN and doubted.order_id is None and doubted.maybe_sent
    assert placed.order_id is not None and shop.ledger.owner_of(placed.wallet, placed.order_id) is None
    assert counted(shop.ledger, placed.wallet) == placed.reserved.amount, "the limits still count it"
    adopted = buyer.place(shop.request, order_key="k")
    assert [adopted.order_id] == [entry.order_id for entry in shop.bought()] and adopted.confirmed


def test_an_order_that_may_be_an_earlier_purchases(shop_of: ShopOf) -> None:
    """An answer names no order, and reads are behind. The next purchase is not taken, and its look finds the order of the first
    one. That is decided first, so each key gets what its own request bought."""
    shop = shop_of("iproyal")
    time = Ahead(shop)
    shop.box.fault(vendor="iproyal", operation="create", action="another_id", order="missing", times=1)
    shop.buyer(settle=30).place(shop.request, order_key="first")
    lag = shop.box.fault(vendor="iproyal", operation="*", action="lag", seconds=3600)
    shop.box.fault(vendor="iproyal", operation="create", action="reset", when="before", times=1)

    def sleep(seconds: float) -> None:
        lag.release()
        time.sleep(seconds)

    shop.buyer(sleep=sleep, settle=30).place(shop.request, order_key="second")
    bought = [entry.order_id for entry in shop.bought()]
    assert [find(shop, "first").order_id, find(shop, "second").order_id] == bought


def test_an_id_that_nobody_finds_holds_up_no_other_purchase(shop_of: ShopOf) -> None:
    """An answer names no order. The next purchase is not taken, and that order might have been paid back: the look reads it."""
    shop = shop_of("proxyscrape")
    time = Ahead(shop)
    shop.box.control([{"processing": 0.0, "vendor": "proxyscrape"}])
    shop.box.fault(vendor="proxyscrape", operation="create", action="another_id", order="missing", times=1)
    shop.buyer(settle=30).place(shop.request, order_key="first")
    shop.box.fault(vendor="proxyscrape", operation="create", action="reset", when="before", times=1)
    shop.buyer(sleep=time.sleep, settle=30).place(shop.request, order_key="second")
    shop.buyer(sleep=time.sleep, settle=30).place(shop.request, order_key="first")
    assert {find(shop, "first").step, find(shop, "second").step} <= {Step.PLACED, Step.DELIVERED}
    assert len(shop.bought()) == 2


def answer_with_no_order(shop: Shop, number: int = 0, *, taken: bool) -> None:
    """The next purchase is answered with an order that nobody has."""
    data = {"id": 9999990 + number, "status": "in-progress", "quantity": 2}
    if shop.name == "proxyscrape":
        data = {"success": True, "data": f"ffffffff-0000-4000-8000-00000000000{number}"}
    when = "after" if taken else "before"
    shop.box.fault(vendor=shop.name, operation="create", action="body", body=json.dumps(data), when=when, times=1)


def land_after_another(shop: Shop, time: Ahead, apart: float) -> None:
    """The first purchase is answered with no order and not taken. A time after that the second one lands, and its worker dies."""
    answer_with_no_order(shop, taken=False)
    shop.buyer(settle=30).place(shop.request, order_key="first")
    time.sleep(apart)
    buyer = shop.buyer(settle=30)
    attempt = Attempt(buyer.request_for("create", "second", buyer.vendor.prepare_create(shop.request, "")))
    second = buyer.intend(attempt)
    permit = Permit(buyer.sending.reads, None, attempt, second)
    permit.read_evidence()
    shop.ledger.claim(second, WHO, evidence=permit.evidence, sent_seconds=0.0)
    buyer.http.run(buyer.vendor.create(shop.request), lambda request: None)
    buyer.settling.tracker.disown(find(shop, "first"), "no read finds its order")


@pytest.mark.parametrize("apart", [35, 25])
def test_an_order_that_may_be_a_later_purchases(shop_of: ShopOf, apart: int) -> None:
    """An answer named no order and took nothing; the next purchase landed, and its answer is lost as well. 30 s after the first
    answer the evidence of the second one shows all of the first, so what a look at that finds is of the second. Before, the first
    one gets it, since both asked for the same. The other one is sent again, once."""
    shop = shop_of("iproyal")
    time = Ahead(shop)
    land_after_another(shop, time, apart)
    look = shop.buyer(settle=30).settling.evidence.look(find(shop, "first"))
    assert look.verdict == ("not listed" if apart > 30 else "found")
    second = shop.buyer(settle=30, sleep=time.sleep).place(shop.request, order_key="second")
    first = shop.buyer(settle=30, sleep=time.sleep).place(shop.request, order_key="first")
    in_turn = [second, first] if apart > 30 else [first, second]
    assert [purchase.order_id for purchase in in_turn] == [entry.order_id for entry in shop.bought()]


@pytest.mark.parametrize("apart", [35, 25])
def test_a_sub_account_that_may_be_a_later_purchases(shop_of: ShopOf, apart: int) -> None:
    """The same where the balance is the evidence: which of the two paid, it cannot tell. So the newer one's stays its own."""
    shop = shop_of("proxyscrape")
    shop.box.control([{"processing": 0.0, "vendor": "proxyscrape"}])
    time = Ahead(shop)
    land_after_another(shop, time, apart)
    for key in ("second", "first") * 2:
        settled(shop, key, sleep=time.sleep, settle=30)
    adopted = "second" if apart > 30 else "first"  # the other one is sent again, or a person is asked
    assert str(find(shop, adopted).order_id).startswith("subaccount:")


@pytest.mark.parametrize("taken", [(True, True), (False, True), (True, False)])
def test_equal_purchases_share_the_orders_that_fit(shop_of: ShopOf, taken: tuple[bool, bool]) -> None:
    """Reads lag, two answers name no order, and a third one is lost: several orders fit. As many purchases asked for the same, so
    each order goes to one of them, and what was not taken is sent again, once. Nobody is asked."""
    shop = shop_of("iproyal")
    time = Behind(shop)
    for number, was_taken in enumerate(taken):
        answer_with_no_order(shop, number, taken=was_taken)
        shop.buyer(settle=30).place(shop.request, order_key=f"k{number}")
    shop.box.fault(vendor="iproyal", operation="create", action="reset", when="after", times=1)
    keys = ("k2", "k1", "k0")
    for key in keys:
        outcome = settled(shop, key, sleep=time.sleep, settle=30)
        if not (isinstance(outcome, Purchase) and outcome.confirmed):
            outcome = settled(shop, key, sleep=time.sleep, settle=30)
        assert isinstance(outcome, Purchase) and outcome.confirmed, outcome
    assert owned_by(shop, *keys) == {entry.order_id for entry in shop.bought()} and len(shop.bought()) == 3


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("last", ["before", "after"])
def test_equal_purchases_share_new_sub_accounts(shop_of: ShopOf, last: str, known: bool) -> None:
    """Reads lag, two answers name no order, and a third one is lost. Each new sub-account goes to one of them. The balance proves
    nothing of what is left, also beside a known price, since one may still be processed: a person is asked about that one."""
    shop = shop_of("proxyscrape")
    shop.box.control([{"processing": 0.0, "vendor": "proxyscrape"}])
    if known:
        shop.delivered("earlier")
        shop.box.advance(3600)
    time = Behind(shop)
    time.seconds = 3600.0
    for number in range(2):
        answer_with_no_order(shop, number, taken=True)
        shop.buyer(settle=30).place(shop.request, order_key=f"k{number}")
    shop.box.fault(vendor="proxyscrape", operation="create", action="reset", when=last, times=1)
    outcomes = {}
    for key in ("k2", "k1", "k0") * 2:
        outcomes[key] = settled(shop, key, sleep=time.sleep, settle=30)
    settled_keys = [key for key, outcome in outcomes.items() if isinstance(outcome, Purchase) and outcome.confirmed]
    assert len(shop.bought()) - known == len(settled_keys) == (3 if last == "after" else 2), outcomes
    assert len(settled_keys) == 3 or isinstance(outcomes["k2"], Quarantined)


@pytest.mark.parametrize("vendor", ["iproyal", "proxyscrape"])
def test_a_refused_purchase_comes_last_among_equal_ones(shop_of: ShopOf, vendor: str) -> None:
    """Reads lag, one purchase is refused, and the answer to the next one is lost: that one was taken."""
    shop = shop_of(vendor)
    shop.box.control([{"processing": 0.0, "vendor": vendor}])
    time = Behind(shop)
    shop.box.fault(vendor=vendor, operation="create", action="refuse", reason="invalid", when="before", times=1)
    with pytest.raises(RequestRefused):
        shop.buyer(settle=30).place(shop.request, order_key="refused")
    shop.box.fault(vendor=vendor, operation="create", action="reset", when="after", times=1)
    outcome = settled(shop, "taken", sleep=time.sleep, settle=30)
    assert isinstance(outcome, Purchase) and outcome.confirmed, outcome
    assert len(shop.bought()) == 1 and find(shop, "refused").order_id is None


def test_more_orders_fit_than_equal_purchases(shop_of: ShopOf) -> None:
    """Somebody else bought the same meanwhile: one of the orders is nobody's here, so a person is asked."""
    shop = shop_of("iproyal")
    time = Behind(shop)
    answer_with_no_order(shop, taken=True)
    shop.buyer(settle=30).place(shop.request, order_key="first")
    shop.box.fault(vendor="iproyal", operation="create", action="reset", when="after", times=1)

    def sleep(seconds: float) -> None:
        if time.seconds == 0.0:
            shop.box.control([{"vendor": "iproyal", "order": dict(shop.request)}])
        time.sleep(seconds)

    outcome = settled(shop, "second", sleep=sleep, settle=30)
    assert isinstance(outcome, Quarantined) and "3 of them fit" in str(outcome), shop.said


def test_a_refused_purchase_that_landed_does_not_hold_up_another(shop_of: ShopOf) -> None:
    """Reads lag while a copy is refused. Then money is missing that only that one can have taken: it is looked for again."""
    shop = shop_of("iproyal")
    time, order_id = Ahead(shop), str(shop.delivered("one").order_id)
    shop.box.advance(7200)
    lag = shop.box.fault(vendor="iproyal", operation="*", action="lag", seconds=3600)
    shop.box.fault(vendor="iproyal", operation="extend", action="refuse", reason="invalid", when="after", times=1)
    with pytest.raises(RequestRefused):
        shop.buyer(settle=30).extend(order_id, {"product_plan_id": 22}, order_key="refused")
    assert find(shop, "refused").step is Step.REJECTED
    shop.box.fault(vendor="iproyal", operation="create", action="reset", when="before", times=1)

    def sleep(seconds: float) -> None:
        lag.release()
        time.sleep(seconds)

    placed = shop.buyer(sleep=sleep, settle=30).place(shop.request, order_key="k")
    assert placed.step is Step.PLACED and find(shop, "refused").step in TAKEN
    assert [entry.kind for entry in shop.bought()] == ["create", "extend", "create"]


def refuse_one(shop: Shop, *, copy_taken: bool, next_taken: bool) -> tuple[Ahead, str, Any]:
    """Reads lag while the extension ``refused`` is refused, and the answer to the next one is lost.

    :returns: the clock, the extended order, and the lag.
    """
    time, order_id = Ahead(shop), str(shop.delivered("one").order_id)
    when = {True: "after", False: "before"}
    shop.box.advance(7200)
    lag = shop.box.fault(vendor="iproyal", operation="*", action="lag", seconds=3600)
    shop.box.fault(vendor="iproyal", operation="extend", action="refuse", reason="invalid", when=when[copy_taken], times=1)
    with pytest.raises(RequestRefused):
        shop.buyer(settle=30).extend(order_id, {"product_plan_id": 22}, order_key="refused")
    shop.box.fault(vendor="iproyal", operation="extend", action="reset", when=when[next_taken], times=1)
    return time, order_id, lag


@pytest.mark.parametrize("plan", [22, 21])
def test_an_extension_that_may_be_a_refused_one(shop_of: ShopOf, plan: int) -> None:
    """Reads lag while a copy is refused. The next extension of the order never arrives, and its look sees the first one.

    It is equal: it gets what landed, and the refused one is sent again. For another term only a person can tell.
    """
    shop = shop_of("iproyal")
    time, order_id, lag = refuse_one(shop, copy_taken=True, next_taken=False)

    def sleep(seconds: float) -> None:
        lag.release()
        time.sleep(seconds)

    buyer = shop.buyer(sleep=sleep, settle=30)
    if plan != 22:
        with pytest.raises(Quarantined, match="may be of 'refused'"):
            buyer.extend(order_id, {"product_plan_id": plan}, order_key="k")
        assert [entry.kind for entry in shop.bought()] == ["create", "extend"]
        return
    assert buyer.extend(order_id, {"product_plan_id": 22}, order_key="k").step is Step.DELIVERED
    assert [entry.kind for entry in shop.bought()] == ["create", "extend"]
    time.sleep(120)
    assert buyer.extend(order_id, {"product_plan_id": 22}, order_key="refused").step is Step.DELIVERED
    assert [entry.kind for entry in shop.bought()] == ["create", "extend", "extend"]


def test_two_equal_extensions_that_both_landed(shop_of: ShopOf) -> None:
    """As above, but the second one is taken, too: both keys get theirs, and nothing is sent again."""
    shop = shop_of("iproyal")
    time, order_id, lag = refuse_one(shop, copy_taken=True, next_taken=True)

    def sleep(seconds: float) -> None:
        lag.release()
        time.sleep(seconds)

    buyer = shop.buyer(sleep=sleep, settle=30)
    assert buyer.extend(order_id, {"product_plan_id": 22}, order_key="k").step is Step.DELIVERED
    time.sleep(120)
    assert buyer.extend(order_id, {"product_plan_id": 22}, order_key="refused").step is Step.DELIVERED
    assert [entry.kind for entry in shop.bought()] == ["create", "extend", "extend"]


def test_foreign_money_beside_equal_extensions(shop_of: ShopOf) -> None:
    """The first one is refused and the second one taken, and a purchase by hand costs as much. The order counts one extension."""
    shop = shop_of("iproyal")
    time, order_id, lag = refuse_one(shop, copy_taken=False, next_taken=True)

    def sleep(seconds: float) -> None:
        if not time.seconds:
            shop.box.state.vendors["iproyal"].wallet(None).balance -= Decimal("6.00")  # type: ignore[attr-defined]
            lag.release()
        time.sleep(seconds)

    buyer = shop.buyer(sleep=sleep, settle=30)
    for key in ("k", "refused"):
        with contextlib.suppress(OutcomeUnknown, WalletHeld):
            buyer.extend(order_id, {"product_plan_id": 22}, order_key=key)
        time.sleep(120)
    taken = [key for key in ("k", "refused") if find(shop, key).step in TAKEN]
    assert len(taken) <= 1 and [entry.kind for entry in shop.bought()] == ["create", "extend"]


def test_a_refusal_beside_missing_money_is_unresolved(shop_of: ShopOf) -> None:
    """An answer names no order, and reads are behind. The next purchase is taken and refused: the missing money is of one of
    the two. What its own balance shows tells them apart, so each key gets what its own request bought."""
    shop = shop_of("proxyscrape")
    time = Ahead(shop)
    shop.box.control([{"processing": 0.0, "vendor": "proxyscrape"}])
    nobodys = json.dumps({"success": True, "data": "018f7a20-3c51-7d14-8b0e-5a1f6c2d9e77"})
    shop.box.fault(vendor="proxyscrape", operation="create", action="body", body=nobodys, when="before", times=1)
    shop.buyer(settle=30).place(shop.request, order_key="first")
    time.sleep(120)
    shop.box.fault(vendor="proxyscrape", operation="create", action="refuse", reason="balance", when="after", times=1)
    second = shop.buyer(sleep=time.sleep, settle=30).place(shop.request, order_key="second")
    assert second.step in TAKEN and len(shop.bought()) == 1
    shop.buyer(sleep=time.sleep, settle=30).place(shop.request, order_key="first")
    assert len(shop.bought()) == 2 and find(shop, "first").step in TAKEN


@pytest.mark.parametrize(("missing", "trace"), [("6.00", True), ("0", False), ("-6.00", False), (None, True)])
def test_a_new_sub_account_beside_missing_money_is_a_trace(shop_of: ShopOf, missing: str | None, trace: bool) -> None:
    """It may be that of another order, which no read shows, and the money may be of either. A refusal proves nothing then."""
    shop, now = shop_of("proxyscrape"), datetime.now(timezone.utc)
    shop.box.control([{"processing": 0.0, "vendor": "proxyscrape"}])
    shop.delivered("other")
    buyer = shop.buyer()
    balance = buyer.http.run(buyer.vendor.balance()).available
    expected = {"balance": f"{balance.amount + Decimal(missing):f}", "currency": "USD", "maybe": "9"} if missing else {}
    evidence = {"subaccounts": [], "unread": ["018f7a20-3c51-7d14-8b0e-5a1f6c2d9e77"], "expected": expected}
    body = buyer.vendor.prepare_create(shop.request, "").body
    look = buyer.http.run_reading(lambda: buyer.vendor.resolve("create", body, None, evidence, now, frozenset()))
    assert (look.verdict, look.has_trace) == ("not visible", trace), look


def test_reads_without_an_order_count_from_the_last_one_that_showed_it(shop_of: ShopOf) -> None:
    """Two reads without it, far apart, with a read between them that shows it without a sub-account: it is there."""
    shop = shop_of("proxyscrape")
    time = Ahead(shop)
    shop.box.control([{"processing": 3600, "vendor": "proxyscrape"}])
    buyer = shop.buyer(sleep=time.sleep, settle=30)
    buyer.place(shop.request, order_key="k")
    for _ in range(2):
        shop.box.fault(vendor="proxyscrape", operation="get", action="unseen", times=1)
        with pytest.raises(UnreadableAnswer, match="asked again"):
            buyer.refresh(find(shop, "k"))
        assert buyer.refresh(find(shop, "k")).step is Step.PLACED and not find(shop, "k").confirmed
        time.sleep(31)


def test_an_order_that_was_read_once_is_confirmed(shop: Shop) -> None:
    delivered = shop.delivered("k")
    assert delivered.confirmed
    assert delivered.order_id is not None and shop.ledger.owner_of(delivered.wallet, delivered.order_id.upper()) == "k"


def test_a_sub_account_from_before_is_another_order(shop_of: ShopOf) -> None:
    """The answer names an order that was bought before, outside of this ledger: its first read shows an old sub-account."""
    shop = shop_of("proxyscrape")
    time = Ahead(shop)
    shop.box.control([{"processing": 0, "vendor": "proxyscrape"}])  # nobody really waits between the two looks
    foreign = seed_foreign(shop)
    shop.box.fault(vendor="proxyscrape", operation="create", action="another_id", order=foreign, times=1)
    outcome = settled(shop, "k", sleep=time.sleep)
    assert isinstance(outcome, Purchase) and outcome.step is Step.UNKNOWN, outcome
    adopted = settled(shop, "k", sleep=time.sleep)
    assert isinstance(adopted, Purchase) and adopted.step is Step.DELIVERED and len(shop.bought()) == 1


def test_two_purchases_with_one_reference_that_settle_at_one_instant(shop_of: ShopOf) -> None:
    """The user's own reference, used twice: the webhook's order goes to one of the two."""
    shop = shop_of("voodoo")
    request = {**REQUESTS["voodoo"], "merchant_order_id": "daily"}
    for key in ("a", "b"):
        shop.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
        with pytest.raises(Quarantined):
            shop.buyer().place(request, order_key=key)
        shop.box.clear_faults()
    [bought] = shop.bought()
    hint = Hint("d", "voodoo_default", "voodoo:main", bought.order_id, "daily", "completed")
    Inbox(shop.ledger.engine).keep([hint])
    buyers = {key: shop.buyer() for key in ("a", "b")}
    together = threading.Barrier(2)

    def adopt_together(key: str) -> None:
        adopt = buyers[key].settling.adopt

        def at_one_instant(*args: Any) -> Purchase:
            buyers[key].settling.adopt = adopt  # type: ignore[method-assign]
            together.wait(60)
            return adopt(*args)

        buyers[key].settling.adopt = at_one_instant  # type: ignore[method-assign]

    def settle(key: str) -> None:
        try:
            buyers[key].place(request, order_key=key)
        except ProxyOrdersError:
            pass

    for key in buyers:
        adopt_together(key)
    threads = [threading.Thread(target=settle, args=(key,)) for key in buyers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert owned_by(shop, "a", "b") == {bought.order_id, None}


def test_a_look_that_finds_anothers_order_looks_again(shop_of: ShopOf) -> None:
    """Between the look and its note another purchase gets the order: it is one more order that is not this one's."""
    shop = shop_of("iproyal")
    neighbour = shop.delivered("b")
    shop.box.fault(vendor="iproyal", operation="create", when="after", times=1, action="reset")
    buyer = shop.buyer()
    look, looks = buyer.settling.evidence.look, []

    def finds_the_neighbours_first(purchase: Purchase, *args: Any) -> Any:
        result = look(purchase, *args)
        looks.append(result)
        if len(looks) == 1:
            order = VendorOrder(str(neighbour.order_id), OrderStatus.DELIVERED, "confirmed")
            return type(result)("found", "one fits", order)
        return result

    buyer.settling.evidence.look = finds_the_neighbours_first  # type: ignore[method-assign]
    mine = buyer.place(shop.request, order_key="a")
    assert mine.order_id not in (None, neighbour.order_id) and len(looks) == 2


def test_a_person_cannot_give_an_order_twice(shop_of: ShopOf) -> None:
    """Under none of its names, in whatever letters, and not in the moment between check and decision."""
    shop = shop_of("proxyscrape")
    owner = shop.delivered("owner")
    handle = shop.buyer().http.run(shop.buyer().vendor.get(str(owner.order_id))).handle
    purchase = shop.ledger.record(claim(shop, "k", shop.buyer()), Step.UNKNOWN, "its worker is gone", WHO)
    shop.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(hours=1)
    for name in (str(owner.order_id), str(owner.order_id).upper(), f"subaccount:{handle}", str(handle)):
        with pytest.raises(ConfigError, match=r"belongs to order key 'owner' already.*Nothing was changed"):
            resolving.check_order_id(shop.ledger, purchase, name)
        with pytest.raises(ConfigError, match=r"belongs to order key 'owner' already.*Nothing was changed"):
            resolving.resolve_as_taken(shop.ledger, purchase, resolving.unread_taken_order(name), WHO)
        with pytest.raises(OwnedElsewhere):
            order = VendorOrder(name, OrderStatus.PENDING, "")
            shop.ledger.record(purchase, Step.PLACED, "", WHO, vendor_order=order)
    assert find(shop, "k").order_id is None


def test_a_late_answer_with_anothers_order_leaves_the_purchase_in_doubt(shop_of: ShopOf) -> None:
    shop = shop_of("iproyal")
    neighbour = shop.delivered("b")
    buyer = shop.buyer()
    claimed = claim(shop, "a", buyer)
    shop.ledger.record(claimed, Step.UNKNOWN, "its worker is gone", WHO)
    order = VendorOrder(str(neighbour.order_id), OrderStatus.PENDING, "in-progress")
    assert buyer.sending.placed(claimed, order).step is Step.UNKNOWN
    owned_by(shop, "a", "b")


def claim(shop: Shop, key: str, buyer: Any) -> Purchase:
    from airflow_provider_proxyorders.purchase.attempt import Attempt

    prepared = buyer.vendor.prepare_create(shop.request, buyer.reference(key))
    intended = buyer.intend(Attempt(buyer.request_for("create", key, prepared)))
    evidence = buyer.http.run(buyer.vendor.snapshot("create", prepared.body, None))
    claimed: Purchase = shop.ledger.claim(intended, WHO, evidence=evidence, sent_seconds=0.0)
    return claimed


NEW_YEAR = datetime(2030, 1, 1, tzinfo=timezone.utc)
CONTRADICTIONS: dict[str, list[tuple[dict[str, Any], dict[str, Any], str]]] = {
    "iproyal": [
        ({"order_id": "7000"}, {"newest": 7000}, "the newest before the purchase"),
        ({"order_id": "7001", "quantity": 3}, {"newest": 7000}, "its quantity is 3, asked was 2"),
        ({"order_id": "7001", "traits": {"plan": "90 Days"}}, {"plan": "30 Days"}, "its plan is '90 Days'"),
        ({"order_id": "7001", "traits": {"location": "Malta"}}, {"locations": ["Netherlands"]}, "its location is 'Malta'"),
        ({"order_id": "7001", "quantity": 2, "traits": {"plan": "30 days"}}, {"newest": 7000, "plan": "30 Days"}, ""),
        ({"order_id": "7001"}, {"newest": 7000, "plan": "30 Days", "locations": ["Netherlands"]}, ""),
    ],
    "voodoo": [
        ({"order_id": "u", "traits": {"reference": "af-2"}}, {}, "its merchant_order_id is af-2, asked was af-1"),
        ({"order_id": "u", "traits": {"item": "7"}}, {}, "its item_id is 7, asked was 5120"),
        ({"order_id": "u", "quantity": 4}, {}, "its quantity is 4, asked was 3"),
        ({"order_id": "u", "quantity": 3, "traits": {"reference": "af-1", "item": "5120"}}, {}, ""),
        ({"order_id": "u"}, {}, ""),
    ],
    "proxyscrape": [
        ({"order_id": "u", "handle": "s1"}, {"subaccounts": ["s1"]}, "its sub-account s1 is older than the purchase"),
        ({"order_id": "u", "traits": {"type": "new_residential"}}, {}, "its type is 'new_residential'"),
        ({"order_id": "u", "created_at": NEW_YEAR}, {"read_at": "2030-01-03T00:00:00+00:00"}, "long before the purchase"),
        ({"order_id": "u", "created_at": NEW_YEAR}, {"read_at": "2030-01-01T06:00:00+00:00"}, ""),
        ({"order_id": "u", "handle": "s2", "traits": {"type": "new_datacenter_shared"}}, {"subaccounts": ["s1"]}, ""),
        ({"order_id": "u", "handle": "s2"}, {"subaccounts": None}, ""),
    ],
}
BODIES = {"iproyal": {"quantity": 2}, "voodoo": {"merchant_order_id": "af-1", "item_id": 5120, "quantity": 3}}


@pytest.mark.parametrize(
    ("vendor", "number"), [(vendor, number) for vendor, cases in CONTRADICTIONS.items() for number in range(len(cases))]
)
def test_what_contradicts_a_purchase(shop_of: ShopOf, vendor: str, number: int, url: str) -> None:
    fields, evidence, why = CONTRADICTIONS[vendor][number]
    order = VendorOrder(**{"status": OrderStatus.PENDING, "vendor_status": "", **fields})
    body = BODIES.get(vendor) or dict(REQUESTS[vendor])
    said = shop_of(vendor).buyer().vendor.contradiction("create", body, json.loads(json.dumps(evidence)), order)
    assert (why in said) if why else said == ""


def test_a_miss_through_another_account_takes_no_order_away(shop_of: ShopOf) -> None:
    """Only its own account shows an order. Another one of the same wallet gets 404 for it, however often."""
    shop = shop_of("iproyal")
    time = Ahead(shop)
    shop.box.fault(vendor="iproyal", operation="create", action="another_id", order="missing", times=1)
    mine, other = shop.buyer(settle=30), shop.buyer(settle=30)
    mine.account = replace(mine.account, digest="mine")
    placed = mine.place(shop.request, order_key="k")
    other.account = replace(other.account, conn_id="another", digest="another")
    for _ in range(3):
        with pytest.raises(OrderNotFound):
            other.refresh(find(shop, "k"))
        time.sleep(60)
    assert find(shop, "k").step is Step.PLACED and find(shop, "k").order_id == placed.order_id


def test_a_disowned_order_leaves_no_refund(shop: Shop) -> None:
    """What was paid back for another one's order lowers no charge of the purchase."""
    placed = shop.buyer().place(shop.request, order_key="k")
    order = VendorOrder(placed.order_id or "", OrderStatus.PENDING, "x", price=placed.reserved, refund=placed.reserved)
    placed = shop.ledger.record(find(shop, "k"), Step.PLACED, "read", WHO, vendor_order=order)
    assert placed.refund == placed.reserved and counted(shop.ledger, placed.wallet) == 0
    disowned = shop.ledger.disown(placed, "no read finds it", WHO)
    assert disowned.refund is None and counted(shop.ledger, placed.wallet) == placed.reserved.amount
