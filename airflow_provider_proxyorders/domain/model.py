"""The vocabulary of the package, and the life of a purchase as a table.

Three rules: money is always a :class:`decimal.Decimal`; times are aware and in UTC; the delivery of an order (proxies, codes) is
secret, so its ``repr`` shows counts only.

Reading order for a newcomer: this file, then one vendor (``vendors/voodoo.py`` is the shortest), then ``purchase/buyer.py``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote as url_quote

# ---------------------------------------------------------------------------------------------- money


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
        return f"{self.amount:f} {self.currency}" if self.currency else f"{self.amount:f}"


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
    :param refund: the amount paid back for undelivered units.
    :param handle: a second id of the vendor's, for example of a sub-account. The ledger owns it like the order id.
    :param traits: marks of the purchase, to recognise it after a lost answer: product, plan, location.
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

#: The life of a purchase: each step and its possible successors. The code only looks it up.
#: INTENDED may be intended again, with fresh evidence before another sending. So may REJECTED: a refusal proves that nothing was
#: bought. INTENDED goes back to UNKNOWN when the repeat of an unresolved purchase fails before it leaves.
#: After an end the vendor can still refund an order, or the order can expire.
#: A person's decision leaves QUARANTINED, and so does an answer or a webhook that names the order.
LIFE: Mapping[Step, frozenset[Step]] = {
    Step.INTENDED: frozenset({Step.INTENDED, Step.SENT, Step.UNKNOWN}),
    Step.SENT: frozenset({Step.PLACED, Step.REJECTED, Step.INTENDED, Step.UNKNOWN}) | _ENDS,
    Step.REJECTED: frozenset({Step.INTENDED}),
    Step.UNKNOWN: frozenset({Step.PLACED, Step.INTENDED, Step.QUARANTINED}) | _ENDS,
    Step.QUARANTINED: frozenset({Step.PLACED, Step.INTENDED}) | _ENDS,
    Step.PLACED: _ENDS,
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


@dataclass(frozen=True)
class Purchase:
    """One purchase, a row of the ledger.

    :param order_key: our identity of the purchase; the same key is the same purchase for ever.
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

    def __str__(self) -> str:
        if not self.task_id:
            return f"{self.host or 'unknown host'}, outside a task"
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} {self.run_id} try {self.try_number} on {self.host}"


# ---------------------------------------------------------------------------------------------- delivery


@dataclass(frozen=True)
class Proxy:
    """One delivered proxy. Secret: ``repr`` hides the login.

    :param scheme: ``http`` or ``socks5``.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    scheme: str = "http"
    location: str | None = None
    expires_at: datetime | None = None

    @property
    def url(self) -> str:
        """``scheme://user:password@host:port`` with the login percent-encoded."""
        login = ""
        if self.username is not None:
            login = f"{url_quote(self.username, safe='')}:{url_quote(self.password or '', safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{login}{host}:{self.port}"

    @property
    def requests(self) -> dict[str, str]:
        """The argument ``proxies=`` of ``requests``."""
        return {"http": self.url, "https": self.url}

    def __repr__(self) -> str:
        login = "***:***@" if self.username is not None else ""
        return f"Proxy({self.scheme}://{login}{self.host}:{self.port})"

    __str__ = __repr__


@dataclass(frozen=True)
class Delivery:
    """The proxies and codes of one order. Secret: ``repr`` shows counts only.

    :param proxies: proxies ready for use.
    :param codes: delivered keys, for vendors with such products.
    :param skipped: unreadable entries of the vendor's list.
    """

    order_id: str
    proxies: tuple[Proxy, ...] = ()
    codes: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def count(self) -> int:
        return len(self.proxies) + len(self.codes)

    def secrets(self) -> Iterator[str]:
        """Every value to keep out of logs."""
        for proxy in self.proxies:
            if proxy.password:
                yield proxy.password
        yield from self.codes

    def __repr__(self) -> str:
        return (
            f"Delivery(order_id={self.order_id!r}, proxies={len(self.proxies)}, codes={len(self.codes)}, skipped={self.skipped})"
        )

    __str__ = __repr__


# ---------------------------------------------------------------------------------------------- secrets

_SECRET_NAME = re.compile(r"(password|passwd|secret|token|api_?key|credential|(^|_)pin$)", re.IGNORECASE)


def masked(value: Any) -> Any:
    """A copy of a request with the values of secret-looking fields replaced, for ledger, log and error."""
    if isinstance(value, Mapping):
        return {key: "***" if isinstance(key, str) and _SECRET_NAME.search(key) else masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]
    return value
