"""Vendors that read late, name another order, refuse what they took or charge more, each as the smallest scene."""

from __future__ import annotations

from decimal import Decimal

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.model import TAKEN
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.webhook_sender import payload
from airflow_provider_proxyorders.wire.messages import Response
from tests.vendors import NAMES, ROWS

from .market import whole
from .network import Fate
from .post import Post
from .run import Result, Run
from .scenes import LOST, LOST_AFTER, create, extend, kept, odd, scene

#: Vendors whose evidence decides without a person when an answer was lost.
ALONE = [name for name in NAMES if ROWS[name].vendor.capabilities.create_evidence != "reference"]


def own_orders(run: Run, result: Result) -> None:
    """Every key was bought once and owns the order that was bought for it."""
    assert result.failures == [], "\n".join(result.log)
    for task in run.tasks:
        (charge,) = run.market.of(str(task.key))
        purchase = Ledger(run.engine).find(str(task.key))
        assert purchase is not None and purchase.step in TAKEN, "\n".join(result.log)
        assert run.market.is_of(purchase.order_id, charge), "\n".join(result.log)


# -- whose order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["another_order", "another_id", "doubled_id"])
@pytest.mark.parametrize("vendor", NAMES)
def test_an_answer_that_names_the_previous_order_buys_nothing_for_the_second_key(vendor: str, action: str) -> None:
    run, result = scene(vendor, [create("a", vendor), create("b", vendor, 100.0)], {"b1": [odd(action)]})
    own_orders(run, result)
    assert vendor not in ALONE or not run.person.asked, "\n".join(result.log)


@pytest.mark.parametrize("action", ["another_id", "doubled_id"])
@pytest.mark.parametrize("vendor", NAMES)
def test_an_answer_that_names_no_order_goes_back_to_the_evidence(vendor: str, action: str) -> None:
    run, result = scene(vendor, [create("a", vendor)], {"a1": [odd(action, order="missing")]})
    own_orders(run, result)
    assert vendor not in ALONE or not run.person.asked, "\n".join(result.log)


def test_an_extension_whose_answer_names_another_order_is_still_that_extension() -> None:
    wishes = [extend("a", "e1"), extend("b", "e2", 100.0, "7002")]
    fates = {"b1": [odd("another_order", order="7001")]}
    kept(*scene("iproyal", wishes, fates, targets=[("7001", "main"), ("7002", "main")]))


# -- a refusal is a statement, not a proof -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [None, 402, 403, 409, 422])
@pytest.mark.parametrize("vendor", NAMES)
def test_a_copy_that_is_refused_proves_nothing_about_the_purchase(vendor: str, status: int | None) -> None:
    run, result = scene(vendor, [create("a", vendor)], {"a1": [odd("repeat", status=status)]})
    own_orders(run, result)
    assert vendor not in ALONE or not run.person.asked, "\n".join(result.log)
    assert not any("Nothing was bought" in line for line in result.log), "\n".join(result.log)


def test_an_extension_that_was_refused_after_it_was_taken_is_found() -> None:
    kept(*scene("iproyal", [extend("a", "e1")], {"a1": [odd("repeat")]}, targets=[("7001", "main")]))


@pytest.mark.parametrize("vendor", NAMES)
def test_a_refusal_of_what_was_not_taken_stays_a_refusal(vendor: str) -> None:
    status, body = ROWS[vendor].refusals[0]
    refused = Fate(None, 0.2, instead=Response(status, {"content-type": "application/json", **whole(body)}, body))
    run, result = scene(vendor, [create("a", vendor)], {"a1": [refused]})
    assert result.failures == [] and len(run.market.of("order-a")) <= 1 and not run.person.asked, "\n".join(result.log)


