"""A purchase connects first: its permit is asked on an open connection, then it leaves in one piece, there or nowhere."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_proxyorders.domain.errors import NeverSent, OutcomeUnknown, VendorUnavailable
from airflow_provider_proxyorders.transport import worker
from airflow_provider_proxyorders.transport.connections import Departure
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request

from .conftest import Naps, Side, account, ask
from .test_never_left import tunnel
from .wires import Talk, Wire, answer, deaf, proper, wire

BUY = Request("POST", "/buy", "buy", json={"one": 1}, spends=True)
Tls = tuple[ssl.SSLContext, Path]
#: Seconds that a slow machine may add to a time limit.
SLACK = 3.0


class Permit:
    """Allows a purchase, and notes what the servers had seen by then.

    :param connections: how many each server is expected to have.
    """

    def __init__(self, *servers: Wire, then: Callable[[], None] | None = None, connections: int = 1):
        self.servers, self.then, self.connections = servers, then, connections
        self.seen: list[tuple[int, int]] = []

    def __call__(self, request: Request) -> None:
        assert request.spends
        deadline = time.monotonic() + SLACK  # the server's thread counts a connection a moment later
        while time.monotonic() < deadline and min(server.connections for server in self.servers) < self.connections:
            time.sleep(0.01)
        self.seen = [(server.connections, len(server.asked)) for server in self.servers]
        if self.then is not None:
            self.then()


class TestOrder:
    def test_the_connection_stands_before_the_permit_and_nothing_was_said_on_it(self, naps: Naps) -> None:
        with wire(proper) as server:
            permit = Permit(server)
            Http(account(server.url), naps).send(BUY, permit)
        assert permit.seen == [(1, 0)]
        assert (server.connections, len(server.asked)) == (1, 1)

    def test_with_tls(self, self_signed: Tls, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        with wire(proper, self_signed[0]) as server:
            permit = Permit(server)
            Http(account(server.url), naps).send(BUY, permit)
        assert permit.seen == [(1, 0)]
        assert (server.connections, len(server.asked)) == (1, 1)

    def test_through_a_proxy_that_forwards(self, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        with wire(proper) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            permit = Permit(proxy)
            Http(account("http://vendor.invalid"), naps).send(BUY, permit)
        assert permit.seen == [(1, 0)]
        assert [asked.line for asked in proxy.asked] == ["POST http://vendor.invalid/buy HTTP/1.1"]

    def test_through_a_tunnel(self, self_signed: Tls, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        with wire(proper, self_signed[0]) as vendor, wire(tunnel) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.upper().replace("HTTP", "http"))
            permit = Permit(proxy, vendor)
            Http(account(vendor.url), naps).send(BUY, permit)
        assert permit.seen == [(1, 1), (1, 0)], "the tunnel stands, with the vendor's TLS in it"
        assert [asked.line for asked in vendor.asked] == ["POST /buy HTTP/1.1"]

    def test_through_a_tunnel_of_a_proxy_with_tls(self, self_signed: Tls, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        """TLS in TLS."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        with wire(proper, self_signed[0]) as vendor, wire(tunnel, self_signed[0]) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            permit = Permit(proxy, vendor)
            Http(account(vendor.url), naps).send(BUY, permit)
        assert permit.seen == [(1, 1), (1, 0)]
        assert [asked.line for asked in vendor.asked] == ["POST /buy HTTP/1.1"]

    def test_a_purchase_leaves_in_one_piece(self, naps: Naps) -> None:
        """A worker that is frozen between head and body would send the rest whenever it wakes up."""
        pieces: list[bytes] = []

        def listen(talk: Talk) -> None:
            pieces.append(talk.sock.recv(65536))
            talk.say(answer())

        with wire(listen) as server:
            Http(account(server.url), naps).send(BUY, Permit(server))
        assert pieces[0].startswith(b"POST /buy HTTP/1.1\r\n") and pieces[0].endswith(b'{"one":1}')

    def test_a_purchase_without_a_body(self, naps: Naps) -> None:
        with wire(proper) as server:
            Http(account(server.url), naps).send(Request("POST", "/buy", spends=True), Permit(server))
        assert (server.asked[0].body, server.asked[0].headers["content-length"]) == (b"", "0")

    def test_a_reading_call_asks_no_permit(self, naps: Naps) -> None:
        with wire(proper) as server:
            permit = Permit(server)
            Http(account(server.url), naps).send(Request("GET", "/thing"), permit)
        assert permit.seen == []


