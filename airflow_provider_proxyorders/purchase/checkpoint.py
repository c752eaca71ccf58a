"""The balance checkpoint: a wallet's balance is compared with all that its ledger knows, before each purchase and by Reconcile.

Three rules:

- a read may lag. What was sent within the settle time before a read may be missing in it, so both readings are possible;
- more is missing than was charged or reserved: the orders in question are read, a refused purchase that explains it becomes
  unresolved again, and what stays unexplained freezes the wallet;
- only a certain balance can prove later that a purchase was not charged. The ledger keeps the last one as the wallet's mark.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import TAKEN, Balance, Money, Purchase, Step, decimal
from airflow_provider_proxyorders.domain.text import amount, utc
from airflow_provider_proxyorders.ledger import StaleClaim, facts
from airflow_provider_proxyorders.ledger.evidence import SentPurchase, Shown
from airflow_provider_proxyorders.purchase.balance_marks import (
    Charges,
    Clocks,
    Mark,
    before_young,
    charges_of,
    digits_of,
    may_be_charged,
    next_mark,
    priced_as_equals,
    unexplained,
)
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.purchase.unwatched import Unwatched
from airflow_provider_proxyorders.vendors.evidence import balance_in, missing_money
from airflow_provider_proxyorders.wire.reading import when

#: After so many purchases without a certain read the mark moves on, so that a comparison stays small.
MOST_SINCE_MARK = 200
#: Steps at which a purchase may be charged at any moment.
_UNDER_WAY = frozenset({Step.SENT, Step.UNKNOWN, Step.INTENDED})
#: In the evidence of a refused purchase: when it was looked for once more, after the settle time.
LOOKED_AGAIN = "looked_again"
#: In the evidence of a refused purchase: the look after the refusal proves nothing yet, because reads may lag.
UNSURE = "unsure"


@dataclass(frozen=True)
class Begun:
    """The begin of a read.

    :param last: number of the newest step.
    """

    at: datetime
    last: int


@dataclass(frozen=True)
class Compared:
    """A balance beside all that the ledger knows.

    :param shown: how far the balance surely shows the wallet's purchases.
    :param checkpoint: the mark to prove by later; certain, if there is a certain one.
    :param gap: how much more is missing than all charges and reservations; 0: nothing.
    :param alarm: the gap in one sentence, with its figures.
    :param reopened: whether refused purchases became unresolved again, so the limits count more than before.
    :param shows_all_at: from this moment on a read shows everything that was sent before this one.
    """

    shown: Shown
    checkpoint: Mark
    gap: Decimal = Decimal(0)
    alarm: str = ""
    reopened: bool = False
    shows_all_at: datetime | None = None


class Checkpoints:
    """Compares the balance of one account's wallet with its ledger."""

    def __init__(self, tracker: OrderTracker):
        self.tracker, self.vendor, self.ledger = tracker, tracker.vendor, tracker.ledger
        self.wallet, account = tracker.account.wallet, tracker.account.digest or tracker.account.conn_id
        self.unwatched = Unwatched(tracker)
        self.mark = facts.balance_mark(tracker.ledger, self.wallet, self.vendor.name, account)

    def begin(self) -> Begun:
        """Call this right before a balance is read."""
        return Begun(self.ledger.clock(), self.ledger.last_step_of(self.wallet))

    def compare(self, begun: Begun, balance: Money) -> Compared:
        """Compare a balance with the wallet's mark, and keep it as the next mark where it is certain.

        More is missing than was charged or reserved: the orders in question are read first, then refused purchases are doubted.
        What they do not explain is the gap, and the mark stays until a person unfreezes the wallet.
        """
        ended = self.ledger.last_step()  # what is sent from now on is not in this balance
        mark = Mark.from_text(self.mark.get())
        if mark is not None and (mark.after > begun.last or not mark.balance.same_currency(balance.currency)):
            mark = None  # a read that began before the mark's says nothing of what came between
        clocks = self._clocks(begun.at)
        sent = self._settled(mark, clocks)
        charges = charges_of(sent, clocks)
        gap = unexplained(mark, balance, charges) - charges.rounding if mark is not None else Decimal(0)
        reopened = False
        if mark is not None and gap > 0:
            sent = self._settled(mark, clocks, at_once=True)
            charges = charges_of(sent, clocks)
            gap = unexplained(mark, balance, charges) - charges.rounding
            reopened = gap > 0 and self._reopened(sent, gap)
            if reopened:
                sent = self._sent(mark, clocks)
                charges = charges_of(sent, clocks)
                gap = unexplained(mark, balance, charges) - charges.rounding
        relevant = [purchase for purchase in sent if purchase.number <= ended]
        new, certain = next_mark(mark, balance, relevant, clocks, begun.last)
        checkpoint = mark if mark is not None and mark.certain and not certain else new
        young = [purchase for purchase in relevant if may_be_charged(purchase) and not clocks.shows(purchase)]
        shows_all_at = max((clocks.shows_at(purchase) for purchase in young), default=None)
        compared = Compared(Shown(new.after, new.at), checkpoint, reopened=reopened, shows_all_at=shows_all_at)
        if mark is not None and gap > 0:
            alarm = self._alarm(mark, balance, gap, charges)
            if not self._renewed_by_vendor():
                return replace(compared, gap=gap, alarm=alarm)
            self.tracker.say(f"Note: {alarm}. The vendor renews orders of this wallet by itself, so the wallet is not frozen.")
        if certain or mark is None or gap > 0 or len(sent) > MOST_SINCE_MARK:
            self.mark.advance(before_young(new, relevant, young).text if certain and young else new.text)
        return compared

    def freeze(self, compared: Compared) -> None:
        """Freeze the wallet for an unexplained gap, if it is not frozen already."""
        if self.ledger.freeze_reason(self.wallet) is None:
            self.ledger.freeze(self.wallet, compared.alarm)
            logging.getLogger(__name__).error("Wallet %s frozen: %s", self.wallet, compared.alarm)
            self.tracker.say(f"ALARM: {compared.alarm}. Wallet {self.wallet!r} is frozen until a person unfreezes it.")

    def expect_renewals(self) -> None:
        """Note that the vendor was asked to charge this wallet by itself. From now on a gap does not freeze it."""
        facts.renewed_by_vendor(self.ledger, self.wallet).decide_once("yes")

    def within_marks(self, evidence: dict[str, Any]) -> dict[str, Any]:
        """The evidence of a purchase within the bounds of what earlier reads saw, which this read extends."""
        name = self.vendor.seen_ids
        if name is not None and evidence.get(name) is not None:
            evidence = {**evidence, name: self.ledger.see(self.wallet, self.vendor.name, evidence[name])}
        fact = facts.vendor_marks(self.ledger, self.wallet, self.vendor.name)
        earlier = load_json(fact.get() or "{}")
        evidence, marks = self.vendor.with_marks(evidence, earlier)
        if marks != earlier:
            fact.put(dump_json(marks))
        return evidence

    def paid(self, purchase: Purchase, balance: Money) -> tuple[Decimal, Decimal]:
        """What an earlier sending of a purchase surely took from the wallet, and what it took together with those under way."""
        expected = self.expected(purchase)
        missing = missing_money({**purchase.evidence, "expected": expected}, Balance(balance))
        amount, settled = missing.amount or Decimal(0), missing.others - decimal(expected.get("under_way", "0"))
        return max(Decimal(0), amount - missing.others), max(Decimal(0), amount - max(Decimal(0), settled))

    def expected(self, purchase: Purchase) -> dict[str, Any]:
        """What a balance that is read now should be without this purchase; see :meth:`Vendor.resolve`. Empty: unknown."""
        clocks = self._clocks(self.ledger.clock())
        if "checkpoint" in purchase.evidence:
            mark = Mark.parse(purchase.evidence["checkpoint"])
        else:
            mark = self._own_mark(purchase)
        if mark is None:
            return {}
        others = [other for other in self._sent(mark, clocks) if other.order_key != purchase.order_key]
        as_equals, at_most = priced_as_equals(others)
        charges = charges_of(others, clocks)
        suspects = {each.order_key: each.reserved.amount for each in self.suspects(others)}
        suspected = sum(suspects.values(), Decimal(0))
        unresolved = charges_of([other for other in others if other.step not in TAKEN], clocks).uncertain + suspected
        under_way = charges_of([other for other in others if other.step in _UNDER_WAY], clocks).uncertain
        charged = charges.shown if mark.certain else Decimal(0)  # otherwise the mark may show it already
        asked = (purchase.kind, purchase.request, purchase.target)
        unlike = [other for other in others if (other.kind, other.request, other.target) != asked]
        different = charges_of(unlike, clocks)
        unlike_suspects = sum((suspects.get(other.order_key, Decimal(0)) for other in unlike), Decimal(0))
        read_from = when(purchase.evidence.get("read_from"))
        since_own = {}
        if read_from is not None:  # what was sent long before that, its own balance shows
            later = [other for other in others if not replace(clocks, read_at=read_from).shows(other)]
            most = charges_of(later, clocks).most + sum(
                (suspects.get(other.order_key, Decimal(0)) for other in later), Decimal(0)
            )
            since_own = {"since_own": f"{most:f}"}
        return {
            **since_own,
            **({"as_equals": f"{as_equals:f}", "at_most": f"{at_most:f}"} if at_most and mark.certain else {}),
            "balance": f"{mark.balance.amount:f}",
            "currency": mark.balance.currency,
            "charged": f"{charged:f}",
            "maybe": f"{charges.most - charged + suspected:f}",
            "unlike": f"{different.most - (different.shown if mark.certain else 0) + unlike_suspects:f}",
            "unresolved": f"{unresolved:f}",
            "under_way": f"{under_way:f}",
            "digits": max(charges.digits, digits_of(purchase.reserved.amount)),
        }

    def suspects(self, sent: Sequence[SentPurchase]) -> list[Purchase]:
        """Those of these purchases that were refused, and may have landed all the same: no look has shown that they did not."""
        refused = [purchase for each in sent if (purchase := self._refused(each)) is not None]
        return [purchase for purchase in refused if purchase.step is Step.REJECTED and UNSURE in purchase.evidence]

    def _own_mark(self, purchase: Purchase) -> Mark | None:
        """The balance from before a purchase of an older version of this code, taken as certain."""
        balance, at = balance_in(purchase.evidence), purchase.sent_at
        if balance is None or at is None:
            return None
        sent = self.ledger.sent_after(self.wallet, 0, at)
        number = next((other.number for other in sent if other.order_key == purchase.order_key), None)
        return None if number is None else Mark(balance, number, at)

    def _clocks(self, moment: datetime) -> Clocks:
        return Clocks(moment, self.tracker.settle_time)

    def _sent(self, mark: Mark | None, clocks: Clocks) -> list[SentPurchase]:
        """The wallet's purchases since a mark; without one, those that a read may not show yet."""
        if mark is None:
            sent = self.ledger.sent_after(self.wallet, 0, clocks.read_at - timedelta(seconds=clocks.settle))
            sent = [purchase for purchase in sent if not clocks.shows(purchase)]
        else:
            sent = self.ledger.sent_after(self.wallet, mark.after, mark.at)
        return [each for each in sent if each.vendor == self.vendor.name and self.vendor.pays_from_wallet(each.request)]

    def _settled(self, mark: Mark | None, clocks: Clocks, *, at_once: bool = False) -> list[SentPurchase]:
        """The same, after orders without a known price and orders that nobody waits for were read."""
        sent, open_prices = self._sent(mark, clocks), list[str]()
        if self.vendor.capabilities.price_in_order:
            open_prices = [purchase.order_key for purchase in sent if purchase.price is None and purchase.order_id]
        return self._sent(mark, clocks) if self.unwatched.refresh(open_prices, at_once=at_once) else sent

    def _reopened(self, sent: Sequence[SentPurchase], gap: Decimal) -> bool:
        """Whether refused purchases explain a gap. They are unresolved again, because the vendor may have taken a first copy."""
        suspects = [purchase for each in sent if (purchase := self._refused(each)) is not None]
        if sum((purchase.reserved.amount for purchase in suspects), Decimal(0)) < gap:
            return False
        for purchase in suspects:
            with contextlib.suppress(StaleClaim):
                self.ledger.reopen(
                    purchase, f"refused, and {amount(gap)} is missing that nothing else explains", self.tracker.actor
                )
        return True

    def _refused(self, sent: SentPurchase) -> Purchase | None:
        """A refused purchase without a look since; also one that is intended again, if its reference is sent again."""
        if may_be_charged(sent) or not (sent.step is Step.REJECTED or self.tracker.repeats_safely(sent.kind)):
            return None
        purchase = self.ledger.find(sent.order_key)
        untouched = purchase is not None and purchase.step is sent.step and LOOKED_AGAIN not in purchase.evidence
        return purchase if untouched else None

    def _renewed_by_vendor(self) -> bool:
        """Whether the vendor may charge this wallet by itself."""
        if facts.renewed_by_vendor(self.ledger, self.wallet).get():
            return True
        return any(order.auto_extends for order in self.tracker.http.run_reading(self.vendor.inventory) or ())

    def _alarm(self, mark: Mark, balance: Money, gap: Decimal, charges: Charges) -> str:
        return (
            f"the balance fell from {mark.balance} to {balance} since {utc(mark.at, 'seconds')}, which is {amount(gap)} more "
            f"than the {amount(charges.most)} that this ledger's purchases since then were charged or may cost"
        )
