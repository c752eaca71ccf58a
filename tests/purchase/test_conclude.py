"""P1 and P3: what several looks at the vendor prove together. The whole truth table of one pure function."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import product

import pytest

from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
from airflow_provider_proxyorders.ledger.looks import NotedLook
from airflow_provider_proxyorders.purchase.proof import Absent, AskPerson, Found, Wait, conclude

SETTLE, SENDING = 30.0, 35.0
#: How long looks of one verdict must lie apart: five settle times and one sending where the view was limited.
NEEDED = {"A": SETTLE, "I": SETTLE, "N": 5 * SETTLE + SENDING, "L": 5 * SETTLE + SENDING}
START = datetime(2026, 11, 28, tzinfo=timezone.utc)
ORDER = VendorOrder("7001", OrderStatus.PENDING, "pending")

#: A letter for each word that may stand in the ledger. Every word that this code does not write is as good as "inconclusive".
LETTERS = {"absent": "A", "inconclusive": "I", "not visible": "N", "not listed": "L"}
OTHER_WORDS = ("undecided", "blind", "found", "")
WORDS = (*LETTERS, *OTHER_WORDS)
GAPS = (0.0, SETTLE - 1, SETTLE, NEEDED["N"] - 1, NEEDED["N"])

Conclusion = Found | Absent | AskPerson | Wait


def noted(words: Sequence[str], gaps: Sequence[float], order: VendorOrder | None = None) -> list[NotedLook]:
    """Looks with so many seconds between them; the last one names the order, if there is one."""
    moments = [START]
    for gap in gaps:
        moments.append(moments[-1] + timedelta(seconds=gap))
    looks = [NotedLook(moment, word) for moment, word in zip(moments, words, strict=True)]
    return [*looks[:-1], NotedLook(moments[-1], words[-1], order=order)]


def concluded(looks: Sequence[NotedLook]) -> Conclusion:
    return conclude(looks, looks[-1].at, settle_time=SETTLE, sending_time=SENDING)


def expected(words: Sequence[str], gaps: Sequence[float]) -> Conclusion:
    """The same table in letters: after an I every A is an I; the run of equal letters at the end counts. N and L are a run."""
    letters = "".join(LETTERS.get(word, "I") for word in words)
    first = letters.find("I")
    if first >= 0:
        letters = letters[:first] + letters[first:].replace("A", "I")
    run = re.search(r"(A+|I+|[NL]+)$", letters)
    assert run is not None
    left = NEEDED[letters[-1]] - sum(gaps[run.start() :])
    if left > 0 or len(run[0]) == 1:
        return Wait(max(0.0, left))
    listed = re.search(r"L*$", letters)
    lacks = listed is not None and len(listed[0]) >= 2 and sum(gaps[listed.start() :]) >= SETTLE and first < 0
    return Absent() if letters[-1] == "A" or lacks else AskPerson()


def sequences() -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
    """All sequences of up to three looks, with every word and every gap; of four looks, with one word of each kind."""
    for length in (1, 2, 3):
        yield from product(product(WORDS, repeat=length), product(GAPS, repeat=length - 1))
    yield from product(product((*LETTERS, "undecided"), repeat=4), product(GAPS, repeat=3))


@pytest.mark.parametrize(
    ("words", "needed", "then"),
    [
        (("absent", "absent"), 30, Absent()),
        (("inconclusive", "inconclusive"), 30, AskPerson()),
        (("not visible", "not visible"), 185, AskPerson()),
        (("not visible", "not listed"), 185, AskPerson()),
        (("not listed", "not visible"), 185, AskPerson()),
        (("not listed", "not listed"), 185, Absent()),
        (("inconclusive", "absent"), 30, AskPerson()),
        (("undecided", "absent"), 30, AskPerson()),
        (("blind", "absent"), 30, AskPerson()),
    ],
)
def test_two_looks_that_agree_prove_something_when_they_are_far_enough_apart(
    words: tuple[str, str], needed: float, then: Conclusion
) -> None:
    assert concluded(noted(words, [needed - 1])) == Wait(1)
    assert concluded(noted(words, [needed])) == then


@pytest.mark.parametrize("before", ["inconclusive", "not visible", "absent"])
@pytest.mark.parametrize(("last", "needed"), [("absent", 30), ("inconclusive", 30), ("not visible", 185)])
def test_a_look_that_disagrees_with_the_one_before_begins_anew(before: str, last: str, needed: float) -> None:
    if (before, last) != ("inconclusive", "absent") and before != last:
        assert concluded(noted([before, last], [3600])) == Wait(needed)


def test_the_whole_table() -> None:
    count = 0
    for words, gaps in sequences():
        assert concluded(noted(words, gaps)) == expected(words, gaps), (words, gaps)
        count += 1
    assert count > 30_000


def test_an_order_that_is_found_is_found_whatever_came_before() -> None:
    for length in (1, 2, 3):
        for words in product(WORDS, repeat=length - 1):
            assert concluded(noted([*words, "found"], [0.0] * (length - 1), ORDER)) == Found(ORDER)


def test_absent_means_two_absent_looks_in_a_row_apart_by_the_settle_time_and_nothing_that_showed_more() -> None:
    """The promise in its own words, for every sequence that lets the purchase be sent again."""
    for words, gaps in sequences():
        if concluded(noted(words, gaps)) == Absent():
            assert set(words) <= {"absent", "not visible", "not listed"}
            run = len(words) - max((at + 1 for at, word in enumerate(words) if word != words[-1]), default=0)
            assert words[-1] != "not visible" and run >= 2 and sum(gaps[len(gaps) - run + 1 :]) >= SETTLE
            if words[-1] == "not listed":
                since = max((at + 1 for at, word in enumerate(words) if word == "absent"), default=0)
                assert sum(gaps[since:]) >= NEEDED["L"]


def test_without_a_settle_time_one_look_still_proves_nothing() -> None:
    assert conclude(noted(["absent"], []), START, settle_time=0, sending_time=0) == Wait(0)
    assert conclude(noted(["not visible", "absent"], [0]), START, settle_time=0, sending_time=0) == Wait(0)
    assert conclude(noted(["absent", "absent"], [0]), START, settle_time=0, sending_time=0) == Absent()


def test_the_time_that_a_look_took_to_be_written_down_does_not_count() -> None:
    """The second look began 29 seconds after the first; its note was written an hour later."""
    looks = [NotedLook(START, "absent"), NotedLook(START + timedelta(hours=1), "absent")]
    assert conclude(looks, START + timedelta(seconds=29), settle_time=SETTLE, sending_time=SENDING) == Wait(1)


@pytest.mark.parametrize("words", [("absent", "not visible"), ("inconclusive", "not visible"), ("not visible", "undecided")])
def test_looks_that_never_agree_end_with_a_person(words: tuple[str, str]) -> None:
    """Each look begins a new run. So the looks as a whole have a longest time, too."""
    longest = 4 * NEEDED["N"]
    assert isinstance(concluded(noted(words * 10, [(longest - 1) / 19] * 19)), Wait)
    assert concluded(noted(words * 10, [(longest + 1) / 19] * 19)) == AskPerson()
    assert isinstance(concluded(noted(words * 3, [longest] * 5)), Wait), "late retries alone are no disagreement"


def test_one_verdict_is_never_given_up_before_its_own_time() -> None:
    assert concluded(noted(["absent"], [])) == Wait(30)
    assert concluded(noted(["not visible"] * 2, [NEEDED["N"] - 1])) == Wait(1)


def test_a_look_of_a_worker_with_a_fast_clock_holds_nobody_up() -> None:
    """Its look seems to end six hours from now. The next look of the same verdict counts in its place."""
    ahead = NotedLook(START + timedelta(hours=6), "absent")
    looks = [ahead, NotedLook(START, "absent"), NotedLook(START + timedelta(seconds=30), "absent")]
    assert conclude([ahead], START, settle_time=SETTLE, sending_time=SENDING) == Wait(30)
    assert conclude(looks[:2], START, settle_time=SETTLE, sending_time=SENDING) == Wait(30)
    assert conclude(looks, looks[-1].at, settle_time=SETTLE, sending_time=SENDING) == Absent()


def test_a_look_of_a_worker_with_a_slow_clock_makes_no_run_longer() -> None:
    behind = NotedLook(START - timedelta(minutes=10), "absent")
    looks = [NotedLook(START, "absent"), behind, NotedLook(START + timedelta(seconds=29), "absent")]
    assert conclude(looks, looks[-1].at, settle_time=SETTLE, sending_time=SENDING) == Wait(1)
