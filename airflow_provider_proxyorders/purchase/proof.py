"""What the looks at an unresolved purchase prove together. Pure: the same looks give the same conclusion.

Three rules:

- one look without the purchase proves nothing: "absent" needs two looks, apart by the settle time;
- where others may have taken the missing money, two looks at a list without it are a proof as well, after several settle times in
  which those others are decided: it is "not listed";
- after a look with a trace of the purchase, later looks cannot prove its absence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise, takewhile
from typing import Literal

from airflow_provider_proxyorders.domain.model import Step, VendorOrder
from airflow_provider_proxyorders.ledger.looks import NextStep, NotedLook

#: Looks with a limited view go on for this many settle times and one sending: other purchases may be under way.
NOT_VISIBLE_PATIENCE = 5
#: Looks that contradicted the look before so often, over so many times the longest wait of looks that agree, never agree.
DISAGREEMENTS, DISAGREEMENT_PATIENCE = 6, 4

Verdict = Literal["absent", "inconclusive", "not visible"]


@dataclass(frozen=True)
class Found:
    """This order is the purchase."""

    order: VendorOrder


@dataclass(frozen=True)
class Absent:
    """Nothing was bought, proven: the purchase may be sent again."""


@dataclass(frozen=True)
class AskPerson:
    """Evidence cannot decide."""


@dataclass(frozen=True)
class Wait:
    """Too early for a conclusion; ``seconds`` later a look may bring it."""

    seconds: float


def conclude(
    looks: Sequence[NotedLook], now: datetime, *, settle_time: float, sending_time: float
) -> Found | Absent | AskPerson | Wait:
    """The proof in a sequence of looks. Pure: the same looks give the same conclusion.

    :param looks: all looks since the purchase was sent, oldest first; at least one.
    :param now: begin of the last look. The time between its begin and its note proves nothing.
    :param settle_time: seconds until a purchase shows in reads.
    :param sending_time: seconds until another purchase has certainly left.
    """
    last = looks[-1]
    if last.verdict == "found" and last.order is not None:
        return Found(last.order)
    verdicts = weigh(looks)
    verdict, run = verdicts[-1], 1
    while run < len(looks) and verdicts[-run - 1] == verdict:
        run += 1
    longest = NOT_VISIBLE_PATIENCE * settle_time + sending_time
    left = (longest if verdict == "not visible" else settle_time) - _seconds_covered(looks[-run:], now)
    if run >= 2 and left <= 0:
        proven = verdict == "absent" or ("inconclusive" not in verdicts and _is_not_listed(looks, now, settle_time))
        return Absent() if proven else AskPerson()
    disagreements = sum(before != after for before, after in pairwise(verdicts))
    if disagreements >= DISAGREEMENTS and _seconds_covered(looks, now) >= DISAGREEMENT_PATIENCE * longest:
        return AskPerson()
    return Wait(max(0.0, left))


def _is_not_listed(looks: Sequence[NotedLook], now: datetime, settle_time: float) -> bool:
    """Whether the last looks, two or more over the settle time, saw a list without it."""
    last = list(takewhile(lambda look: look.verdict == "not listed", reversed(looks)))[::-1]
    return len(last) >= 2 and _seconds_covered(last, now) >= settle_time


def _seconds_covered(looks: Sequence[NotedLook], now: datetime) -> float:
    """From the end of the first look to now. With a fast clock a look seems to end later than now; then the next one counts."""
    return max(0.0, (now - next((look.at for look in looks if look.at <= now), now)).total_seconds())


def weigh(looks: Sequence[NotedLook]) -> list[Verdict]:
    """The verdict of each look, given the looks before it.

    After an inconclusive look "absent" proves nothing, since money may have been paid back meanwhile: it is inconclusive, too. So
    is each unreadable word.
    """
    verdicts: list[Verdict] = []
    for look in looks:
        if look.verdict in ("not visible", "not listed"):
            verdicts.append("not visible")
        elif look.verdict == "absent" and "inconclusive" not in verdicts:
            verdicts.append("absent")
        else:
            verdicts.append("inconclusive")
    return verdicts


def next_steps(looks: Sequence[NotedLook], conclusion: object) -> list[NextStep]:
    """The steps of a purchase that follow from its looks. An order that was found is adopted, which is a step of its own."""
    last = as_weighed(looks)
    steps = [NextStep(Step.UNKNOWN, f"{last.verdict}: {last.detail}")]
    if isinstance(conclusion, Absent):
        steps.append(NextStep(Step.INTENDED, f"proven absent: {last.detail}", maybe_sent=False))
    if isinstance(conclusion, AskPerson):
        steps.append(NextStep(Step.QUARANTINED, f"evidence cannot decide: {last.detail}"))
    return steps


def as_weighed(looks: Sequence[NotedLook]) -> NotedLook:
    """The last look with its verdict given the looks before it."""
    last, verdict = looks[-1], weigh(looks)[-1]
    if verdict == last.verdict or last.verdict == "not listed":
        return last
    why = "an earlier look saw more than that" if last.verdict == "absent" else f"its verdict {last.verdict!r} proves nothing"
    return NotedLook(last.at, verdict, f"{last.detail}; {why}")
