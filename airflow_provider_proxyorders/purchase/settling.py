"""Settling: find out the outcome of a purchase with a lost answer. It sends reads only.

Wait until the sender has given up, look at the vendor, conclude, and look again after the settle time. Three rules:

- one look without the purchase proves nothing: "absent" needs two looks, apart by the settle time;
- after a look with a trace of the purchase, later looks cannot prove its absence;
- a person is asked once, after all evidence is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from airflow_provider_proxyorders.domain.errors import VendorError, WalletHeld
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.purchase.attempt import Attempt, may_be_running, sending_time
from airflow_provider_proxyorders.purchase.evidence import EvidenceReader
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown, quarantined
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.vendors.base import Look

#: With webhooks set up, a purchase at the vendor waits this long for its webhook before a person is asked.
WEBHOOK_PATIENCE = timedelta(hours=2)
#: Looks with a limited view go on for this many settle times and one sending: other purchases may be under way.
NOT_VISIBLE_PATIENCE = 5
#: A task waits at most this long for its next look, in seconds. Otherwise it fails, and its next try looks.
LONGEST_PAUSE = 120.0

Verdict = Literal["absent", "inconclusive", "not visible"]

#: Verdicts in ledgers before schema 0004.
OLD_WORDS = {"blind": "not visible", "undecided": "inconclusive"}


# ---------------------------------------------------------------------------------------------- what looks prove


@dataclass(frozen=True)
class NotedLook:
    """One look as the ledger keeps it.

    :param at: the end of the look.
    :param verdict: the vendor's verdict; other code may have written any word.
    :param detail: one sentence for a person.
    :param order: the order, after the verdict "found".
    """

    at: datetime
    verdict: str
    detail: str = ""
    order: VendorOrder | None = None


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
    needed = settle_time
    if verdict == "not visible":
        needed = NOT_VISIBLE_PATIENCE * settle_time + sending_time
    left = needed - (now - looks[-run].at).total_seconds()
    if left > 0 or run < 2:
        return Wait(max(0.0, left))
    return Absent() if verdict == "absent" else AskPerson()


def weigh(looks: Sequence[NotedLook]) -> list[Verdict]:
    """The verdict of each look, given the looks before it.

    After an inconclusive look "absent" proves nothing, since money may have been paid back meanwhile: it is inconclusive, too. So
    is each unreadable word.
    """
    verdicts: list[Verdict] = []
    for look in looks:
        if look.verdict == "not visible":
            verdicts.append("not visible")
        elif look.verdict == "absent" and "inconclusive" not in verdicts:
            verdicts.append("absent")
        else:
            verdicts.append("inconclusive")
    return verdicts


def noted_looks(purchase: Purchase) -> list[NotedLook]:
    """All looks at a purchase in the ledger, oldest first."""
    rows: Sequence[Mapping[str, str]] = purchase.evidence.get("looks") or ()
    return [
        NotedLook(datetime.fromisoformat(row["at"]), OLD_WORDS.get(row["verdict"], row["verdict"]), row["seen"]) for row in rows
    ]


def with_looks(purchase: Purchase, looks: Sequence[NotedLook]) -> dict[str, Any]:
    """The evidence of a purchase with these looks in it."""
    rows = [{"at": look.at.isoformat(), "verdict": look.verdict, "seen": look.detail} for look in looks]
    return {**purchase.evidence, "looks": rows}


def _as_weighed(looks: Sequence[NotedLook]) -> NotedLook:
    """The last look with its verdict given the looks before it."""
    last, verdict = looks[-1], weigh(looks)[-1]
    if verdict == last.verdict:
        return last
    why = "an earlier look saw more than that" if last.verdict == "absent" else f"its verdict {last.verdict!r} proves nothing"
    return NotedLook(last.at, verdict, f"{last.detail}; {why}")


# ---------------------------------------------------------------------------------------------- settling


class Settling:
    """Settles purchases of one account.

    :param patience: how long to wait for another try of the same purchase, in seconds.
    """

    def __init__(self, tracker: OrderTracker, patience: float):
        self.tracker, self.vendor, self.ledger = tracker, tracker.vendor, tracker.ledger
        self.evidence = EvidenceReader(tracker)
        self.patience = patience

    def settle(self, purchase: Purchase, attempt: Attempt | None = None) -> Purchase:
        """Find out the outcome of an unresolved purchase.

        :param attempt: the attempt of the purchase's own task; None: another task helps.
        :returns: the purchase, adopted, or INTENDED after the proof that nothing was bought.
        :raises OutcomeUnknown: it is too early for a proof, or a person has to decide.
        """
        repeats_safely = self.tracker.repeats_safely(purchase.kind)
        if repeats_safely and purchase.step is not Step.SENT:
            reported = self.evidence.reported(purchase)
            if reported is not None:
                return self.adopt(purchase, reported)
        purchase = self.wait_for_sender(purchase, attempt)
        if purchase.step is Step.QUARANTINED:
            raise quarantined(purchase, self.vendor)
        if purchase.step not in UNRESOLVED:
            return purchase
        if purchase.step is Step.SENT:
            purchase = self._record(purchase, Step.UNKNOWN, "its worker is gone and left no answer")
        if repeats_safely and attempt is not None:
            return self.allow_repeat(purchase, attempt)
        return self.look_until_concluded(purchase, attempt)

    def may_be_running(self, purchase: Purchase) -> bool:
        """Whether the sender of a purchase may still be waiting for the answer now."""
        return may_be_running(purchase, self.ledger.clock())

    def wait_for_sender(self, purchase: Purchase, attempt: Attempt | None) -> Purchase:
        """Wait until the sender of a purchase has recorded the answer or has given up.

        :raises WalletHeld: the wait is longer than the patience, or another task asks.
        """
        while self.may_be_running(purchase):
            assert purchase.sent_until is not None
            left = (purchase.sent_until - self.ledger.clock()).total_seconds()
            if attempt is None or left > self.patience:
                raise WalletHeld(
                    f"another try may be sending {purchase.order_key!r} right now; it is not sent twice. "
                    "This try stops, the next try looks again.",
                    blocker=purchase.order_key,
                )
            self.tracker.say(f"Order key {purchase.order_key!r}: another try sent it; waiting for its answer")
            self.tracker.sleep(min(left, 2.0) + 0.01)
            purchase = self.tracker.as_it_stands(purchase)
        return purchase

    def allow_repeat(self, purchase: Purchase, attempt: Attempt) -> Purchase:
        """Let the attempt send the same reference once more. The vendor takes one order per reference and refuses a second."""
        if attempt.resent:
            raise outcome_unknown(purchase, self.vendor, "the answer to the repeat with the same reference was lost, too.")
        attempt.resent = True
        self.tracker.sleep(min(self.tracker.settle_time, 2.0))
        return self._record(
            purchase, Step.INTENDED, "sent again with the same reference; the vendor takes one order per reference"
        )

    def look_until_concluded(self, purchase: Purchase, attempt: Attempt | None) -> Purchase:
        """Look at the vendor until the looks prove something, a person is needed, or the next look is too far off."""
        name, settle_time = f"Order key {purchase.order_key!r}", self.tracker.settle_time
        while True:
            began = self.ledger.clock()
            look = self.evidence.look(purchase)
            looks = [*noted_looks(purchase), NotedLook(self.ledger.clock(), look.verdict, look.detail, look.order)]
            conclusion = conclude(looks, began, settle_time=settle_time, sending_time=sending_time(self.tracker.account))
            if isinstance(conclusion, Found):
                return self.adopt(purchase, look)
            looks[-1] = last = _as_weighed(looks)
            purchase = self._record(purchase, Step.UNKNOWN, f"{last.verdict}: {last.detail}", with_looks(purchase, looks))
            if isinstance(conclusion, Absent):
                self.tracker.say(f"{name}: proven absent ({last.detail}); it may be sent again")
                if attempt is not None:
                    attempt.sent = None
                why = f"proven absent: {last.detail}"
                return self.ledger.record(purchase, Step.INTENDED, why, self.tracker.actor, maybe_sent=False)
            if isinstance(conclusion, AskPerson):
                why = f"evidence cannot decide: {last.detail}"
                raise quarantined(self._record(purchase, Step.QUARANTINED, why), self.vendor)
            if conclusion.seconds > LONGEST_PAUSE:
                raise outcome_unknown(purchase, self.vendor, f"{last.verdict} at the first look: {last.detail}")
            pause = min(conclusion.seconds, settle_time)
            self.tracker.say(f"{name}: {last.verdict} so far ({last.detail}); looking again in {pause:.0f} s")
            self.tracker.sleep(pause)

    def adopt(self, purchase: Purchase, look: Look) -> Purchase:
        """Record the order of a look as the purchase's own."""
        assert look.order is not None
        price = look.order.price or quoted_price(self.vendor, purchase)
        step, why = self.tracker.step_for(purchase, look.order), f"adopted: {look.detail}"
        adopted = self.ledger.record(purchase, step, why, self.tracker.actor, vendor_order=look.order, price=price)
        self.tracker.say(
            f"Order key {purchase.order_key!r}: its answer was lost, but it landed: order {adopted.order_id}. {look.detail}"
        )
        return self.tracker.alarm_on_overcharge(adopted)

    def settle_refused_repeat(self, claimed: Purchase, error: VendorError) -> Purchase:
        """Settle a purchase after a refusal of its repeat. The refusal alone proves nothing: the vendor may have the reference.

        :param claimed: the repeat, SENT.
        :raises OutcomeUnknown: its webhook may still name the order, or a person has to decide.
        """
        why = f"the repeat was refused: {one_line(error)}"
        if not self.vendor.is_duplicate(error):  # refused before the vendor read the reference; a later try asks again
            raise outcome_unknown(self._record(claimed, Step.UNKNOWN, why), self.vendor, why) from None
        try:
            look = self.evidence.look(claimed)  # while it is SENT: other tries cannot send it meanwhile
        finally:
            unknown = self._record(claimed, Step.UNKNOWN, why)
        if look.verdict == "found" and look.order is not None:
            return self.adopt(unknown, look)
        reported = self.evidence.reported(unknown)
        if reported is not None:
            return self.adopt(unknown, reported)
        now = self.ledger.clock()
        since = unknown.evidence.get("refused_since") or now.isoformat()  # the first of several refusals counts
        if self.tracker.account.takes_webhooks and now - datetime.fromisoformat(since) < WEBHOOK_PATIENCE:
            unknown = self._record(unknown, Step.UNKNOWN, why, {**unknown.evidence, "refused_since": since})
            why = f"{why} The vendor has it, and its webhook will tell the order id."
            raise outcome_unknown(unknown, self.vendor, why) from None
        why = f"the vendor has its reference; its order id is unknown; {look.detail}"
        looks = [*noted_looks(unknown), NotedLook(self.ledger.clock(), look.verdict, why)]
        raise quarantined(self._record(unknown, Step.QUARANTINED, why, with_looks(unknown, looks)), self.vendor)

    def _record(self, purchase: Purchase, step: Step, why: str, evidence: Mapping[str, Any] | None = None) -> Purchase:
        return self.ledger.record(purchase, step, why, self.tracker.actor, evidence=evidence)
