"""Settling: find out the outcome of a purchase with a lost answer. It sends reads only.

Wait until the sender has given up, look at the vendor, conclude (see ``proof``), and look again after the settle time. Two rules:

- a person is asked once, after all evidence is read. Later looks may still find the order, and settle the purchase;
- an order that is found is adopted in one place, :meth:`Settling.adopt`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Any, cast

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, VendorError, WalletHeld
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import OwnedElsewhere, StaleClaim
from airflow_provider_proxyorders.ledger.looks import NextStep, NotedLook
from airflow_provider_proxyorders.purchase.attempt import Attempt, may_be_running, sending_time
from airflow_provider_proxyorders.purchase.evidence import EvidenceReader
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown, quarantined
from airflow_provider_proxyorders.purchase.pauses import Rest, SpokenPause
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.purchase.proof import Absent, AskPerson, Found, Wait, as_weighed, conclude, next_steps
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.vendors.base import Look, Operation

#: With webhooks set up, a purchase at the vendor waits this long for its webhook before a person is asked.
WEBHOOK_PATIENCE = timedelta(hours=2)
#: Other unresolved purchases that one look looks for beside its own.
MOST_BESIDE = 3
#: A task waits at most this long for its next look, in seconds: long enough for the settle time of every vendor. Otherwise it
#: fails, and its next try looks, at the time when a look can decide.
LONGEST_PAUSE = 300.0


class Settling:
    """Settles purchases of one account.

    :param patience: how long to wait for another try of the same purchase, in seconds.
    """

    def __init__(self, tracker: OrderTracker, patience: float):
        self.tracker, self.vendor, self.ledger = tracker, tracker.vendor, tracker.ledger
        self.evidence = EvidenceReader(tracker)
        self.patience, self.rest = patience, Rest(tracker)
        self.settle_refused_beside: Callable[[Purchase], bool] = lambda purchase: False

    def settle(self, purchase: Purchase, attempt: Attempt | None = None) -> Purchase:
        """Find out the outcome of an unresolved purchase.

        :param attempt: the attempt of the purchase's own task; None: another task helps.
        :returns: the purchase, adopted, or INTENDED after the proof that nothing was bought.
        :raises OutcomeUnknown: it is too early for a proof, or a person has to decide.
        """
        self.rest.keep(purchase)
        repeats_safely = self.tracker.repeats_safely(purchase.kind)
        if repeats_safely and purchase.step is not Step.SENT:
            adopted = self.adopt_reported(purchase)
            if adopted is not None:
                return adopted
        purchase = self.wait_for_sender(purchase, attempt)
        if purchase.step is Step.QUARANTINED:
            return self.look_at_quarantined(purchase)
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

    def sending_left(self, purchase: Purchase) -> float:
        """Seconds until the sender of a purchase has given up; 0 after that."""
        assert purchase.sent_until is not None
        return max(0.0, (purchase.sent_until - self.ledger.clock()).total_seconds())

    def seconds_until_decidable(self, purchase: Purchase) -> float:
        """Seconds until a look at a purchase can change what is known of it: the pause of a try that cannot wait."""
        if purchase.step is Step.SENT:
            return self.sending_left(purchase)
        looks = self.ledger.looks_at_last_sending(purchase.order_key)
        conclusion = self.conclude(looks, self.ledger.clock()) if looks else None
        return conclusion.seconds if isinstance(conclusion, Wait) else 0.0

    def conclude(self, looks: Sequence[NotedLook], now: datetime) -> Found | Absent | AskPerson | Wait:
        """See :func:`conclude`, with the times of this account."""
        return conclude(looks, now, settle_time=self.tracker.settle_time, sending_time=sending_time(self.tracker.account))

    def wait_for_sender(self, purchase: Purchase, attempt: Attempt | None) -> Purchase:
        """Wait until the sender of a purchase has recorded the answer or has given up.

        :raises WalletHeld: the wait is longer than the patience, or another task asks.
        """
        purchase = self.ledger.cut_sending(purchase)
        pause = SpokenPause(self.tracker, f"the answer to {purchase.order_key!r}, which another try sent")
        while self.may_be_running(purchase):
            left = self.sending_left(purchase)
            if attempt is None or left > self.patience:
                raise WalletHeld(
                    f"another try may be sending {purchase.order_key!r} right now; it is not sent twice. "
                    "This try stops, the next try looks again.",
                    blocker=purchase.order_key,
                    retry_after=left + 1,
                )
            pause.sleep(min(left, 2.0) + 0.01, left)
            purchase = self.tracker.as_it_stands(purchase)
        return purchase

    def allow_repeat(self, purchase: Purchase, attempt: Attempt) -> Purchase:
        """Let the attempt send the same reference once more. The vendor takes one order per reference and refuses a second."""
        if attempt.resent:
            raise outcome_unknown(purchase, self.vendor, "the answer to the repeat with the same reference was lost, too.")
        attempt.resent = True
        self.tracker.sleep(min(self.tracker.settle_time, 2.0))
        return self._record(purchase, Step.INTENDED, "sent again with the same reference: one order per reference")

    def look_until_concluded(self, purchase: Purchase, attempt: Attempt | None) -> Purchase:
        """Look at the vendor until the looks prove something, a person is needed, or the next look is too far off."""
        name, settle_time = f"Order key {purchase.order_key!r}", self.tracker.settle_time
        not_its_own: set[str] = set()
        while True:
            purchase, last, conclusion = self.look_once(purchase, not_its_own)
            if isinstance(conclusion, Found):
                try:
                    return self.adopt(purchase, Look("found", last.detail, conclusion.order))
                except OwnedElsewhere as owned:  # another purchase was quicker: one more order that is not this one's
                    self.tracker.say(f"{name}: {one_line(owned)}; looking again")
                    not_its_own |= self.vendor.names(conclusion.order)
                    continue
            if isinstance(conclusion, Absent):
                self.tracker.say(f"{name}: proven absent ({last.detail}); it may be sent again")
                if attempt is not None:
                    attempt.sent = None
                return purchase
            if isinstance(conclusion, AskPerson):
                raise quarantined(purchase, self.vendor, last.detail)
            if conclusion.seconds > LONGEST_PAUSE:
                why = f"{last.verdict} so far: {last.detail}"
                raise outcome_unknown(purchase, self.vendor, why, retry_after=conclusion.seconds + 1)
            pause = min(conclusion.seconds, settle_time)
            self.tracker.say(f"{name}: {last.verdict} so far ({last.detail}); looking again in {pause:.0f} s")
            SpokenPause(self.tracker, f"the next look for {purchase.order_key!r}").sleep(pause)

    def look_once(
        self, purchase: Purchase, not_its_own: Set[str], *, beside: bool = True
    ) -> tuple[Purchase, NotedLook, Found | Absent | AskPerson | Wait]:
        """Look at the vendor once, and conclude from all looks at the last sending.

        The ledger keeps a look without the order, and the steps that follow from it, in one commit.

        :param not_its_own: ids of orders that belong to others.
        :param beside: whether other unresolved purchases, which may explain what this look sees, are looked for as well.
        :returns: the purchase after these steps, the look, and the conclusion.
        :raises StaleClaim: another worker has taken the purchase further during the look.
        """
        began = self.ledger.clock()
        look = self.evidence.look(purchase, not_its_own)
        if beside and look.lacks_view and self._settle_beside(purchase):
            began, look = self.ledger.clock(), self.evidence.look(purchase, not_its_own)
        noted = NotedLook(self.ledger.clock(), look.verdict, look.detail, look.order)
        if look.verdict == "found" and look.order is not None:
            return purchase, noted, Found(look.order)
        purchase, looks = self.ledger.add_look(
            purchase, noted, lambda looks: next_steps(looks, self.conclude(looks, began)), self.tracker.actor
        )
        return purchase, as_weighed(looks), self.conclude(looks, began)

    def _settle_beside(self, purchase: Purchase) -> bool:
        """Look once for a few other unresolved purchases: two can explain each other's money, and no look at one decides.

        :returns: whether the outcome of one is known now.
        """
        decided = False
        for other in self.ledger.purchases(wallet=purchase.wallet, in_steps=(Step.SENT, Step.UNKNOWN), limit=MOST_BESIDE + 1):
            own = other.order_key == purchase.order_key or other.vendor != self.vendor.name
            if own or self.tracker.repeats_safely(other.kind) or self.may_be_running(other):
                continue
            with contextlib.suppress(StaleClaim, OwnedElsewhere, OutcomeUnknown):  # another worker, or its own task, goes on
                if other.step is Step.SENT:
                    other = self._record(other, Step.UNKNOWN, "its worker is gone and left no answer")
                other, last, conclusion = self.look_once(other, frozenset(), beside=False)
                if isinstance(conclusion, Found):
                    self.adopt(other, Look("found", last.detail, conclusion.order))
                decided = decided or isinstance(conclusion, (Found, Absent))
        return self.settle_refused_beside(purchase) or decided

    def look_at_quarantined(self, purchase: Purchase) -> Purchase:
        """Look once more for a purchase that waits for a person. It sends reads only, so a page may call it.

        A found order settles the purchase. Everything else leaves it to the person, because its absence was open before.

        :param purchase: QUARANTINED.
        :returns: the purchase, adopted.
        :raises Quarantined: the order was not found. A person has to decide.
        :raises OutcomeUnknown: the vendor cannot be read. The purchase stays QUARANTINED.
        :raises StaleClaim: another worker or a person has decided meanwhile.
        """
        look = self.evidence.look(purchase)
        if look.verdict == "found" and look.order is not None:
            try:
                return self.adopt(purchase, look)
            except OwnedElsewhere as owned:
                raise quarantined(purchase, self.vendor, one_line(owned)) from None
        before = self.ledger.looks_at_last_sending(purchase.order_key)
        if not before or (before[-1].verdict, before[-1].detail) != (look.verdict, look.detail):  # only what is new
            noted = NotedLook(self.ledger.clock(), look.verdict, look.detail)
            self.ledger.add_look(purchase, noted, lambda looks: [], self.tracker.actor)
        raise quarantined(purchase, self.vendor, look.detail)

    def adopt_reported(self, purchase: Purchase) -> Purchase | None:
        """Record the order that a verified webhook names for a purchase; ``None`` without one of its own."""
        while (reported := self.evidence.reported(purchase)) is not None:
            with contextlib.suppress(OwnedElsewhere):  # another purchase was quicker; its order is skipped from now on
                return self.adopt(purchase, reported)
        return None

    def adopt(self, purchase: Purchase, look: Look) -> Purchase:
        """Record the order of a look as the purchase's own.

        :raises OwnedElsewhere: another purchase got this order meanwhile. Nothing was changed.
        """
        order = look.order
        assert order is not None
        price = order.price or quoted_price(self.vendor, purchase)
        step, why = self.tracker.step_for(purchase, order), f"adopted: {look.detail}"

        def record(current: Purchase) -> Purchase:
            return self.tracker.write(current, step, why, order, price=price, confirmed=True)

        try:
            adopted = record(purchase)
        except StaleClaim:  # another worker's looks proved it absent meanwhile: an order that is there is the stronger proof
            current = self.ledger.find(purchase.order_key)
            if current is None or current.step is not Step.INTENDED or current.fence != purchase.fence:
                raise
            if self.vendor.capabilities.reads_evidence_alone(cast(Operation, current.kind)):
                self.ledger.check_alone(current)  # or the order could be that of a purchase that was sent since
            adopted = record(self.ledger.reopen(current, why, self.tracker.actor))
        self.tracker.say(
            f"Order key {purchase.order_key!r}: its answer was lost, but it landed: order {adopted.order_id}. {look.detail}"
        )
        return self.tracker.alarm_on_overcharge(adopted)

    def settle_refused_repeat(self, claimed: Purchase, error: VendorError, *, first: bool = False) -> Purchase:
        """Settle a purchase after a refusal of its repeat. The refusal alone proves nothing: the vendor may have the reference.

        :param claimed: the repeat, SENT.
        :param first: it is the first sending, and the vendor refused a reference of ours as taken: an inner repeat of it landed.
        :raises OutcomeUnknown: its webhook may still name the order, or a person has to decide.
        """
        why = f"{'our own reference was refused as taken' if first else 'the repeat was refused'}: {one_line(error)}"
        if not self.vendor.is_duplicate(error):  # refused before the vendor read the reference; a later try asks again
            raise outcome_unknown(self._record(claimed, Step.UNKNOWN, why), self.vendor, why) from None
        try:
            look = self.evidence.look(claimed)  # while it is SENT: other tries cannot send it meanwhile
        finally:
            unknown = self._record(claimed, Step.UNKNOWN, why)
        if look.verdict == "found" and look.order is not None:
            return self.adopt(unknown, look)
        adopted = self.adopt_reported(unknown)
        if adopted is not None:
            return adopted
        now = self.ledger.clock()
        since = unknown.evidence.get("refused_since") or now.isoformat()  # the first of several refusals counts
        if self.tracker.account.takes_webhooks and now - datetime.fromisoformat(since) < WEBHOOK_PATIENCE:
            unknown = self._record(unknown, Step.UNKNOWN, why, {**unknown.evidence, "refused_since": since})
            why = f"{why} The vendor has it, and its webhook will tell the order id."
            raise outcome_unknown(unknown, self.vendor, why) from None
        why = f"the vendor has its reference; its order id is unknown; {look.detail}"
        noted = NotedLook(self.ledger.clock(), look.verdict, why)
        asked, _ = self.ledger.add_look(unknown, noted, lambda looks: [NextStep(Step.QUARANTINED, why)], self.tracker.actor)
        raise quarantined(asked, self.vendor, why)

    def _record(self, purchase: Purchase, step: Step, why: str, evidence: Mapping[str, Any] | None = None) -> Purchase:
        return self.ledger.record(purchase, step, why, self.tracker.actor, evidence=evidence)
