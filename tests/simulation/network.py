"""The socket of a worker, in virtual time: what really travels, what is lost, late or garbled on the way.

Two rules: a request that left is the network's, so it arrives (or not) whatever becomes of its sender; and whether a fault
comes before the vendor worked on the request or after is decided when it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.transport.pace import Pacer
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Response
from tests.vendors import ROWS

from .clockwork import Worker
from .market import Asked, Market
from .scenario import Weather


@dataclass
class Fate:
    """What becomes of one request; times in seconds after it left.

    :param arrives: when the vendor works on it; None = never.
    :param returns: when its sender learns of the end.
    :param lost: ``refused``, ``reset``, ``timeout`` or ``cut off``, where the sender gets no whole answer.
    :param instead: what the sender gets in place of the vendor's answer.
    """

    arrives: float | None
    returns: float
    lost: str = ""
    instead: Response | None = None

    def __str__(self) -> str:
        end = self.lost or (f"answered {self.instead.status} in place" if self.instead else "answered")
        taken = "never arrives" if self.arrives is None else f"arrives after {self.arrives:.2f} s"
        return f"{taken}, {end} after {self.returns:.2f} s"


class Wire(Http):
    """The real HTTP side of a worker, with a session of ours in place of the one that opens sockets."""

    def __init__(self, account: Account, worker: Worker, network: Network):
        super().__init__(account, sleep=worker.sleep)
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
        path = ready.url.removeprefix(self._wire.account.base_url)
        params = tuple(ready.params or ())
        return self._network.carry(self._wire, self._worker, Asked(ready.method, path, params, ready.data or b"", ready.headers))

    def close(self) -> None:
        """There is no connection to drop."""


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
        #: order keys that a vendor refused although nothing was wrong with them
        self.refused: set[str] = set()

    def carry(self, wire: Wire, worker: Worker, asked: Asked) -> Answer:
        """Take a request to its vendor, perhaps, and its answer back, perhaps.

        :raises requests.exceptions.RequestException: when there is none.
        """
        vendor = wire.account.vendor
        operation = self.market.operation(vendor, asked)
        spends = operation in ("create", "extend")
        if spends and self.weather.wire_freezes and not worker.calm and self.chance.random() < 0.1:
            seconds = self.chance.choice((60.0, 600.0))
            self.beyond(f"{worker.name} is held up for {seconds:.0f} s between its last check and the first byte")
            worker.pause(seconds, "at its socket")
        fate = self.fate(wire, worker, spends)
        if spends or fate.lost or fate.instead:
            worker.say(f"-> {operation}: {fate}")
        answered: list[Response] = []
        if fate.arrives is not None:
            worker.clockwork.after(fate.arrives, lambda: answered.append(self.market.serve(vendor, asked, wire.key, worker.name)))
        worker.pause(fate.returns, f"while {operation} is under way")
        if fate.lost and (fate.lost != "cut off" or not answered):
            raise lost(fate.lost)
        response = fate.instead or answered[0]
        if spends:
            worker.say(f"<- {response.status} {response.text[:80]!r}")
        return Answer(response, fate.lost == "cut off")

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
            return Fate(None, back, instead=Response(429, {"retry-after": chance.choice(("1", "30", "120"))}, b""))
        if what == "html":
            return Fate(there, back, instead=Response(200, {"content-type": "text/html"}, b"<html>maintenance</html>"))
        if what == "empty":
            return Fate(there, back, instead=Response(200, {"content-type": "application/json"}, b""))
        status = 503 if what == "later" else int(what)
        return Fate(None, back, instead=Response(status, {"content-type": "application/json"}, b'{"message": "later"}'))

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
            return Fate(before, back, instead=Response(status, {"content-type": "application/json"}, b'{"error": "try later"}'))
        if what == "garbage":
            body = chance.choice((b"<html>hello</html>", b"", b"thank you", b"[1, 2, 3]", b'{"success": true', b"{}", b"null"))
            return Fate(before, back, instead=Response(chance.choice((200, 201)), {"content-type": "application/json"}, body))
        status, body = chance.choice(REFUSALS[wire.account.vendor])
        self.refused.add(wire.key)
        return Fate(None, back, instead=Response(status, {"content-type": "application/json"}, body))


#: What a vendor answers when it provably does not buy.
REFUSALS = {name: row.refusals for name, row in ROWS.items()}
