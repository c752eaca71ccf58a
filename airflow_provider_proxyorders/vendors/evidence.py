"""What a wallet's balance can prove about a purchase after its answer was lost.

Two rules. Evidence is plain text and lists, since the ledger keeps it as JSON; amounts are exact text. Amounts are rounded to the
currency's digits before a comparison, since a balance may come as a binary fraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.model import Balance, Money, decimal, minor_digits, rounded
from airflow_provider_proxyorders.domain.text import amount as shown


@dataclass(frozen=True)
class Missing:
    """The money that is missing from a wallet beside the certain charges of other purchases.

    :param amount: 0: everything is explained, and this purchase was not charged. Below 0: money came in. ``None``: the balances
        cannot be compared, or no balance before the purchase is certain.
    :param others: how much of it other purchases may have taken.
    :param of_another: whether an unresolved purchase surely took a part of it before this one was sent.
    :param detail: half a sentence, for the ledger and for a person.
    :param unlike: how much of it other purchases that asked for something else may have taken.
    :param least: how much of it only this purchase can have taken; 0 or less: perhaps nothing. ``None``: what others leave.
    """

    amount: Decimal | None
    others: Decimal
    detail: str
    of_another: bool = False
    least: Decimal | None = None
    unlike: Decimal = Decimal(0)

    @property
    def explained(self) -> bool:
        """Whether other charges explain the balance to the last digit. Then this purchase was not charged."""
        return self.amount == 0

    @property
    def fell(self) -> bool:
        """Whether money is missing that other purchases cannot have taken."""
        if self.amount is None or self.amount <= 0:
            return False
        return (self.amount - self.others if self.least is None else self.least) > 0

    @property
    def fell_for_alike(self) -> bool:
        """Whether money is missing that only this purchase, or others that asked for the same, can have taken."""
        return self.amount is not None and self.amount > 0 and self.unlike == 0

    @property
    def rose(self) -> bool:
        """Whether money came in: it may hide a charge."""
        return self.amount is not None and self.amount < 0

    @property
    def price(self) -> Decimal | None:
        """The charge of this purchase, ``None`` as long as another purchase may explain a part of it."""
        return self.amount if self.fell and (self.others == 0 or self.least == self.amount) else None


def balance_evidence(balance: Balance) -> dict[str, Any]:
    """The balance before a purchase, fit for the ledger."""
    return {"balance": f"{balance.available.amount:f}", "currency": balance.available.currency}


def balance_in(evidence: Mapping[str, Any]) -> Money | None:
    """The balance in the evidence of a purchase, ``None`` without one."""
    before = evidence.get("balance")
    if not isinstance(before, str):
        return None
    try:
        return Money(decimal(before), evidence.get("currency"))
    except ValueError:
        return None


def balance_change(evidence: Mapping[str, Any], now: Balance) -> Decimal | None:
    """How much more the wallet holds than before the purchase; below zero: how much less.

    :returns: None without an earlier balance in the same currency.
    """
    before = balance_in(evidence)
    if before is None or not now.available.same_currency(before.currency):
        return None
    return rounded(now.available.amount - before.amount, minor_digits(before.currency))


def describe_balance(evidence: Mapping[str, Any], now: Balance, change: Decimal | None) -> str:
    """The change as half a sentence, for the ledger and for a person."""
    before = balance_in(evidence)
    if change is None or before is None:
        return f"the balance is {_shown(now.available)}, its earlier value is unknown"
    if change == 0:
        return f"the balance is unchanged at {_shown(now.available)}"
    return f"the balance went from {_shown(before)} to {_shown(now.available)}"


def missing_money(evidence: Mapping[str, Any], now: Balance) -> Missing:
    """The money that is missing since a certain balance before the purchase.

    :param evidence: see :meth:`Vendor.resolve`. Without ``expected`` its own balance is the certain one, and nothing else was
        bought since.
    """
    expected = evidence.get("expected", evidence) or {}
    before = balance_in(expected)
    if before is None or not now.available.same_currency(before.currency):
        return Missing(None, Decimal(0), describe_balance({}, now, None))
    charged, others = decimal(expected.get("charged", "0")), decimal(expected.get("maybe", "0"))
    digits = max(minor_digits(before.currency), int(expected.get("digits", 0)))
    change = rounded(now.available.amount - before.amount, digits)
    detail = describe_balance(expected, now, change)
    if charged:
        detail = f"{detail}; other purchases of this ledger explain {shown(charged)}"
    if others:
        detail = f"{detail}; others may have taken up to {shown(others)} more"
    amount, own = before.amount - charged - now.available.amount, balance_in(evidence)
    as_equals = decimal(expected.get("as_equals", "0"))
    if as_equals and others == decimal(expected["at_most"]) and rounded(amount - as_equals, digits) == 0:
        return Missing(
            Decimal(0), others, f"{detail}; at the price of equal orders they took {shown(as_equals)}, which is all of it"
        )
    of_another, least = False, amount - others
    if own is not None and own.same_currency(before.currency):
        earlier = rounded(before.amount - charged - own.amount, digits)  # missing right before the purchase, so not its own
        since = own.amount - now.available.amount
        amount = min(amount, since)
        if "since_own" in expected:
            least = max(least, since - decimal(expected["since_own"]))
        of_another = others - decimal(expected.get("unresolved", "0")) < earlier <= others
    unlike = decimal(expected.get("unlike", expected.get("maybe", "0")))
    return Missing(rounded(amount, digits), others, detail, of_another, rounded(least, digits), unlike)


def _shown(money: Money) -> Money:
    """Without the tail of a binary fraction."""
    return Money(rounded(money.amount, max(minor_digits(money.currency), 2)), money.currency)
