"""Settling: finds out what became of a purchase whose answer was lost. It only reads.

Wait until its sender has given up, look for it at the vendor, conclude, look again after the settle time. Three rules:

- one look without the purchase proves nothing: "absent" needs two looks that are apart by the settle time;
- a look that showed something is never outvoted by a later look that shows nothing;
- where evidence cannot decide, a person is asked, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from airflow_provider_proxyorders.domain.errors import OrderNotFound, VendorError, WalletHeld
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.purchase.attempt import Attempt, sending_time
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown, quarantined
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.vendors.base import Look, Operation
from airflow_provider_proxyorders.wire.messages import Flow

#: How long a purchase that landed waits for the webhook that names its id before a person is asked, where webhooks are set up.
WEBHOOK_PATIENCE = timedelta(hours=2)
#: A look that could not see everything is repeated for this many settle times and one sending: other purchases may be under way.
NOT_VISIBLE_PATIENCE = 5
#: A task waits this long for the next look, in seconds. For a longer wait it fails, and its next try looks again.
LONGEST_PAUSE = 120.0
#: One look is repeated up to this often where other purchases changed the balance during it.
READS_PER_LOOK = 3

Verdict = Literal["found", "absent", "inconclusive", "not visible"]


# ---------------------------------------------------------------------------------------------- what looks prove


@dataclass(frozen=True)
class NotedLook:
    """One look as the ledger keeps it.

    :param at: when the look was over.
    :param verdict: the vendor's verdict; a word from other code may be any text.
    :param detail: one sentence for a person.
    :param order: the order, for a look that found it.
    """

    at: datetime
    verdict: str
    detail: str = ""
    order: VendorOrder | None = None


@dataclass(frozen=True)
class Found:
    """The order is the purchase."""

    order: VendorOrder


@dataclass(frozen=True)
class Absent:
    """It is proven that nothing was bought: the purchase may be sent again."""


@dataclass(frozen=True)
class AskPerson:
    """Evidence cannot decide."""


@dataclass(frozen=True)
class Wait:
    """Too early to tell; look again at the latest after this many seconds."""

    seconds: float


def conclude(
    looks: Sequence[NotedLook], now: datetime, *, settle_time: float, sending_time: float
) -> Found | Absent | AskPerson | Wait:
    """What a sequence of looks proves. Pure: the same looks give the same conclusion.

    :param looks: all looks since the purchase was sent, oldest first; at least one.
    :param now: when the last look began. Time spent on writing a look down proves nothing.
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
    """The verdict of each look beside the looks before it.

    After a look that showed something, "absent" proves nothing: money may have been paid back meanwhile. Such a look is
    inconclusive, and so is every look with a word that this code cannot read.
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
    """The looks at a purchase that the ledger keeps, oldest first."""
    rows: Sequence[Mapping[str, str]] = purchase.evidence.get("looks") or ()
    return [NotedLook(datetime.fromisoformat(row["at"]), row["verdict"], row["seen"]) for row in rows]


def with_looks(purchase: Purchase, looks: Sequence[NotedLook]) -> dict[str, Any]:
    """The evidence of a purchase with these looks in it."""
    rows = [{"at": look.at.isoformat(), "verdict": look.verdict, "seen": look.detail} for look in looks]
    return {**purchase.evidence, "looks": rows}


# ---------------------------------------------------------------------------------------------- settling


class Settling:
    """Finds out what became of purchases of one account.

    :param patience: how long to wait for another try of the same purchase, in seconds.
    """

    def __init__(self, tracker: OrderTracker, patience: float):
        self.tracker, self.vendor, self.ledger = tracker, tracker.vendor, tracker.ledger
        self.patience = patience

    def settle(self, purchase: Purchase, attempt: Attempt | None = None) -> Purchase:
        """Find out what became of a purchase whose answer was lost.

        :param attempt: the attempt of the purchase's own task, None where another task helps.
        :returns: the purchase adopted, or INTENDED where it is proven that nothing was bought.
        :raises OutcomeUnknown: it is too early to tell, or a person has to decide.
        """
        repeats_safely = self.tracker.repeats_safely(purchase.kind)
        if repeats_safely and purchase.step is not Step.SENT:
            reported = self.reported(purchase)
            if reported is not None:
                return self.adopt(purchase, reported)
        purchase = self.wait_for_sender(purchase, attempt)
        if purchase.step is Step.QUARANTINED:
            raise quarantined(purchase, self.vendor)
        if purchase.step not in UNRESOLVED:
            return purchase
        if purchase.step is Step.SENT:
            purchase = self.ledger.record(purchase, Step.UNKNOWN, "its worker is gone and left no answer", self.tracker.actor)
        if repeats_safely and attempt is not None:
            return self.send_again(purchase, attempt)
        return self.look_until_concluded(purchase, attempt)

    def may_be_running(self, purchase: Purchase) -> bool:
        """Whether the worker that sent a purchase may still be waiting for its answer."""
        return purchase.step is Step.SENT and purchase.sent_until is not None and purchase.sent_until > self.ledger.clock()

    def wait_for_sender(self, purchase: Purchase, attempt: Attempt | None) -> Purchase:
        """Wait until the worker that sent a purchase has recorded its answer, or cannot get one any more.

        :raises WalletHeld: that takes longer than this worker's patience; only the purchase's own task waits at all.
        """
        while self.may_be_running(purchase):
            assert purchase.sent_until is not None
            left = (purchase.sent_until - self.ledger.clock()).total_seconds()
            if attempt is None or left > self.patience:
                raise WalletHeld(
                    f"another try is sending {purchase.order_key!r} right now, or was when it was last seen; it is not sent "
                    "twice. This try stops, the next one looks again.",
                    blocker=purchase.order_key,
                )
            self.tracker.say(f"Order key {purchase.order_key!r}: another try sent it and has not said what came of it; waiting")
            self.tracker.sleep(min(left, 2.0) + 0.01)
            purchase = self.tracker.as_it_stands(purchase)
        return purchase

    def send_again(self, purchase: Purchase, attempt: Attempt) -> Purchase:
        """Allow the same purchase once more at a vendor that takes one order per reference: at worst it says "I have that"."""
        if attempt.resent:
            raise outcome_unknown(purchase, self.vendor, "the repeat with the same reference got no usable answer either.")
        attempt.resent = True
        self.tracker.sleep(min(self.tracker.settle_time, 2.0))
        why = "sent again with the same reference, of which the vendor takes one order only"
        return self.ledger.record(purchase, Step.INTENDED, why, self.tracker.actor)

    def look_until_concluded(self, purchase: Purchase, attempt: Attempt | None) -> Purchase:
        """Look at the vendor until the looks prove something, a person has to be asked, or the next look is too far off."""
        name = f"Order key {purchase.order_key!r}"
        settle_time = self.tracker.settle_time
        while True:
            began = self.ledger.clock()
            look = self.look(purchase)
            looks = [*noted_looks(purchase), self.note(look)]
            conclusion = conclude(looks, began, settle_time=settle_time, sending_time=sending_time(self.tracker.account))
            if isinstance(conclusion, Found):
                return self.adopt(purchase, look)
            looks[-1] = last = _as_weighed(looks)
            purchase = self._record(purchase, Step.UNKNOWN, f"{last.verdict}: {last.detail}", with_looks(purchase, looks))
            if isinstance(conclusion, Absent):
                self.tracker.say(f"{name}: proven absent ({last.detail}); it may be sent again")
                return self._proven_absent(purchase, attempt, f"proven absent: {last.detail}")
            if isinstance(conclusion, AskPerson):
                purchase = self._record(purchase, Step.QUARANTINED, f"evidence cannot decide: {last.detail}")
                raise quarantined(purchase, self.vendor)
            if conclusion.seconds > LONGEST_PAUSE:
                raise outcome_unknown(purchase, self.vendor, f"{last.verdict} at the first look: {last.detail}")
            pause = min(conclusion.seconds, settle_time)
            self.tracker.say(f"{name}: {last.verdict} so far ({last.detail}); looking again in {pause:.0f} s")
            self.tracker.sleep(pause)

    def _proven_absent(self, purchase: Purchase, attempt: Attempt | None, why: str) -> Purchase:
        if attempt is not None:
            attempt.sent = None
        return self.ledger.record(purchase, Step.INTENDED, why, self.tracker.actor, maybe_sent=False)

    # -- one look --------------------------------------------------------------------------------------------------

    def look(self, purchase: Purchase) -> Look:
        """Look for a purchase at the vendor once; a look that other purchases disturbed is repeated.

        :raises OutcomeUnknown: the vendor cannot be read. A failed read proves nothing: the purchase stays as it is.
        """
        try:
            for _ in range(READS_PER_LOOK):
                others = self._others(purchase)
                look = self.tracker.http.run(self._resolving(purchase, others))
                if look.verdict == "found" or self._others(purchase) == others:
                    break  # else the money that other purchases spent during this look may explain it
            return look
        except VendorError as error:
            why = f"the vendor could not be asked: {one_line(error)}"
            raise outcome_unknown(purchase, self.vendor, why) from None

    def note(self, look: Look) -> NotedLook:
        """A look that is over now."""
        return NotedLook(self.ledger.clock(), look.verdict, look.detail, look.order)

    def _others(self, purchase: Purchase) -> dict[str, Any]:
        """What other purchases have to do with the wallet's balance; see :meth:`Vendor.resolve`."""
        balance_checkpoints = [
            {
                "balance": evidence.get("balance"),
                "currency": evidence.get("currency"),
                "charged": [
                    {"price": f"{other.price.amount:f}", "body": other.request} for other in charged if other.price is not None
                ],
            }
            for evidence, charged in self.ledger.balance_checkpoints(purchase)
        ]
        return {"others": f"{self.ledger.spent_since_intent(purchase):f}", "balance_checkpoints": balance_checkpoints}

    def _resolving(self, purchase: Purchase, others: Mapping[str, Any]) -> Flow[Look]:
        sent_at = purchase.sent_at or purchase.created_at
        owned = self.ledger.own_ids(purchase.wallet, since=sent_at - timedelta(days=2))
        evidence = {**purchase.evidence, **others, "maybe_refunded": self.ledger.maybe_refunded(purchase)}
        return self.vendor.resolve(
            cast(Operation, purchase.kind),
            purchase.request,
            purchase.target,
            evidence,
            sent_at,
            owned - {purchase.order_id or ""},
        )

    def reported(self, purchase: Purchase) -> Look | None:
        """The order that a verified webhook names for a purchase; it counts only as read at the vendor.

        A reference that a user chose may be an earlier purchase's, too. Orders of that purchase are left out.
        """
        reference = self.vendor.reference_in(purchase.request)
        for order_id in self.ledger.order_ids_of_reference(purchase.wallet, reference) if reference else ():
            owners = self.ledger.by_order_id(purchase.wallet, order_id)
            if any(owner.kind == "create" and owner.order_key != purchase.order_key for owner in owners):
                continue
            try:
                vendor_order = self.tracker.http.run(self.vendor.get(order_id))
            except OrderNotFound:
                continue
            if vendor_order.traits.get("reference") == reference:  # the vendor's read is the truth, not the delivery
                seen = f"the vendor's webhook names order {order_id} for reference {reference}"
                return Look("found", seen, vendor_order)
        return None

    # -- what follows ----------------------------------------------------------------------------------------------

    def adopt(self, purchase: Purchase, look: Look) -> Purchase:
        """Record the order that a look found as the purchase's own."""
        assert look.order is not None
        price = look.order.price or quoted_price(self.vendor, purchase)
        step = self.tracker.step_for(purchase, look.order)
        adopted = self.ledger.record(
            purchase, step, f"adopted: {look.detail}", self.tracker.actor, vendor_order=look.order, price=price
        )
        self.tracker.say(
            f"Order key {purchase.order_key!r}: its answer was lost, but it landed: order {adopted.order_id}. {look.detail}"
        )
        return self.tracker.alarm_on_overcharge(adopted)

    def refused_after_doubt(self, claimed: Purchase, error: VendorError) -> Purchase:
        """Settle a purchase whose repeat was refused: alone that proves nothing, it can mean "I have that reference already".

        :param claimed: the repeat, SENT.
        :raises OutcomeUnknown: its webhook may still name the order, or a person has to decide.
        """
        why = f"the repeat was refused: {one_line(error)}"
        if not self.vendor.is_duplicate(error):  # refused before the reference was read; a later try asks again
            raise outcome_unknown(self._record(claimed, Step.UNKNOWN, why), self.vendor, why) from None
        try:
            look = self.look(claimed)  # while it is SENT, so that no other try sends it once more meanwhile
        finally:
            unknown = self._record(claimed, Step.UNKNOWN, why)
        if look.verdict == "found" and look.order is not None:
            return self.adopt(unknown, look)
        reported = self.reported(unknown)
        if reported is not None:
            return self.adopt(unknown, reported)
        now = self.ledger.clock()
        since = unknown.evidence.get("refused_since") or now.isoformat()  # every repeat is refused; the first refusal counts
        if self.tracker.account.takes_webhooks and now - datetime.fromisoformat(since) < WEBHOOK_PATIENCE:
            unknown = self._record(unknown, Step.UNKNOWN, why, {**unknown.evidence, "refused_since": since})
            why = f"{why} The vendor has it, and its webhook will tell the order id."
            raise outcome_unknown(unknown, self.vendor, why) from None
        why = f"the vendor has its reference but does not tell its order id; {look.detail}"
        looks = [*noted_looks(unknown), NotedLook(self.ledger.clock(), look.verdict, why)]
        raise quarantined(self._record(unknown, Step.QUARANTINED, why, with_looks(unknown, looks)), self.vendor)

    def is_same_order(self, purchase: Purchase, vendor_order: VendorOrder) -> bool:
        """Whether a purchase is already recorded as this order, perhaps under another name that its evidence gave it."""
        if purchase.order_id is None or purchase.order_id == vendor_order.order_id:
            return purchase.order_id is not None
        try:
            return purchase.order_id in self.vendor.names(self.tracker.http.run(self.vendor.get(vendor_order.order_id)))
        except VendorError:
            return False

    def _record(self, purchase: Purchase, step: Step, why: str, evidence: Mapping[str, Any] | None = None) -> Purchase:
        return self.ledger.record(purchase, step, why, self.tracker.actor, evidence=evidence)


def _as_weighed(looks: Sequence[NotedLook]) -> NotedLook:
    """The last look with the verdict that it has beside the looks before it."""
    last, verdict = looks[-1], weigh(looks)[-1]
    if verdict == last.verdict:
        return last
    why = "an earlier look saw more than that" if last.verdict == "absent" else f"its verdict {last.verdict!r} proves nothing"
    return NotedLook(last.at, verdict, f"{last.detail}; {why}")
