"""What the campaigns found, each as the smallest scene that showed it: written by hand, played in virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded, LedgerError, WalletHeld
from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, StaleClaim, open_ledger
from airflow_provider_proxyorders.ledger.evidence import Floor, Shown
from tests.ledgers import sqlite_ledger

from . import run as run_module
from .books import Books
from .network import Fate
from .post import Post
from .scenes import LOST, LOST_AFTER, create, extend, kept, scene, seconds

# -- scenes: whole tasks, with what becomes of each purchase written down ----------------------------------------------


def test_an_extension_that_was_lost_is_decided_although_others_spend() -> None:
    """Extensions go on beside each other, so the balance falls for reasons that the ledger knows."""
    wishes = [extend("a", "e1"), extend("b", "e2", 1.5, "7002"), create("c", "iproyal", 10.0)]
    kept(*scene("iproyal", wishes, {"a1": [LOST]}, targets=[("7001", "main"), ("7002", "main")]))


def test_an_extension_is_not_taken_for_another_of_the_same_order() -> None:
    """The first one shows in the order late; the second one is lost, and must not be seen in it."""
    wishes = [extend("a", "first"), extend("b", "second", 3.0)]
    run, result = scene("iproyal", wishes, {"b1": [LOST]}, targets=[("7001", "main")], extend_processing=20.0)
    kept(run, result)
    assert [charge.key for charge in run.market.charges] == ["first", "second"]


def test_a_purchase_in_doubt_counts_until_it_is_decided() -> None:
    """Its repeat cannot be sent; its reservation must not be given back, nor may it look as if nothing was open."""
    run, result = scene("voodoo", [create("a", "voodoo")], {"a1": [LOST_AFTER, Fate(None, 1.0, "refused")]})
    assert result.failures == [] and list(run.person.asked) == ["order-a"], "\n".join(result.log)
    unknown = next(number for number, line in enumerate(result.log) if "NeverSent" in line or "OutcomeUnknown" in line)
    assert "order-a unknown" in result.log[unknown - 1], "\n".join(result.log)


def test_a_ledger_that_goes_away_after_a_sending_does_not_say_that_nothing_was_bought(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Books.maybe_refunded

    def gone(self: Books, order: Purchase) -> list[str]:
        if self.worker.name == "a1":
            raise LedgerError("gone for a moment")
        return real(self, order)

    monkeypatch.setattr(Books, "maybe_refunded", gone)
    run, result = scene("iproyal", [create("a", "iproyal")], {"a1": [LOST_AFTER]})
    kept(run, result)  # the checker compares what is said with what was bought
    assert any("OutcomeUnknown (unknown, retry soon)" in line for line in result.log)


def test_money_that_came_back_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look saw the balance fall; that it is as before now is no proof that nothing was bought."""
    monkeypatch.setattr(run_module, "BAD_ENDS", {"proxyscrape": ("refunded",)})
    run, result = scene("proxyscrape", [create("a", "proxyscrape")], {"a1": [LOST_AFTER]}, processing=30.0, bad_ends=1.0)
    assert result.failures == [] and list(run.person.asked) == ["order-a"], "\n".join(result.log)
    assert len(run.market.charges) == 1 and not any("APART" in line for line in result.log)


