"""Settling by several workers: looks, leases, quarantine, and the pauses of a vendor. Time is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded, OutcomeUnknown, Quarantined, WalletHeld
from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.purchase import resolving
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.purchase.settling import LONGEST_PAUSE
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.tasks.retry_policy import OrderRetryPolicy
from airflow_provider_proxyorders.vendors.contract import EDGE_LIMIT
from airflow_provider_proxyorders.wallet.reconcile import reconcile
from tests.vendors import VENDORS

from .conftest import Shop

ShopOf = Callable[[str], Shop]
SETTLE, LEASE = 160.0, 35.0


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


class Time:
    """The clock of one host, and the sleep of its workers."""

    def __init__(self, shop: Shop):
        self.shop, self.ahead, self.skew = shop, 0.0, 0.0
        self.slept: list[float] = []
        shop.ledger.clock = self.now

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=self.ahead + self.skew)

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds
        self.slept.append(seconds)

    def buyer(self, **options: Any) -> Buyer:
        """A new worker; its monotonic clock goes on with the time that passes here."""
        return self.shop.buyer(sleep=self.sleep, ticks=lambda: self.ahead, **{"settle": SETTLE, **options})


@pytest.fixture
def shop(shop_of: ShopOf, box: Sandbox) -> Shop:
    box.control({"processing": 0.0, "vendor": "iproyal"})
    return shop_of("iproyal")


@pytest.fixture
def time(shop: Shop) -> Time:
    return Time(shop)


def lose_the_answer(shop: Shop, when: str = "after") -> None:
    shop.box.fault(vendor="iproyal", operation="create", when=when, times=1, action="reset")


def found(ledger: Ledger, key: str = "k") -> Purchase:
    purchase = ledger.find(key)
    assert purchase is not None
    return purchase


def quarantine(shop: Shop, time: Time) -> Purchase:
    """The balance fell, and the list shows nothing: evidence cannot decide."""
    lose_the_answer(shop)
    buyer = time.buyer()
    look = buyer.settling.evidence.look

    def unseen(purchase: Purchase, *others: Any) -> Any:
        shop.box.fault(vendor="iproyal", operation="list", action="unseen")
        return look(purchase, *others)

    buyer.settling.evidence.look = unseen  # type: ignore[method-assign]
    with pytest.raises(Quarantined):
        buyer.place(shop.request, order_key="k")
    assert found(shop.ledger).step is Step.QUARANTINED
    return found(shop.ledger)


class TestQuarantined:
    """The order shows a second later: who comes by next looks again."""

    def test_by_the_next_try(self, shop: Shop, time: Time) -> None:
        quarantine(shop, time)
        shop.box.clear_faults()
        placed = time.buyer().place(shop.request, order_key="k")
        assert [entry.order_id for entry in shop.bought()] == [placed.order_id]

    def test_by_reconcile(self, shop: Shop, time: Time) -> None:
        quarantine(shop, time)
        shop.box.clear_faults()
        report = reconcile(time.buyer())
        assert report.unresolved == {} and report.settled == [f"k ({found(shop.ledger).step.value})"]
        assert found(shop.ledger).order_id == shop.bought()[0].order_id

    def test_by_another_purchase_on_the_wallet(self, shop: Shop, time: Time) -> None:
        quarantine(shop, time)
        shop.box.clear_faults()
        other = time.buyer().place(shop.request, order_key="other")
        assert {found(shop.ledger).order_id, other.order_id} == {entry.order_id for entry in shop.bought()}

    def test_absent_stays_a_persons(self, shop: Shop, time: Time) -> None:
        """Its looks saw more once. So absence proves nothing, however often it is seen; each try looks once."""
        purchase = quarantine(shop, time)
        looks = len(shop.ledger.looks("k"))
        for _ in range(3):
            time.ahead += 3600
            with pytest.raises(Quarantined, match="A person has to decide"):
                time.buyer().place(shop.request, order_key="k")
        with pytest.raises(WalletHeld, match="quarantined"):
            time.buyer().place(shop.request, order_key="other")
        assert found(shop.ledger) == purchase and len(shop.bought()) == 1
        assert len(shop.ledger.looks("k")) <= looks + 1, "a look that saw the same is not kept again"

    def test_a_person_who_decides_meanwhile_wins(self, shop: Shop, time: Time) -> None:
        purchase = quarantine(shop, time)
        shop.box.clear_faults()
        settling = time.buyer().settling
        look = settling.evidence.look

        def decided_meanwhile(looked_at: Purchase, *others: Any) -> Any:
            seen = look(looked_at, *others)
            taken = resolving.unread_taken_order(shop.bought()[0].order_id)
            resolving.resolve_as_taken(shop.ledger, looked_at, taken, Actor(host="person"))
            return seen

        settling.evidence.look = decided_meanwhile  # type: ignore[method-assign]
        with pytest.raises(Exception, match="further|belongs to"):
            settling.look_at_quarantined(purchase)
        assert found(shop.ledger).step is Step.PLACED


class TestLooks:
    def test_a_look_in_between_is_not_lost(self, shop: Shop, time: Time) -> None:
        """Two helpers at once: ``absent``, then ``inconclusive`` by the other one, then ``absent``. That is no proof."""
        lose_the_answer(shop)
        buyer = time.buyer()
        look, verdicts = buyer.settling.evidence.look, iter(["absent", "absent", "absent", "absent"])

        def absent(purchase: Purchase, *others: Any) -> Any:
            seen = look(purchase, *others)
            return type(seen)(next(verdicts), "nothing")

        def beside(seconds: float) -> None:
            """During the pause another helper looks, with a copy from before, and sees that money is gone."""
            time.sleep(seconds)
            if len(shop.ledger.looks("k")) == 1:
                helper = time.buyer()
                helper.settling.evidence.look = lambda purchase, *others: type(look(purchase, *others))(
                    "inconclusive", "money is gone"
                )  # type: ignore[method-assign]
                helper.settling.look_once(found(shop.ledger), set())

        buyer.settling.evidence.look = absent  # type: ignore[method-assign]
        buyer.sleep = beside
        with pytest.raises(Quarantined):
            buyer.place(shop.request, order_key="k")
        assert len(shop.bought()) == 1
        assert [look.verdict for look in shop.ledger.looks("k")][:3] == ["absent", "inconclusive", "absent"]

    def test_a_found_order_beats_the_proof_of_another_helper(self, shop: Shop, time: Time) -> None:
        """Its looks came too early. The order that is there keeps the purchase from being sent again."""
        lose_the_answer(shop)
        buyer = time.buyer()
        look = buyer.settling.evidence.look

        def proven_absent_meanwhile(purchase: Purchase, *others: Any) -> Any:
            seen = look(purchase, *others)
            shop.ledger.record(purchase, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
            return seen

        buyer.settling.evidence.look = proven_absent_meanwhile  # type: ignore[method-assign]
        placed = buyer.place(shop.request, order_key="k")
        assert [entry.order_id for entry in shop.bought()] == [placed.order_id]


class TestLeases:
    @pytest.mark.parametrize("reader", ["its own next try", "another purchase", "a person"])
    def test_a_worker_with_a_fast_clock_dies_while_sending(self, shop: Shop, time: Time, reader: str) -> None:
        """Its clock is six hours ahead. The wallet waits one sending, by the clock of who comes next."""
        time.skew = 6 * 3600.0
        die_while_sending(time)
        time.skew = 0.0
        began = time.now()
        if reader == "a person":
            with pytest.raises(Exception, match="may be sending"):
                resolving.check_resolvable(shop.ledger, found(shop.ledger))
            time.ahead += LEASE
            resolving.check_resolvable(shop.ledger, found(shop.ledger))
            return
        key = "k" if reader == "its own next try" else "other"
        time.buyer().place(shop.request, order_key=key)
        assert LEASE - 1 <= (time.now() - began).total_seconds() < LEASE + SETTLE + 120
        assert len(shop.bought()) == (1 if key == "k" else 2)

    def test_every_reader_sees_the_cut(self, shop: Shop, time: Time) -> None:
        """Also one that does not wait: the end stands in the ledger, and a second reader does not move it."""
        time.skew = 6 * 3600.0
        die_while_sending(time)
        time.skew = 0.0
        with pytest.raises(WalletHeld):
            time.buyer().settle(found(shop.ledger))
        until = found(shop.ledger).sent_until
        assert until is not None and LEASE - 1 < (until - time.now()).total_seconds() <= LEASE
        time.ahead += 10
        with pytest.raises(WalletHeld):
            time.buyer().settle(found(shop.ledger))
        assert found(shop.ledger).sent_until == until
        time.ahead += LEASE - 10
        assert time.buyer().settle(found(shop.ledger)).order_id == shop.bought()[0].order_id

    def test_a_turn_that_would_last_for_hours(self, shop: Shop, time: Time) -> None:
        """Its worker died right after it had intended the purchase."""
        time.skew = 6 * 3600.0

        class Killed(BaseException):
            pass

        def kill(order_key: str) -> None:
            raise Killed

        with pytest.raises(Killed):
            time.buyer(fence=kill).place(shop.request, order_key="k")
        time.skew = 0.0
        began = time.ahead
        time.buyer().place(shop.request, order_key="other")
        assert time.ahead - began < 130

    def test_a_sender_at_work_keeps_all_its_time(self, shop: Shop, time: Time) -> None:
        """A cut leaves one full length from now, so nobody looks while it may still wait for its answer."""
        time.skew = 30.0
        die_while_sending(time)
        time.skew = 0.0
        sent_at = time.now()
        cut = shop.ledger.cut_sending(found(shop.ledger))
        assert cut.sent_until is not None and (cut.sent_until - sent_at).total_seconds() >= LEASE


def die_while_sending(time: Time) -> None:
    """A worker is killed when the vendor has taken its purchase."""
    buyer = time.buyer()
    send = buyer.http.send

    class Killed(BaseException):
        pass

    def dying(request: Any, permit: Any = None) -> Any:
        answer = send(request, permit)
        if request.spends:
            raise Killed
        return answer

    buyer.http.send = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        buyer.place(time.shop.request, order_key="k")
    assert found(time.shop.ledger).step is Step.SENT


class TestPauses:
    def test_a_long_settle_time_is_waited_for_between_tries(self, shop: Shop, time: Time) -> None:
        """Three tries with the pauses of Airflow's retry policy decide, whatever ``settle`` is."""
        lose_the_answer(shop, "before")
        tries = 0
        while True:
            tries += 1
            try:
                time.buyer(settle=600.0).place(shop.request, order_key="k")
                break
            except OutcomeUnknown as error:
                assert error.retry_after is not None and 590 < error.retry_after <= 601
                delay = OrderRetryPolicy().evaluate(error, tries, 3).retry_delay
                assert delay is not None and delay.total_seconds() == error.retry_after
                time.ahead += delay.total_seconds()
        assert tries == 2 and len(shop.bought()) == 1

    def test_a_task_that_waits_for_the_wallet_comes_back_when_a_look_can_decide(self, shop: Shop, time: Time) -> None:
        lose_the_answer(shop, "before")
        with pytest.raises(OutcomeUnknown):
            time.buyer(settle=900.0).place(shop.request, order_key="k")
        with pytest.raises(WalletHeld) as held:
            time.buyer(settle=900.0).place(shop.request, order_key="other")
        waited = sum(time.slept)
        assert held.value.retry_after is not None and 0 < held.value.retry_after <= 901 - waited + 60
        time.ahead += held.value.retry_after
        time.buyer(settle=900.0).place(shop.request, order_key="other")
        assert len(shop.bought()) == 1, "the first was proven absent on the way, and only its own task buys it"

    def test_the_default_settles_within_one_call(self) -> None:
        for vendor in VENDORS.values():
            assert vendor.capabilities.settle_time <= LONGEST_PAUSE
            assert vendor.capabilities.settle_time >= EDGE_LIMIT + vendor.capabilities.settle >= EDGE_LIMIT + 30

    def test_a_waiting_task_outlasts_the_settling_of_a_lost_worker(self, shop: Shop, time: Time) -> None:
        die_while_sending(time)
        assert time.buyer().place(shop.request, order_key="other").order_id is not None
        assert len(shop.bought()) == 2 and found(shop.ledger).order_id is not None

    def test_a_long_wait_is_told(self, shop: Shop, time: Time) -> None:
        """Silence of minutes looks like a hanging task: each wait says what for and how long, and says it again."""
        lose_the_answer(shop, "before")
        time.buyer().place(shop.request, order_key="k")
        lines = [line for line in shop.said if line.startswith("Waiting for the next look")]
        assert len(lines) == 6 and lines[0].endswith("160 s at most") and lines[-1].endswith("10 s at most")

    def test_the_wait_for_another_try_is_told(self, shop: Shop, time: Time) -> None:
        die_while_sending(time)
        time.buyer().place(shop.request, order_key="k")
        assert sum(line.startswith("Waiting for the answer to 'k'") for line in shop.said) == 2

    def test_the_wait_for_a_turn_is_told(self, shop: Shop, time: Time) -> None:
        die_while_sending(time)
        time.buyer().place(shop.request, order_key="other")
        assert any("the turn on wallet 'iproyal:main', which 'k' has" in line for line in shop.said)

    def test_a_moment_is_not_told(self, shop: Shop, time: Time) -> None:
        lose_the_answer(shop, "before")
        time.buyer(settle=0.5).place(shop.request, order_key="k")
        assert not [line for line in shop.said if line.startswith("Waiting")]


