"""The common part of the pretended vendors: questions and answers without HTTP, wallets, charges and outcomes.

Two rules. A vendor only computes; the server does I/O and waiting. A vendor changes its state in one go between two questions, so
an order is either taken, charged and in the book, or none of these.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import Any, ClassVar, Literal

import simplejson

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, exact, load_json
from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.sandbox.charges import ChargeBook, Entry, Kind, remembered
from airflow_provider_proxyorders.sandbox.clock import Clock
from airflow_provider_proxyorders.sandbox.proxy_pool import ProxyPool

Permission = Literal["none", "read", "write"]

#: What every wallet holds at the start, in major units.
START_BALANCE = Decimal("1000.00")


# ---------------------------------------------------------------------------------------------- questions and answers


@dataclass(frozen=True)
class Ask:
    """One request, below the vendor's base URL.

    :param parts: the path, split at its slashes and decoded.
    :param headers: looked up without regard to case.
    """

    method: str
    parts: Sequence[str]
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body's object; empty where the body is none, which then fails the vendor's own checks."""
        try:
            data = load_json(self.body)
        except UnreadableBody:
            return {}
        return data if isinstance(data, dict) else {}

    def param(self, name: str) -> str | None:
        return next((value for key, value in self.params if key == name and value != ""), None)

    def listed(self, name: str) -> list[str] | None:
        """A list parameter in its forms ``name[]=1&name[]=2`` and ``name=1,2``; None when it was not sent."""
        values = [value for key, value in self.params if key in (name, f"{name}[]")]
        return [item.strip() for value in values for item in value.split(",") if item.strip()] if values else None


@dataclass(frozen=True)
class Answer:
    """One answer: JSON, or plain text where ``text`` is given."""

    data: Any = None
    status: int = 200
    text: str | None = None

    @property
    def content_type(self) -> str:
        return "application/json" if self.text is None else "text/plain; charset=utf-8"

    @property
    def body(self) -> bytes:
        return (dump(self.data) if self.text is None else self.text).encode()


class Refusal(Exception):
    """The vendor says no."""

    def __init__(self, status: int, data: Any):
        super().__init__(status, data)
        self.answer = Answer(data, status)


@dataclass(frozen=True)
class Call:
    """What a request asks for: the operation's name, as fault rules and the book know it, and how to answer it."""

    operation: str
    run: Callable[[], Answer]


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def dump(data: Any) -> str:
    """JSON in the order in which the vendor documents the fields; Decimals as exact numbers."""
    try:
        return _ENCODER.encode(data)
    except TypeError:  # somewhere is a Decimal; the standard encoder is the faster one and most answers hold none
        return simplejson.dumps(data, separators=(",", ":"), use_decimal=True, ensure_ascii=False)


