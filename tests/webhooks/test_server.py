"""The receiver's own server under strangers: silent connections, half heads, large heads and too many connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from airflow_provider_proxyorders.webhooks import server as module
from airflow_provider_proxyorders.webhooks.server import Places, config

ANSWER = b"HTTP/1.1 200"
REQUEST = b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(module, "HEAD_TIMEOUT", 0.5)
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 20)
    server = uvicorn.Server(config(app, "127.0.0.1", 0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def hang_up(sock: socket.socket) -> bytes:
    """What the server says until it hangs up."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(1000):
            said += part
    return said


@pytest.mark.parametrize(
    "sent", [b"", b"POST", b"POST /c HTTP/1.1\r\nHost: x\r\n", REQUEST + b"POST /c HTT"], ids=["silent", "word", "half", "second"]
)
def test_a_connection_without_a_whole_head_ends(port: int, sent: bytes) -> None:
    with connect(port) as sock:
        sock.sendall(sent)
        began = time.monotonic()
        said = hang_up(sock)
        assert time.monotonic() - began < 9
    assert said.startswith(ANSWER) is sent.startswith(REQUEST)


def test_a_trickle_does_not_prolong_it(port: int) -> None:
    with connect(port) as sock, pytest.raises(ConnectionError):
        for _ in range(100):
            sock.sendall(b"X")
            time.sleep(0.05)


def test_a_large_head_is_refused(port: int) -> None:
    with connect(port) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"POST /c HTTP/1.1\r\n" + b"X-Y: " + b"z" * 100_000)
        assert not hang_up(sock).startswith(ANSWER)


def test_connections_are_bounded_and_come_back(port: int) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(port)) for _ in range(40)]
        time.sleep(0.1)
        for sock in held:
            with contextlib.suppress(ConnectionError):
                sock.sendall(REQUEST)
        answers = []
        for sock in held:
            with contextlib.suppress(ConnectionError):
                answers.append(sock.recv(100))
        assert sum(answer.startswith(ANSWER) for answer in answers) == 20
    deadline = time.monotonic() + 10
    while True:
        with connect(port) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(REQUEST)
            if sock.recv(100).startswith(ANSWER):
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_one_address_cannot_take_all_places() -> None:
    places = Places(8, most_of_address=2)
    assert [bool(places.take(host)) for host in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")] == [True, True, False, True]
    assert [bool(places.take(f"2001:db8::{number}")) for number in range(1, 4)] == [True, True, False], "a host has a network"
    assert [bool(places.take(host)) for host in ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1")] == [True, True, True, False]
    places.leave("192.0.2.1")
    assert places.take("::ffff:192.0.2.1") == "192.0.2.1"


def test_descriptors_are_left_for_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    made = config(app, "127.0.0.1", 0)
    places = made.http.args[0]  # type: ignore[union-attr]
    assert sum(places.take("127.0.0.1") is not None for _ in range(300)) == 256 - module.OTHER_DESCRIPTORS
