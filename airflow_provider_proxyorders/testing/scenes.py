"""Scenes with lost answers: a vendor buys at a small HTTP server, driven by its own exchanges, and must buy once.

One rule: the server answers from recorded exchanges only. It counts the purchases, and :func:`verify_never_twice` believes
only this count.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import OrderKeyConflict, OutcomeUnknown, ProxyOrdersError, VendorError
from airflow_provider_proxyorders.domain.exact_json import load_json
from airflow_provider_proxyorders.domain.model import Purchase, decimal
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.testing.replay import FOLDER, Exchange, exchanges, play, response_of, vendor_for
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.vendors.registry import vendor_class
from airflow_provider_proxyorders.wire.messages import KEY_IN_PATH, Response

KEY = "scene"
SECRET = "test-token"
#: Tries of the task before the scene ends.
TRIES = 4
#: Seconds between two looks; the stub shows a purchase at once.
SETTLE = 0.05
#: An unreadable answer, and the answer of a broken gateway.
UNREADABLE = Response(200, {"content-type": "text/html"}, b"<html>hello</html>")
BROKEN = Response(502, {"content-type": "text/html"}, b"<html>bad gateway</html>")

Key = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Loss:
    """The fate of the first purchase.

    :param taken: whether the vendor takes the order.
    :param answer: the buyer's answer in place of the vendor's answer; None closes the connection.
    """

    taken: bool
    answer: Response | None = None


@dataclass
class Stub:
    """The vendor's side of a scene.

    :ivar taken: bodies of the purchases so far.
    :ivar missing: the gap in the exchanges, "" without one.
    """

    vendor: type[Vendor]
    recorded: Sequence[Exchange]
    loss: Loss | None = None
    taken: list[Any] = field(default_factory=list)
    missing: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        good = [exchange for exchange in self.recorded if "returns" in exchange.data["expect"]]
        self.created = [exchange for exchange in good if exchange.operation == "create"]
        assert self.created, f"record an exchange of create that returns an order of {self.vendor.name!r}"
        self.purchase = next(step for step in reversed(self.created[0].data["steps"]))
        snapshots = [exchange for exchange in good if exchange.operation == "snapshot" and _of_create(exchange)]
        looks = [exchange for exchange in good if exchange.operation == "resolve" and _finds(exchange)]
        pairs = ((look, snapshot) for look in looks for snapshot in snapshots)
        self.look: Exchange | None
        self.look, snapshot = next((pair for pair in pairs if _begins(*pair)), (None, None))
        rest = [exchange for exchange in good if exchange.operation not in ("snapshot", "resolve")] + snapshots
        self.before = _answers([snapshot, *rest] if snapshot else rest)
        self.after = _answers([self.look, *rest] if self.look else rest)

    @property
    def body(self) -> dict[str, Any]:
        """The request of the scene."""
        body = self.look.data["call"]["kwargs"]["body"] if self.look else self.created[0].data["call"]["args"][0]
        return self._as_asked(body)

    @property
    def other_body(self) -> dict[str, Any] | None:
        """Another request, None where the exchanges hold only one."""
        bodies = [self._as_asked(each.data["call"]["args"][0]) for each in self.recorded if each.operation == "create"]
        return next((body for body in bodies if self._without_reference(body) != self._without_reference(self.body)), None)

    def _as_asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A recorded body as a task gives it: a reference that only serves a search is filled in later."""
        searched = self.vendor.capabilities.create_evidence == "search"
        return self._without_reference(body) if searched else dict(body)

    def _without_reference(self, body: Mapping[str, Any]) -> dict[str, Any]:
        reference = self._reference(body)
        return {name: value for name, value in body.items() if reference is None or value != reference}

    def answer(self, method: str, path: str, params: Sequence[tuple[str, str]], body: bytes) -> Response | None:
        """The answer to a request, None to close the connection."""
        asked = self.purchase["request"]
        if (method, path) != (asked["method"], asked["path"]):
            return self._read(method, path, params)
        with self.lock:
            return self._buy(load_json(body) if body else dict(params))

    def _read(self, method: str, path: str, params: Sequence[tuple[str, str]]) -> Response:
        answers = self.after if self.taken else self.before
        whole = (method, path, tuple(params))
        alike = (step for key, step in answers.items() if key[:2] == whole[:2])
        recorded = answers.get(whole) or next(alike, None)
        if recorded is None:
            return Response(404, {"content-type": "application/json"}, b"{}")
        return self.under_their_reference(response_of(recorded))

    def under_their_reference(self, answer: Response) -> Response:
        """A recorded answer, with the reference of the purchase in the place of the recorded one."""
        recorded = self._reference(self.look.data["call"]["kwargs"]["body"]) if self.look else None
        asked = self._reference(self.taken[-1]) if self.taken else None
        if recorded is None or asked is None:
            return answer
        return Response(answer.status, answer.headers, answer.body.replace(recorded.encode(), asked.encode()))

    def _buy(self, body: Any) -> Response | None:
        reference = self._reference(body) if self.vendor.capabilities.repeats_safely("create") else None
        if reference is not None and any(self._reference(earlier) == reference for earlier in self.taken):
            return self._refusal_of_a_repeat()
        loss, self.loss = self.loss, None
        if loss is None or loss.taken:
            self.taken.append(body)
        return response_of(self.purchase["response"]) if loss is None else loss.answer

    def _reference(self, body: Any) -> str | None:
        return vendor_for(self.vendor.name).reference_in(body)

    def _refusal_of_a_repeat(self) -> Response | None:
        """The recorded refusal of a repeated reference."""
        for exchange in self.recorded:
            if exchange.operation == "create" and "raises" in exchange.data["expect"]:
                error = play(exchange).error
                if isinstance(error, VendorError) and vendor_for(self.vendor.name).is_duplicate(error):
                    return exchange.responses()[-1]
        self.missing = f"record the answer of {self.vendor.name!r} to a repeated reference, as an exchange of create"
        return None


