"""The data that a vendor declares, and the values of its flows.

One rule: these are plain values. The buyer, the operators, the connection form and the command line read them and decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter
from airflow_provider_proxyorders.domain.inputs import flag_of
from airflow_provider_proxyorders.domain.model import VendorOrder, decimal

Operation = Literal["create", "extend"]

#: Where a purchase leaves traces, so that it can be recognised when its answer was lost:
#:
#: - ``reference``: the vendor takes one order per reference of ours and refuses a repeat. The purchase can be sent again safely.
#: - ``search``: orders carry our reference and can be found by it, but the vendor takes a repeat as a second order.
#: - ``order``: the vendor's list of orders, or for an extension the order itself.
#: - ``wallet``: the balance, and what each order opens in the account.
#: - ``none``: nothing. A person decides about every lost answer.
Evidence = Literal["reference", "search", "order", "wallet", "none"]


@dataclass(frozen=True)
class Polling:
    """When to look at a waiting order, in seconds.

    :param first: before the first look.
    :param fastest: between two looks at a young order.
    :param slowest: between two looks at an old order.
    :param timeout: how long a task waits by default before it reports "pending".
    """

    first: float = 1.0
    fastest: float = 2.0
    slowest: float = 60.0
    timeout: float = 3600.0


#: A common edge (a load balancer or a content network) lets the server behind it work on one request for so many seconds. Then it
#: ends the request. No vendor documents its own limit, so a purchase without an answer may be taken up to that much later.
EDGE_LIMIT = 100.0


@dataclass(frozen=True)
class Capabilities:
    """What the vendor's documentation offers. The guarantees follow from it: declare only documented calls.

    A missing capability is refused before any request. Webhooks are declared by :attr:`Vendor.webhook`.

    :param quote_create: the vendor tells the price of an order before you buy it.
    :param quote_extend: the vendor tells the price of an extension before you buy it.
    :param list_orders: the vendor lists the orders of an account.
    :param list_by: the field of a create body by which the vendor may have to be asked for its list, part by part; "" = none.
    :param extend: a placed order can be extended.
    :param price_in_order: an order tells what was charged for it.
    :param create_evidence: where a new order leaves traces, see :data:`Evidence`.
    :param extend_evidence: where an extension leaves traces; it carries no reference of ours.
    :param requests_per_second: the documented pace of one account; None = undocumented. The connection's setting wins.
    :param ids_per_read: how many orders one reading call covers.
    :param settle: seconds until reads show a new order, counted from the moment at which the vendor took it.
    :param edge_limit: seconds for which the vendor may still work on a purchase whose sender has given up.
    """

    quote_create: bool = False
    quote_extend: bool = False
    list_orders: bool = False
    list_by: str = ""
    extend: bool = False
    price_in_order: bool = False
    create_evidence: Evidence = "none"
    extend_evidence: Literal["order", "wallet", "none"] = "none"
    requests_per_second: float | None = None
    ids_per_read: int = 1
    settle: float = 30.0
    edge_limit: float = EDGE_LIMIT
    polling: Polling = field(default_factory=Polling)

    @property
    def settle_time(self) -> float:
        """Seconds after which a purchase shows in reads, if it was taken at all. "Absent" takes two looks this far apart."""
        return self.edge_limit + self.settle

    def can_quote(self, operation: str) -> bool:
        """Whether the vendor tells the price of such a purchase beforehand."""
        return self.quote_create if operation == "create" else self.quote_extend

    def repeats_safely(self, operation: str) -> bool:
        """Whether the same purchase may be sent again after a lost answer: the vendor refuses a repeated reference."""
        return operation == "create" and self.create_evidence == "reference"

    def needs_turn(self, operation: str) -> bool:
        """Whether such a purchase must be the only creation under way on its wallet.

        A reference belongs to one order. All other evidence belongs to the wallet, and a person needs a quiet wallet as well.
        An extension takes no turn: it leaves its traces in its own order.
        """
        return operation == "create" and self.create_evidence not in ("reference", "search")

    def reads_evidence_alone(self, operation: str) -> bool:
        """Whether the evidence is void as soon as another purchase of the wallet, or of the extended order, was sent."""
        return operation == "extend" or self.needs_turn(operation)


@dataclass(frozen=True)
class Setting:
    """One setting of the connection that belongs to this vendor.

    :param kind: JSON type in the connection form: ``string``, ``integer`` (>= 1), ``number`` or ``boolean``.
    :param choices: the only values allowed.
    :param secret: hidden in the form and masked in logs.
    """

    name: str
    label: str
    help: str
    kind: str = "string"
    default: Any = None
    choices: Sequence[str] | None = None
    secret: bool = False
    placeholder: str = ""

    def read(self, raw: Any, conn_id: str) -> Any:
        """The connection's value, else the default.

        :raises ConfigError: for a value of another kind, or outside the choices. Nothing was sent.
        """
        if raw is None or raw == "":
            return self.default
        try:
            value = _READERS[self.kind](raw)
        except (TypeError, ValueError, InvalidParameter):
            value = None
        if value is None or (self.choices and value not in self.choices):
            wanted = f"one of {', '.join(self.choices)}" if self.choices else f"of kind {self.kind}"
            example = f", for example {self.placeholder}" if self.placeholder else ""
            raise ConfigError(f"connection {conn_id!r}: setting {self.name!r} must be {wanted}{example}. Nothing was sent.")
        return value


def _count(raw: Any) -> int:
    """:raises ValueError: for anything but a whole number >= 1."""
    number = decimal(raw)
    if number < 1 or number != number.to_integral_value():
        raise ValueError(raw)
    return int(number)


def _text(raw: Any) -> str:
    """Text; a number means its digits.

    :raises ValueError: for a list or an object.
    """
    if isinstance(raw, bool) or not isinstance(raw, (str, int, Decimal)):
        raise ValueError(raw)
    return str(raw)


#: A URI connection holds text only, so a text means the same as the number or the flag that it writes.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "integer": _count,
    "string": _text,
    "number": decimal,
    "boolean": lambda raw: flag_of("setting", raw, default=False),
}


@dataclass(frozen=True)
class Prepared:
    """A request that passed the documented rules.

    :param body: the exact JSON to send. Numbers that a template rendered as text are numbers again.
    :param warnings: one sentence each for the task log: undocumented fields, recurring charges and the like.
    """

    body: Mapping[str, Any]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Filters:
    """The orders to list; None means any. A vendor refuses a filter that it cannot apply.

    :param limit: orders at most; a vendor may read fewer pages for it. The caller cuts what is too much.
    :param extra: the vendor's own query parameters, as its documentation names them.
    """

    order_ids: Sequence[str] | None = None
    limit: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """What the vendor's reads prove about a purchase after its answer was lost.

    :param verdict: ``found``: ``order`` is the purchase. ``absent``: this look saw no trace of it. ``inconclusive``: something
        may be the purchase. ``not visible``: part of the evidence was unreadable, and the rest shows no trace. ``not listed``:
        the list of orders was readable and lacks it, and money is missing that other purchases may have taken.
    :param detail: one sentence on what the look read, for the ledger and for a person.
    :param trace: whether something at the vendor may be the purchase: an order, a sub-account, missing money. ``None``: as the
        verdict says, so "found" and "inconclusive" saw a trace. A refused purchase with a trace is unresolved.
    :param candidates: with another verdict than "found": the orders of which any may be the purchase, the oldest first.
    :param paid: the money that is missing, where only purchases that asked for the same may have taken it.
    """

    verdict: Literal["found", "absent", "inconclusive", "not visible", "not listed"]
    detail: str
    order: VendorOrder | None = None
    trace: bool | None = None
    candidates: tuple[VendorOrder, ...] = ()
    paid: Decimal | None = None

    @property
    def lacks_view(self) -> bool:
        """Whether this look alone speaks neither for the purchase nor against it."""
        return self.verdict in ("not visible", "not listed")

    @property
    def has_trace(self) -> bool:
        """Whether this look saw something that may be the purchase."""
        return self.verdict in ("found", "inconclusive") if self.trace is None else self.trace
