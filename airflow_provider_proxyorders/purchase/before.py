"""Reads the evidence before a purchase leaves: at its turn, or a little earlier, in the line.

Two rules. A read in the line tells no less than a lagging read at the turn, and a look reckons with a lag of the settle time
anyway: later purchases are in the ledger, and explain their own orders and money. After anything unusual it is read anew.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from decimal import Decimal

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Money, Purchase
from airflow_provider_proxyorders.ledger import StaleClaim
from airflow_provider_proxyorders.ledger.evidence import READ_IN_LINE, Floor
from airflow_provider_proxyorders.purchase.attempt import Attempt, Before
from airflow_provider_proxyorders.purchase.checkpoint import Compared
from airflow_provider_proxyorders.purchase.price import balance_for_floor, require_same_currency
from airflow_provider_proxyorders.purchase.turns import Turns
from airflow_provider_proxyorders.transport.many import sent_ahead
from airflow_provider_proxyorders.vendors.evidence import balance_in


class ReadsBefore:
    """Reads the evidence for purchases of one account."""

    def __init__(self, turns: Turns):
        self.turns, self.tracker, self.ledger = turns, turns.tracker, turns.ledger
        self.checkpoints = turns.settling.evidence.checkpoints

    def read(self, attempt: Attempt, purchase: Purchase | None) -> Before:
        """Read the evidence now.

        :param purchase: as intended; ``None``: it is not intended yet.
        :raises CapExceeded: the wallet is in another currency than its limits. Nothing was bought.
        :raises StaleClaim: refused purchases are unresolved again, so the limits count more. Nothing was sent.
        """
        tracker, request = self.tracker, attempt.request
        begun = self.checkpoints.begin()
        what = request.kind, request.prepared.body, request.target
        with sent_ahead(tracker.http, tracker.vendor.snapshot_reads(*what)):
            evidence = tracker.http.run_reading(lambda: tracker.vendor.snapshot(*what))
        read_until = self.turns.ticks(), self.ledger.clock()
        if warning := tracker.http.vendor_clock.warn_once():
            tracker.say(warning)
        require_same_currency(tracker.account, Money(Decimal(0), evidence.get("currency")))
        if evidence.get("lacking"):
            tracker.say(f"Note: a lost answer would be harder to find: {evidence['lacking']}")
        balance = balance_in(evidence) or balance_for_floor(tracker)
        compared = None if balance is None else self.checkpoints.compare(begun, balance)
        floor = None
        if compared is not None:
            if compared.gap > 0:
                self.checkpoints.freeze(compared)
            if compared.reopened:
                raise StaleClaim("refused purchases are unresolved again; the limits are asked anew")
            evidence = {**evidence, "checkpoint": compared.checkpoint.as_evidence()}
            floor = self._floor_for(purchase, compared, balance)
        evidence = {**evidence, "account": tracker.account.digest, "read_from": begun.at.isoformat()}
        evidence = self.checkpoints.within_marks(evidence)
        shows_all_at = compared.shows_all_at if compared is not None else None
        return Before(evidence, floor, begun.last, begun.at, read_until, shows_all_at)

    def _floor_for(self, purchase: Purchase | None, compared: Compared, balance: Money | None) -> Floor | None:
        least = self.tracker.account.caps.min_balance
        if least is None or balance is None:
            return None
        repeat = purchase is not None and purchase.maybe_sent and self.tracker.repeats_safely(purchase.kind)
        paid = self.checkpoints.paid(purchase, balance) if repeat and purchase is not None else ()
        return Floor(balance, least, compared.shown, *paid)

    def read_early(self, attempt: Attempt) -> None:
        """Read the evidence in the line, while another purchase has the turn. Without an answer it is read at the turn."""
        if self.tracker.vendor.capabilities.needs_turn(attempt.request.kind):
            with contextlib.suppress(ProxyOrdersError):
                attempt.before = self.read(attempt, None)

    def take_early(self, attempt: Attempt, purchase: Purchase) -> Before | None:
        """The evidence from the line, if it still serves for this purchase. It serves once."""
        before, attempt.before = attempt.before, None
        if before is None or purchase.sent_at is not None:
            return None
        longest = self.turns.longest_early
        if not 0 <= (self.ledger.clock() - before.read_from).total_seconds() <= longest:
            return None
        if self.turns.ticks() - before.read_until[0] > longest or self.ledger.is_outdated(purchase.wallet, before.after):
            return None
        return replace(before, evidence={**before.evidence, READ_IN_LINE: before.after})
