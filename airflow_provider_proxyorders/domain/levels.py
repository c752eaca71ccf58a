"""The two levels of a wallet alert: low and recovered.

Three rules:

- A gap separates the two levels, so a balance around one level gives one crossing instead of twenty.
- In the gap, and while a figure is unknown, the state stays as it is.
- An empty wallet is always low, except with a negative level (a wallet with an overdraft).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from airflow_provider_proxyorders.domain.errors import InvalidParameter

State = Literal["ok", "low"]


@dataclass(frozen=True)
class Levels:
    """The two levels of one alert, in major units of the wallet's currency.

    :param low_balance: a balance below it is low.
    :param recovered_at: a balance of at least this has recovered; ``low_balance`` or more.
    """

    low_balance: Decimal
    recovered_at: Decimal

    @classmethod
    def of(cls, low_balance: Decimal, recovered_at: Decimal | None = None) -> Levels:
        """The two levels. The second one is by default a tenth above the first.

        :raises InvalidParameter: the second one is below the first.
        """
        if recovered_at is None:
            recovered_at = low_balance + abs(low_balance) / 10
        if recovered_at < low_balance:
            raise InvalidParameter("recovered_at", f"{recovered_at:f} must not be below low_balance {low_balance:f}")
        return cls(low_balance, recovered_at)

    def low(self, balance: Decimal) -> bool:
        """Whether a balance is low."""
        return balance < self.low_balance or (balance <= 0 and self.low_balance >= 0)

    def recovered(self, balance: Decimal) -> bool:
        """Whether a balance is far enough above low."""
        return balance >= self.recovered_at and not self.low(balance)

    def __str__(self) -> str:
        return f"low below {plain(self.low_balance)}, recovered from {plain(self.recovered_at)}"


def judge(levels: Levels | None, balance: Decimal, covers: bool | None = True) -> State | None:
    """The state of a wallet by its balance; ``None`` in the gap, or while the runway is unknown.

    :param levels: ``None`` when only the runway counts.
    :param covers: whether the balance covers the due renewals; ``True`` without that check, ``None`` for unknown.
    """
    if covers is False or (levels is not None and levels.low(balance)):
        return "low"
    if covers and (levels is None or levels.recovered(balance)):
        return "ok"
    return None


def plain(amount: Decimal) -> str:
    """An amount as text in one form, so ``50`` and ``50.00`` are the same alert."""
    return f"{amount.normalize() + 0:f}"
