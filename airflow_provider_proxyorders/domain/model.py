"""The vocabulary of the package, and the life of a purchase as a table.

Three rules: money is always a :class:`decimal.Decimal`; times are aware and in UTC; the delivery of an order (proxies, codes) is
secret, so its ``repr`` shows counts only.

Reading order for a newcomer: this file, then one vendor (``vendors/voodoo.py`` is the shortest), then ``purchase/buyer.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_proxyorders.domain.text import amount


@dataclass(frozen=True)
class Money:
    """An exact amount in major currency units.

    :param amount: e.g. ``Decimal("31.75")``.
    :param currency: three letters, or ``None`` for an unknown currency. Kept in upper case, so ``usd`` is ``USD``.
    """

    amount: Decimal
    currency: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "currency", currency_code(self.currency))

    @classmethod
    def parse(cls, value: object, currency: str | None = None) -> Money:
        """Read an amount from a Decimal, an int or a string.

        :raises ValueError: for floats (they are inexact), booleans, NaN, infinities and unreadable text.
        """
        return cls(decimal(value), currency)

    def comparable(self, currency: str | None) -> bool:
        """Whether a comparison with an amount in ``currency`` is right: the same currency, or one of them unknown."""
        return self.currency is None or currency is None or self.same_currency(currency)

    def same_currency(self, currency: str | None) -> bool:
        """Whether both currencies are the same; two unknown ones are."""
        return self.currency == currency_code(currency)

    def __str__(self) -> str:
        return f"{amount(self.amount, minor_digits(self.currency))} {self.currency or ''}".rstrip()


#: Currencies with another number of digits than two, by ISO 4217.
_DIGITS: Mapping[str, int] = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0,
    "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}  # fmt: skip


def minor_digits(currency: str | None) -> int:
    """Digits of a currency after the point; two for an unknown currency."""
    return _DIGITS.get(currency or "", 2)


def rounded(exact: Decimal, digits: int) -> Decimal:
    """An amount with so many digits after the point. A vendor may answer 309.49999999999994 and mean 309.50."""
    return exact.quantize(Decimal(1).scaleb(-digits))


def currency_code(text: str | None) -> str | None:
    """The form of a currency for storage and comparison: upper case, ``None`` for empty text."""
    return text.strip().upper() or None if text else None


def decimal(value: object) -> Decimal:
    """Read an exact, finite number; see :meth:`Money.parse`."""
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise ValueError(f"expected a decimal number as text, int or Decimal, got {type(value).__name__}")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        raise ValueError(f"expected a decimal number, got {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"expected a finite number, got {value!r}")
    if abs(number.adjusted()) > 30:  # written out, 1E+999999999 fills the memory
        raise ValueError("the number is too large or too small to be real")
    return number


@dataclass(frozen=True)
class Quote:
    """The vendor's price for a purchase right now.

    :param price: the charge, with the taxes that the vendor states.
    :param details: the vendor's other figures as text, for the log.
    """

    price: Money
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Balance:
    """The spendable amount of the wallet behind one connection."""

    available: Money

    def __str__(self) -> str:
        return str(self.available)


# ---------------------------------------------------------------------------------------------- orders


class OrderStatus(str, enum.Enum):
    """Our reading of a vendor's status. An unfamiliar word is UNKNOWN and counts as still pending."""

    PENDING = "pending"
    DELIVERED = "delivered"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUNDED = "refunded"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether the order has reached its end at the vendor."""
        return self not in (OrderStatus.PENDING, OrderStatus.UNKNOWN)


@dataclass(frozen=True, slots=True)
class VendorOrder:
    """One order from a vendor's answer, without secrets.

    :param order_id: the vendor's id, an opaque string.
    :param status: our reading of ``vendor_status``.
    :param vendor_status: the vendor's own word, verbatim.
    :param price: the charge; ``None`` when the answer has none.
    :param quantity: units ordered.
    :param delivered: units delivered so far (a count only).
    :param expires_at: end of the paid term in UTC.
    :param reason: the vendor's explanation of a failed or blocked order.
    :param auto_extends: whether the vendor itself will renew (and charge) the order; ``None`` for unknown.
    :param extensions: the vendor's count of extensions; ``None`` for unknown.
    :param refund: the amount paid back; ``None`` when the answer names none.
    :param handle: a second id of the vendor's, for example of a sub-account. The ledger owns it like the order id.
    :param traits: marks of the purchase, to recognise it after a lost answer: product, plan, location.
    :param unreadable_charge: the name of a field about the charge that holds something else than an amount; "" as a rule.
    :param unreadable: why an entry of a list is no order that can be read; its ``order_id`` then may be its place in the list.
    """

    order_id: str
    status: OrderStatus
    vendor_status: str
    price: Money | None = None
    quantity: Decimal | None = None
    delivered: int | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    reason: str = ""
    auto_extends: bool | None = None
    extensions: int | None = None
    refund: Money | None = None
    handle: str | None = None
    traits: Mapping[str, str] = field(default_factory=dict)
    unreadable_charge: str = ""
    unreadable: str = ""


class Step(str, enum.Enum):
    """The step of a purchase in the ledger."""

    INTENDED = "intended"
    SENT = "sent"
    PLACED = "placed"
    DELIVERED = "delivered"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUNDED = "refunded"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    QUARANTINED = "quarantined"


_ENDS = frozenset({Step.DELIVERED, Step.PARTIAL, Step.FAILED, Step.REFUNDED, Step.EXPIRED})

#: The life of a purchase: each step and its possible successors. The code only looks it up. INTENDED may be intended again, with
#: fresh evidence before another sending. So may REJECTED: a refusal proves that nothing was bought. INTENDED goes back to UNKNOWN
#: when the repeat of an unresolved purchase fails before it leaves. After an end the vendor can still refund an order, or the
#: order can expire. A person's decision leaves QUARANTINED, and so does a late answer. A person gives an INTENDED purchase up: it
#: is REJECTED. PLACED goes back to UNKNOWN when reads show that the answer's order is not there, or is another purchase's.
LIFE: Mapping[Step, frozenset[Step]] = {
    Step.INTENDED: frozenset({Step.INTENDED, Step.SENT, Step.UNKNOWN, Step.REJECTED}),
    Step.SENT: frozenset({Step.PLACED, Step.REJECTED, Step.INTENDED, Step.UNKNOWN}) | _ENDS,
    Step.REJECTED: frozenset({Step.INTENDED}),
    Step.UNKNOWN: frozenset({Step.PLACED, Step.INTENDED, Step.QUARANTINED}) | _ENDS,
    Step.QUARANTINED: frozenset({Step.PLACED, Step.INTENDED}) | _ENDS,
    Step.PLACED: frozenset({Step.UNKNOWN}) | _ENDS,
    Step.DELIVERED: frozenset({Step.REFUNDED, Step.EXPIRED}),
    Step.PARTIAL: frozenset({Step.DELIVERED, Step.REFUNDED, Step.EXPIRED}),
    Step.FAILED: frozenset({Step.REFUNDED, Step.DELIVERED}),
    Step.REFUNDED: frozenset(),
    Step.EXPIRED: frozenset({Step.REFUNDED, Step.DELIVERED}),
}

#: Steps of a purchase with an order at the vendor.
TAKEN = frozenset({Step.PLACED}) | _ENDS
#: Steps of a purchase that may or may not have landed.
UNRESOLVED = frozenset({Step.SENT, Step.UNKNOWN, Step.QUARANTINED})

STEP_OF: Mapping[OrderStatus, Step] = {
    OrderStatus.PENDING: Step.PLACED,
    OrderStatus.UNKNOWN: Step.PLACED,
    OrderStatus.DELIVERED: Step.DELIVERED,
    OrderStatus.PARTIAL: Step.PARTIAL,
    OrderStatus.FAILED: Step.FAILED,
    OrderStatus.REFUNDED: Step.REFUNDED,
    OrderStatus.EXPIRED: Step.EXPIRED,
}


def step_after(before: Step, reading: Step) -> Step:
    """The step of a purchase after its order was read: the one that the reading means, or the same where LIFE lists no such step.

    A vendor may say anything about an order at any time. An end stays an end, and the ledger notes the vendor's word beside it.
    """
    return reading if before not in TAKEN or reading in LIFE[before] else before


@dataclass(frozen=True)
class Purchase:
    """One purchase, a row of the ledger.

    :param order_key: our identity of the purchase; the same key is the same purchase for ever.
    :param task_key: the key as its task gave it, if the ledger has another purchase with that one; see ``ledger.keys``.
    :param kind: ``create`` or ``extend``.
    :param target: the order that an extension extends, else None.
    :param request: the body of the purchase, secrets masked.
    :param reserved: the amount for the caps until the price is known.
    :param price: the charge, or the quote when the vendor's order has no price.
    :param evidence: read at the vendor before the purchase, to recognise it after a lost answer.
    :param maybe_sent: whether any attempt of this purchase ended without a usable answer.
    :param fence: grows with every claim; the ledger refuses every write with an older one.
    :param sent_at: the latest sending.
    :param sent_until: the latest end of the sending worker's wait for the answer.
    :param handle: a second id of the vendor's for the order, see :class:`VendorOrder`.
    :param confirmed: whether a read, the evidence or a person has shown the order as this purchase's, not the answer alone.
    :param refund: what the vendor paid back of ``price``, ``None`` before it named an amount.
    """

    order_key: str
    kind: str
    vendor: str
    conn_id: str
    wallet: str
    step: Step
    fingerprint: str
    request: Mapping[str, Any]
    target: str | None
    order_id: str | None
    vendor_status: str | None
    reserved: Money
    price: Money | None
    expires_at: datetime | None
    delivered: int | None
    reason: str
    evidence: Mapping[str, Any]
    maybe_sent: bool
    fence: int
    sent_at: datetime | None
    sent_until: datetime | None
    created_at: datetime
    updated_at: datetime
    confirmed: bool = False
    handle: str | None = None
    refund: Money | None = None
    task_key: str | None = None

    @property
    def unresolved(self) -> bool:
        """Whether the purchase may or may not have landed; an attempt without an answer counts until a step of ``TAKEN``."""
        return self.step in UNRESOLVED or (self.maybe_sent and self.step not in TAKEN)


@dataclass(frozen=True)
class Actor:
    """The author of a step, for the ledger's history only."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1
    try_number: int = 0
    host: str = ""

    def same_task(self, other: Actor) -> bool:
        """Whether both are tries of one task instance. Outside of a task nobody knows."""
        mine, theirs = ((actor.dag_id, actor.task_id, actor.run_id, actor.map_index) for actor in (self, other))
        return self.task_id is not None and mine == theirs

    def __str__(self) -> str:
        if not self.task_id:
            return f"{self.host or 'unknown host'}, outside a task"
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} {self.run_id} try {self.try_number} on {self.host}"
