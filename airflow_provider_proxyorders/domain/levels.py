"""When a wallet is low and when it has recovered.

Three rules: low and recovered are two levels with a gap between, so that a balance that wavers around one level is one
crossing and not twenty; in the gap, and where something is not known, nothing changes; and an empty wallet is low whatever
the level says, unless the level itself is negative (a wallet that may be overdrawn).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

State = Literal["ok", "low"]


@dataclass(frozen=True)
class Levels:
    """The two levels of one alert, in major units of the wallet's currency.

    :param low_balance: a balance below it is low.
    :param recovered_at: a balance of at least this has recovered; never below ``low_balance``.
    """

    low_balance: Decimal
    recovered_at: Decimal

    @classmethod
    def of(cls, low_balance: Decimal, recovered_at: Decimal | None = None) -> Levels:
        """The levels, where the second one is left out a tenth above the first.

        :raises ValueError: when the second one is below the first.
        """
        if recovered_at is None:
            recovered_at = low_balance + abs(low_balance) / 10
        if recovered_at < low_balance:
            raise ValueError(f"recovered_at {recovered_at:f} must not be below low_balance {low_balance:f}")
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
    """What a balance says about its wallet; None where it says nothing new: in the gap, or while the runway is not known.

    :param levels: None where only the runway counts.
    :param covers: whether the balance covers the renewals that are due; True where nobody asks.
    """
    if covers is False or (levels is not None and levels.low(balance)):
        return "low"
    if covers and (levels is None or levels.recovered(balance)):
        return "ok"
    return None


def plain(amount: Decimal) -> str:
    """An amount as text in one form, so that ``50`` and ``50.00`` are the same alert."""
    return f"{amount.normalize() + 0:f}"
