"""Refusals: what a vendor's "no" to a purchase is worth.

An inner proxy of the vendor's may send a purchase twice: the vendor takes the first copy and refuses the second, and only the
refusal comes back. Three rules:

- after a refusal the evidence is read once, before "nothing was bought" is said; a purchase that is found is adopted. Reads may
  show the first copy late, so the sentence says "as far as it shows" unless the reason holds for each copy;
- our own reference, refused as taken, proves that the purchase landed;
- a refused purchase keeps its evidence. Before it is sent again, the evidence is read once more, after the settle time.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    InsufficientFunds,
    MoneyState,
    OrderingNotPermitted,
    OrderNotFound,
    OutcomeUnknown,
    VendorError,
)
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import OwnedElsewhere, StaleClaim
from airflow_provider_proxyorders.purchase import settling as looks
from airflow_provider_proxyorders.purchase.attempt import Attempt, is_derived, left_by
from airflow_provider_proxyorders.purchase.checkpoint import LOOKED_AGAIN, UNSURE
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown
from airflow_provider_proxyorders.purchase.pauses import SpokenPause
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.purchase.settling import MOST_BESIDE, Settling
from airflow_provider_proxyorders.vendors.base import Look
from airflow_provider_proxyorders.vendors.evidence import balance_in


class Refusals:
    """Judges the refusals of one account."""

    def __init__(self, settling: Settling):
        self.settling, self.tracker = settling, settling.tracker
        self.vendor, self.ledger = settling.tracker.vendor, settling.tracker.ledger
        settling.settle_refused_beside = self.look_beside

    def judge(self, attempt: Attempt, claimed: Purchase, error: VendorError) -> Purchase:
        """Record a refusal, after one look at the evidence.

        :param claimed: the purchase, SENT.
        :returns: the purchase, adopted; or UNKNOWN: something may be the purchase, or the vendor could not be read.
        :raises VendorError: the refusal. The purchase is REJECTED, and the text tells what the look says about the money.
        :raises OutcomeUnknown: the vendor has our reference, and its order is still unknown.
        """
        why = f"refused: {one_line(error)}"
        if self.tracker.repeats_safely(claimed.kind):
            if claimed.maybe_sent:
                return self.settling.settle_refused_repeat(claimed, error)
            if self._proves_landed(claimed, error):
                self.tracker.say(f"Order key {claimed.order_key!r}: the vendor has our reference already, so it landed")
                return self.settling.settle_refused_repeat(claimed, error, first=True)
        sentence = "Nothing was bought."
        if self._leaves_evidence(claimed.kind):
            try:
                look = self._first_look(claimed)
            except OutcomeUnknown as unread:
                return self._record_unknown(claimed, f"{why} And {one_line(unread)}")
            if self._has_trace(claimed, look):
                unknown = self._record_unknown(claimed, f"{why} But {look.detail}")
                return self._adopt(unknown, look)
            why = f"{why} A look after it: {look.verdict}, {look.detail}"
            sentence, error.money = self._what_it_proves(claimed, error, look)
        unsure = error.money == "unknown"
        evidence = {**claimed.evidence, UNSURE: True} if unsure else None
        self.ledger.record(claimed, Step.REJECTED, why, self.tracker.actor, uncertain=unsure, evidence=evidence)
        attempt.sent = None
        error.tell(sentence)
        raise error

    def _first_look(self, claimed: Purchase) -> Look:
        """:raises OutcomeUnknown: the vendor could not be read, and a repeat could buy a second order."""
        try:
            return self.settling.evidence.look(claimed)
        except OutcomeUnknown:
            if not self.tracker.repeats_safely(claimed.kind):
                raise
        return Look("not visible", "the vendor could not be read; a repeat with the same reference buys no second order")

    def _what_it_proves(self, claimed: Purchase, error: VendorError, look: Look) -> tuple[str, MoneyState]:
        """What a refusal and a look without a trace tell about the money."""
        repeats_safely = self.tracker.repeats_safely(claimed.kind)
        if look.verdict != "absent":
            sentence = f"Nothing was seen of it ({look.detail}); before it is sent again, it is looked for once more."
            return sentence, "untouched" if repeats_safely else "unknown"
        if repeats_safely or self._holds_for_each_copy(claimed, error):
            return "Nothing was bought.", "untouched"
        sentence = f"Nothing was bought as far as {self.vendor.title} shows at {self.ledger.clock():%H:%M:%S} UTC"
        low = isinstance(error, InsufficientFunds) and self._could_not_pay(claimed)
        return f"{sentence}; another sending looks again first.", "untouched" if low else "unknown"

    def _holds_for_each_copy(self, purchase: Purchase, error: VendorError) -> bool:
        """Whether each copy of the purchase is refused alike: for its key, its address, a field, or a wallet that is too low.

        Other reasons, such as a stock that ran out, may come from the first copy.
        """
        of_the_key = isinstance(error, (AuthenticationFailed, OrderingNotPermitted, OrderNotFound))
        return of_the_key or error.names_fields or self._could_not_pay(purchase)

    def look_again(self, purchase: Purchase) -> Purchase:
        """Read the evidence of a refused purchase once more, before it is sent again.

        :param purchase: REJECTED.
        :returns: the purchase: REJECTED, and nothing of it is at the vendor; adopted; or UNKNOWN.
        :raises OutcomeUnknown: it is too early, or the vendor cannot be read. Nothing was sent.
        """
        if not self.needs_look(purchase):
            return purchase
        left = self._seconds_until_shown(purchase)
        if self._could_not_pay(purchase):
            left = 0.0
        if left > looks.LONGEST_PAUSE:
            why = f"it was refused, and a last look at the vendor comes before it is sent again: too early by {left:.0f} s."
            raise outcome_unknown(purchase, self.vendor, why, retry="soon")
        if left > 0:
            SpokenPause(self.tracker, f"the last look for {purchase.order_key!r}, which was refused").sleep(left)
            purchase = self.tracker.as_it_stands(purchase)
            if purchase.step is not Step.REJECTED:
                return purchase
        look = self.settling.evidence.look(purchase)
        if self._has_trace(purchase, look):
            why = f"it was refused, but {look.detail}"
            if (other := self._unresolved_beside(purchase)) is not None:
                why = f"{why}. That may be of {other.order_key!r}, which is decided first."
                if other.step is Step.QUARANTINED:  # by a person, so this one is a question as well
                    return self.ledger.reopen(purchase, why, self.tracker.actor)
                raise outcome_unknown(purchase, self.vendor, why, retry="soon")
            return self._adopt(self.ledger.reopen(purchase, why, self.tracker.actor), look)
        noted = {**purchase.evidence, LOOKED_AGAIN: self.ledger.clock().isoformat()}
        why = f"a last look: {look.verdict}, {look.detail}"
        return self.ledger.record(purchase, Step.REJECTED, why, self.tracker.actor, evidence=noted)

    def look_beside(self, purchase: Purchase) -> bool:
        """Look once more for refused purchases that may explain what a look at another one saw, after their settle time.

        :returns: whether one of them was decided.
        """
        decided = False
        for refused in self.settling.evidence.suspects(purchase)[:MOST_BESIDE]:
            if self._seconds_until_shown(refused) > 0:
                continue
            with contextlib.suppress(StaleClaim, OwnedElsewhere, OutcomeUnknown):
                decided = self.look_again(refused) != refused or decided
        return decided

    def _unresolved_beside(self, purchase: Purchase) -> Purchase | None:
        """Another purchase of the same kind with an open outcome: what a look saw may be its order, or its extension."""
        steps = (Step.SENT, Step.UNKNOWN, Step.QUARANTINED, Step.PLACED)
        for other in self.ledger.purchases(wallet=purchase.wallet, in_steps=steps, limit=1000):
            alike = (other.kind, other.target) == (purchase.kind, purchase.target) and other.order_key != purchase.order_key
            if alike and not other.confirmed and not (other.step is Step.PLACED and self._shows(other)):
                return other
        return None

    def _shows(self, placed: Purchase) -> bool:
        """Whether a read shows a placed order, or its extension."""
        try:
            after = self.tracker.refresh(placed)
        except VendorError:
            return False
        return after.step is not Step.UNKNOWN and (after.confirmed or after.step is not Step.PLACED)

    def _seconds_until_shown(self, refused: Purchase) -> float:
        """Seconds until each read shows what the vendor took of a refused purchase; 0 or less: it does so now."""
        return (left_by(refused) + timedelta(seconds=self.tracker.settle_time) - self.ledger.clock()).total_seconds()

    def needs_look(self, purchase: Purchase) -> bool:
        """Whether a refused purchase may have landed unseen: it left evidence, no look came after the settle time, and a repeat
        could buy a second order."""
        return (
            purchase.sent_at is not None
            and LOOKED_AGAIN not in purchase.evidence
            and not self.tracker.repeats_safely(purchase.kind)
            and self._leaves_evidence(purchase.kind)
        )

    def _has_trace(self, purchase: Purchase, look: Look) -> bool:
        """Whether a look saw what may be the purchase. Money alone is no trace if the wallet held less than the price."""
        return look.has_trace and not (look.lacks_view and self._could_not_pay(purchase))

    def _could_not_pay(self, purchase: Purchase) -> bool:
        """Whether the wallet held less than the quoted price right before the sending: then no copy can show late."""
        price, balance = quoted_price(self.vendor, purchase), balance_in(purchase.evidence)
        if price is None or balance is None or not self.vendor.pays_from_wallet(purchase.request):
            return False
        return balance.comparable(price.currency) and balance.amount < price.amount

    def _leaves_evidence(self, kind: str) -> bool:
        capabilities = self.vendor.capabilities
        return (capabilities.create_evidence if kind == "create" else capabilities.extend_evidence) != "none"

    def _proves_landed(self, claimed: Purchase, error: VendorError) -> bool:
        """Whether the vendor refused a reference as taken that derives from wallet and key, so nobody else sends it."""
        ours = is_derived(self.vendor.reference_in(claimed.request))
        return ours and self.vendor.proves_landed(error, claimed.request)

    def _record_unknown(self, claimed: Purchase, why: str) -> Purchase:
        self.tracker.say(f"Order key {claimed.order_key!r}: outcome unknown. {why}")
        return self.ledger.record(claimed, Step.UNKNOWN, why, self.tracker.actor)

    def _adopt(self, unknown: Purchase, look: Look) -> Purchase:
        """The purchase with the order of a look that found it, else as it is: settling looks again."""
        if look.verdict != "found" or look.order is None:
            return unknown
        try:
            return self.settling.adopt(unknown, look)
        except OwnedElsewhere:  # another purchase was quicker
            return unknown
