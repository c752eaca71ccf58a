"""Several reading flows at a time: never more than eight calls, in order, one pace, one pause, and no call after the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError, UnreadableAnswer, VendorUnavailable
from airflow_provider_proxyorders.transport.many import run_many, sent_ahead
from airflow_provider_proxyorders.transport.worker import AT_ONCE, SLOW_ANSWER, Http
from airflow_provider_proxyorders.wire.messages import Flow, Request

from .conftest import account


class Server(ThreadingHTTPServer):
    """Answers each call after a moment, and notes how many were there together."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.paths: list[str] = []
        self.times: list[float] = []
        self.busy_until = 0.0
        #: paths whose answers wait for each other
        self.meet: dict[str, threading.Barrier] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.paths.append(self.path)
            server.times.append(time.monotonic())
            server.inside += 1
            server.most = max(server.most, server.inside)
            busy = self.path == "/busy" and not server.busy_until
            if busy:
                server.busy_until = time.monotonic() + 1.0
        if self.path in server.meet:
            server.meet[self.path].wait(10)
        time.sleep(0.0 if busy or self.path == "/quick" else SLOW_ANSWER * 1.2)
        with server.lock:
            server.inside -= 1
        body = b"" if busy else self.path.encode()
        self.send_response(429 if busy else 500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        if busy:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def read(path: str) -> Flow[str]:
    answer = yield Request("GET", path, "read thing")
    if not answer.ok:
        raise VendorUnavailable(f"{path} is broken")
    return answer.text


def test_eight_at_a_time_in_order_and_the_first_alone(server: Server) -> None:
    paths = [f"/{number}" for number in range(40)]
    results = run_many(Http(account(server.url)), [partial(read, path) for path in paths])
    assert next(results) == "/0"
    time.sleep(0.1)
    assert server.paths == ["/0"], "nothing is asked before the first answer is taken"
    assert [*results] == paths[1:]
    assert 1 < server.most <= AT_ONCE
    assert sorted(server.paths) == sorted(paths)


@pytest.mark.parametrize("many", [0, 1, 2])
def test_few(server: Server, many: int) -> None:
    assert [*run_many(Http(account(server.url)), [partial(read, "/thing")] * many)] == ["/thing"] * many


def test_an_error_stands_in_its_place(server: Server) -> None:
    http = Http(account(server.url), sleep=lambda seconds: None)
    results = [*run_many(http, [partial(read, path) for path in ("/1", "/2", "/broken", "/4")])]
    assert [result for result in results if isinstance(result, str)] == ["/1", "/2", "/4"]
    assert isinstance(results[2], ProxyOrdersError)


def test_one_pace(server: Server) -> None:
    http = Http(account(server.url, requests_per_second=20.0))
    assert len([*run_many(http, [partial(read, "/thing")] * 11)]) == 11
    assert server.times[-1] - server.times[0] >= 0.45, "ten gaps of 0.05 s"


def test_all_keep_the_pause_that_one_was_asked_for(server: Server) -> None:
    """The first call opens the session; the others begin together, and one of them meets a busy vendor."""
    paths = ["/first", "/busy", *(f"/{number}" for number in range(30))]
    http = Http(account(server.url, requests_per_second=50.0))
    assert [*run_many(http, [partial(read, path) for path in paths])] == paths
    asked = server.busy_until - 1.0
    early = [at for at in server.times if asked + 0.25 < at < server.busy_until - 0.25]
    assert early == []


def test_who_stops_taking_results_ends_the_rest(server: Server) -> None:
    results = run_many(Http(account(server.url)), (partial(read, f"/{number}") for number in range(1000)))
    for _ in range(3):
        next(results)
    results.close()  # type: ignore[attr-defined]
    asked = len(server.paths)
    assert asked <= 3 + 3 * AT_ONCE
    time.sleep(0.1)
    assert len(server.paths) == asked


class TestSentAhead:
    """The first requests of several flows are on their way together, and each answer is taken once."""

    PATHS = ("/balance", "/orders", "/products")

    @staticmethod
    def one_after_the_other(paths: tuple[str, ...]) -> Flow[list[str]]:
        texts = []
        for path in paths:
            texts.append((yield from read(path)))
        return texts

    def test_the_calls_of_one_flow_are_made_together(self, server: Server) -> None:
        http = Http(account(server.url))
        http.run(read("/quote"))
        server.meet = dict.fromkeys(self.PATHS, threading.Barrier(3))
        with sent_ahead(http, [read(path) for path in self.PATHS]):
            assert http.run(self.one_after_the_other(self.PATHS)) == list(self.PATHS)
            server.meet = {}
            assert http.run(read("/balance")) == "/balance", "an answer is taken once, so this one is new"
        assert sorted(server.paths) == sorted(["/quote", "/balance", *self.PATHS])

    @pytest.mark.parametrize("before", ["nothing", "/quick", "/broken"])
    def test_nothing_is_sent_ahead_unless_the_last_answer_was_good_and_slow(self, server: Server, before: str) -> None:
        http = Http(account(server.url), sleep=lambda seconds: None)
        if before != "nothing":
            with suppress(VendorUnavailable):
                http.run(read(before))
        asked = len(server.paths)
        with sent_ahead(http, [read(path) for path in self.PATHS]):
            time.sleep(0.1)
            assert len(server.paths) == asked
            assert http.run(self.one_after_the_other(self.PATHS)) == list(self.PATHS)
        assert server.most == 1

    def test_whoever_would_have_asked_meets_the_error(self, server: Server) -> None:
        http = Http(account(server.url), sleep=lambda seconds: None)
        http.run(read("/quote"))
        with sent_ahead(http, [read(path) for path in ("/balance", "/broken")]):
            assert http.run(read("/balance")) == "/balance"
            with pytest.raises(VendorUnavailable):
                http.run(read("/broken"))

    def test_after_trouble_the_others_are_asked_anew(self, server: Server) -> None:
        """Their answers would grow old while the first call is tried again."""
        http = Http(account(server.url), sleep=lambda seconds: None)
        http.run(read("/quote"))
        with sent_ahead(http, [read("/busy"), read("/orders")]):
            assert http.run(self.one_after_the_other(("/busy", "/orders"))) == ["/busy", "/orders"]
        assert sorted(server.paths) == ["/busy", "/busy", "/orders", "/orders", "/quote"]

    def test_a_second_try_of_a_reading_asks_anew(self, server: Server) -> None:
        http, tries = Http(account(server.url), sleep=lambda seconds: None), []

        def unreadable_at_first() -> Flow[list[str]]:
            texts = [(yield from read("/balance"))]
            tries.append(len(server.paths))
            if len(tries) == 1:
                raise UnreadableAnswer("cut")
            return [*texts, (yield from read("/orders"))]

        http.run(read("/quote"))
        with sent_ahead(http, [read("/balance"), read("/orders")]):
            assert http.run_reading(unreadable_at_first) == ["/balance", "/orders"]
        assert server.paths.count("/orders") == server.paths.count("/balance") == 2

    def test_without_room_for_threads_one_call_follows_the_other(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        http = Http(account(server.url))
        http.run(read("/quote"))
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with sent_ahead(http, [read(path) for path in self.PATHS]):
            monkeypatch.undo()
            assert http.run(self.one_after_the_other(self.PATHS)) == list(self.PATHS)

    def test_what_nobody_asks_for_is_forgotten_with_the_block(self, server: Server) -> None:
        http = Http(account(server.url))
        http.run(read("/quote"))
        with sent_ahead(http, [read(path) for path in self.PATHS]):
            pass
        time.sleep(0.3)  # those on their way end by themselves
        before = len(server.paths)
        assert http.run(read("/orders")) == "/orders"
        assert len(server.paths) == before + 1

    def test_a_purchase_is_never_sent_ahead(self, server: Server) -> None:
        def spend() -> Flow[str]:
            return (yield Request("POST", "/buy", "create order", spends=True)).text

        http = Http(account(server.url))
        http.run(read("/quote"))
        with sent_ahead(http, [spend(), read("/balance"), read("/orders")]):
            assert http.run(read("/orders")) == "/orders"
        time.sleep(0.2)
        assert "/buy" not in server.paths

    def test_after_a_good_answer_no_flow_runs_alone(self, server: Server) -> None:
        http = Http(account(server.url))
        http.run(read("/quote"))
        server.meet = dict.fromkeys(("/1", "/2"), threading.Barrier(2))
        assert [*run_many(http, [partial(read, "/1"), partial(read, "/2")])] == ["/1", "/2"]
