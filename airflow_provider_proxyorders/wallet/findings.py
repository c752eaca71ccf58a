"""What a comparison of a ledger with its vendor finds: the first of each kind by name, all of them by number.

One rule: nothing is left out silently. A finding beyond the first hundred of its kind is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_proxyorders.domain.model import Money

#: Findings of one kind that keep their names, and those that the text of an error names.
MOST_NAMED, MOST_IN_ERROR = 100, 10
Kind = Literal["settled", "unresolved", "updated", "foreign", "maybe_ours", "still_maybe_ours", "missing", "unreadable"]
#: The kinds that are lists or mappings of a report.
KINDS: tuple[Kind, ...] = (
    "settled",
    "unresolved",
    "updated",
    "foreign",
    "maybe_ours",
    "still_maybe_ours",
    "missing",
    "unreadable",
)


@dataclass
class ReconcileReport:
    """The outcome of a comparison. Each list and mapping has the first hundred findings of its kind.

    :param settled: order keys, settled now.
    :param unresolved: order keys that stay unresolved, or with an unreadable order, and the reason.
    :param updated: order keys with a change at the vendor.
    :param foreign: vendor ids of new orders from outside of this ledger.
    :param shared: which connections pay from one account with two wallets, and what to set.
    :param maybe_ours: vendor ids that look foreign and may belong to a purchase under way, with its order key.
    :param still_maybe_ours: vendor ids that an earlier comparison left open, too.
    :param missing: order keys with a running term that are gone from the vendor's list.
    :param unreadable: entries of the vendor's list that cannot be read, by id or place, and the reason.
    :param unexplained: how much the balance fell beyond the ledger's purchases since the last comparison.
    :param not_looked_for: refused purchases beyond the newest hundred, for which this comparison did not look once more.
    :param unnamed: how many more findings of a kind there are.
    """

    settled: list[str] = field(default_factory=list)
    unresolved: dict[str, str] = field(default_factory=dict)
    updated: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    shared: str = ""
    maybe_ours: dict[str, str] = field(default_factory=dict)
    still_maybe_ours: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    unexplained: Money | None = None
    not_looked_for: int = 0
    unnamed: Counter[Kind] = field(default_factory=Counter)

    def add(self, kind: Kind, name: str, why: str = "") -> None:
        """Note a finding."""
        named: list[str] | dict[str, str] = getattr(self, kind)
        if len(named) >= MOST_NAMED and name not in named:
            self.unnamed[kind] += 1
        elif isinstance(named, dict):
            named[name] = why
        else:
            named.append(name)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings of each kind there are."""
        return {**{kind: len(getattr(self, kind)) + self.unnamed[kind] for kind in KINDS}, "not_looked_for": self.not_looked_for}

    @property
    def clean(self) -> bool:
        """Whether ledger and vendor agree, so a person need not look."""
        fell = self.unexplained is not None and self.unexplained.amount > 0
        return not (self.unresolved or self.foreign or self.still_maybe_ours or self.missing or fell)

    def lines(self, most: int = MOST_NAMED) -> list[str]:
        """For the log, a line a finding.

        :param most: at most so many lines of one kind; a further line counts the rest.
        """
        lines = self._of("settled", most, [f"settled: {key}" for key in self.settled])
        lines += self._of("updated", most, [f"moved on: {key}" for key in self.updated])
        lines += self._of("unresolved", most, [f"UNRESOLVED: {key}: {why}" for key, why in self.unresolved.items()])
        lines += self._of("foreign", most, [f"FOREIGN, this ledger did not intend it: {order_id}" for order_id in self.foreign])
        lines += [f"ONE ACCOUNT, TWO WALLETS: {self.shared}"] if self.shared else []
        maybe_ours = (f"MAY BE OURS, else foreign: {order_id} (of {key}?)" for order_id, key in self.maybe_ours.items())
        lines += self._of("maybe_ours", most, maybe_ours)
        lines += self._of("missing", most, [f"NO LONGER LISTED by the vendor: {key}" for key in self.missing])
        unreadable = (f"UNREADABLE, left out: {order_id}: {why}" for order_id, why in self.unreadable.items())
        lines += self._of("unreadable", most, unreadable)
        if self.not_looked_for:
            lines.append(f"NOT LOOKED FOR once more: {self.not_looked_for} older refused purchases")
        if self.unexplained and self.unexplained.amount > 0:
            lines.append(f"UNEXPLAINED: the balance fell by {self.unexplained} more than the ledger's purchases")
        return lines

    def _of(self, kind: Kind, most: int, lines: Iterable[str]) -> list[str]:
        """The first lines of a kind, and one with the number of the others."""
        named = [*lines]
        rest = len(named[most:]) + self.unnamed[kind]
        return [*named[:most], *([f"{named[0].partition(':')[0]}: and {rest} more"] if rest else [])]
