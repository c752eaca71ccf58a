"""How far a wallet's balance reaches: the due renewals it pays for, and the first uncovered one.

Three rules. The renewals are paid in order of date. If a renewal is too expensive, it leaves the money to the next one, as in
reality. An unknown price, or a price in another currency, makes the answer unknown instead of "covered". Only spendable money
counts, so the connection's ``min_balance`` stays in the wallet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from airflow_provider_proxyorders.domain import text
from airflow_provider_proxyorders.domain.model import Money
from airflow_provider_proxyorders.wallet.prices import Renewal


@dataclass(frozen=True)
class CoveredRenewal:
    """A renewal, and whether the balance pays for it; ``None`` if its price is unknown."""

    renewal: Renewal
    covered: bool | None


@dataclass(frozen=True)
class Runway:
    """The renewals that a balance pays for.

    :param spendable: the balance less the amount that must remain.
    :param renewals: in order of date.
    :param undated: how many orders have an unknown end; they may be due.
    """

    spendable: Money
    renewals: tuple[CoveredRenewal, ...] = ()
    undated: int = 0

    @property
    def first_uncovered(self) -> Renewal | None:
        """The first renewal beyond the balance."""
        return next((each.renewal for each in self.renewals if each.covered is False), None)

    @property
    def unpriced(self) -> tuple[Renewal, ...]:
        """Renewals without a usable price."""
        return tuple(each.renewal for each in self.renewals if each.covered is None)

    @property
    def covered(self) -> bool | None:
        """Whether the balance pays for all. ``None``: it pays for all with a price and a date, and there are others."""
        if self.first_uncovered is not None:
            return False
        return None if self.unpriced or self.undated else True

    @property
    def passing(self) -> bool:
        """Whether a price is unknown only for now."""
        return any(renewal.passing for renewal in self.unpriced)

    @property
    def needed(self) -> Decimal:
        """The cost of all renewals with a usable price."""
        prices = (each.renewal.price for each in self.renewals if each.covered is not None)
        return sum((price.amount for price in prices if price is not None), Decimal(0))

    @property
    def short(self) -> Decimal:
        """The amount missing for all renewals with a usable price, at least 0."""
        return max(Decimal(0), self.needed - self.spendable.amount)

    def describe(self) -> str:
        """One sentence for people."""
        many = len(self.renewals)
        undated = f"; {self.undated} orders have an unknown end (see term)" if self.undated else ""
        if not many:
            return f"no renewal is known to be due{undated}" if undated else "no renewal is due"
        doubt = (f"; {len(self.unpriced)} of them without a known price" if self.unpriced else "") + undated
        first, due = self.first_uncovered, f"{many} renewal{'s' if many != 1 else ''} due"
        if first is None and len(self.unpriced) == many:
            return f"{due}{doubt}"
        if first is None:
            return f"{due}, {self._with_currency(self.needed)} in all, covered{doubt}"
        price = f" for {self._with_currency(first.price.amount)}" if first.price else ""
        covered = sum(each.covered is True for each in self.renewals)
        return (
            f"{due}, {covered} covered, {self._with_currency(self.short)} short; the first that is not: "
            f"order {first.order_id}{price}, due {text.utc(first.at)}{doubt}"
        )

    def _with_currency(self, amount: Decimal) -> str:
        return f"{text.amount(amount)} {self.spendable.currency or ''}".rstrip()


def runway(balance: Money, due: Iterable[Renewal], keep: Decimal | None = None, undated: int = 0) -> Runway:
    """Pay the due renewals in order of date from a balance, on paper.

    :param keep: the amount that must remain in the wallet.
    :param undated: how many orders have an unknown end.
    """
    spendable = Money(balance.amount - (keep or Decimal(0)), balance.currency)
    left, renewals = spendable.amount, []
    for renewal in sorted(due, key=lambda each: (each.at, each.order_id)):
        if renewal.price is None:
            renewals.append(CoveredRenewal(renewal, None))
            continue
        if not balance.comparable(renewal.price.currency):
            note = f"priced in {renewal.price.currency}, the wallet holds {balance.currency}"
            renewals.append(CoveredRenewal(replace(renewal, note=note), None))
            continue
        covered = renewal.price.amount <= left or renewal.price.amount == 0
        if covered:
            left -= renewal.price.amount
        renewals.append(CoveredRenewal(renewal, covered))
    return Runway(spendable, tuple(renewals), undated)
