"""What a wallet's balance can prove about a purchase whose answer was lost.

One rule: evidence is written as plain text and lists, since it waits in the ledger as JSON; amounts are text, exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.model import Balance, Money, decimal


def balance_evidence(balance: Balance) -> dict[str, Any]:
    """The balance before a purchase, fit for the ledger."""
    return {"balance": f"{balance.available.amount:f}", "currency": balance.available.currency}


def balance_change(evidence: Mapping[str, Any], now: Balance) -> Decimal | None:
    """How much the wallet holds more (or, below zero, less) than before the purchase.

    :returns: None where nothing was noted before, or in another currency.
    """
    before = evidence.get("balance")
    if not isinstance(before, str) or not now.available.same_currency(evidence.get("currency")):
        return None
    try:
        return now.available.amount - decimal(before)
    except ValueError:
        return None


def describe_balance(evidence: Mapping[str, Any], now: Balance, change: Decimal | None) -> str:
    """The same as half a sentence, for the ledger and for a person."""
    if change is None:
        return f"the balance is {now}, and what it was before is not known"
    if change == 0:
        return f"the balance is unchanged at {now}"
    before = Money(now.available.amount - change, now.available.currency)
    return f"the balance went from {before} to {now}"