def test_money_that_came_back_for_another_order_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One order is paid back and the lost one is charged the same and blocked: the balance is as before."""
    ends = ["refunded", "blocked"]

    class Ends(dict[str, tuple[str, ...]]):
        def __getitem__(self, vendor: str) -> tuple[str, ...]:
            return (ends.pop(0) if ends else "failed",)

    monkeypatch.setattr(run_module, "BAD_ENDS", Ends())
    wishes = [create("a", "proxyscrape"), create("b", "proxyscrape", 3.0)]
    held = {("b1", "before record"): 200.0}
    run, result = scene("proxyscrape", wishes, {"b1": [LOST_AFTER]}, processing=30.0, bad_ends=1.0, held=held)
    assert result.failures == [] and list(run.person.asked) == ["order-b"], "\n".join(result.log)
    assert len(run.market.charges) == 2 and not any("APART" in line for line in result.log)


def test_looks_count_by_when_they_were_made() -> None:
    """Two looks half a second apart prove nothing, however long the worker was held up before it wrote the second one down."""
    wishes = [create("a", "iproyal", key="k"), create("b", "iproyal", 1.5, key="k")]
    late = Fate(20.0, 1.0, "reset")
    kept(*scene("iproyal", wishes, {"a1": [late]}, held={("b1", "before record"): 100.0, ("a1", "asleep"): 200.0}))


def test_two_tries_of_one_purchase_do_not_overtake_each_other_for_ever() -> None:
    wishes = [create("a", "iproyal", key="k"), create("b", "iproyal", 30.0, key="k")]
    run, result = scene("iproyal", wishes, {}, pace=0.05)
    kept(run, result)
    assert result.stats["tries"] <= 4 and sum("intended (fence" in line for line in result.log) <= 4, "\n".join(result.log)


def test_a_purchase_waits_for_its_place_before_it_is_claimed() -> None:
    """Between its last check and the first byte nothing of ours may hold it up."""
    _, result = scene("iproyal", [create("a", "iproyal")], {}, pace=0.05)
    claimed = next(line for line in result.log if "ledger claim" in line)
    left = next(line for line in result.log if "-> create" in line)
    assert abs(seconds(left) - seconds(claimed)) < 0.1


def test_who_waits_for_a_wallet_does_not_ask_the_vendor_again_and_again() -> None:
    run, result = scene("iproyal", [create("a", "iproyal"), create("b", "iproyal", 5.0)], {"a1": [LOST]}, settle=200.0)
    kept(run, result)
    assert run.market.state.book.count("iproyal", "list") < 12, "\n".join(result.log)


def test_a_webhook_that_never_comes_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every repeat is refused anew; the first refusal counts."""
    monkeypatch.setattr(Post, "order_ended", lambda *_: None)
    run, result = scene("voodoo", [create("a", "voodoo")], {"a1": [LOST_AFTER]}, webhooks=True)
    assert result.failures == [] and list(run.person.asked) == ["order-a"], "\n".join(result.log)


# -- the ledger alone --------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_ledger(tmp_path))


def intent(key: str, *, amount: str = "6.00", caps: Caps | None = None, target: str | None = None) -> Intent:
    kind = "create" if target is None else "extend"
    money = Money(Decimal(amount), "USD")
    return Intent(key, kind, "iproyal", "c", "w", "f" * 64, {}, money, target, caps or Caps(), takes_turn=target is None)


def sent(ledger: Ledger, key: str, **options: Any) -> Purchase:
    order = ledger.intend(intent(key, **options), Actor())
    return ledger.claim(order, Actor(), evidence={}, sent_seconds=0.0, alone=True)


def placed(ledger: Ledger, order: Purchase, price: str = "6.00") -> Purchase:
    vendor_order = VendorOrder(f"id-{order.order_key}", OrderStatus.PENDING, "in-progress", price=Money(Decimal(price), "USD"))
    return ledger.record(order, Step.PLACED, "", Actor(), vendor_order=vendor_order)


def test_who_was_held_up_and_lost_its_turn_reads_its_evidence_anew(ledger: Ledger) -> None:
    slow = ledger.intend(intent("slow"), Actor(), turn_seconds=-1.0)
    placed(ledger, sent(ledger, "quick"))
    with pytest.raises(StaleClaim, match="'quick' was sent since 'slow' was intended"):
        ledger.claim(slow, Actor(), evidence={}, sent_seconds=0.0, alone=True)
    again = ledger.intend(intent("slow"), Actor())
    assert ledger.claim(again, Actor(), evidence={}, sent_seconds=0.0, alone=True).step is Step.SENT


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_refusal_whose_first_copy_was_perhaps_taken_counts_for_the_minimum(ledger: Ledger, uncertain: bool) -> None:
    """The balance may not show it yet. A later read shows it, or shows that nothing was taken."""
    ledger.record(sent(ledger, "refused"), Step.REJECTED, "", Actor(), uncertain=uncertain)
    purchase = ledger.intend(intent("next"), Actor())
    before = Shown(0, ledger.clock() - timedelta(hours=1))
    floor = Floor(Money(Decimal(20), "USD"), Decimal(10), before)
    if uncertain:
        with pytest.raises(WalletHeld, match=r"may not show 6\.00"):
            ledger.check_claim(purchase, floor=floor)
        floor = replace(floor, shown=Shown(ledger.last_step(), ledger.clock()))
    ledger.check_claim(purchase, floor=floor)


