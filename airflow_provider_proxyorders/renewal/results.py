"""What a search for orders that end yields: which are due, and which were left out and why.

One rule: plain values; ``renewals.py`` finds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from airflow_provider_proxyorders.domain.model import Money, OrderStatus, VendorOrder

Reason = Literal[
    "filtered",  # the user asked for others
    "unknown",  # asked for by id, and the vendor does not know it
    "later",  # asked for by id, and ends beyond the horizon
    "no_expiry",  # nobody says when it ends
    "expired",  # over: what the vendor ended, or whose date has passed
    "ended",  # refunded or failed
    "auto_extends",  # the vendor renews it by itself
    "extending",  # an extension of it is under way, or was taken and does not show yet
    "unresolved",  # an extension of it is quarantined: a person has to decide
    "replaced",  # another order was bought in its place
]


@dataclass(frozen=True)
class DueOrder:
    """An order that ends within the horizon.

    :param expires_at: aware UTC.
    :param expires_from: who says so: the ``vendor``, or the ``term`` that the user gave, counted from the purchase.
    :param traits: product, plan, location, note as the vendor says them.
    :param auto_extends: whether the vendor renews it by itself; None where it does not say.
    :param order_key: the latest purchase of this order in the ledger, None where it was bought elsewhere.
    :param last_price: what that purchase cost, where it is known.
    :param last_kind: ``create`` or ``extend``: what the last price was paid for.
    """

    order_id: str
    expires_at: datetime
    status: OrderStatus
    vendor_status: str
    expires_from: Literal["vendor", "term"] = "vendor"
    quantity: int | None = None
    traits: Mapping[str, str] = field(default_factory=dict)
    auto_extends: bool | None = None
    order_key: str | None = None
    last_price: Money | None = None
    last_kind: str | None = None

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
    """An order that ends, or was asked for, and is not to be renewed.

    :param why: one sentence for a person.
    """

    order_id: str
    reason: Reason
    why: str
    expires_at: datetime | None = None


@dataclass(frozen=True)
class OrderFilter:
    """Which orders are meant; None means any. Words are looked for in the vendor's, whatever the case.

    :param product: in the name of product or plan.
    :param location: in the names of the locations.
    :param note: in the note of the order.
    :param order_ids: these only.
    :param exclude: never these.
    """

    product: str | None = None
    location: str | None = None
    note: str | None = None
    order_ids: Sequence[str] | None = None
    exclude: Sequence[str] = ()

    def refuses(self, order: VendorOrder) -> str | None:
        """Why an order is not meant, None where it is."""
        if order.order_id in self.exclude:
            return "excluded by id"
        if self.order_ids is not None and order.order_id not in self.order_ids:
            return "not among the ids asked for"
        traits = order.traits
        for name, word, places in (
            ("product", self.product, ("product", "plan", "type", "item", "item_name")),
            ("location", self.location, ("location", "locations")),
            ("note", self.note, ("note", "label")),
        ):
            said = [traits[place] for place in places if place in traits]
            if word and not any(word.casefold() in text.casefold() for text in said):
                return f"{name} is {' / '.join(said) or 'not told'}, asked for was {word!r}"
        return None


@dataclass(frozen=True)
class ExpiringOrders:
    """What ends within the horizon.

    :param due: the soonest to end first.
    :param left_out: orders that end within the horizon, ended not longer ago than it is long, or were asked for by id.
    :param looked_at: how many orders were looked at in all.
    :param source: ``vendor`` where its list was read, ``ledger`` where it has none.
    """

    due: tuple[DueOrder, ...]
    left_out: tuple[SkippedOrder, ...]
    as_of: datetime
    until: datetime
    looked_at: int
    source: Literal["vendor", "ledger"]

    def lines(self, most: int = 50) -> list[str]:
        """For the log: what was found, and who was left out and why, at most so many of each reason."""
        found = [
            f"{len(self.due)} of {self.looked_at} orders end from {self.as_of:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC "
            f"and are due (by the {self.source}'s list); {len(self.left_out)} left out"
        ]
        found += [f"due: {due.order_id} ends {due.expires_at:%Y-%m-%d %H:%M} UTC" for due in self.due[:most]]
        if len(self.due) > most:
            found.append(f"due: and {len(self.due) - most} more")
        told: Counter[str] = Counter()
        for left in self.left_out:
            told[left.reason] += 1
            if told[left.reason] <= most:
                found.append(f"left out: {left.order_id} ({left.reason}): {left.why}")
        found += [f"left out ({reason}): and {count - most} more" for reason, count in told.items() if count > most]
        return found
