"""Sending: the one request that spends, and the meaning of its answer.

Three rules:

- a purchase leaves once for each permit, see ``permit.py``;
- an error after SENT is a proof that nothing was bought, or it leaves the outcome unknown;
- an answer with the order is recorded, however late it comes.
"""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    LedgerError,
    OutcomeUnknown,
    ProxyOrdersError,
    VendorError,
)
from airflow_provider_proxyorders.domain.model import TAKEN, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import OutdatedEvidence, OwnedElsewhere, StaleClaim
from airflow_provider_proxyorders.purchase.attempt import PROOFS, Attempt
from airflow_provider_proxyorders.purchase.before import ReadsBefore
from airflow_provider_proxyorders.purchase.kept_answers import AnswerStore, KeptAnswers
from airflow_provider_proxyorders.purchase.late_answers import LateAnswers
from airflow_provider_proxyorders.purchase.outcome import outcome_unknown
from airflow_provider_proxyorders.purchase.permit import Permit
from airflow_provider_proxyorders.purchase.price import quoted_price
from airflow_provider_proxyorders.purchase.refusals import Refusals
from airflow_provider_proxyorders.purchase.turns import Turns

#: Pauses before an answer is written to the ledger again, in seconds. The answer must survive a failover of two minutes.
WRITE_PAUSES = (0.2, 1.0, 5.0, *[20.0] * 6)


