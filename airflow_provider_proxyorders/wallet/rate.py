"""How fast a wallet is emptied at present, by the ledger's days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_DOWN, ROUND_UP, Decimal

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.ledger import Ledger, spending

#: Days of spending that count for the present rate.
WINDOW = 30
_CENT, _TENTH = Decimal("0.01"), Decimal("0.1")


@dataclass(frozen=True)
class SpendingRate:
    """The present spending of a wallet.

    :param spent: by the ledger, in the last ``days`` days; unresolved and reserved purchases count.
    :param days: at most :data:`WINDOW`; fewer if the ledger's first purchase is younger.
    """

    spent: Decimal
    days: int

    @property
    def per_day(self) -> Decimal:
        """Rounded up to cents."""
        return (self.spent / self.days).quantize(_CENT, ROUND_UP) if self.days else Decimal(0)

    def days_left(self, spendable: Decimal) -> Decimal | None:
        """How many days the money lasts at this rate, in tenths; ``None`` if the wallet spends nothing."""
        if self.spent <= 0:
            return None
        return (max(Decimal(0), spendable) * self.days / self.spent).quantize(_TENTH, ROUND_DOWN)


def spending_rate(ledger: Ledger, account: Account) -> SpendingRate:
    """The present rate of a wallet's spending."""
    today = date.fromisoformat(spending.day_of(ledger.clock(), account.timezone))
    first = today - timedelta(days=WINDOW - 1)
    amounts = spending.by_day(ledger.engine, account.wallet, first.isoformat())
    counted = {day: amount for day, amount in amounts.items() if amount > 0 and day <= today.isoformat()}
    if not counted:
        return SpendingRate(Decimal(0), 0)
    began = spending.first_day(ledger.engine, account.wallet)
    age = (today - date.fromisoformat(began)).days + 1 if began else WINDOW
    return SpendingRate(sum(counted.values(), Decimal(0)), min(WINDOW, age))
