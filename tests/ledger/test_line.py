"""The line before the turn on a wallet: numbered tickets with leases."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import event, text

from airflow_provider_proxyorders.domain.errors import WalletHeld
from airflow_provider_proxyorders.domain.model import Actor, Step
from airflow_provider_proxyorders.ledger import Ledger, StaleClaim, leases

from .test_steps import intent, sent

WALLET = "v:c"
WHO = Actor()


class Time:
    def __init__(self, ledger: Ledger):
        self.ahead = 0.0
        ledger.clock = lambda: datetime(2026, 11, 28, tzinfo=timezone.utc) + timedelta(seconds=self.ahead)


@pytest.fixture
def time(ledger: Ledger) -> Time:
    return Time(ledger)


def line_up(ledger: Ledger, *keys: str) -> None:
    for key in keys:
        ledger.line_up(WALLET, key)


def test_first_come_first_served(ledger: Ledger, time: Time) -> None:
    """The turn is free, and everybody but the first in the line is refused, a newcomer above all."""
    line_up(ledger, "a", "b", "c")
    for first, others in (("a", ("b", "c", "new")), ("b", ("c", "new")), ("c", ("new",))):
        for other in others:
            with pytest.raises(WalletHeld, match=f"'{first}' first") as held:
                ledger.intend(intent(other), WHO)
            assert held.value.blocker is None
        ledger.release(ledger.intend(intent(first), WHO), "done", WHO)
    assert ledger.intend(intent("new"), WHO).step is Step.INTENDED


def test_a_place_in_the_line(ledger: Ledger, time: Time) -> None:
    ledger.intend(intent("holder"), WHO)
    line_up(ledger, "a", "b", "c", "a")  # drawn twice, it keeps its first number
    places = {key: ledger.place_in_line(WALLET, key) for key in ("a", "b", "c")}
    assert {key: place.ahead for key, place in places.items()} == {"a": 0, "b": 1, "c": 2}
    assert {(place.turn_key, place.turn_fence, place.left, place.too_long) for place in places.values()} == {
        ("holder", 1, leases.TICKET, False)
    }
    assert not places["a"].lets_go("a") and places["a"].lets_go("holder")
    ledger.leave_line(WALLET, "b")
    assert ledger.place_in_line(WALLET, "c").ahead == 1
    assert ledger.place_in_line(WALLET, "b").left is None


def test_a_dead_waiter_ends_with_its_lease_and_gets_its_place_back(ledger: Ledger, time: Time) -> None:
    line_up(ledger, "stands still", "b")
    time.ahead = leases.TICKET - 1
    ledger.renew_ticket(WALLET, "b", leases.TICKET)
    assert ledger.place_in_line(WALLET, "b").ahead == 1
    time.ahead = leases.TICKET
    assert ledger.place_in_line(WALLET, "b").ahead == 0
    ledger.renew_ticket(WALLET, "stands still", leases.TICKET)
    assert ledger.place_in_line(WALLET, "b").ahead == 1
    time.ahead = 2 * leases.TICKET
    ledger.renew_ticket(WALLET, "b", leases.TICKET)
    assert ledger.intend(intent("b"), WHO).step is Step.INTENDED


def test_the_turn_of_a_dead_holder_goes_to_the_first_in_the_line(ledger: Ledger, time: Time) -> None:
    ledger.intend(intent("died"), WHO)
    time.ahead = leases.TURN - 1
    line_up(ledger, "a", "b")
    assert not ledger.place_in_line(WALLET, "a").lets_go("a")
    time.ahead = leases.TURN
    with pytest.raises(WalletHeld):
        ledger.intend(intent("died"), WHO)  # it comes back too late, and lines up like everybody
    assert [ledger.place_in_line(WALLET, key).lets_go(key) for key in ("a", "b")] == [True, False]
    assert ledger.intend(intent("a"), WHO).step is Step.INTENDED


def test_a_holder_needs_no_ticket_for_another_try(ledger: Ledger, time: Time) -> None:
    ledger.intend(intent("holder"), WHO)
    line_up(ledger, "a")
    assert ledger.intend(intent("holder"), WHO).fence == 2


def test_an_unresolved_purchase_holds_the_whole_line(ledger: Ledger, time: Time) -> None:
    ledger.record(sent(ledger, "lost"), Step.UNKNOWN, "no answer", WHO)
    line_up(ledger, "a", "b")
    for key in ("a", "b"):
        with pytest.raises(WalletHeld, match="'lost' .* is unknown") as held:
            ledger.intend(intent(key), WHO)
        assert held.value.blocker == "lost"


def test_a_clock_that_runs_ahead_holds_no_line(ledger: Ledger, time: Time) -> None:
    """Its host draws a ticket, and dies. The next waiter cuts the end."""
    time.ahead = 6 * 3600.0
    line_up(ledger, "ahead")
    time.ahead = 0.0
    line_up(ledger, "a")
    assert ledger.place_in_line(WALLET, "a").too_long
    ledger.cut_turn(WALLET)
    assert not ledger.place_in_line(WALLET, "a").too_long
    time.ahead = leases.TURN
    line_up(ledger, "a")
    assert ledger.place_in_line(WALLET, "a").ahead == 0


def test_old_tickets_are_deleted(ledger: Ledger, time: Time) -> None:
    line_up(ledger, "dead")
    time.ahead = 3600.0
    line_up(ledger, "a")
    with ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT order_key FROM proxyorders_tickets")).scalars().all() == ["a"]


def test_a_frozen_wallet_lets_everybody_go_to_be_refused(ledger: Ledger, time: Time) -> None:
    line_up(ledger, "a", "b")
    ledger.freeze(WALLET, "a reason")
    assert ledger.place_in_line(WALLET, "b").lets_go("b")


def test_the_line_costs_nothing_where_nobody_waits(ledger: Ledger) -> None:
    """The first ticket is read with the unresolved purchase. A look of a waiter is one statement."""
    asked: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))

    def counted(key: str) -> list[str]:
        asked.clear()
        ledger.release(ledger.intend(intent(key), WHO), "", WHO)
        return [statement for statement in asked if not statement.startswith("BEGIN")]

    counted("first of its wallet")
    statements = counted("a")
    assert sum("proxyorders_tickets" in statement for statement in statements) == 1
    line_up(ledger, "b")
    used_up = 0 if ledger.engine.dialect.name == "postgresql" else 1  # in PostgreSQL that travels with another statement
    assert len(counted("b")) == len(statements) + used_up
    assert ledger.place_in_line(WALLET, "b").left is None
    line_up(ledger, "c")
    asked.clear()
    ledger.place_in_line(WALLET, "c")
    assert len(asked) == 1


def test_a_claim_searches_no_purchases(ledger: Ledger) -> None:
    """What was sent since its intent stands in the wallet's row, so a large ledger claims as fast as a small one."""
    purchase = ledger.intend(intent("a"), WHO)
    asked: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))
    ledger.claim(purchase, WHO, evidence={}, sent_seconds=60, alone=True)
    statements = [statement for statement in asked if not statement.startswith("BEGIN")]
    trips = 3 if ledger.engine.dialect.name == "postgresql" else 5
    assert len(statements) == trips and not any("FROM proxyorders_purchases" in statement for statement in statements)


def test_a_sending_of_another_turn_outdates_the_evidence(ledger: Ledger, time: Time) -> None:
    """Each lost its turn before it was sent; the intents, and not the turns, tell what is outdated."""
    early, late = ledger.intend(intent("early"), WHO, turn_seconds=-1), ledger.intend(intent("late"), WHO, turn_seconds=-1)
    claimed = ledger.claim(late, WHO, evidence={}, sent_seconds=60, alone=True)
    with pytest.raises(StaleClaim, match="'late' was sent since 'early' was intended"):
        ledger.claim(early, WHO, evidence={}, sent_seconds=60, alone=True)
    with pytest.raises(StaleClaim, match="'late' was sent"):
        ledger.check_alone(early)
    claimed = ledger.record(claimed, Step.INTENDED, "refused for its login", WHO)
    assert ledger.claim(claimed, WHO, evidence={}, sent_seconds=60, alone=True).step is Step.SENT, "its own is no other"
