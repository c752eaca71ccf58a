"""The life of a purchase in the ledger: the steps of ``LIFE`` only, by the holder of the claim only, every step kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import LedgerError, OrderKeyConflict, WalletHeld
from airflow_provider_proxyorders.domain.model import LIFE, TAKEN, Actor, Money, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, StaleClaim, open_ledger, turns
from airflow_provider_proxyorders.ledger.bulk import owned_among
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.writes import change
from tests.counted import counted
from tests.ledgers import sqlite_ledger

WHO = Actor("dag", "run", "task", 3, 2, "host-1")


def intent(key: str = "k", **changes: Any) -> Intent:
    values: dict[str, Any] = {
        "order_key": key,
        "kind": "create",
        "vendor": "v",
        "conn_id": "c",
        "wallet": "v:c",
        "fingerprint": "a" * 64,
        "request": {"quantity": 2},
        "amount": Money(Decimal("2.50"), "USD"),
        **changes,
    }
    return Intent(**values)


def sent(ledger: Ledger, key: str = "k", **changes: Any) -> Purchase:
    purchase = ledger.intend(intent(key, **changes), WHO)
    return ledger.claim(purchase, WHO, evidence={"balance": "10.00"}, sent_seconds=60)


def placed(ledger: Ledger, key: str = "k") -> Purchase:
    vendor_order = VendorOrder("77", OrderStatus.PENDING, "paid", price=Money(Decimal("2.25"), "USD"))
    return ledger.record(sent(ledger, key), Step.PLACED, "the answer", WHO, vendor_order=vendor_order)


def test_what_was_written_is_read_back_exactly(ledger: Ledger) -> None:
    purchase = placed(ledger)
    read_back = ledger.find("k")
    assert read_back == purchase
    assert read_back.price == Money(Decimal("2.25"), "USD") and read_back.reserved == Money(Decimal("2.50"), "USD")
    assert read_back.request == {"quantity": 2} and read_back.evidence == {"balance": "10.00"}
    assert (read_back.step, read_back.order_id, read_back.vendor_status, read_back.fence) == (Step.PLACED, "77", "paid", 2)
    assert read_back.sent_until is not None and read_back.sent_at is not None
    assert read_back.sent_until - read_back.sent_at == timedelta(seconds=60)


def test_no_sign_in_what_a_vendor_says_keeps_an_order_from_being_written_down(ledger: Ledger) -> None:
    odd = "\0half a pair \ud800, " + "long " * 100
    purchase = ledger.claim(ledger.intend(intent(), WHO), WHO, evidence={"said": odd}, sent_seconds=60)
    vendor_order = VendorOrder("77", OrderStatus.FAILED, odd, reason=odd, price=Money(Decimal("2.25"), "MONOPOLY MONEY"))
    purchase = ledger.record(purchase, Step.FAILED, odd, WHO, vendor_order=vendor_order)
    ledger.freeze("v:c", odd)
    read_back = ledger.find("k")
    assert read_back is not None and read_back.step is Step.FAILED and read_back.order_id == "77"
    assert read_back.vendor_status == "?half a pair ?, " + "long " * 36 + "long"
    assert read_back.reason == "?half a pair ?, " + "long " * 100 == ledger.history("k")[-1].why == ledger.freeze_reason("v:c")
    assert read_back.price == Money(Decimal("2.25"), "MONOPOLY M")


def test_every_step_is_kept_with_actor_time_and_reason(ledger: Ledger) -> None:
    placed(ledger)
    history = ledger.history("k")
    assert [row.step for row in history] == [Step.INTENDED, Step.SENT, Step.PLACED]
    assert all(row.actor == WHO for row in history)
    assert [row.why for row in history] == ["intended", "sending now", "the answer"]
    assert abs(history[0].at - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_an_unused_key_has_no_purchase(ledger: Ledger) -> None:
    assert ledger.find("never used") is None
    assert ledger.history("never used") == []


@pytest.mark.parametrize("after", list(Step))
@pytest.mark.parametrize("before", list(Step))
def test_only_the_steps_of_the_table_are_taken(tmp_path: Any, before: Step, after: Step) -> None:
    from airflow_provider_proxyorders.ledger import open_ledger

    ledger = open_ledger(sqlite_ledger(tmp_path))
    purchase = at_step(ledger, before)
    if after in LIFE[before] or after is before:
        assert ledger.record(purchase, after, "on", WHO).step is after
    else:
        with pytest.raises(LedgerError, match="cannot go from"):
            ledger.record(purchase, after, "on", WHO)
        assert ledger.find("k") == purchase


def at_step(ledger: Ledger, step: Step) -> Purchase:
    """A purchase brought to a step by the shortest way the table allows."""
    purchase = ledger.intend(intent(), WHO)
    ways: list[list[Step]] = [[Step.INTENDED]]
    while ways[0][-1] is not step:
        ways = [way + [after] for way in ways for after in LIFE[way[-1]] if after not in way]
        ways.sort(key=lambda way: way[-1] is not step)
    for following in ways[0][1:]:
        purchase = ledger.record(purchase, following, "on the way", WHO)
    return purchase


def test_a_worker_that_lost_the_claim_writes_nothing(ledger: Ledger) -> None:
    purchase = ledger.intend(intent(), WHO)
    ledger.intend(intent(), WHO)  # another try takes over
    with pytest.raises(StaleClaim):
        ledger.claim(purchase, WHO, evidence={}, sent_seconds=60)
    zombie = sent(ledger)
    ledger.record(zombie, Step.UNKNOWN, "given up", WHO)
    before = ledger.history("k")
    for step in (Step.PLACED, Step.REJECTED, Step.INTENDED, Step.UNKNOWN):
        with pytest.raises(StaleClaim):
            ledger.record(zombie, step, "a zombie", WHO)
    assert ledger.history("k") == before


def test_of_many_claimers_one_wins(ledger: Ledger) -> None:
    purchase = ledger.intend(intent(), WHO)
    won: list[Purchase] = []
    lost: list[StaleClaim] = []
    ready = threading.Barrier(8)

    def claim() -> None:
        ready.wait()
        try:
            won.append(ledger.claim(purchase, WHO, evidence={}, sent_seconds=60))
        except StaleClaim as error:
            lost.append(error)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert [row.step for row in ledger.history("k")] == [Step.INTENDED, Step.SENT]


def test_a_key_that_was_sent_is_handed_back_as_it_stands(ledger: Ledger) -> None:
    purchase = placed(ledger)
    assert ledger.intend(intent(), WHO) == purchase


def test_the_same_key_with_another_request_is_a_conflict_that_shows_the_difference(ledger: Ledger) -> None:
    placed(ledger)
    with pytest.raises(OrderKeyConflict, match=r"quantity: 2 -> 3.*Nothing was sent"):
        ledger.intend(intent(fingerprint="b" * 64, request={"quantity": 3}), WHO)


def test_a_rejected_key_may_be_intended_anew_even_with_a_corrected_request(ledger: Ledger) -> None:
    ledger.record(sent(ledger), Step.REJECTED, "refused", WHO)
    again = ledger.intend(intent(fingerprint="b" * 64, request={"quantity": 3}), WHO)
    assert (again.step, again.request, again.fence) == (Step.INTENDED, {"quantity": 3}, 3)


def test_one_purchase_at_a_time_on_a_wallet(ledger: Ledger) -> None:
    first = ledger.intend(intent("first"), WHO)
    with pytest.raises(WalletHeld) as refused:
        ledger.intend(intent("second"), WHO)
    assert refused.value.blocker == "first"
    ledger.intend(intent("elsewhere", wallet="v:other"), WHO)  # another wallet is another lane
    ledger.intend(intent("extension", kind="extend", takes_turn=False), WHO)  # has evidence of its own
    first = ledger.claim(first, WHO, evidence={}, sent_seconds=60)
    with pytest.raises(WalletHeld):
        ledger.intend(intent("second"), WHO)
    ledger.record(first, Step.PLACED, "done", WHO, vendor_order=VendorOrder("1", OrderStatus.PENDING, "paid"))
    assert ledger.intend(intent("second"), WHO).step is Step.INTENDED


@pytest.mark.parametrize("step", [Step.UNKNOWN, Step.QUARANTINED])
def test_an_unresolved_purchase_holds_the_wallet_for_as_long_as_it_takes(ledger: Ledger, step: Step) -> None:
    purchase = ledger.record(sent(ledger, "lost"), Step.UNKNOWN, "no answer", WHO)
    if step is Step.QUARANTINED:
        ledger.record(purchase, step, "inconclusive", WHO)
    ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(days=30)
    with pytest.raises(WalletHeld, match="'lost'"):
        ledger.intend(intent("second"), WHO)


def test_the_lane_of_a_worker_that_died_before_sending_runs_out(ledger: Ledger) -> None:
    ledger.intend(intent("died"), WHO, turn_seconds=60)
    with pytest.raises(WalletHeld):
        ledger.intend(intent("second"), WHO)
    ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=61)
    assert ledger.intend(intent("second"), WHO).step is Step.INTENDED


def test_a_value_is_decided_once(ledger: Ledger) -> None:
    assert ledger.get("n") is None
    assert [ledger.decide_once("n", "first"), ledger.decide_once("n", "second"), ledger.get("n")] == ["first", "first", "first"]


def test_ids_that_the_ledger_owns(ledger: Ledger) -> None:
    placed(ledger)
    assert owned_among(ledger, "v:c", ["77", "78"]) == {"77"}
    assert owned_among(ledger, "v:other", ["77"]) == set()
    assert [purchase.order_key for purchase in ledger.by_order_id("v:c", "77")] == ["k"]


class TestDoubt:
    """A purchase that waits to be sent again may have landed before: a late answer or a person says so."""

    @pytest.mark.parametrize("step", [Step.INTENDED, Step.REJECTED])
    def test_it_is_unknown_and_counted_again(self, ledger: Ledger, step: Step) -> None:
        purchase = ledger.record(sent(ledger), step, "it was proven absent", WHO, maybe_sent=False)
        assert counted(ledger, "v:c") == 0
        doubted = ledger.reopen(purchase, "a late answer", WHO)
        assert (doubted.step, doubted.maybe_sent) == (Step.UNKNOWN, True) and doubted == ledger.find("k")
        assert counted(ledger, "v:c") == Decimal("2.50")
        with pytest.raises(WalletHeld):
            ledger.intend(intent("another"), WHO)

    def test_a_worker_with_an_intent_from_before_cannot_send_it(self, ledger: Ledger) -> None:
        purchase = ledger.intend(intent(), WHO)
        ledger.reopen(purchase, "a late answer", WHO)
        with pytest.raises(StaleClaim):
            ledger.claim(purchase, WHO, evidence={}, sent_seconds=60)

    def test_what_was_sent_meanwhile_is_left_alone(self, ledger: Ledger) -> None:
        purchase = ledger.intend(intent(), WHO)
        claimed = ledger.claim(purchase, WHO, evidence={}, sent_seconds=60)
        with pytest.raises(StaleClaim):
            ledger.reopen(purchase, "a late answer", WHO)
        assert ledger.find("k") == claimed

    @pytest.mark.parametrize("step", sorted(TAKEN | {Step.QUARANTINED}))
    def test_only_what_stood_to_be_sent(self, tmp_path: Any, step: Step) -> None:
        from airflow_provider_proxyorders.ledger import open_ledger

        ledger = open_ledger(sqlite_ledger(tmp_path))
        purchase = at_step(ledger, step)
        with pytest.raises(LedgerError, match="cannot go from"):
            ledger.reopen(purchase, "no reason", WHO)
        assert ledger.find("k") == purchase


def test_a_charge_that_cannot_be_read_freezes_the_wallet_once(ledger: Ledger) -> None:
    """The reservation still counts. After a person has looked, the same order freezes nothing again."""
    odd = VendorOrder("7001", OrderStatus.PENDING, "pending", unreadable_charge="price")
    purchase = ledger.record(sent(ledger), Step.PLACED, "the answer", Actor(), vendor_order=odd)
    assert (purchase.step, purchase.price) == (Step.PLACED, None)
    assert "order 7001 (k) has no readable amount in 'price'" in str(ledger.freeze_reason(purchase.wallet))
    ledger.freeze(purchase.wallet, None)
    seen = ledger.record(purchase, Step.PLACED, "a read", Actor(), vendor_order=odd, confirmed=True)
    ledger.record(seen, Step.DELIVERED, "a later read", Actor(), vendor_order=replace(odd, status=OrderStatus.DELIVERED))
    assert ledger.freeze_reason(purchase.wallet) is None


def test_the_last_step_before_a_read_has_no_step_of_the_wallet_on_its_way(postgres_url: str) -> None:
    """A worker stands still before the commit of SENT, and a purchase of another wallet gets a greater number meanwhile.

    The balance that is read now does not show the first one's charge, so its step must count as later than the read.
    """
    ledger, beside = open_ledger(postgres_url), open_ledger(postgres_url)
    purchase = ledger.intend(intent(), WHO)
    with ThreadPoolExecutor(1) as pool, ledger.engine.begin() as connection:
        turns.lock(connection, "v:c")
        change(connection, purchase, Step.SENT, "sending now", WHO, purchase.created_at, {"sent_at": stamp(purchase.created_at)})
        sent(beside, "other", wallet="v:other")
        asked = pool.submit(beside.last_step_of, "v:c")
        assert not wait([asked], timeout=1.0).done, "it answered while a step of the wallet was on its way"
    assert asked.result(30) >= ledger.sent_after("v:c", 0, purchase.created_at)[0].number
