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
from typing import Any, ClassVar

import simplejson

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, exact, load_json
from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.sandbox.answer_names import AnswerNames
from airflow_provider_proxyorders.sandbox.charges import ChargeBook
from airflow_provider_proxyorders.sandbox.clock import Clock
from airflow_provider_proxyorders.sandbox.proxy_pool import ProxyPool
from airflow_provider_proxyorders.sandbox.till import Till, Wallet

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
    """One answer: JSON, or plain text where ``text`` is given, or a file where ``file`` is.

    :param media: the content type, where it is not the usual one.
    """

    data: Any = None
    status: int = 200
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = ""
    file: bytes | None = None

    @property
    def content_type(self) -> str:
        return self.media or ("application/json" if self.text is None else "text/plain; charset=utf-8")

    @property
    def body(self) -> bytes:
        if self.file is not None:
            return self.file
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


@dataclass(frozen=True)
class Manner:
    """How a vendor answers one request, where a fault says so.

    :param lag: it reads what was true so many seconds ago.
    :param unseen: it reads as before the first order.
    :param price: it charges that, whatever was quoted.
    """

    lag: float = 0.0
    unseen: bool = False
    price: Decimal | None = None


USUAL = Manner()

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


@dataclass(frozen=True)
class Outcome:
    """How an order is to end.

    :param word: the vendor's status, whether it is a documented one or not.
    """

    word: str
    details: Mapping[str, Any] = field(default_factory=dict)


class SandboxVendor(AnswerNames):
    """One pretended vendor. Its caller holds the lock of the sandbox's state.

    :cvar name: the vendor's name, also the first part of its path in the sandbox.
    :cvar default_token: what the wallet ``main`` is opened with.
    :cvar default_processing: seconds from an order to its end.
    :cvar success: the status of an order that ended well.
    :cvar balance_at: where the balance stands in its answer.
    :cvar own_times: the fields of answers that hold a time of the vendor's clock.
    :cvar refusals: status and body of what it answers to a purchase that it does not make, by the reason.
    :cvar own_commands: control verbs of this vendor alone, as functions of the vendor, a wallet and the value.
    """

    name: ClassVar[str]
    default_token: ClassVar[str]
    default_processing: ClassVar[float] = 1.0
    success: ClassVar[str]
    balance_at: ClassVar[Sequence[str]] = ()
    own_times: ClassVar[frozenset[str]] = frozenset()
    refusals: ClassVar[Mapping[str, tuple[int, Any]]] = {}
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
        self.till = Till(self.name, self.clock, self.book)
        self.wallets = {"main": Wallet("main", self.default_token)}
        self.by_token = {self.default_token: self.wallets["main"]}
        self.outcomes: deque[Outcome] = deque()
        #: of the request that is being answered
        self.manner = USUAL
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

    def asker(self, ask: Ask) -> Wallet:
        """Whose wallet a request is about.

        :raises Refusal: when it carries no good token.
        """
        raise NotImplementedError

    def created(self, order_id: str) -> Any:
        """What the vendor answers to the purchase of an order.

        :raises KeyError: when there is no such order.
        """
        raise NotImplementedError

    def unused_id(self) -> str:
        """An id that no order has."""
        return self.random_uuid()

    def deliver_less(self, order_id: str, units: int) -> None:
        """Take proxies or codes of an order away; ``units`` are left.

        :raises KeyError: when there is no such order.
        """
        raise NotImplementedError

    def wallet(self, name: str | None = None) -> Wallet:
        """:raises KeyError: when there is no such wallet."""
        return self.wallets[name or "main"]

    # -- for the shops --------------------------------------------------------------------------------------------

    def shows(self, order_id: str) -> bool:
        """Whether a read shows an order already."""
        return not self.manner.unseen and self.till.bought_at(order_id) <= self.clock.timestamp() - self.manner.lag

    def shown_balance(self, wallet: Wallet) -> Decimal:
        """The balance as a read shows it."""
        return self.till.balance(wallet, self.manner.lag)

    def to_pay(self, quoted: Decimal) -> Decimal:
        """What a purchase costs in the end."""
        return quoted if self.manner.price is None else self.manner.price

    def next_outcome(self) -> Outcome:
        return self.outcomes.popleft() if self.outcomes else Outcome(self.success)

    def random_uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def random_text(self, length: int, letters: str = "abcdefghijkmnpqrstuvwxyz23456789") -> str:
        return "".join(self.random.choices(letters, k=length))