class TestRetryAfter:
    """The vendor answers 429 to a purchase, and asks for a pause."""

    @staticmethod
    def throttle(shop: Shop, seconds: int) -> None:
        headers = {"Retry-After": str(seconds)}
        shop.box.fault(vendor="iproyal", operation="create", when="before", times=1, action="status", status=429, headers=headers)

    def test_a_short_one_is_waited_for(self, shop: Shop, time: Time) -> None:
        self.throttle(shop, 15)
        buyer = time.buyer()
        asked: list[tuple[float, bool]] = []
        send = buyer.http.send

        def sent(request: Any, permit: Any = None) -> Any:
            asked.append((time.ahead, request.spends))
            return send(request, permit)

        buyer.http.send = sent  # type: ignore[method-assign]
        buyer.place(shop.request, order_key="k")
        first = next(number for number, (_, spends) in enumerate(asked) if spends)
        assert asked[first + 1][0] - asked[first][0] >= 14, "no request before the end of the pause"
        assert len(shop.bought()) == 1

    def test_a_long_one_is_the_pause_of_every_task_on_the_wallet(self, shop: Shop, time: Time) -> None:
        self.throttle(shop, 600)
        with pytest.raises(OutcomeUnknown) as unknown:
            time.buyer().place(shop.request, order_key="k")
        assert unknown.value.retry_after == pytest.approx(600, abs=5)
        calls = shop.box.book.count("iproyal")
        for key, kind in (("k", OutcomeUnknown), ("other", WalletHeld)):
            time.ahead += 100
            with pytest.raises(kind) as held:
                time.buyer().place(shop.request, order_key=key)
            assert held.value.retry_after is not None and 390 < held.value.retry_after < 510
        assert shop.box.book.count("iproyal") == calls, "the vendor is left alone"
        time.ahead += 400
        time.buyer().place(shop.request, order_key="k")
        assert len(shop.bought()) == 1

    def test_one_of_a_worker_with_a_fast_clock_lasts_no_longer(self, shop: Shop, time: Time) -> None:
        time.skew = 6 * 3600.0
        time.buyer().settling.rest.begin(50)
        time.skew = 0.0
        rest = time.buyer().settling.rest
        assert rest.left() == pytest.approx(50, abs=2)
        time.ahead += 51
        assert rest.left() == 0


