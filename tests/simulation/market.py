"""The vendors of one run, and what they really took from whom: the side that the checker believes.

One rule: every charge is written down together with the order key and the worker whose request caused it, at the moment at
which the vendor's book changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from requests.structures import CaseInsensitiveDict

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.sandbox.answers import manner as as_asked
from airflow_provider_proxyorders.sandbox.charges import Entry
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.proxyscrape import SandboxProxyScrape
from airflow_provider_proxyorders.sandbox.state import SandboxState
from airflow_provider_proxyorders.sandbox.vendor_base import Ask, Call, Manner
from airflow_provider_proxyorders.vendors.proxyscrape.answers import CLOCK_SKEW
from airflow_provider_proxyorders.wire.messages import KEY_IN_PATH, Response
from airflow_provider_proxyorders.wire.reading import when
from tests.vendors import VENDORS

#: Who bought what was bought in the vendor's dashboard, past the ledger.
SOMEBODY = "somebody else"


@dataclass(frozen=True)
class Asked:
    """One request as it arrives.

    :param path: below the vendor's base URL.
    """

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ask(self) -> Ask:
        parts = [unquote(part) for part in self.path.split("/") if part]
        return Ask(self.method, parts, self.params, CaseInsensitiveDict(self.headers), self.body)


@dataclass(frozen=True)
class Charge:
    """One purchase that a vendor took.

    :param key: the order key for which the request was sent.
    :param worker: name of the worker that sent it.
    :param at: unix seconds.
    :param left: what the wallet held afterwards.
    """

    key: str
    worker: str
    at: float
    entry: Entry
    left: Decimal


class Market:
    """The sandbox without its HTTP server.

    :param start: unix seconds at which the run begins.
    :param hidden: for how many seconds lists and reads do not show a new order, nor an extension.
    :param lagging: for how many seconds the balance does not show a movement.
    :param always: faults of every answer.
    """

    def __init__(self, seed: int, start: float, *, hidden: float = 0.0, lagging: float = 0.0, always: Sequence[Rule] = ()):
        self.seed, self.state = seed, SandboxState(seed=seed, speed=0)
        self.state.clock._origin = start
        self.hidden, self.lagging, self.always = hidden, lagging, always
        self.charges: list[Charge] = []
        #: called with every charge
        self.on_charge: Callable[[Charge], None] = lambda charge: None
        #: when a wallet's balance was changed by others than our workers: unix seconds, vendor, wallet
        self.moved: list[tuple[float, str, str]] = []
        #: amount and wallet of every top-up
        self.top_ups: list[tuple[Decimal, str]] = []

    # -- answering -------------------------------------------------------------------------------------------------

    def operation(self, vendor: str, asked: Asked) -> str:
        """What a request asks for, as the sandbox names it."""
        call = self.state.vendors[vendor].route(asked.ask)
        return call.operation if call else "unknown"

    def serve(self, vendor: str, asked: Asked, key: str, worker: str, rules: Sequence[Rule] = ()) -> Response:
        """Let the vendor work on a request now.

        :param rules: what is odd about it, as faults of the sandbox.
        """
        shop, book, ask = self.state.vendors[vendor], self.state.book, asked.ask
        call = shop.route(ask) or Call("unknown", shop.not_found)
        book.saw(vendor, call.operation)
        before = len(book.charges())
        manner = Manner(lag=self.lagging if call.operation == "balance" else self.hidden)
        for rule in rules:
            manner = as_asked(rule, manner) or manner
        answer = self.state.answer(call, shop, manner)
        for entry in book.charges()[before:]:
            if entry.kind in ("create", "extend"):
                charge = Charge(key, worker, self.state.clock.timestamp(), entry, shop.wallet(entry.wallet).balance)
                self.charges.append(charge)
                self.on_charge(charge)
        for rule in (*rules, *self.always):
            answer = self.state.changed(rule, shop, ask, call, answer) or answer
        date = {"date": format_datetime(self.state.clock.now(), usegmt=True)}
        headers = {**date, **{name.lower(): value for name, value in answer.headers.items()}}
        return Response(answer.status, {"content-type": answer.content_type, **whole(answer.body), **headers}, answer.body)

    # -- what others do --------------------------------------------------------------------------------------------

    def top_up(self, vendor: str, wallet: str, amount: Decimal) -> None:
        self.state.vendors[vendor].wallet(wallet).balance += amount
        self.top_ups.append((amount, wallet))
        self.moved.append((self.state.clock.timestamp(), vendor, wallet))

    def buy_elsewhere(self, vendor: str, wallet: str, body: Mapping[str, Any]) -> str | None:
        """A purchase in the vendor's dashboard; returns its order id, None where it was refused."""
        before, token = len(self.charges), self.state.vendors[vendor].wallet(wallet).token
        buyer = VENDORS[vendor](Account(vendor, SOMEBODY, SOMEBODY, "http://127.0.0.1", token))
        flow = buyer.create(buyer.prepare_create(body, f"{SOMEBODY} {len(self.moved)}").body)
        with suppress(ProxyOrdersError, StopIteration):
            request = next(flow)
            while True:
                path = request.path.replace(f"/{KEY_IN_PATH}/", f"/{token}/")
                asked = Asked(request.method, path, request.params, request.body or b"", request.headers)
                request = flow.send(self.serve(vendor, asked, SOMEBODY, SOMEBODY))
        self.moved.append((self.state.clock.timestamp(), vendor, wallet))
        return self.charges[before].entry.order_id if len(self.charges) > before else None

    # -- what really happened --------------------------------------------------------------------------------------

    def of(self, key: str) -> list[Charge]:
        """Everything that was bought for an order key."""
        return [charge for charge in self.charges if charge.key == key]

    def is_of(self, order_id: str | None, charge: Charge) -> bool:
        """Whether an order id of the ledger names what a charge bought."""
        if order_id is None:
            return False
        if order_id == charge.entry.order_id:
            return True
        handles = self.state.vendors[charge.entry.vendor].handles()
        return handles.get(order_id.rpartition(":")[2]) == charge.entry.order_id

    def others_moved(self, vendor: str, wallet: str, since: float, until: float) -> bool:
        """Whether the balance was moved in between by anything but our purchases: top-ups, refunds, others' purchases.

        Or may have been: whether ProxyScrape pays back an order that ended badly is not documented.
        """
        if any(since <= at <= until and (v, w) == (vendor, wallet) for at, v, w in self.moved):
            return True
        for entry in self.state.book.charges(vendor):
            at = when(entry.time)
            if entry.wallet == wallet and entry.kind in ("refund", "auto_extend") and at and since <= at.timestamp() <= until:
                return True
        shop = self.state.vendors[vendor]
        if isinstance(shop, SandboxProxyScrape):
            ended = (order.updated for order in shop.orders.values() if order.status in ("blocked", "failed", "refunded"))
            return any(since - CLOCK_SKEW.total_seconds() <= at <= until for at in ended)
        return False


def whole(body: bytes) -> dict[str, str]:
    """The header that proves where an answer ends."""
    return {"content-length": str(len(body))}
