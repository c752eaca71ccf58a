"""Sending: evidence, the last checks, the one request that spends, and its answer.

Three rules:

- SENT is in the ledger before any byte of the purchase leaves, and one permit lets one request leave;
- an error after SENT is a proof that nothing was bought, or it leaves the outcome unknown;
- an answer with the order is recorded, however late it comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    ConfigError,
    LedgerError,
    NeverSent,
    OutcomeUnknown,
    ProxyOrdersError,
    VendorError,
)
from airflow_provider_proxyorders.domain.model import Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import StaleClaim
from airflow_provider_proxyorders.purchase.attempt import PROOFS, Attempt, sending_time
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown
from airflow_provider_proxyorders.purchase.price import balance_for_floor, quoted_price, require_same_currency
from airflow_provider_proxyorders.purchase.turns import Turns
from airflow_provider_proxyorders.wire.messages import Request

#: Pauses before an answer is written to the ledger again, in seconds. The answer must survive.
WRITE_PAUSES = (0.2, 1.0, 5.0)


class Permit:
    """The right to send one purchase once. The transport calls it right before the request that spends.

    :param claimed: the purchase as SENT; ``None`` before that.
    """

    def __init__(self, sending: Sending, attempt: Attempt, purchase: Purchase):
        self.sending, self.attempt, self.purchase = sending, attempt, purchase
        self.evidence: Mapping[str, Any] = {}
        self.balance: Money | None = None
        self.claimed: Purchase | None = None

    def read_evidence(self) -> None:
        """Read the evidence, to recognise the purchase by it later. Then ask everything that may still refuse it."""
        sending, request, purchase = self.sending, self.attempt.request, self.purchase
        tracker, caps = sending.tracker, sending.tracker.account.caps
        flow = tracker.vendor.snapshot(request.kind, request.prepared.body, request.target)
        evidence = tracker.http.run(flow)
        require_same_currency(tracker.account, Money(Decimal(0), evidence.get("currency")))
        self.balance = balance_for_floor(tracker)
        if request.still_due is not None:  # it may switch the vendor's own renewal off, so all other refusals come first
            sending.ledger.check_claim(purchase, balance=self.balance, min_balance=caps.min_balance)
            sending.require_current_try(request.order_key)
            request.still_due(evidence)
        if self.attempt.unquoted:
            evidence = {**evidence, "quoted": False}
        if purchase.maybe_sent and tracker.repeats_safely(purchase.kind):
            evidence = {**evidence, **purchase.evidence}  # the evidence from before the first sending counts
        self.evidence = evidence

    def __call__(self, request: Request) -> None:
        """Write SENT; the request leaves right after this returns.

        :raises StaleClaim: another worker took the purchase further. Nothing was sent.
        :raises NeverSent: this worker was held up, and other tries may look for the purchase by now. Nothing was sent.
        """
        sending, account = self.sending, self.sending.tracker.account
        began = sending.ticks(), sending.ledger.clock()
        sending.require_current_try(self.attempt.request.order_key)
        self.claimed = self.attempt.sent = sending.ledger.claim(
            self.purchase,
            sending.tracker.actor,
            evidence=self.evidence,
            sent_seconds=sending_time(account),
            balance=self.balance,
            min_balance=account.caps.min_balance,
            alone=sending.tracker.vendor.capabilities.reads_evidence_alone(self.attempt.request.kind),
        )
        if sending.seconds_since(*began) > account.timeout:
            raise NeverSent("this worker was held up for too long before it could send; nothing was sent.")


class Sending:
    """Sends purchases of one account and records their answers.

    :param fence: called with the order key right before a purchase leaves; raises if Airflow has replaced this try.
    """

    def __init__(self, turns: Turns, fence: Callable[[str], None] | None):
        self.turns, self.settling, self.tracker = turns, turns.settling, turns.tracker
        self.ledger, self.ticks = turns.ledger, turns.ticks
        self.fence = fence

    def send(self, attempt: Attempt, purchase: Purchase) -> Purchase:
        """Send an intended purchase once.

        :returns: the purchase: placed; INTENDED: it may be sent again; UNKNOWN: the answer is lost; or as another try left it.
        """
        permit = Permit(self, attempt, purchase)
        request, vendor = attempt.request, self.tracker.vendor
        try:
            permit.read_evidence()
            body = request.prepared.body
            flow = vendor.create(body) if request.target is None else vendor.extend(request.target, body)
            vendor_order = self.tracker.http.run(flow, permit)
        except Exception as error:
            if permit.claimed is not None:
                return self._after_failure_recorded(attempt, permit.claimed, error)
            if isinstance(error, StaleClaim):  # another try was quicker; this try sent nothing
                return self.turns.wait_for_other_try(purchase)
            self.turns.give_back(purchase, error)
            raise
        assert permit.claimed is not None, f"{vendor.name}: the flow ended without its spending request"
        return self.placed(permit.claimed, vendor_order)

    def require_current_try(self, order_key: str) -> None:
        """Raise if Airflow has replaced this try of the task. Nothing was sent."""
        if self.fence is not None:
            self.fence(order_key)

    def seconds_since(self, ticks: float, moment: datetime) -> float:
        """Seconds since then. The time of day counts as well: a suspended machine's monotonic clock stands still."""
        return max(self.ticks() - ticks, (self.ledger.clock() - moment).total_seconds())

    # -- failures --------------------------------------------------------------------------------------------------

    def _after_failure_recorded(self, attempt: Attempt, claimed: Purchase, error: Exception) -> Purchase:
        try:
            return self.after_failure(attempt, claimed, error)
        except LedgerError as unwritten:
            why = f"{one_line(error)} And writing the ledger failed: {one_line(unwritten)}"
            raise outcome_unknown(claimed, self.tracker.vendor, why, retry="soon") from error

    def after_failure(self, attempt: Attempt, claimed: Purchase, error: Exception) -> Purchase:
        """Record an error after SENT: a proof that nothing was bought, or an unknown outcome.

        :returns: the purchase, INTENDED with a new login, or UNKNOWN.
        :raises ProxyOrdersError: the error itself, if it is a proof.
        """
        actor = self.tracker.actor
        proof = isinstance(error, PROOFS)
        if proof and not claimed.maybe_sent:
            attempt.sent = None
        if isinstance(error, AuthenticationFailed) and self.tracker.vendor.renews_login and not attempt.login_renewed:
            attempt.login_renewed = True  # refused before it was processed; it may leave once more with a new login
            return self.ledger.record(claimed, Step.INTENDED, "refused for its login (401): nothing was bought", actor)
        if isinstance(error, (NeverSent, ConfigError)):
            step = Step.UNKNOWN if claimed.maybe_sent else Step.INTENDED  # this proves nothing about an earlier sending
            self.ledger.record(claimed, step, f"never left: {one_line(error)}", actor)
            raise error
        if proof:
            if claimed.maybe_sent and self.tracker.repeats_safely(claimed.kind) and isinstance(error, VendorError):
                return self.settling.settle_refused_repeat(claimed, error)
            self.ledger.record(claimed, Step.REJECTED, f"refused: {one_line(error)}", actor)
            raise error
        why = one_line(error) if isinstance(error, ProxyOrdersError) else f"{type(error).__name__} while sending"
        self.tracker.say(f"Order key {claimed.order_key!r}: outcome unknown. {why}")
        return self.ledger.record(claimed, Step.UNKNOWN, why, actor)

    # -- answers ---------------------------------------------------------------------------------------------------

    def placed(self, claimed: Purchase, vendor_order: VendorOrder) -> Purchase:
        """Record the order of the vendor's answer.

        :raises OutcomeUnknown: writing the ledger fails. The next try finds the order.
        """
        price = vendor_order.price or quoted_price(self.tracker.vendor, claimed)
        try:
            placed = self._write_answer(claimed, vendor_order, price)
        except StaleClaim:
            placed = self.late_answer(claimed, vendor_order, price)
        except LedgerError as error:
            raise OutcomeUnknown(
                f"{self.tracker.vendor.title} took {claimed.order_key!r} as order {vendor_order.order_id}, but the ledger could "
                f"not be written: {one_line(error)} The next try finds the order; nothing is sent again on a guess.",
                order_key=claimed.order_key,
                retry="soon",
            ) from error
        status = f", {vendor_order.vendor_status}" if vendor_order.vendor_status else ""
        self.tracker.say(
            f"Order key {placed.order_key!r}: {'placed' if claimed.kind == 'create' else 'extended'} as order {placed.order_id}"
            f"{f', price {placed.price}' if placed.price else ''}{status}"
        )
        return self.tracker.alarm_on_overcharge(placed)

    def _write_answer(self, claimed: Purchase, vendor_order: VendorOrder, price: Money | None) -> Purchase:
        step, why = self.tracker.step_for(claimed, vendor_order), f"the vendor says {vendor_order.vendor_status!r}"

        def write() -> Purchase:
            return self.ledger.record(claimed, step, why, self.tracker.actor, vendor_order=vendor_order, price=price)

        for pause in WRITE_PAUSES:
            try:
                return write()
            except StaleClaim:
                raise
            except LedgerError as error:
                self.tracker.say(f"Writing the ledger failed ({one_line(error)}); trying again in {pause:g} s")
                self.tracker.sleep(pause)
        return write()

    def late_answer(self, claimed: Purchase, vendor_order: VendorOrder, price: Money | None) -> Purchase:
        """Record an answer after other tries have begun to look for the purchase.

        :raises OutcomeUnknown: the purchase is another order by now, or is being sent again. The wallet is frozen until a person
            has looked.
        """
        actor = self.tracker.actor
        current = self.ledger.find(claimed.order_key)
        while current is not None and current.step in (Step.UNKNOWN, Step.QUARANTINED, Step.INTENDED, Step.REJECTED):
            step, why = self.tracker.step_for(current, vendor_order), "a late answer: it landed"
            try:
                if current.step in (Step.INTENDED, Step.REJECTED):  # from now on it cannot be sent again
                    current = self.ledger.reopen(current, why, actor)
                return self.ledger.record(current, step, why, actor, vendor_order=vendor_order, price=price)
            except StaleClaim:
                current = self.ledger.find(claimed.order_key)
        if current is not None and self.settling.evidence.is_same_order(current, vendor_order):
            return current
        why = f"a late answer says that {claimed.order_key!r} was taken as order {vendor_order.order_id}, after it was given up"
        self.ledger.freeze(claimed.wallet, why)
        with contextlib.suppress(LedgerError):  # sent again just now: if that is refused, the first order waits for a person
            if current is not None and current.step is Step.SENT:
                self.ledger.record(current, Step.SENT, why, actor, maybe_sent=True)
        raise OutcomeUnknown(
            f"{why}. Wallet {claimed.wallet!r} is frozen; look into the vendor's dashboard: "
            f"proxyorders ledger show '{claimed.order_key}'",
            order_key=claimed.order_key,
        )