class Sending:
    """Sends purchases of one account and records their answers.

    :param fence: called with the order key right before a purchase leaves; raises if Airflow has replaced this try.
    :param store: a second place for answers that the ledger cannot take.
    """

    def __init__(self, turns: Turns, fence: Callable[[str], None] | None, store: AnswerStore | None = None):
        self.turns, self.settling, self.tracker = turns, turns.settling, turns.tracker
        self.ledger, self.ticks = turns.ledger, turns.ticks
        self.fence, self.reads = fence, ReadsBefore(turns)
        self.late_answers = LateAnswers(self.settling)
        self.answers = KeptAnswers(self.tracker, store, self.record_kept)
        self.refusals = Refusals(self.settling)

    def send(self, attempt: Attempt, purchase: Purchase) -> Purchase:
        """Send an intended purchase once.

        :returns: the purchase: placed; INTENDED: it may be sent again; UNKNOWN: the answer is lost; or as another try left it.
        """
        permit = Permit(self.reads, self.fence, attempt, purchase)
        request, vendor = attempt.request, self.tracker.vendor
        try:
            permit.read_evidence()
            body = request.prepared.body
            flow = vendor.create(body) if request.target is None else vendor.extend(request.target, body)
            vendor_order = self.tracker.http.run(flow, permit)
        except Exception as error:
            if permit.claimed is not None:
                return self._after_failure_recorded(attempt, permit.claimed, error)
            if isinstance(error, OutdatedEvidence):
                return self.ledger.release(purchase, one_line(error), self.tracker.actor)
            if isinstance(error, StaleClaim):  # another try was quicker; this try sent nothing
                return self.turns.wait_for_other_try(purchase)
            self.turns.give_back(purchase, error)
            raise
        assert permit.claimed is not None, f"{vendor.name}: the flow ended without its spending request"
        return self.placed(permit.claimed, vendor_order)

    # -- failures --------------------------------------------------------------------------------------------------

    def _after_failure_recorded(self, attempt: Attempt, claimed: Purchase, error: Exception) -> Purchase:
        try:
            return self.after_failure(attempt, claimed, error)
        except StaleClaim:  # another try has taken it further; what it saw decides
            return self.turns.wait_for_other_try(claimed)
        except LedgerError as unwritten:
            why = f"{one_line(error)} And writing the ledger failed: {one_line(unwritten)}"
            raise outcome_unknown(claimed, self.tracker.vendor, why, retry="soon") from error

    def after_failure(self, attempt: Attempt, claimed: Purchase, error: Exception) -> Purchase:
        """Record an error after SENT: a proof that nothing was bought, or an unknown outcome.

        :returns: the purchase: INTENDED with a new login, or with the order of a late answer; adopted; or UNKNOWN.
        :raises ProxyOrdersError: the error itself, if it is a proof.
        """
        actor = self.tracker.actor
        if isinstance(error, AuthenticationFailed) and self.tracker.vendor.renews_login and not attempt.login_renewed:
            attempt.login_renewed = True  # refused before it was processed; it may leave once more with a new login
            return self.ledger.record(claimed, Step.INTENDED, "refused for its login (401): nothing was bought", actor)
        if isinstance(error, PROOFS):
            late_order = bool(self.ledger.questions(order_key=claimed.order_key))  # of an earlier sending; it is adopted next
            if isinstance(error, VendorError) and not late_order:
                return self.refusals.judge(attempt, claimed, error)
            attempt.sent = claimed if claimed.maybe_sent else None
            step = Step.UNKNOWN if claimed.maybe_sent else Step.INTENDED  # this proves nothing about an earlier sending
            unsent = self.ledger.record(claimed, step, f"never left, or refused: {one_line(error)}", actor)
            if late_order:
                return unsent
            raise error
        why = one_line(error) if isinstance(error, ProxyOrdersError) else f"{type(error).__name__} while sending"
        self.tracker.say(f"Order key {claimed.order_key!r}: outcome unknown. {why}")
        unknown = self.ledger.record(claimed, Step.UNKNOWN, why, actor)
        if isinstance(error, OutcomeUnknown) and error.retry_after:
            self.settling.rest.begin(error.retry_after)
        return unknown

    # -- answers ---------------------------------------------------------------------------------------------------

    def placed(self, claimed: Purchase, vendor_order: VendorOrder) -> Purchase:
        """Record the order of the vendor's answer.

        An answer may name another order, for example the one before. Then something was taken perhaps, and the evidence decides.

        :returns: the purchase; UNKNOWN, if the answer names an order that cannot be its own.
        :raises OutcomeUnknown: writing the ledger fails. The task's state keeps the order id, and the next try finds the order.
        """
        price = vendor_order.price or quoted_price(self.tracker.vendor, claimed)
        try:
            try:
                placed = self._write_answer(claimed, vendor_order, price)
            except StaleClaim:
                placed = self.late_answers.record(claimed, vendor_order, price)
        except LedgerError as error:
            kept = "The task's state keeps the order id, and the" if self.answers.keep(claimed, vendor_order) else "The"
            raise OutcomeUnknown(
                f"{self.tracker.vendor.title} took {claimed.order_key!r} as order {vendor_order.order_id}, but the ledger could "
                f"not be written: {one_line(error)} {kept} next try finds the order; nothing is sent again on a guess.",
                order_key=claimed.order_key,
                retry="soon",
            ) from error
        if placed.step not in TAKEN:
            return placed
        status = f", {vendor_order.vendor_status}" if vendor_order.vendor_status else ""
        done, price_text = "placed" if claimed.kind == "create" else "extended", f", price {placed.price}" if placed.price else ""
        self.tracker.say(f"Order key {placed.order_key!r}: {done} as order {placed.order_id}{price_text}{status}")
        return self.tracker.alarm_on_overcharge(placed)

    def record_kept(self, purchase: Purchase, fence: int, vendor_order: VendorOrder) -> Purchase:
        """Record the order of an answer that an earlier try could not write down, as the vendor shows it now.

        :param purchase: as the ledger has it.
        :param fence: of the sending with this answer.
        """
        if purchase.step is Step.SENT and purchase.fence == fence:
            return self.placed(purchase, vendor_order)
        price = vendor_order.price or quoted_price(self.tracker.vendor, purchase)
        recorded = self.late_answers.record(purchase, vendor_order, price)
        return self.tracker.alarm_on_overcharge(recorded) if recorded.step in TAKEN else recorded

    def _write_answer(self, claimed: Purchase, vendor_order: VendorOrder, price: Money | None) -> Purchase:
        """Record the order; or UNKNOWN, if it cannot be the purchase's own."""
        step, why = self.tracker.step_for_answer(claimed, vendor_order), f"the vendor says {vendor_order.vendor_status!r}"
        contradiction = self.tracker.why_not(claimed, vendor_order)
        if not contradiction:
            try:
                return self._keep_writing(
                    lambda: self.tracker.write(claimed, step, why, vendor_order, price=price),
                    lambda: self.answers.keep(claimed, vendor_order),
                )
            except OwnedElsewhere as owned:
                contradiction = one_line(owned)
        doubt = f"the answer names order {vendor_order.order_id}, but {contradiction}; the evidence decides"
        self.tracker.say(f"Order key {claimed.order_key!r}: outcome unknown. {doubt}")
        return self._keep_writing(lambda: self.ledger.record(claimed, Step.UNKNOWN, doubt, self.tracker.actor))

    def _keep_writing(self, write: Callable[[], Purchase], keep: Callable[[], object] | None = None) -> Purchase:
        """Write the ledger, again and again while it cannot be written.

        :param keep: called after the first failure: a worker that is killed during the pauses loses nothing.
        """
        for pause in WRITE_PAUSES:
            try:
                return write()
            except (StaleClaim, OwnedElsewhere):
                raise
            except LedgerError as error:
                self.tracker.say(f"Writing the ledger failed ({one_line(error)}); trying again in {pause:g} s")
                if keep is not None:
                    keep()
                    keep = None
                self.tracker.sleep(pause)
        return write()