@pytest.mark.parametrize("webhooks", [True, False])
def test_a_refused_reference_that_shows_late_freezes_nothing(webhooks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another purchase reads the balance before it shows the first copy. That read is no mark to compare with later."""
    monkeypatch.setattr(Post, "order_ended", lambda post, order: post._kept("main", payload(order)))
    refused = odd("refuse", when="after", reason="invalid")
    events = [(0.0, lambda run: run.network.refused.add("order-a")), (100.0, lambda run: run.tasks[0].clear())]
    lags = {"hidden": 22.0, "lagging": 22.0, "webhooks": webhooks, "kind": "plain"}
    wishes = [create("a", "voodoo"), create("b", "voodoo", 5.0)]
    held = {("b1", "before claim"): 40.0, ("a1", "before record"): 1.0}
    run, result = scene("voodoo", wishes, {"a1": [refused]}, events=events, held=held, **lags)
    own_orders(run, result)
    assert not run.alarms and bool(run.person.asked) is not webhooks, "\n".join(result.log)


# -- two purchases in doubt at once --------------------------------------------------------------------------------------


def test_a_purchase_that_never_left_is_told_from_one_that_was_misnamed_before_it() -> None:
    """One new sub-account, two purchases in doubt: the money was missing before the second one was sent."""
    wishes = [create("a", "proxyscrape"), create("b", "proxyscrape", 8.0)]
    held = {("a1", "before record"): 0.0, ("a1", "asleep"): 200.0}
    fates = {"a1": [odd("another_id", order="missing")], "b1": [LOST]}
    run, result = scene("proxyscrape", wishes, fates, processing=20.0, held=held)
    kept(run, result)
    own_orders(run, result)


def test_extensions_in_doubt_do_not_explain_each_others_money_for_ever() -> None:
    """One landed, and its task comes back an hour later; the other one never left. Either may have taken the money."""
    wishes = [extend("a", "e1"), extend("b", "e2", 0.8, "7002")]
    held = {("a1", "before record"): None}
    fates = {"a1": [Fate(2.0, 2.2)], "b1": [LOST]}
    events = [(3600.0, lambda run: run.tasks[0].start())]
    targets = [("7001", "main"), ("7002", "main")]
    run, result = scene("iproyal", wishes, fates, targets=targets, held=held, events=events)
    kept(run, result)
    assert [charge.key for charge in run.market.charges] == ["e1", "e2"], "\n".join(result.log)


def test_a_purchase_that_is_taken_after_its_time_limit_makes_no_gap() -> None:
    """Its answer is awaited for 30 s, and the settle time begins after that: a balance read meanwhile is no mark."""
    wishes = [create("a", "iproyal"), extend("b", "e1", 12.0), extend("c", "e2", 60.0, "7002")]
    late = Fate(33.0, 30.0, "timeout")
    targets = [("7001", "main"), ("7002", "main")]
    run, result = scene("iproyal", wishes, {"a1": [late]}, targets=targets, settle=10.0)
    kept(run, result)
    assert not run.alarms, "\n".join(result.log)


# -- a purchase connects first -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", NAMES)
def test_a_worker_that_was_suspended_while_it_connected_sends_nothing_that_others_proved_absent(vendor: str) -> None:
    wishes = [create("a", vendor, key="k"), create("b", vendor, 30.0, key="k")]
    run, result = scene(vendor, wishes, {}, slow={"a1": 3000.0})
    assert result.failures == [] and len(run.market.of("k")) == 1, "\n".join(result.log)


# -- reads that lag ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", NAMES)
def test_the_minimum_balance_holds_while_the_balance_lags(vendor: str) -> None:
    price = ROWS[vendor].goods[0][1]
    caps = Caps(max_order_price=max(price, Decimal(9)), min_balance=Decimal(200) - price)
    wishes = [create("a", vendor), create("b", vendor, 5.0)]
    if not ROWS[vendor].vendor.capabilities.quote_create:
        caps = Caps(max_order_price=price, min_balance=Decimal(200) - price)
    run, result = scene(vendor, wishes, {}, caps=caps, lagging=30.0, balance=Decimal(200))
    assert len(run.market.charges) == 1 and run.market.charges[0].left == caps.min_balance, "\n".join(result.log)
    assert not any(failure for failure in result.failures if not failure.startswith("not finished")), "\n".join(result.log)


@pytest.mark.parametrize("vendor", NAMES)
def test_a_balance_that_lags_does_not_make_one_purchase_pay_for_two(vendor: str) -> None:
    """The first one shows in the balance only after the second one was lost."""
    wishes = [create("a", vendor), create("b", vendor, 3.0)]
    run, result = scene(vendor, wishes, {"b1": [LOST_AFTER]}, lagging=25.0)
    own_orders(run, result)
    assert not run.alarms, "\n".join(result.log)
    assert vendor not in ALONE or not run.person.asked, "\n".join(result.log)


@pytest.mark.parametrize("vendor", ALONE)
def test_a_purchase_that_never_left_is_proven_absent_while_the_balance_lags(vendor: str) -> None:
    wishes = [create("a", vendor), create("b", vendor, 3.0)]
    run, result = scene(vendor, wishes, {"b1": [LOST]}, lagging=25.0)
    kept(run, result)
    own_orders(run, result)


def test_a_list_that_was_empty_for_one_read_does_not_hand_out_an_old_order() -> None:
    """Last week's own order lies above a mark that was read from an empty list."""
    wishes = [create("a", "iproyal"), create("b", "iproyal", 8 * 86400.0)]
    fates = {"b1 list": [odd("unseen")], "b1": [LOST]}
    run, result = scene("iproyal", wishes, fates)
    kept(run, result)
    own_orders(run, result)


# -- what was charged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", NAMES)
def test_a_charge_that_nobody_waited_for_is_seen_by_whoever_buys_next(vendor: str) -> None:
    wishes = [create(name, vendor, 200.0 * number) for number, name in enumerate("abcd")]
    dear = [odd("charge", amount="60.00")]
    fates = {f"{name}1": list(dear) for name in "abcd"}
    run, result = scene(vendor, wishes, fates, unattended=True, caps=Caps(max_order_price=Decimal(20), daily_limit=Decimal(100)))
    assert run.frozen(f"{vendor}:main"), "\n".join(result.log)
    assert len(run.market.charges) <= 2, "\n".join(result.log)


# -- reads that are cut, odd, or early -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ALONE)
def test_a_balance_in_binary_is_the_same_balance(vendor: str) -> None:
    always = [Rule(action="float")]
    for lost in (LOST, LOST_AFTER):
        kept(*scene(vendor, [create("a", vendor)], {"a1": [lost]}, always=always))


def test_a_balance_that_was_cut_short_is_no_balance() -> None:
    fates = {"a1": [LOST], "a1 balance": [odd("cut")]}
    for _ in range(4):
        kept(*scene("iproyal", [create("a", "iproyal")], {name: list(fate) for name, fate in fates.items()}))
        fates["a1 balance"].insert(0, Fate(0.1, 0.2))


@pytest.mark.parametrize("action", ["empty", "html"])
@pytest.mark.parametrize(("vendor", "read"), [("iproyal", "list"), ("iproyal", "balance"), ("proxyscrape", "subaccounts")])
def test_one_bad_answer_right_before_a_purchase_costs_no_evidence(vendor: str, read: str, action: str) -> None:
    body = b"" if action == "empty" else b"<html>wait</html>"
    bad = Fate(0.1, 0.2, instead=Response(200, {"content-type": "text/html", **whole(body)}, body))
    kept(*scene(vendor, [create("a", vendor)], {f"a1 {read}": [bad], "a1": [LOST_AFTER]}))


# -- clocks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-600.0, 600.0])
@pytest.mark.parametrize("lost", [LOST, LOST_AFTER])
@pytest.mark.parametrize("vendor", ALONE)
def test_a_vendors_clock_decides_nothing(vendor: str, lost: Fate, seconds: float) -> None:
    run, result = scene(vendor, [create("a", vendor)], {"a1": [lost]}, always=[Rule(action="clock", seconds=seconds)])
    kept(run, result)
    own_orders(run, result)


def test_a_worker_with_a_clock_hours_ahead_does_not_hold_the_wallet_for_hours() -> None:
    wishes = [create("a", "iproyal", key="k"), create("b", "iproyal", 400.0)]
    held = {("a1", "while create is under way"): None}
    events = [(900.0, lambda run: run.tasks[0].clear())]
    run, result = scene("iproyal", wishes, {"a1": [LOST]}, held=held, skews={"a1": 6 * 3600.0}, events=events)
    own_orders(run, result)
    assert run.market.of("order-b")[0].at < run.scenario.start + 1800, "\n".join(result.log)


# -- limits --------------------------------------------------------------------------------------------------------------


def test_a_repeat_is_not_counted_against_itself() -> None:
    """The repeat has the same reference, so it cannot charge again."""
    price = ROWS["voodoo"].goods[0][1]
    caps = Caps(max_order_price=price, min_balance=Decimal(200) - price)
    run, result = scene("voodoo", [create("a", "voodoo")], {"a1": [LOST_AFTER]}, caps=caps, balance=Decimal(200), webhooks=True)
    own_orders(run, result)


# -- quarantine ----------------------------------------------------------------------------------------------------------


def test_an_order_that_shows_after_a_person_was_asked_settles_it() -> None:
    """The list shows it later than any promise allows for; the next try looks again, and nobody decides."""
    events = [(250.0, lambda run: run.tasks[0].clear())]
    run, result = scene("iproyal", [create("a", "iproyal")], {"a1": [LOST_AFTER]}, kind="late", hidden=200.0, events=events)
    own_orders(run, result)
    assert result.stats["quarantined"] == 1 and not run.person.asked, "\n".join(result.log)
