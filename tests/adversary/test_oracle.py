"""The oracle: it finds each thing that must not be, and nothing in a run without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from . import oracle, report
from .book import Book, Entry
from .plan import BODIES, CALM, Plan, Task, Wallet
from .run import Result

BODY, PRICE = BODIES["iproyal"][0]
WALLET = Wallet("iproyal", "key", Decimal("100.00"), (("shop", ""),), Decimal("10.00"))


def bought(key: str, order_id: str, *, at: float = 10.0, amount: str = "6.00", **changes: Any) -> Entry:
    """A line of the book."""
    entry = Entry(0, key, 1, at - 0.1, at, "create", order_id, amount, "6.00", names=(order_id,))
    return replace(entry, **changes)


def got(key: str, order_id: str, at: float = 20.0) -> dict[str, Any]:
    """What a task says that has its order."""
    return {"key": key, "pid": 1, "run": "run0", "try": 1, "at": at, "story": [], "result": {"order_id": order_id}}


def failed(key: str, error: str, money: str, text: str = "", *, at: float = 20.0, pid: int = 1) -> dict[str, Any]:
    """What a task says that failed."""
    said = {"key": key, "pid": pid, "run": "run0", "try": 1, "at": at, "story": [], "error": error, "money": money}
    return {**said, "text": text, "ours": True, "final": True, "delay": 20.0}


def judge(
    entries: list[Entry], said: list[dict[str, Any]], *, bodies: Sequence[Mapping[str, Any]] = (BODY, BODY), **wallet: Any
) -> oracle.Verdict:
    tasks = tuple(Task(key, 0, "shop", "create", body, PRICE, (0.0,)) for key, body in zip("abc", bodies, strict=False))
    plan = Plan(0, "sqlite", 2, (replace(WALLET, **wallet),), tasks, CALM)
    senders = {entry.key: [entry.pid] for entry in entries}
    harmed = {entry.key for entry in entries if entry.fault}
    said = sorted(said, key=lambda each: float(each["at"]))
    return oracle.judge(Result(plan, Book(entries, senders=senders, harmed=harmed), said, len(said), 0, 0, 0, 1.0))


def kinds(verdict: oracle.Verdict) -> set[str]:
    return {violation.kind for violation in verdict.violations}


def test_a_good_run() -> None:
    refused = failed("b", "CapExceeded", "untouched", "Nothing was bought.")
    verdict = judge([bought("a", "8001")], [got("a", "8001"), refused])
    assert not verdict.violations and not verdict.asked


def test_bought_twice() -> None:
    assert kinds(judge([bought("a", "8001"), bought("a", "8002", at=12)], [got("a", "8002")])) == {"twice", "lost"}


def test_lost() -> None:
    """The task was told that nothing was bought before, and says no more of it."""
    assert "lost" in kinds(judge([bought("a", "8001")], [failed("a", "CapExceeded", "untouched", "Nothing was bought.", at=5)]))


def test_an_extension_is_known_by_the_extended_order() -> None:
    entry = bought("a", "8001", kind="extend", target="7001", names=("7001",))
    assert not judge([entry], [got("a", "7001")]).violations


def test_an_order_of_another_key() -> None:
    verdict = judge([bought("a", "8001"), bought("b", "8002")], [got("a", "8001"), got("b", "8001")])
    assert kinds(verdict) == {"wrong order", "lost"}


@pytest.mark.parametrize("fault", ["names another order", "reset after", ""])
def test_two_equal_orders_that_changed_places(fault: str) -> None:
    """The keys asked for the same, and each has what it paid for. No answer excuses it if none was lost or false."""
    entries = [bought("a", "8001", fault=fault), bought("b", "8002", fault=fault)]
    verdict = judge(entries, [got("a", "8002"), got("b", "8001")])
    assert kinds(verdict) == (set() if fault else {"wrong order", "lost"})
    assert verdict.exchanged == (["a", "b"] if fault else [])


def test_a_key_gets_the_order_of_another_one_that_buys_again() -> None:
    """As many orders as keys; what the second one said of its money holds for the order that it has."""
    absent = failed("b", "WalletHeld", "untouched", "Nothing was bought.", at=15)
    entries = [bought("b", "8001", fault="reset after"), bought("b", "8002", at=18)]
    verdict = judge(entries, [got("a", "8001"), absent, got("b", "8002")])
    assert not verdict.violations and verdict.exchanged == ["a", "b"]
    assert "lost an answer and hold each other's orders: 2 (seed 0 a, b)" in report.text([verdict], 1, 60.0, 4)


@pytest.mark.parametrize(
    ("last", "wrong"),
    [
        (failed("b", "Quarantined", "unknown", "A person has to decide about 'b'.", at=30), set()),
        (failed("b", "CapExceeded", "untouched", "Nothing was bought.", at=30), set()),
        (failed("b", "RequestRefused", "untouched", "Nothing was bought.", at=30), {"lost", "untouched", "wrong order"}),
    ],
    ids=["asks", "is refused by a limit", "believes a refusal"],
)
def test_a_key_gets_the_order_of_another_one_that_gets_none(last: dict[str, Any], wrong: set[str]) -> None:
    verdict = judge([bought("b", "8001", fault="refused after")], [got("a", "8001"), last])
    assert kinds(verdict) == wrong and "a" in (verdict.exchanged or "a" * bool(wrong))


TWO = [bought("a", "8001", fault="reset after"), bought("b", "8002", fault="reset after")]
CROSSED = [got("a", "8002"), got("b", "8001")]


@pytest.mark.parametrize(
    ("entries", "said", "wrong"),
    [
        pytest.param([*TWO, bought("b", "8003", at=12)], CROSSED, {"twice", "lost", "wrong order"}, id="one order too many"),
        pytest.param(TWO, [got("a", "8002"), got("b", "8002")], {"lost", "wrong order"}, id="both hold one"),
        pytest.param(TWO, [*CROSSED, got("a", "8001", at=30)], {"lost", "wrong order"}, id="one key got both"),
        pytest.param(TWO[:1], CROSSED, {"lost", "wrong order"}, id="one order too few"),
        pytest.param(
            TWO, [*CROSSED, failed("a", "CapExceeded", "untouched", at=30)], {"lost", "untouched", "wrong order"}, id="last word"
        ),
        pytest.param(
            TWO, [*CROSSED, failed("a", "CapExceeded", "untouched", at=15)], {"untouched"}, id="untouched after both moved"
        ),
    ],
)
def test_what_is_no_exchange(entries: list[Entry], said: list[dict[str, Any]], wrong: set[str]) -> None:
    assert kinds(judge(entries, said)) == wrong


def test_unequal_orders_that_changed_places() -> None:
    """Each key has goods that it did not ask for."""
    verdict = judge(TWO, CROSSED, bodies=(BODY, BODIES["iproyal"][1][0]))
    assert kinds(verdict) == {"wrong order", "lost"} and not verdict.exchanged


def test_an_exchange_leaves_a_third_key_alone() -> None:
    """Keys whose orders stayed in place are no part of it, and a loss beside it is one."""
    entries = [*TWO, bought("c", "8003")]
    verdict = judge(entries, [*CROSSED, got("c", "8003")], bodies=(BODY, BODY, BODY))
    assert not verdict.violations and verdict.exchanged == ["a", "b"]
    lost = judge(entries, [*CROSSED, failed("c", "CapExceeded", "untouched", at=5)], bodies=(BODY, BODY, BODY))
    assert kinds(lost) == {"lost"} and lost.exchanged == ["a", "b"]


def test_an_order_that_nobody_bought() -> None:
    assert kinds(judge([], [got("a", "8001")])) == {"wrong order"}


@pytest.mark.parametrize("at", [10.05, 20.0])
def test_untouched_said_of_money_that_moved(at: float) -> None:
    """Also while the purchase is on its way: it left before the sentence was said."""
    said = [failed("a", "RequestRefused", "untouched", "Nothing was bought.", at=at), got("a", "8001", at=30)]
    assert kinds(judge([bought("a", "8001")], said)) == {"untouched"}


def test_a_try_that_speaks_of_itself_alone() -> None:
    said = [failed("a", "LedgerError", "untouched", "This try bought nothing.", pid=2), got("a", "8001", at=30)]
    assert not judge([bought("a", "8001")], said).violations


def test_a_person_who_is_asked_is_no_loss() -> None:
    verdict = judge([bought("a", "8001")], [failed("a", "Quarantined", "unknown", "A person has to decide.")])
    assert not verdict.violations and verdict.asked == [("a", "A person has to decide.")]
    assert (verdict.decided, verdict.alone) == (1, 0)


def test_neither_settled_nor_a_question() -> None:
    assert kinds(judge([bought("a", "8001")], [failed("a", "OutcomeUnknown", "unknown", "later")])) == {"unsettled"}


def test_a_limit_that_keeps_a_repeat_back_is_a_persons() -> None:
    text = "Voodoo may have taken 'a': daily_limit would be passed. Raise 'daily_limit' in the connection, or wait."
    assert not judge([bought("a", "8001")], [failed("a", "OutcomeUnknown", "unknown", text)]).violations


@pytest.mark.parametrize(
    "limits", [{"daily_limit": Decimal("11.99")}, {"min_balance": Decimal("88.01")}, {"max_order_price": Decimal("5.99")}]
)
def test_limits_by_the_true_charges(limits: dict[str, Decimal]) -> None:
    entries = [bought("a", "8001"), bought("b", "8002", at=11)]
    said = [got("a", "8001"), got("b", "8002")]
    assert kinds(judge(entries, said, **limits)) == {"caps"}
    assert not judge(entries, said, daily_limit=Decimal("12.00"), min_balance=Decimal("88.00")).violations


def test_after_an_overcharge_everything_stands_still() -> None:
    """The overcharge itself is the vendor's; what is sent after reads have shown it is ours."""
    said = [got("a", "8001"), got("b", "8002", at=40)]
    dear, limits = bought("a", "8001", amount="60.00"), {"daily_limit": Decimal("20.00")}
    assert not judge([dear, bought("b", "8002", at=11)], said, **limits).violations
    assert kinds(judge([dear, bought("b", "8002", at=30)], said, **limits)) == {"caps"}


