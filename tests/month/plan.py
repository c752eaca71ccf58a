"""What happens in the month: who holds which orders, on which days nothing runs, when the money ends, and how much there is.

One rule: everything follows from the size and the seed, and the amounts follow from the orders, so that the wallet runs dry on
the day that was planned for it, in the middle of that day's renewals.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True)
class Term:
    """A plan that the vendor sells.

    :param name: also the note of the orders that have it, by which a run finds them.
    :param weight: how many of a hundred orders have it.
    """

    name: str
    plan_id: int
    days: int
    price: Decimal
    weight: int


@dataclass(frozen=True)
class Wanted:
    """An order as it is bought before the month begins.

    :param age: from its purchase to the beginning of the month.
    :param auto: whether the vendor renews it by itself.
    """

    term: Term
    quantity: int
    age: timedelta
    auto: bool

    @property
    def price(self) -> Decimal:
        return self.term.price * self.quantity

    @property
    def ends(self) -> timedelta:
        """Its first end, from the beginning of the month."""
        return self.term.days * DAY - self.age


@dataclass(frozen=True)
class Size:
    """How big a month is.

    :param horizon: days for which every order is paid ahead.
    :param look_ahead: days that the wallet has to cover, else it is low.
    :param missed: days on which no renewal runs; never as many in a row as the horizon is long.
    :param dry: the day whose renewals the wallet pays only in part.
    :param patience: days after it on which the wallet is topped up.
    :param again: the day on which a run is cleared, and one more is started by hand; None for no such day.
    """

    orders: int
    days: int
    horizon: int
    look_ahead: int
    missed: frozenset[int]
    dry: int
    patience: int
    again: int | None
    terms: tuple[Term, ...]
    seed: int = 1

    @property
    def top_up_on(self) -> int:
        return self.dry + self.patience


MONTH = Size(
    orders=200,
    days=30,
    horizon=3,
    look_ahead=7,
    missed=frozenset({4, 5, 20}),
    dry=10,
    patience=4,
    again=2,
    terms=(
        Term("weekly", 24, 7, Decimal("0.85"), 20),
        Term("fortnightly", 25, 14, Decimal("1.55"), 30),
        Term("monthly", 22, 30, Decimal("3.00"), 50),
    ),
)
WEEK = Size(
    orders=8,
    days=6,
    horizon=2,
    look_ahead=3,
    missed=frozenset({1}),
    dry=3,
    patience=2,
    again=None,
    terms=(Term("three days", 26, 3, Decimal("0.45"), 100),),
)


@dataclass(frozen=True)
class Plan:
    """The orders, oldest first, and the money."""

    size: Size
    orders: Sequence[Wanted] = field(default_factory=list)

    @classmethod
    def of(cls, size: Size) -> Plan:
        dice = random.Random(size.seed)
        orders = []
        for number in range(size.orders):
            (term,) = dice.choices(size.terms, [term.weight for term in size.terms])
            hours = dice.randrange(2, term.days * 24 - 4)
            auto = number % 10 == 3
            orders.append(Wanted(term, dice.choice((1, 1, 1, 2, 3)), hours * HOUR - HOUR / 2, auto))
        return cls(size, sorted(orders, key=lambda order: -order.age))

    def runs(self, day: int) -> bool:
        return day not in self.size.missed

    def due(self, day: int) -> Decimal:
        """What all renewals up to the run of a day cost, that run included, with enough money and no day missed."""
        now = day * DAY
        return sum(
            (order.price * _ends(order, now if order.auto else now + self.size.horizon * DAY) for order in self.orders),
            Decimal(0),
        )

    @property
    def balance(self) -> Decimal:
        """What the wallet holds at the beginning: enough until the dry day, and for half of that day's renewals."""
        last = max(day for day in range(self.size.dry) if self.runs(day))
        before, then = self.due(last), self.due(self.size.dry)
        return before + ((then - before) / 2).quantize(Decimal("0.01"))

    @property
    def top_up(self) -> Decimal:
        """Enough for the rest of the month, what is due after it, and to count as recovered."""
        size = self.size
        return self.due(size.days + size.look_ahead) - self.due(size.dry) + self.balance

    @property
    def low(self) -> Decimal:
        """Low below this: a wallet that cannot pay for every single order is low."""
        return 2 * max(order.price for order in self.orders)

    @property
    def recovered(self) -> Decimal:
        return self.low * 3 / 2


def _ends(order: Wanted, until: timedelta) -> int:
    """How often a term of an order ends by then."""
    return 0 if until < order.ends else int((until - order.ends) / (order.term.days * DAY)) + 1
