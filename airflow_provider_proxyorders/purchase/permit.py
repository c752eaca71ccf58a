"""The permit: what is read and checked before a purchase leaves, and the claim right before its first byte.

Two rules. The evidence is read before the purchase, and everything that may still refuse it is asked then. SENT is in the ledger
before any byte of the purchase leaves, and one permit lets one request leave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.errors import NeverSent, WalletHeld
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.ledger.evidence import Floor
from airflow_provider_proxyorders.purchase.attempt import Attempt, sending_time
from airflow_provider_proxyorders.purchase.before import ReadsBefore
from airflow_provider_proxyorders.wire.messages import Request

#: The longest pause before the balance is read again, in seconds.
LONGEST_REREAD = 30.0


class Permit:
    """The right to send one purchase once. The transport calls it on the open connection, right before the first byte.

    :param fence: called with the order key right before a purchase leaves; raises if Airflow has replaced this try.
    :ivar claimed: the purchase as SENT; ``None`` before that.
    """

    def __init__(self, reads: ReadsBefore, fence: Callable[[str], None] | None, attempt: Attempt, purchase: Purchase):
        turns = reads.turns
        self.reads, self.turns, self.tracker, self.ledger = reads, turns, turns.tracker, turns.ledger
        self.fence, self.attempt, self.purchase = fence, attempt, purchase
        self.evidence: Mapping[str, Any] = {}
        self.read_until = self.turns.ticks(), self.ledger.clock()
        self.floor: Floor | None = None
        self.claimed: Purchase | None = None

    def read_evidence(self) -> None:
        """Read the evidence, to recognise the purchase by it later. Then ask everything that may still refuse it.

        Where only money that the balance may not show yet stands in the way, wait and read again.

        :raises CapExceeded: money is missing that no purchase of the ledger explains, or too little would remain.
        :raises WalletHeld: after the wait the balance may still not show all purchases. Nothing was bought.
        """
        deadline = self.turns.ticks() + self.turns.patience
        early = self.reads.take_early(self.attempt, self.purchase)
        while True:
            before, early = early or self.reads.read(self.attempt, self.purchase), None
            self.evidence, self.floor, self.read_until = before.evidence, before.floor, before.read_until
            try:
                self.ledger.check_claim(self.purchase, floor=self.floor)
                break
            except WalletHeld as error:
                pause = self._pause(before.shows_all_at)
                if self.turns.ticks() + pause > deadline:
                    raise
                self.tracker.say(f"{error} Reading it again in {pause:.0f} s")
                self.tracker.sleep(pause)
        self._ask_last()

    def _pause(self, shows_at: datetime | None) -> float:
        """Seconds until a read shows all of now, at most a part of the patience."""
        left = (shows_at - self.ledger.clock()).total_seconds() if shows_at is not None else 0.0
        return min(max(left, 0.1), LONGEST_REREAD)

    def _ask_last(self) -> None:
        request, purchase = self.attempt.request, self.purchase
        if self.tracker.vendor.renews_by_itself(request.prepared.body):
            self.reads.checkpoints.expect_renewals()
        if request.still_due is not None:  # it may switch the vendor's own renewal off, so all other refusals come first
            self.require_current_try(request.order_key)
            request.still_due(self.evidence)
        self.evidence = {**self.evidence, "read_at": self.ledger.clock().isoformat()}
        if self.attempt.unquoted:
            self.evidence = {**self.evidence, "quoted": False}
        if purchase.maybe_sent and self.tracker.repeats_safely(purchase.kind):
            self.evidence = {**self.evidence, **purchase.evidence}  # the evidence from before the first sending counts

    def __call__(self, request: Request) -> None:
        """Write SENT, and look at both clocks last; the request leaves right after this returns.

        :raises StaleClaim: another worker took the purchase further. Nothing was sent.
        :raises NeverSent: this worker was held up: its evidence is too old, or other tries may look for the purchase by now.
        """
        account, began = self.tracker.account, (self.turns.ticks(), self.ledger.clock())
        if self.seconds_since(*self.read_until) > self.tracker.settle_time + 2 * account.timeout:  # time to connect included
            raise NeverSent("this worker was held up since it read the balance, so that is too old by now; nothing was sent.")
        self.require_current_try(self.attempt.request.order_key)
        alone, seconds = self.tracker.vendor.capabilities.reads_evidence_alone(self.attempt.request.kind), sending_time(account)
        self.claimed = self.attempt.sent = self.ledger.claim(
            self.purchase, self.tracker.actor, evidence=self.evidence, sent_seconds=seconds, floor=self.floor, alone=alone
        )
        if self.seconds_since(*began) > account.timeout:
            raise NeverSent("this worker was held up for too long before it could send; nothing was sent.")

    def require_current_try(self, order_key: str) -> None:
        """Raise if Airflow has replaced this try of the task. Nothing was sent."""
        if self.fence is not None:
            self.fence(order_key)

    def seconds_since(self, ticks: float, moment: datetime) -> float:
        """Seconds since then. The time of day counts as well: a suspended machine's monotonic clock stands still."""
        return max(self.turns.ticks() - ticks, (self.ledger.clock() - moment).total_seconds())