class TestRefusedByThePermit:
    @pytest.mark.parametrize(
        "error", [RuntimeError, BrokenPipeError, ConnectionResetError, TimeoutError, OSError, ValueError, ssl.SSLError, NeverSent]
    )
    def test_its_error_arrives_as_it_is_and_nothing_left(self, naps: Naps, error: type[Exception]) -> None:
        """Libraries forgive some errors while they send, and take others for those of the connection."""

        def refuse(request: Request) -> None:
            raise error("another worker has it")

        with wire(proper) as server:
            http = Http(account(server.url), naps)
            with pytest.raises(error, match="another worker has it"):
                http.send(BUY, refuse)
            assert http.send(Request("GET", "/thing")).ok, "the client stays usable"
        assert [asked.line for asked in server.asked] == ["GET /thing HTTP/1.1"]
        assert naps == []


class TestBeforeThePermit:
    """One time limit for everything before the first byte; when it is over, nothing was permitted and nothing left."""

    def refused(self, url: str, timeout: float = 0.4) -> str:
        permit, began = Permit(), time.monotonic()
        with pytest.raises(NeverSent, match="did not leave. This try bought nothing") as error:
            Http(account(url, timeout=timeout), Naps()).send(BUY, lambda request: permit.seen.append((0, 0)))
        assert permit.seen == [], "a purchase without a connection must not be permitted"
        assert time.monotonic() - began < timeout + SLACK
        return str(error.value)

    def test_a_slow_resolver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        find = socket.getaddrinfo

        def slow(*args: Any, **kwargs: Any) -> Any:
            time.sleep(0.6)
            return find(*args, **kwargs)

        with wire(proper) as server:
            monkeypatch.setattr(socket, "getaddrinfo", slow)
            assert "no connection within 0.4 s" in self.refused(server.url)
            monkeypatch.undo()
        assert server.asked == []

    def test_many_dead_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with deaf() as url:
            self.resolve_to(monkeypatch, *[int(url.rpartition(":")[2])] * 14)
            said = self.refused("http://vendor.invalid", timeout=1.0)
            assert "in time" in said or "took too long" in said

    def test_a_living_address_after_a_dead_one_is_used(self, monkeypatch: pytest.MonkeyPatch, naps: Naps) -> None:
        with deaf() as url, wire(proper) as server:
            self.resolve_to(monkeypatch, int(url.rpartition(":")[2]), server.port)
            assert Http(account("http://vendor.invalid", timeout=2.0), naps).send(BUY, Permit(server)).ok
            monkeypatch.undo()

    def resolve_to(self, monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses)

    def test_a_proxy_that_answers_slowly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def dripping(talk: Talk) -> None:
            talk.hear()
            talk.say(b"HTTP/1.1 200 OK\r\nX-Long: ")
            talk.drip(lambda: b"x", 0.05)

        with wire(dripping) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            self.refused("https://vendor.invalid")
        assert [asked.line.split()[0] for asked in proxy.asked] == ["CONNECT"]

    def test_a_server_without_tls(self) -> None:
        def silent(talk: Talk) -> None:
            talk.wire.over.wait(5)

        with wire(silent) as server:
            self.refused(server.url.replace("http:", "https:"))

    def test_a_reading_call_has_the_same_limit(self, worker: Side, monkeypatch: pytest.MonkeyPatch) -> None:
        began = time.monotonic()
        with deaf() as url:
            self.resolve_to(monkeypatch, *[int(url.rpartition(":")[2])] * 14)
            with pytest.raises(VendorUnavailable):
                worker(account("http://vendor.invalid", timeout=0.4), ask())
        assert time.monotonic() - began < worker.tries * 0.4 + SLACK


