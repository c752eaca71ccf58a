"""What a search for expiring orders takes and returns: plain values. ``renewal/search.py`` makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from airflow_provider_proxyorders.domain.model import VendorOrder
from airflow_provider_proxyorders.domain.text import utc

Reason = Literal[
    "filtered",  # the filter asks for other orders
    "unknown",  # the filter names it, and the vendor does not know it
    "later",  # the filter names it, and it ends beyond the horizon
    "no_expiry",  # its end is unknown
    "unreadable",  # its entry in the vendor's list cannot be read
    "expired",  # over: the vendor ended it, or its date has passed
    "ended",  # refunded or failed
    "auto_extends",  # the vendor renews it by itself
    "extending",  # an extension of it is under way, or was taken and does not show yet
    "unresolved",  # an extension of it is quarantined: a person has to decide
    "replaced",  # another order was bought in its place
]


@dataclass(frozen=True)
class DueOrder:
    """An order with an end inside the horizon, to be renewed.

    :param expires_at: its end, aware UTC.
    :param expires_from: the source of that date: the ``vendor``, or the user's ``term`` counted from the purchase.
    :param traits: product, plan, location and note in the vendor's words.
    """

    order_id: str
    expires_at: datetime
    expires_from: Literal["vendor", "term"] = "vendor"
    traits: Mapping[str, str] = field(default_factory=dict)

    @property
    def product(self) -> str | None:
        return next((self.traits[name] for name in ("product", "item_name", "item", "type") if name in self.traits), None)

    @property
    def location(self) -> str | None:
        return self.traits.get("locations") or self.traits.get("location")

    @property
    def note(self) -> str | None:
        return self.traits.get("note")


@dataclass(frozen=True)
class SkippedOrder:
    """An order that is near its end or named by the filter, and left out.

    :param why: one sentence for a person.
    """

    order_id: str
    reason: Reason
    why: str
    expires_at: datetime | None = None


@dataclass(frozen=True)
class OrderFilter:
    """Which orders to look for; ``None`` means any. Words match anywhere in the vendor's text, in upper or lower case.

    :param product: a word in the name of product or plan.
    :param location: a word in the names of the locations.
    :param note: a word in the note of the order.
    :param order_ids: only these.
    :param exclude: never these.
    """

    product: str | None = None
    location: str | None = None
    note: str | None = None
    order_ids: Sequence[str] | None = None
    exclude: Sequence[str] = ()

    def names(self, order_id: str) -> bool:
        """Whether the filter asks for this very order."""
        return self.order_ids is not None and order_id in self.order_ids

    def refusal(self, order: VendorOrder) -> str | None:
        """Why the filter leaves an order out; ``None`` if the order passes."""
        if order.order_id in self.exclude:
            return "excluded by id"
        if self.order_ids is not None and order.order_id not in self.order_ids:
            return "not among the ids asked for"
        for name, word, traits in (
            ("product", self.product, ("product", "plan", "type", "item", "item_name")),
            ("location", self.location, ("location", "locations")),
            ("note", self.note, ("note", "label")),
        ):
            texts = [order.traits[trait] for trait in traits if trait in order.traits]
            if word and not any(word.casefold() in text.casefold() for text in texts):
                return f"{name} is {' / '.join(texts) or 'unknown'}, and the filter asks for {word!r}"
        return None


@dataclass(frozen=True)
class ExpiringOrders:
    """The outcome of a search.

    :param due: the soonest to end first.
    :param left_out: orders that end within the horizon, ended at most one horizon ago, or are named by the filter.
    :param looked_at: how many orders the search read in all.
    :param source: ``vendor`` for the vendor's list, ``ledger`` at vendors without one.
    :param unnamed: how many more were left out for a reason, without a name in ``left_out``.
    """

    due: tuple[DueOrder, ...]
    left_out: tuple[SkippedOrder, ...]
    as_of: datetime
    until: datetime
    looked_at: int
    source: Literal["vendor", "ledger"]
    unnamed: Mapping[Reason, int] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[Reason]:
        """How many orders were left out for each reason, named or not."""
        return Counter(skipped.reason for skipped in self.left_out) + Counter(self.unnamed)

    @property
    def left_out_count(self) -> int:
        return self.counts.total()

    def lines(self, most: int = 50) -> list[str]:
        """For the log: the orders that are due, and those left out with the reason.

        :param most: at most so many lines for the due orders, and for each reason.
        """
        lines = [
            f"{len(self.due)} of {self.looked_at} orders end from {utc(self.as_of)} to {utc(self.until)} "
            f"and are due (by the {self.source}'s list); {self.left_out_count} left out"
        ]
        lines += [f"due: {due.order_id} ends {utc(due.expires_at)}" for due in self.due[:most]]
        if len(self.due) > most:
            lines.append(f"due: and {len(self.due) - most} more")
        named: Counter[Reason] = Counter()
        for skipped in self.left_out:
            named[skipped.reason] += 1
            if named[skipped.reason] <= most:
                lines.append(f"left out: {skipped.order_id} ({skipped.reason}): {skipped.why}")
        rest = {reason: count - min(named[reason], most) for reason, count in self.counts.items()}
        lines += [f"left out ({reason}): and {count} more" for reason, count in rest.items() if count]
        return lines