def _of_create(exchange: Exchange) -> bool:
    call = exchange.data["call"]
    return "create" in (*call.get("args", ())[:1], call.get("kwargs", {}).get("kind"))


def _finds(exchange: Exchange) -> bool:
    return _of_create(exchange) and exchange.data["expect"]["returns"].get("verdict") == "found"


def _begins(look: Exchange, snapshot: Exchange) -> bool:
    """Whether a snapshot reads the evidence of a recorded look."""
    evidence: Mapping[str, Any] = look.data["call"]["kwargs"]["evidence"]
    return bool(evidence == play(snapshot).result)


def _answers(recorded: Sequence[Exchange]) -> dict[Key, Any]:
    """The first answer to each request of some exchanges; errors are left out."""
    answers: dict[Key, Any] = {}
    for exchange in recorded:
        for step in exchange.data["steps"]:
            request = step["request"]
            params = tuple((str(name), str(value)) for name, value in request.get("params", ()))
            if int(step["response"]["status"]) < 400:
                answers.setdefault((request["method"], request["path"], params), step["response"])
    return answers


@contextmanager
def serving(stub: Stub) -> Iterator[str]:
    """Run the stub on this machine; yields its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            params = parse_qsl(parts.query, keep_blank_values=True)
            try:
                path = "/".join(KEY_IN_PATH if part == SECRET else part for part in unquote(parts.path).split("/"))
                answer = stub.answer(self.command, path, params, body)
            except Exception as error:  # in a thread of the server, where it would look like one more lost answer
                stub.missing, answer = f"the stub cannot answer: {error!r}", None
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Stage:
    """One scene at work: the stub, and buyers with one ledger, as in tries of one task."""

    stub: Stub
    base_url: str
    ledger: Ledger

    def buyer(self) -> Buyer:
        """A buyer with nothing kept from an earlier try but the ledger."""
        name = self.stub.vendor.name
        account = Account(
            vendor=name,
            conn_id=f"{name}_scene",
            wallet=f"{name}:scene",
            base_url=self.base_url,
            secret=SECRET,
            settings={"settle": SETTLE},
            caps=Caps(max_order_price=decimal("1000000")),
            timeout=2.0,
        )
        return Buyer(self.stub.vendor(account), Http(account), self.ledger)

    def place(self, body: Mapping[str, Any] | None = None) -> Purchase:
        buyer = self.buyer()
        try:
            return buyer.place(self.stub.body if body is None else body, order_key=KEY)
        finally:
            buyer.http.close()

    def tries(self) -> tuple[Purchase | None, ProxyOrdersError | None]:
        """Try like a task with retries: until an order, or an error beyond retries."""
        error: ProxyOrdersError | None = None
        for _ in range(TRIES):
            try:
                return self.place(), None
            except ProxyOrdersError as failed:
                error = failed
                if failed.retry == "never":
                    break
        return None, error


def _retried(stage: Stage) -> None:
    first, again = stage.place(), stage.place()
    assert first.order_id is not None and first.order_id == again.order_id, f"{first.order_id} and then {again.order_id}"
    assert len(stage.stub.taken) == 1, f"bought {len(stage.stub.taken)} times"


def _at_once(stage: Stage) -> None:
    errors: list[Exception] = []

    def buy() -> None:
        try:
            stage.place()
        except ProxyOrdersError as error:
            errors.append(error)

    threads = [threading.Thread(target=buy) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stage.stub.taken) == 1, f"bought {len(stage.stub.taken)} times; {errors}"


def _conflicting(stage: Stage) -> None:
    stage.place()
    other = stage.stub.other_body
    assert other is not None, "record an exchange of create with another body"
    try:
        stage.place(other)
    except OrderKeyConflict:
        assert len(stage.stub.taken) == 1, f"bought {len(stage.stub.taken)} times"
        return
    raise AssertionError("the same order key bought two different requests")


def _losing(loss: Loss) -> Callable[[Stage], None]:
    def scene(stage: Stage) -> None:
        stage.stub.loss = loss
        purchase, error = stage.tries()
        taken = len(stage.stub.taken)
        assert taken <= 1, f"bought {taken} times"
        assert taken == 1 or not loss.taken
        if purchase is None:
            assert isinstance(error, OutcomeUnknown), f"an answer was lost, yet the task ends with {error!r}"
        else:
            assert taken == 1, f"order {purchase.order_id} is in the ledger and was never bought"

    return scene


#: Scene -> what happens and what must hold.
SCENES: Mapping[str, Callable[[Stage], None]] = {
    "the task is retried": _retried,
    "two workers at once": _at_once,
    "another request under the key": _conflicting,
    "the answer is lost, the order was taken": _losing(Loss(True)),
    "the answer is lost, nothing was taken": _losing(Loss(False)),
    "a gateway answers, the order was taken": _losing(Loss(True, BROKEN)),
    "a gateway answers, nothing was taken": _losing(Loss(False, BROKEN)),
    "an unreadable answer, the order was taken": _losing(Loss(True, UNREADABLE)),
}


def verify_never_twice(vendor: str, scene: str, folder: Path = FOLDER) -> None:
    """Play one scene of :data:`SCENES` with a vendor.

    :param vendor: its name, as registered.
    :param folder: its exchanges: at least a create that returns an order, and a create with another body. A vendor with a unique
        reference needs the refusal of a repeat. Any other vendor with evidence needs a resolve with verdict "found", and the
        snapshot with the evidence of this resolve.
    :raises AssertionError: when the stub took a purchase twice, or the exchanges cannot drive the scene.
    """
    kind = vendor_class(vendor)
    recorded = [exchange for exchange in exchanges(folder) if exchange.vendor == vendor]
    stub = Stub(kind, recorded)
    needs_a_look = kind.capabilities.create_evidence not in ("none", "reference")
    assert stub.look or not needs_a_look, (
        f"record a resolve that finds a lost order of {vendor!r}, and a snapshot that reads the evidence it begins with"
    )
    with tempfile.TemporaryDirectory() as place, serving(stub) as base_url:
        ledger = open_ledger(f"sqlite:///{place}/ledger.db")
        try:
            SCENES[scene](Stage(stub, base_url, ledger))
            assert not stub.missing, stub.missing
        finally:
            ledger.engine.dispose()


__all__ = ["SCENES", "verify_never_twice"]