class TestAfterThePermit:
    def test_a_connection_that_was_closed_meanwhile_is_not_replaced(self, naps: Naps) -> None:
        """The permit waits for the ledger, and the vendor hangs up. Another connection would take time again."""
        with wire(lambda talk: None) as server:
            self.refused(account(server.url), server, naps)

    def test_with_tls(self, self_signed: Tls, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behind the tickets of TLS, which wait to be read on every new connection."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        with wire(lambda talk: None, self_signed[0]) as server:
            self.refused(account(server.url), server, naps)

    def refused(self, account: Any, server: Wire, naps: Naps) -> None:
        permit = Permit(server, then=lambda: time.sleep(0.3))
        with pytest.raises(NeverSent, match="closed the connection before the purchase could leave"):
            Http(account, naps).send(BUY, permit)
        assert permit.seen == [(1, 0)]
        assert (server.connections, server.asked) == (1, [])

    def test_a_kept_connection_that_the_vendor_closed_is_replaced_before(self, naps: Naps) -> None:
        closed = threading.Event()

        def one_answer(talk: Talk) -> None:
            talk.hear()
            talk.say(answer())
            talk.sock.shutdown(socket.SHUT_RDWR)
            closed.set()

        with wire(one_answer) as server:
            http = Http(account(server.url), naps)
            http.send(Request("GET", "/thing"))
            assert closed.wait(10)
            permit = Permit(server, connections=2)
            assert http.send(BUY, permit).ok
        assert permit.seen == [(2, 1)]
        assert [asked.line.split()[0] for asked in server.asked] == ["GET", "POST"]

    def test_a_kept_connection_is_used(self, naps: Naps) -> None:
        with wire(proper) as server:
            http = Http(account(server.url), naps)
            http.send(Request("GET", "/thing"))
            permit = Permit(server)
            http.send(BUY, permit)
        assert (permit.seen, server.connections) == ([(1, 1)], 1)

    def test_an_old_connection_is_replaced_before(self, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker, "STALE_AFTER", -1.0)
        with wire(proper) as server:
            http = Http(account(server.url), naps)
            http.send(Request("GET", "/thing"))
            http.send(BUY, Permit(server))
        assert server.connections == 2

    def test_the_system_gives_up_with_us(self, naps: Naps) -> None:
        """What the system still holds leaves for minutes otherwise, while others prove that nothing arrived and buy."""
        limits: list[int] = []

        def look(request: Request) -> None:
            for number in map(int, os.listdir("/proc/self/fd")):
                try:
                    duplicate = socket.socket(fileno=os.dup(number))
                except OSError:
                    continue
                with duplicate:
                    try:
                        if duplicate.getpeername()[1] == server.port:
                            limits.append(duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
                    except (OSError, IndexError):
                        pass

        with wire(proper) as server:
            Http(account(server.url, timeout=7.5), naps).send(BUY, look)
        assert limits == [7500]

    def test_silence_after_it_is_unknown(self, naps: Naps) -> None:
        def hang_up(talk: Talk) -> None:
            talk.hear()

        with wire(hang_up) as server, pytest.raises(OutcomeUnknown):
            Http(account(server.url), naps).send(BUY, Permit(server))
        assert (server.connections, len(server.asked)) == (1, 1)


def test_a_connection_of_another_make_cannot_send_a_purchase() -> None:
    """Its permit would never be asked."""
    with wire(proper) as server, requests.Session() as session:
        ready = session.prepare_request(requests.Request("POST", f"{server.url}/buy", data=b"{}"))
        ready.body = Departure(b"{}", lambda: None)  # type: ignore[assignment]
        with pytest.raises((TypeError, requests.RequestException)):
            session.send(ready)
        assert server.asked == []


def test_every_way_of_a_session_asks_the_permit(naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also through a proxy whose address is written in another way than the library writes it."""
    with wire(proper) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://LOCALHOST:{proxy.port}/")
        permit = Permit(proxy)
        Http(account("http://vendor.invalid"), naps).send(BUY, permit)
        assert permit.seen == [(1, 0)]
