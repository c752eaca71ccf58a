"""What a vendor declares as data, and what its flows are asked with and answer.

One rule: these are plain values; whoever reads them (desk, operators, connection form, command line) decides what follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.model import VendorOrder, decimal

Operation = Literal["create", "extend"]


@dataclass(frozen=True)
class Polling:
    """When it makes sense to look at a waiting order, in seconds.

    :param first: before the first look.
    :param fastest: between looks at a young order.
    :param slowest: between looks at an old one.
    :param timeout: how long a task waits by default before it says "pending".
    """

    first: float = 1.0
    fastest: float = 2.0
    slowest: float = 60.0
    timeout: float = 3600.0


@dataclass(frozen=True)
class Capabilities:
    """What the vendor's documentation offers. Calling what is missing is refused before any request.

    :param quote: a price can be asked for before buying.
    :param list_orders: orders can be listed.
    :param reference: an order carries our reference, unique per account, so a repeat is refused by the vendor.
    :param extend: a placed order can be extended.
    :param auto_extend: the vendor can renew an order by itself, and this can be switched.
    :param webhook: the vendor reports the end of an order.
    :param price_in_order: the order itself tells what was charged.
    :param evidence: where a lost purchase leaves traces: ``order`` (a list or the order itself), ``reference``,
        or only ``wallet`` (balance and what hangs on the account).
    :param ids_per_read: how many orders one reading call can tell about.
    :param settle: seconds after which a purchase that was taken shows up in reads; "absent" needs two looks this far apart.
    """

    quote: bool = False
    list_orders: bool = False
    reference: bool = False
    extend: bool = False
    auto_extend: bool = False
    webhook: bool = False
    price_in_order: bool = False
    evidence: Literal["order", "reference", "wallet"] = "wallet"
    ids_per_read: int = 1
    settle: float = 30.0
    polling: Polling = field(default_factory=Polling)


@dataclass(frozen=True)
class Setting:
    """One setting of the connection that belongs to this vendor.

    :param kind: JSON type shown in the connection form: ``string``, ``integer`` (from 1 on), ``number`` or ``boolean``.
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

    def read(self, given: Any, conn_id: str) -> Any:
        """The value that a connection gives, else the default.

        :raises ConfigError: when it is none of the choices or of another kind.
        """
        if given is None or given == "":
            return self.default
        try:
            value = {"integer": _count, "string": _text}.get(self.kind, lambda same: same)(given)
        except (TypeError, ValueError):
            value = None
        if value is None or (self.choices and value not in self.choices):
            wanted = f"one of {', '.join(self.choices)}" if self.choices else f"of kind {self.kind}"
            example = f", for example {self.placeholder}" if self.placeholder else ""
            raise ConfigError(f"connection {conn_id!r}: setting {self.name!r} must be {wanted}{example}. Nothing was sent.")
        return value


def _count(given: Any) -> int:
    """:raises ValueError: for what is no whole number from 1 on."""
    number = decimal(given)
    if number < 1 or number != number.to_integral_value():
        raise ValueError(given)
    return int(number)


def _text(given: Any) -> str:
    """:raises ValueError: for a list or an object; a number was meant as its digits."""
    if isinstance(given, bool) or not isinstance(given, (str, int, Decimal)):
        raise ValueError(given)
    return str(given)


@dataclass(frozen=True)
class Prepared:
    """A request that passed the documented rules.

    :param body: exactly what will be sent as JSON; numbers that came as text (templates) are numbers again.
    :param warnings: one sentence each, for the task log: fields we do not know, recurring charges and the like.
    """

    body: Mapping[str, Any]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Filters:
    """Which orders to list; None means any. A vendor refuses what it cannot filter by.

    :param extra: the vendor's own query parameters, as its documentation names them.
    """

    order_ids: Sequence[str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """What the vendor's reads prove about a purchase whose answer was lost.

    :param verdict: ``found`` (``order`` is it), ``absent`` (at this look nothing of it was there), ``undecided`` (something was
        there that may be it), or ``blind`` (nothing of it was there, but not everything could be seen).
    :param seen: one sentence on what was looked at and seen, for the ledger and for a person.
    """

    verdict: Literal["found", "absent", "inconclusive", "not visible"]
    seen: str
    order: VendorOrder | None = None
