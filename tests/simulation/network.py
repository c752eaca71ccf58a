"""The socket of a worker, in virtual time: what really travels, what is lost, late or garbled on the way.

Two rules: a request that left is the network's, so it arrives (or not) whatever becomes of its sender; and whether a fault
comes before the vendor worked on the request or after is decided when it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, cast

import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.transport.connections import Departure, Stopped
from airflow_provider_proxyorders.transport.endpoint import with_key
from airflow_provider_proxyorders.transport.pace import Pacer
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Response
from tests.vendors import ROWS

from .clockwork import Worker
from .market import Asked, Market, whole
from .scenario import Weather


@dataclass
class Fate:
    """What becomes of one request; times in seconds after it left.

    :param arrives: when the vendor works on it; None = never.
    :param returns: when its sender learns of the end.
    :param lost: ``refused``, ``reset``, ``timeout`` or ``cut off``, where the sender gets no whole answer.
    :param instead: what the sender gets in place of the vendor's answer.
    :param rules: what is odd about the vendor's answer, as faults of the sandbox.
    """

    arrives: float | None
    returns: float
    lost: str = ""
    instead: Response | None = None
    rules: Sequence[Rule] = ()

    def __str__(self) -> str:
        end = self.lost or (f"answered {self.instead.status} in place" if self.instead else "answered")
        end += "".join(f", {rule.action}" for rule in self.rules)
        taken = "never arrives" if self.arrives is None else f"arrives after {self.arrives:.2f} s"
        return f"{taken}, {end} after {self.returns:.2f} s"


class Wire(Http):
    """The real HTTP side of a worker, with a session of ours in place of the one that opens sockets."""

    at_once = 1  # a worker of this world is one thread

    def __init__(self, account: Account, worker: Worker, network: Network):
        super().__init__(account, sleep=worker.sleep, clock=lambda: worker.clock().timestamp())
        rate = account.requests_per_second
        self._pacer = Pacer(rate, worker.ticks) if rate else None
        self._session = cast(requests.Session, Line(self, worker, network))
        #: the order key for which this worker buys
        self.key = ""


class Line:
    """What a worker has as ``requests.Session``."""

    def __init__(self, wire: Wire, worker: Worker, network: Network):
        self._wire, self._worker, self._network = wire, worker, network

    def prepare_request(self, request: requests.Request) -> requests.Request:
        """As it is: nothing can be wrong with it here."""
        return request

    def merge_environment_settings(self, *_: Any) -> dict[str, Any]:
        """No proxies and no certificates."""
        return {}

    def send(self, ready: requests.Request, **_: Any) -> Answer:
        path = with_key(self._wire.account, ready.url).removeprefix(self._wire.account.base_url)
        asked = Asked(ready.method, path, tuple(ready.params or ()), ready.data or b"", ready.headers)
        departure: Any = getattr(ready, "body", None)
        return self._network.carry(self._wire, self._worker, asked, departure)

    def close(self) -> None:
        """There is no connection to drop."""


def _leave(departure: Departure) -> None:
    """Ask the permit on the open connection, as the connection itself does."""
    try:
        departure.permit()
    except Exception as error:
        raise Stopped(error) from error
    departure.left = True


class Answer:
    """What a worker has as ``requests.Response``."""

    def __init__(self, response: Response, cut: bool):
        self.status_code, self.headers = response.status, response.headers
        self._body, self._cut = response.body, cut

    def iter_content(self, _size: int) -> Iterator[bytes]:
        yield self._body[: len(self._body) // 2] if self._cut else self._body
        if self._cut:
            raise requests.exceptions.ChunkedEncodingError("Connection broken: IncompleteRead")

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def lost(how: str) -> requests.exceptions.RequestException:
    """What the library raises."""
    if how == "no connection":
        return requests.exceptions.ConnectTimeout("no connection in time")
    if how == "refused":
        reason = NewConnectionError(HTTPConnection("127.0.0.1"), "[Errno 111] Connection refused")
        return requests.exceptions.ConnectionError(MaxRetryError(cast(Any, None), "/", reason))
    if how == "timeout":
        return requests.exceptions.ReadTimeout("Read timed out.")
    return requests.exceptions.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")))


class Network:
    """Carries requests to the market.

    :param beyond: told when a purchase is taken later than any promise allows for.
    """

    def __init__(self, market: Market, weather: Weather, chance: Random, beyond: Callable[[str], None]):
        self.market, self.weather, self.chance, self.beyond = market, weather, chance, beyond
        #: what is odd about answers; its own, so that a seed without oddities is what it was
        self.oddly = Random(f"oddities of {market.seed}")
        #: order keys that a vendor refused although nothing was wrong with them
        self.refused: set[str] = set()
        #: order keys whose read showed no order at all
        self.blanked: set[str] = set()
        self._blank, self._cut_last = weather.blank, False

    def carry(self, wire: Wire, worker: Worker, asked: Asked, departure: Departure | None = None) -> Answer:
        """Take a request to its vendor, perhaps, and its answer back, perhaps.

        :param departure: a purchase before its first byte.
        :raises requests.exceptions.RequestException: when there is none.
        """
        vendor = wire.account.vendor
        operation = self.market.operation(vendor, asked)
        spends = departure is not None
        held_up = spends and self.weather.wire_freezes and not worker.calm and self.chance.random() < 0.1
        fate = self.fate(wire, worker, spends)
        if departure is not None:
            self.connect(wire, worker)
            if fate.lost == "refused":
                worker.say(f"-> {operation}: {fate}")
                worker.pause(fate.returns, "while it connects")
                raise lost(fate.lost)
            _leave(departure)
        if held_up:
            seconds = self.chance.choice((60.0, 600.0))
            self.beyond(f"{worker.name} is held up for {seconds:.0f} s between its last check and the first byte")
            worker.pause(seconds, "at its socket")
        if self._odd(worker) and fate.arrives is not None and not fate.lost and not fate.instead:
            fate.rules = self._of_purchases(wire) if spends else self._of_reads(operation, wire.key)
        if spends or fate.lost or fate.instead or fate.rules:
            worker.say(f"-> {operation}: {fate}")
        answered: list[Response] = []
        if fate.arrives is not None:
            worker.clockwork.after(fate.arrives, lambda: answered.append(self._served(fate, wire, worker, asked)))
        worker.pause(fate.returns, f"while {operation} is under way")
        if fate.lost and (fate.lost != "cut off" or not answered):
            raise lost(fate.lost)
        response = fate.instead or answered[0]
        if spends:
            worker.say(f"<- {response.status} {response.text[:80]!r}")
        return Answer(response, fate.lost == "cut off")

    def _served(self, fate: Fate, wire: Wire, worker: Worker, asked: Asked) -> Response:
        response = self.market.serve(wire.account.vendor, asked, wire.key, worker.name, fate.rules)
        if not any(rule.action == "cut" for rule in fate.rules):
            return response
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        return Response(response.status, {**headers, "connection": "close"}, response.body[: len(response.body) // 2])

    def connect(self, wire: Wire, worker: Worker) -> None:
        """Open the connection of a purchase.

        :raises requests.exceptions.RequestException: when it takes too long.
        """
        if not self._odd(worker) or self.oddly.random() >= self.weather.slow:
            return
        timeout = wire.account.timeout
        seconds = self.oddly.choice((0.5, 0.9, 1.5, 20.0)) * timeout
        suspended = self.oddly.random() < 0.5
        worker.say(f"waits {seconds:.0f} s for a connection{', suspended meanwhile' if suspended else ''}")
        if suspended:
            worker.suspended(seconds)
        worker.pause(seconds if suspended else min(seconds, timeout), "while it connects")
        if not suspended and seconds > timeout:
            raise lost("no connection")

    def _odd(self, worker: Worker) -> bool:
        """Whether odd things may happen now."""
        return not worker.calm and worker.clockwork.now <= self.weather.until

    def _of_purchases(self, wire: Wire) -> list[Rule]:
        odd, weather = self.oddly, self.weather
        if odd.random() < weather.misnamed:
            wallet = wire.account.wallet.partition(":")[2]
            before = any(charge.entry.wallet == wallet and charge.entry.kind == "create" for charge in self.market.charges)
            name = odd.choice(("previous", "missing") if before else ("missing",))
            return [Rule(action=odd.choice(("another_order", "another_id", "doubled_id")), order=name)]
        if odd.random() < weather.refused:
            reason = odd.choice(("repeat", "repeat", "balance", "invalid", "duplicate"))
            self.refused.add(wire.key)
            return [Rule(action="repeat") if reason == "repeat" else Rule(action="refuse", when="after", reason=reason)]
        if odd.random() < weather.overcharged:
            return [Rule(action="charge", amount=(wire.account.caps.max_order_price or Decimal(9)) * 3)]
        return []

    def _of_reads(self, operation: str, key: str) -> list[Rule]:
        if self._blank and operation in ("list", "subaccounts") and self.oddly.random() < 0.3:
            self._blank = False  # for a single read; absence needs two
            self.blanked.add(key)
            return [Rule(action="unseen")]
        self._cut_last = not self._cut_last and self.oddly.random() < self.weather.cut
        return [Rule(action="cut")] if self._cut_last else []

    def fate(self, wire: Wire, worker: Worker, spends: bool) -> Fate:
        """What becomes of a request."""
        chance, weather = self.chance, self.weather
        there = chance.choice((0.0, 0.02, 0.3))
        back = there + chance.choice((0.02, 0.3, 0.5))
        now = worker.clockwork.now
        if worker.calm or now > weather.until:
            return Fate(there, back)
        if spends:
            if chance.random() < weather.lost:
                return self._spending(wire, there, back)
            return Fate(there, back)
        if weather.out(now) or chance.random() < weather.unread:
            return self._reading(wire, there, back)
        return Fate(there, back)

    def _reading(self, wire: Wire, there: float, back: float) -> Fate:
        chance, timeout = self.chance, wire.account.timeout
        what = chance.choice(("refused", "reset", "timeout", "500", "503", "429", "later", "404", "html", "empty"))
        if what in ("refused", "reset"):
            return Fate(None, back, what)
        if what == "timeout":
            return Fate(None, timeout, what)
        if what == "429":
            return Fate(None, back, instead=_answer(429, {"retry-after": chance.choice(("1", "30", "120"))}, b""))
        if what == "html":
            return Fate(there, back, instead=_answer(200, {"content-type": "text/html"}, b"<html>maintenance</html>"))
        if what == "empty":
            return Fate(there, back, instead=_answer(200, {"content-type": "application/json"}, b""))
        status = 503 if what == "later" else int(what)
        return Fate(None, back, instead=_answer(status, {"content-type": "application/json"}, b'{"message": "later"}'))

    def _spending(self, wire: Wire, there: float, back: float) -> Fate:
        chance, weather, timeout = self.chance, self.weather, wire.account.timeout
        before = None if chance.random() < 0.5 else there
        what = chance.choice(
            ("refused", "reset", "reset", "timeout", "timeout", "late", "late", "slow", "status", "status", "garbage", "refusal")
        )
        if what == "refused":
            return Fate(None, back, "refused")
        if what == "reset":
            return Fate(before, back, chance.choice(("reset", "reset", "cut off")))
        if what == "timeout":
            return Fate(before, timeout, "timeout")
        if what == "late":  # the sender gave up, the request did not
            given_up = chance.choice((back, timeout))
            late = chance.random() * weather.late
            if late > weather.settled:
                self.beyond("what is sent now arrives after its settle time")
            return Fate(given_up + late, given_up, "timeout" if given_up == timeout else "reset")
        if what == "slow":
            answered = timeout * chance.choice((0.9, 1.9))
            return Fate(answered * chance.random(), answered)
        if what == "status":
            status = chance.choice((302, 408, 409, 425, 429, 500, 502, 503, 504))
            return Fate(before, back, instead=_answer(status, {"content-type": "application/json"}, b'{"error": "try later"}'))
        if what == "garbage":
            body = chance.choice((b"<html>hello</html>", b"", b"thank you", b"[1, 2, 3]", b'{"success": true', b"{}", b"null"))
            return Fate(before, back, instead=_answer(chance.choice((200, 201)), {"content-type": "application/json"}, body))
        status, body = chance.choice(REFUSALS[wire.account.vendor])
        self.refused.add(wire.key)
        return Fate(None, back, instead=_answer(status, {"content-type": "application/json"}, body))


def _answer(status: int, headers: dict[str, str], body: bytes) -> Response:
    return Response(status, {**headers, **whole(body)}, body)


#: What a vendor answers when it provably does not buy.
REFUSALS = {name: row.refusals for name, row in ROWS.items()}