def test_extensions_of_one_order_take_turns_until_they_show(ledger: Ledger) -> None:
    slow, other = ledger.intend(intent("slow", target="1"), Actor()), ledger.intend(intent("other", target="2"), Actor())
    quick = placed(ledger, sent(ledger, "quick", target="1"))
    with pytest.raises(StaleClaim, match="'quick' was sent"):
        ledger.claim(slow, Actor(), evidence={}, sent_seconds=0.0, alone=True)
    with pytest.raises(WalletHeld, match="'quick' .* is placed"):
        ledger.intend(intent("slow", target="1"), Actor())
    assert ledger.claim(other, Actor(), evidence={}, sent_seconds=0.0, alone=True).step is Step.SENT
    ledger.record(quick, Step.DELIVERED, "it shows", Actor())
    assert sent(ledger, "slow", target="1").step is Step.SENT


def test_a_proof_gives_the_reservation_back(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal(6))
    lost = ledger.record(sent(ledger, "a", caps=caps), Step.UNKNOWN, "", Actor())
    ledger.record(lost, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
    assert sent(ledger, "b", caps=caps).step is Step.SENT
    with pytest.raises(CapExceeded):
        ledger.intend(replace(intent("a", caps=caps), takes_turn=False), Actor())


def test_a_doubtful_purchase_that_cannot_be_repeated_keeps_its_reservation_and_is_open(ledger: Ledger) -> None:
    caps = Caps(daily_limit=Decimal(6))
    lost = ledger.record(sent(ledger, "a", caps=caps), Step.UNKNOWN, "", Actor())
    again = ledger.record(lost, Step.INTENDED, "to be sent again under its reference", Actor())
    assert ledger.release(again, "it could not be sent", Actor()).step is Step.UNKNOWN
    with pytest.raises((CapExceeded, WalletHeld)):
        ledger.intend(intent("b", caps=caps), Actor())
    with pytest.raises(CapExceeded):
        ledger.intend(replace(intent("b", caps=caps), takes_turn=False), Actor())


def test_what_a_try_reserved_yesterday_does_not_stand_in_its_way_today(ledger: Ledger) -> None:
    now = datetime(2031, 3, 5, 23, 59, tzinfo=timezone.utc)
    ledger.clock = lambda: now
    caps = Caps(monthly_limit=Decimal(6))
    ledger.intend(intent("a", caps=caps), Actor())
    now += timedelta(minutes=2)
    assert ledger.intend(intent("a", caps=caps), Actor()).step is Step.INTENDED


def test_the_minimum_balance_counts_what_was_charged_since_the_balance_was_read(ledger: Ledger) -> None:
    order = ledger.intend(intent("a", target="1"), Actor())
    placed(ledger, sent(ledger, "b", target="2"))
    shown = Shown(ledger.sent_after("w", 0, order.created_at)[0].number - 1, order.created_at)
    floor = Floor(Money(Decimal(16), "USD"), Decimal(5), shown)
    with pytest.raises(WalletHeld, match="may not show 6.00"):
        ledger.claim(order, Actor(), evidence={}, sent_seconds=0.0, floor=floor, alone=True)


def test_a_wallet_that_froze_meanwhile_sends_nothing_more(ledger: Ledger) -> None:
    order = ledger.intend(intent("a"), Actor())
    ledger.freeze("w", "because")
    with pytest.raises(CapExceeded, match="frozen: because"):
        ledger.claim(order, Actor(), evidence={}, sent_seconds=0.0)


def test_a_charge_above_its_cap_freezes_the_wallet_in_the_same_commit_and_only_once(ledger: Ledger) -> None:
    order = placed(ledger, sent(ledger, "a"), price="6.01")
    assert "was charged 6.01 USD, above its cap of 6.00 USD" in (ledger.freeze_reason("w") or "")
    ledger.freeze("w", None)  # a person has looked into it
    ledger.record(order, Step.DELIVERED, "", Actor(), vendor_order=VendorOrder("id-a", OrderStatus.DELIVERED, "confirmed"))
    assert ledger.freeze_reason("w") is None