def test_an_error_that_is_not_ours() -> None:
    said = {**failed("a", "KeyError", "", "boom"), "ours": False}
    assert kinds(judge([], [said])) == {"raw error"}


def test_the_report_names_the_seeds() -> None:
    verdict = judge([bought("a", "8001"), bought("a", "8002", at=12)], [got("a", "8002")])
    text = report.text([verdict], 1, 60.0, 4)
    assert "bought twice: 1 (seeds 0)" in text and "limits passed: 0" in text


def test_the_report_counts_of_what() -> None:
    """A lost answer that settled by itself, and one that a person is asked about, of two keys."""
    asked = failed("b", "Quarantined", "unknown", "A person has to decide.")
    verdict = judge([bought("a", "8001"), bought("b", "8002", at=11)], [got("a", "8001"), asked])
    text = report.text([verdict], 1, 60.0, 4)
    assert "where the vendor leaves evidence: 1 of 2 keys; settled without a person: 0 (0.00 %" in text
    assert "  seed 0 b: A person has to decide." in text


def test_too_many_questions_break_a_promise() -> None:
    good = [oracle.Verdict(seed, decided=10, alone=10) for seed in range(100)]
    assert not report.is_broken([*good, oracle.Verdict(100, decided=5)])
    assert report.is_broken([*good, oracle.Verdict(100, decided=6)])


def test_charged_for_another_order() -> None:
    """The task says what it was charged for, and that is not what it bought."""
    said = [failed("a", "OrderMissing", "charged", "order 9999 (a) was taken for 6.00 USD and no read shows it")]
    assert "lost" in kinds(judge([bought("a", "8001")], said))