class TestOwnIntent:
    """ProxyScrape quotes no price, so the cap is reserved. A higher cap passes the day's limit and is refused."""

    FIRST = Actor("d", "r", "t", -1, 1, "h")

    def refuse(self, shop: Shop, second: Actor) -> Ledger:
        """A task has intended the purchase; another try, or another task with its key, asks with a higher ``max_price``."""
        shop.caps = Caps(max_order_price=Decimal("40.00"), daily_limit=Decimal("40.00"))

        class Killed(BaseException):
            pass

        def kill(order_key: str) -> None:
            raise Killed

        with pytest.raises(Killed):
            shop.buyer(fence=kill, actor=self.FIRST).place(shop.request, order_key="k", max_price=Decimal("35.00"))
        shop.caps = Caps(max_order_price=Decimal("60.00"), daily_limit=Decimal("40.00"))
        with pytest.raises(CapExceeded, match="daily_limit"):
            shop.buyer(actor=second).place(shop.request, order_key="k", max_price=Decimal("50.00"))
        return shop.ledger

    def test_that_of_an_earlier_try_is_given_back(self, shop_of: ShopOf) -> None:
        ledger = self.refuse(shop_of("proxyscrape"), Actor("d", "r", "t", -1, 2, "elsewhere"))
        assert [entry.why.partition(":")[0] for entry in ledger.history("k")] == ["intended", "not sent"]

    @pytest.mark.parametrize("other", [Actor("d2", "r", "t"), Actor("d", "r2", "t"), Actor("d", "r", "t", 3), Actor()])
    def test_that_of_another_task_stays(self, shop_of: ShopOf, other: Actor) -> None:
        """That task may be about to send. Its reservation counts until it ends."""
        ledger = self.refuse(shop_of("proxyscrape"), other)
        assert [entry.why for entry in ledger.history("k")] == ["intended"]
