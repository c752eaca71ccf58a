"""A wallet's balance beside what its purchases were charged: marks of earlier reads, and sums of charges. Arithmetic alone.

Two rules:

- a read may lag. What was sent within the settle time before a read may be missing in it, so both readings are possible;
- only a certain balance can prove later that a purchase was not charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json, load_json
from airflow_provider_proxyorders.domain.model import (
    TAKEN,
    UNRESOLVED,
    Money,
    Step,
    decimal,
    minor_digits,
    rounded,
)
from airflow_provider_proxyorders.ledger.evidence import SentPurchase

#: Digits of a price that count, beyond those of its currency.
MOST_DIGITS = 4
#: Steps of a purchase with a charge that stays. The others beyond them may get a part of it back.
_CHARGED = frozenset({Step.PLACED, Step.DELIVERED, Step.EXPIRED})


@dataclass(frozen=True)
class Mark:
    """A balance of a wallet as it was read, with its place in the ledger's history.

    :param after: number of a step. The balance shows every charge of what was sent up to it.
    :param certain: whether it shows no other charge.
    """

    balance: Money
    after: int
    at: datetime
    certain: bool = True

    def as_evidence(self) -> dict[str, Any]:
        return {
            "balance": f"{self.balance.amount:f}",
            "currency": self.balance.currency,
            "after": self.after,
            "at": self.at.isoformat(),
            "certain": self.certain,
        }

    @classmethod
    def parse(cls, data: Any) -> Mark | None:
        """The mark in evidence or in a fact; ``None`` for anything else."""
        try:
            balance = Money(decimal(data["balance"]), data["currency"])
            return cls(balance, int(data["after"]), datetime.fromisoformat(data["at"]), data.get("certain", True) is True)
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def text(self) -> str:
        """The form of the fact. Texts sort as the marks follow each other."""
        return f"{self.after:020d} {dump_json({'at': self.at.isoformat(), **self.as_evidence()})}"

    @classmethod
    def from_text(cls, text: str | None) -> Mark | None:
        """The inverse of :attr:`text`."""
        try:
            return cls.parse(load_json((text or "").partition(" ")[2]))
        except UnreadableBody:
            return None


@dataclass(frozen=True)
class Charges:
    """What purchases can have taken from a balance.

    :param shown: charged, and older than the settle time: the balance shows it.
    :param late: charged, and perhaps not shown yet.
    :param uncertain: may be charged or not, at most so much.
    :param digits: after the point, of the finest amount.
    :param rounding: at most so much more, where a vendor charges whole cents for finer prices.
    """

    shown: Decimal = Decimal(0)
    late: Decimal = Decimal(0)
    uncertain: Decimal = Decimal(0)
    digits: int = 0
    rounding: Decimal = Decimal(0)

    @property
    def most(self) -> Decimal:
        return self.shown + self.late + self.uncertain


@dataclass(frozen=True)
class Clocks:
    """When a purchase counts as shown in a read.

    :param read_at: the begin of the read, by the ledger's clock, as all moments of purchases are.
    :param settle: seconds until a purchase shows in reads.
    """

    read_at: datetime
    settle: float

    def shows_at(self, sent: SentPurchase) -> datetime:
        """The moment from which every read shows a purchase: a settle time after its sender had an answer or gave up."""
        return sent.left_by + timedelta(seconds=self.settle)

    def shows(self, sent: SentPurchase) -> bool:
        return self.shows_at(sent) <= self.read_at


def may_be_charged(sent: SentPurchase) -> bool:
    """Whether a purchase was charged, or may have been."""
    return sent.step in TAKEN or sent.step in UNRESOLVED or sent.maybe_sent


def charges_of(sent: Iterable[SentPurchase], clocks: Clocks) -> Charges:
    """What these purchases can have taken from a balance that was read then. Each pays from the wallet."""
    shown = late = uncertain = rounding = Decimal(0)
    digits = 0
    for purchase in sent:
        if not may_be_charged(purchase):
            continue
        charge = purchase.price or purchase.reserved
        amount = charge.amount
        digits = max(digits, digits_of(amount))
        rounding += amount.quantize(Decimal(1).scaleb(-minor_digits(charge.currency)), ROUND_CEILING) - amount
        if purchase.price is None or purchase.step not in _CHARGED:
            uncertain += amount
        elif clocks.shows(purchase):
            shown += amount
        else:
            late += amount
    return Charges(shown, late, uncertain, digits, rounding)


def priced_as_equals(sent: Sequence[SentPurchase]) -> tuple[Decimal, Decimal]:
    """The cost of the delivered orders without a known price, by the price of equal ones, and their most.

    A sub-account tells an order, and no price. An order counts here if all equal ones among these purchases cost the same.
    """
    prices: dict[str, set[Money]] = {}
    for each in sent:
        if each.step in TAKEN and each.price is not None:
            prices.setdefault(_asked(each), set()).add(each.price)
    amount = most = Decimal(0)
    for each in sent:
        equal = prices.get(_asked(each), set())
        if each.price is None and each.step in (Step.DELIVERED, Step.EXPIRED) and len(equal) == 1:
            amount += next(iter(equal)).amount
            most += each.reserved.amount
    return amount, most


def _asked(sent: SentPurchase) -> str:
    """What a purchase asked for, as a text to compare."""
    return dump_json([sent.vendor, sent.kind, sent.target, sent.request])


def digits_of(amount: Decimal) -> int:
    """Digits of an amount after the point that count in a comparison."""
    exponent = amount.normalize().as_tuple().exponent
    return min(max(0, -exponent), MOST_DIGITS) if isinstance(exponent, int) else 0


def unexplained(mark: Mark, balance: Money, charges: Charges) -> Decimal:
    """How much more is missing since a mark than all charges and reservations together; 0 or less: nothing."""
    digits = max(minor_digits(balance.currency), charges.digits)
    return rounded(mark.balance.amount - balance.amount - charges.most, digits)


def next_mark(mark: Mark | None, balance: Money, sent: Sequence[SentPurchase], clocks: Clocks, last: int) -> tuple[Mark, bool]:
    """The mark that a read gives, and whether it is certain.

    A read is certain if everything was sent a settle time before it, or if it equals a certain mark less all charges since. What
    was refused counts here as sent, because a first copy of it may show later.

    :param mark: the wallet's mark, in the currency of the balance.
    :param sent: the purchases since the mark, without those sent while the balance was read.
    :param last: number of the newest step before the read.
    """
    newest = max([last, *(purchase.number for purchase in sent)])
    young = [purchase for purchase in sent if not clocks.shows(purchase)]
    if not young:
        return Mark(balance, newest, clocks.read_at), True
    if mark is not None and mark.certain and all(may_be_charged(purchase) for purchase in young):
        charges = charges_of(sent, clocks)
        if charges.uncertain == 0 and unexplained(mark, balance, charges) == 0:
            return Mark(balance, newest, clocks.read_at), True
    return Mark(balance, young[0].number - 1, min(clocks.read_at, young[0].sent_at), certain=False), False


def before_young(mark: Mark, sent: Sequence[SentPurchase], young: Sequence[SentPurchase]) -> Mark:
    """The same certain mark, as it was before the first purchase that a later read may still miss.

    :param sent: the purchases since the mark before; the price of each is known.
    :param young: those of them that a read need not show yet.
    """
    first = young[0]
    since = (purchase for purchase in sent if purchase.number >= first.number and may_be_charged(purchase))
    amount = sum(((purchase.price or purchase.reserved).amount for purchase in since), mark.balance.amount)
    return Mark(Money(amount, mark.balance.currency), first.number - 1, min(mark.at, first.sent_at))
