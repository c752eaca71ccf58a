"""The vocabulary of the package, and the life of an order as a table.

Three rules: money is :class:`decimal.Decimal` and never a float; times are aware and in UTC; what an order
yields (proxies, codes) is secret, so its ``repr`` shows counts only.

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
    :param currency: three letters, or None where the vendor does not say. Kept in upper case, so ``usd`` is ``USD``.
    """

    amount: Decimal
    currency: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "currency", currency_code(self.currency))

    @classmethod
    def parse(cls, value: object, currency: str | None = None) -> Money:
        """Read an amount from a Decimal, an int or a string.

        :raises ValueError: for floats (they are not exact), booleans, NaN, infinities and anything unreadable.
        """
        return cls(decimal(value), currency)

    def comparable(self, currency: str | None) -> bool:
        """Whether this amount may be compared with one in ``currency``: both are the same, or one of them is unknown."""
        return self.currency is None or currency is None or self.same_currency(currency)

    def same_currency(self, currency: str | None) -> bool:
        """Whether both are the same; two unknown ones are."""
        return self.currency == currency_code(currency)

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}" if self.currency else f"{self.amount:f}"


def currency_code(text: str | None) -> str | None:
    """A currency as it is kept and compared: upper case; None for no text."""
    return text.strip().upper() or None if text else None


def decimal(value: object) -> Decimal:
    """Read an exact, finite number; see :meth:`Money.parse`."""
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise ValueError(f"expected a decimal number as text, int or Decimal, got {type(value).__name__}")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        raise ValueError(f"not a decimal number: {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"not a finite number: {value!r}")
    if abs(number.adjusted()) > 30:  # written out, 1E+999999999 fills the memory
        raise ValueError("not a number of a sensible size")
    return number


@dataclass(frozen=True)
class Quote:
    """What the vendor says a purchase would cost right now.

    :param price: what would be charged, taxes included where the vendor states them.
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
    """What a vendor's status means to us. A word we do not know is UNKNOWN and counts as still pending."""

    PENDING = "pending"
    DELIVERED = "delivered"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUNDED = "refunded"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether the vendor will not move the order on by itself."""
        return self not in (OrderStatus.PENDING, OrderStatus.UNKNOWN)


@dataclass(frozen=True, slots=True)
class VendorOrder:
    """One order as a vendor's answer tells it; holds no secret.

    :param order_id: the vendor's id, an opaque string.
    :param status: our reading of ``vendor_status``.
    :param vendor_status: the vendor's own word, verbatim.
    :param price: what was charged, None where the vendor does not say.
    :param quantity: units ordered.
    :param delivered: units delivered so far (a count only).
    :param expires_at: end of the paid term in UTC.
    :param reason: the vendor's words on a failed or blocked order.
    :param auto_extends: whether the vendor itself will renew (and charge) the order; None where it does not say.
    :param extensions: how many extensions the vendor has recorded; None where it does not say.
    :param refund: what was paid back for undelivered units.
    :param handle: a second id of the vendor's, for what the order opened. The ledger owns it like the order id.
    :param traits: what a purchase can be recognised by when its answer was lost: product, plan, location.
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
    """Where one purchase stands in the ledger."""

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

#: The life of a purchase: which step may follow which. Code only looks it up.
#: INTENDED may be intended anew (fresh evidence before another try to send), and so may REJECTED, since a refusal
#: proves that nothing was bought; it goes back to UNKNOWN where the repeat of a doubtful purchase could not be sent.
#: After an end the vendor can still take back or run out what it delivered.
#: Only a person's decision leaves QUARANTINED.
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

#: Steps in which the order is known to be at the vendor.
TAKEN = frozenset({Step.PLACED}) | _ENDS
#: Steps in which nobody knows yet whether the purchase landed.
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
    """One purchase as the ledger knows it.

    :param order_key: our identity of the purchase; the same key is the same purchase for ever.
    :param kind: ``create`` or ``extend``.
    :param target: the order that an extension extends, else None.
    :param request: the body as it is sent, secrets masked.
    :param reserved: what the caps count for it until the price is known.
    :param price: what was charged, or quoted where the vendor's order has no price.
    :param evidence: what was read at the vendor before the purchase, to recognise it by if the answer is lost.
    :param maybe_sent: whether any try of this purchase ever ended without a usable answer.
    :param fence: grows with every claim; a worker holding an older one can write nothing.
    :param sent_at: when the purchase last left.
    :param sent_until: until when the worker that sent it may still be waiting for the answer.
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
        """Whether nobody knows yet if it landed, also where it stands to be sent again after a sending without an answer."""
        return self.step in UNRESOLVED or (self.maybe_sent and self.step not in TAKEN)


@dataclass(frozen=True)
class Actor:
    """Who takes a step: for the ledger's history, never for decisions."""

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


# ---------------------------------------------------------------------------------------------- goods


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
        """The mapping that ``requests`` takes as ``proxies=``."""
        return {"http": self.url, "https": self.url}

    def __repr__(self) -> str:
        login = "***:***@" if self.username is not None else ""
        return f"Proxy({self.scheme}://{login}{self.host}:{self.port})"

    __str__ = __repr__


@dataclass(frozen=True)
class Delivery:
    """What one order yielded. Secret: ``repr`` shows counts only.

    :param proxies: proxies ready for use.
    :param codes: delivered keys, for vendors that sell those.
    :param skipped: entries of the vendor's list that could not be read.
    """

    order_id: str
    proxies: tuple[Proxy, ...] = ()
    codes: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def count(self) -> int:
        return len(self.proxies) + len(self.codes)

    def secrets(self) -> Iterator[str]:
        """Every value that must never reach a log."""
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
    """A copy of a request with the values of secret-looking fields replaced, fit for ledger, log and error."""
    if isinstance(value, Mapping):
        return {key: "***" if isinstance(key, str) and _SECRET_NAME.search(key) else masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]
    return value