def number(amount: Decimal) -> Any:
    """An amount as a JSON number without trailing zeros."""
    return exact(amount)


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def whole(value: object) -> int | None:
    """A JSON integer; None for everything else, true and false included."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# ---------------------------------------------------------------------------------------------- state


@dataclass
class Wallet:
    """One prepaid account: a token, what it may do, and its money."""

    name: str
    token: str
    balance: Decimal = START_BALANCE
    may_read: bool = True
    may_order: bool = True

    def permit(self, permission: Permission) -> None:
        """:raises ValueError: for a word that is none of the three."""
        if permission not in ("none", "read", "write"):
            raise ValueError(f"permission is none, read or write; got {permission!r}")
        self.may_read = permission != "none"
        self.may_order = permission == "write"


@dataclass(frozen=True)
class Outcome:
    """How an order is to end.

    :param word: the vendor's status, whether it is a documented one or not.
    """

    word: str
    details: Mapping[str, Any] = field(default_factory=dict)


class SandboxVendor:
    """One pretended vendor. Its caller holds the lock of the sandbox's state.

    :cvar name: the vendor's name, also the first part of its path in the sandbox.
    :cvar default_token: what the wallet ``main`` is opened with.
    :cvar default_processing: seconds from an order to its end.
    :cvar success: the status of an order that ended well.
    :cvar own_commands: control verbs of this vendor alone, as functions of the vendor, a wallet and the value.
    """

    name: ClassVar[str]
    default_token: ClassVar[str]
    default_processing: ClassVar[float] = 1.0
    success: ClassVar[str]
    own_commands: ClassVar[Mapping[str, Callable[[Any, Wallet, Any], Any]]] = {}

    def __init__(
        self, clock: Clock, book: ChargeBook, pool: ProxyPool, *, processing: float | None = None, seed: int | None = None
    ):
        self.clock, self.book, self.pool = clock, book, pool
        self._processing = processing
        self.random = random.Random(None if seed is None else f"{self.name}-{seed}")
        self.reset()

    def reset(self) -> None:
        """Return to the first day, with fresh ids. The book stays."""
        self.processing = self.default_processing if self._processing is None else self._processing
        self.wallets = {"main": Wallet("main", self.default_token)}
        self.by_token = {self.default_token: self.wallets["main"]}
        self.outcomes: deque[Outcome] = deque()
        self.pool.forget(self.name)

    def route(self, ask: Ask) -> Call | None:
        """The operation that a request asks for; None where the vendor documents no such call."""
        raise NotImplementedError

    def not_found(self) -> Answer:
        """The answer to a path that does not exist."""
        return Answer({"message": "Not found."}, 404)

    # -- what control commands and the server's faults steer ------------------------------------------------------

    def seed_order(self, wallet: Wallet, fields: Mapping[str, Any]) -> str:
        """Put an order there that was bought before; nothing is charged.

        :param fields: the documented order object, as far as it matters; fields we do not know are answered as given.
        :returns: its id.
        """
        raise NotImplementedError

    def handles(self) -> Mapping[str, str]:
        """Second ids under which the vendor shows its orders, each with the order's own id; empty at most vendors."""
        return {}

    def set_status(self, order_id: str, outcome: Outcome) -> None:
        """Move an order to a status now.

        :raises KeyError: when there is no such order.
        """
        raise NotImplementedError

    def open_wallet(self, name: str, token: str | None = None, balance: Any = None) -> Wallet:
        """Add a wallet, or give an existing one another token or balance. A replaced token is refused from then on."""
        wallet = self.wallets.get(name)
        if wallet is None:
            wallet = self.wallets[name] = Wallet(name, token or self.random_text(24))
        elif token:
            del self.by_token[wallet.token]
            wallet.token = token
        self.by_token[wallet.token] = wallet
        if balance is not None:
            wallet.balance = decimal(balance)
        return wallet

    def wallet(self, name: str | None = None) -> Wallet:
        """:raises KeyError: when there is no such wallet."""
        return self.wallets[name or "main"]

    # -- for the shops --------------------------------------------------------------------------------------------

    def next_outcome(self) -> Outcome:
        return self.outcomes.popleft() if self.outcomes else Outcome(self.success)

    def charge(
        self,
        wallet: Wallet,
        order_id: str,
        kind: Kind,
        amount: Decimal,
        request: Mapping[str, Any] | None = None,
        reference: str | None = None,
        paid_by: str = "balance",
    ) -> None:
        """Take money and write it down; the caller made sure that there is enough."""
        if paid_by == "balance":
            wallet.balance -= amount
        self._write(wallet, order_id, kind, amount, request, reference, paid_by)

    def pay_back(self, wallet: Wallet, order_id: str, amount: Decimal, reference: str | None = None) -> None:
        if amount > 0:
            wallet.balance += amount
            self._write(wallet, order_id, "refund", amount, None, reference, "balance")

    def _write(
        self,
        wallet: Wallet,
        order_id: str,
        kind: Kind,
        amount: Decimal,
        request: Mapping[str, Any] | None,
        reference: str | None,
        paid_by: str,
    ) -> None:
        time = self.clock.now().isoformat()
        entry = Entry(self.name, wallet.name, order_id, kind, f"{amount:f}", time, remembered(request), reference, paid_by)
        self.book.write(entry)

    def random_uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def random_text(self, length: int, letters: str = "abcdefghijkmnpqrstuvwxyz23456789") -> str:
        return "".join(self.random.choices(letters, k=length))
