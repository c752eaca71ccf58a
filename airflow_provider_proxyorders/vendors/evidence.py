"""What a wallet's balance can prove about a purchase after its answer was lost.

One rule: evidence is plain text and lists, since the ledger keeps it as JSON; amounts are exact text.
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
    """How much more the wallet holds than before the purchase; below zero: how much less.

    :returns: None without an earlier balance in the same currency.
    """
    before = evidence.get("balance")
    if not isinstance(before, str) or not now.available.same_currency(evidence.get("currency")):
        return None
    try:
        return now.available.amount - decimal(before)
    except ValueError:
        return None


def describe_balance(evidence: Mapping[str, Any], now: Balance, change: Decimal | None) -> str:
    """The change as half a sentence, for the ledger and for a person."""
    if change is None:
        return f"the balance is {now}, its earlier value is unknown"
    if change == 0:
        return f"the balance is unchanged at {now}"
    before = Money(now.available.amount - change, now.available.currency)
    return f"the balance went from {before} to {now}"
