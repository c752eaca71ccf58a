"""Every call ends: a server that keeps talking is left, with the outcome it deserves, in bounded time and memory."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, VendorUnavailable
from airflow_provider_proxyorders.transport import triggerer, worker
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request

from .conftest import Naps, Side, account, ask
from .wires import Talk, answer, wire

BUY = Request("POST", "/buy", "buy", json={"one": 1}, spends=True)
TIMEOUT = 0.15
STEP = 0.03
#: the whole answer may take twice the time of one part; the rest is for a slow machine, and less than it trickles
ENDS_WITHIN = 2 * TIMEOUT + 10.0


def dripping_body(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    talk.drip(lambda: b" ", STEP)


def dripping_chunks(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    talk.drip(lambda: b"1\r\n \r\n", STEP)


def dripping_without_length(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\n\r\n")
    talk.drip(lambda: b" ", STEP)


def dripping_head(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\nX-Long: ")
    talk.drip(lambda: b"x", STEP)


def endless_headers(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\n")
    talk.drip(lambda: b"X-More: yes\r\n", STEP)


def always_about_to_answer(talk: Talk) -> None:
    talk.hear()
    talk.drip(lambda: b"HTTP/1.1 100 Continue\r\n\r\n", STEP)


SLOW: list[Callable[[Talk], None]] = [
    dripping_body,
    dripping_chunks,
    dripping_without_length,
    dripping_head,
    endless_headers,
    always_about_to_answer,
]


@pytest.mark.parametrize("script", SLOW)
def test_a_slow_trickle_ends(side: Side, script: Callable[[Talk], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "naps", Naps())
    began = time.monotonic()
    with wire(once(script)) as server, pytest.raises(VendorUnavailable):
        side(account(server.url, timeout=TIMEOUT), ask())
    assert TIMEOUT < time.monotonic() - began < ENDS_WITHIN


@pytest.mark.parametrize("script", [dripping_body, dripping_head])
def test_a_purchase_with_a_trickle_for_an_answer_is_unknown(naps: Naps, script: Callable[[Talk], None]) -> None:
    began = time.monotonic()
    with wire(script) as server, pytest.raises(OutcomeUnknown):
        Http(account(server.url, timeout=TIMEOUT), naps).send(BUY)
    assert time.monotonic() - began < ENDS_WITHIN
    assert len(server.asked) == 1


def once(script: Callable[[Talk], None]) -> Callable[[Talk], None]:
    """Trickle on the first connection, hang up on all others: so a test of patience takes the time of one try."""

    def run(talk: Talk) -> None:
        if talk.wire.connections == 1:
            script(talk)

    return run


def test_a_slow_answer_in_time_is_taken(side: Side) -> None:
    """The limit is for the whole answer; parts that come one after the other may take longer than one part."""

    def slow(talk: Talk) -> None:
        talk.hear()
        for part in answer(b'{"slow": "but whole"}').partition(b"\r\n\r\n"):
            talk.say(part)
            talk.wire.over.wait(0.12)

    with wire(slow) as server:
        assert side(account(server.url, timeout=0.2), ask()).data() == {"slow": "but whole"}


def test_a_kept_connection_has_its_full_time_again(naps: Naps) -> None:
    """The next request has its full time again, however much of it the answer before took."""

    def slow_then_quick(talk: Talk) -> None:
        for pause in (0.35, 0.15, 0.0):
            asked = talk.hear()
            whole = answer(asked.line.encode())
            talk.say(whole[:-1])
            talk.wire.over.wait(pause)
            talk.say(whole[-1:])

    with wire(slow_then_quick) as server:
        http = Http(account(server.url, timeout=0.4), naps)
        for _ in range(3):
            assert http.run(ask()).text == "GET /thing HTTP/1.1"
    assert (server.connections, naps) == (1, [])


def huge_body(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
    talk.drip(lambda: b" " * 1_000_000, 0)


def huge_chunks(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    talk.drip(lambda: b"100000\r\n" + b" " * 0x100000 + b"\r\n", 0)


def huge_when_unpacked(talk: Talk) -> None:
    talk.hear()
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blank = b" " * 1_000_000
    packed = b"".join(packer.compress(blank) for _ in range(64)) + packer.flush()
    talk.say(answer(packed, headers="Content-Encoding: gzip\r\n"))


@pytest.mark.parametrize("script", [huge_body, huge_chunks, huge_when_unpacked])
def test_a_huge_body_ends(side: Side, script: Callable[[Talk], None], monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    for module in (worker, triggerer):
        monkeypatch.setattr(module, "LARGEST_BODY", 2_000_000)
    with wire(once(script)) as server:
        tracemalloc.start()
        try:
            with pytest.raises(VendorUnavailable):
                side(account(server.url, timeout=5.0), ask())
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 40_000_000


def test_a_purchase_with_a_huge_answer_is_unknown(naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (worker, triggerer):
        monkeypatch.setattr(module, "LARGEST_BODY", 2_000_000)
    with wire(huge_body) as server, pytest.raises(OutcomeUnknown, match="longer than 32 MiB"):
        Http(account(server.url, timeout=5.0), naps).send(BUY)
    assert len(server.asked) == 1


def test_an_answer_of_a_sensible_size_is_read_whole(side: Side) -> None:
    body = b'"' + b"x" * 3_000_000 + b'"'

    def large(talk: Talk) -> None:
        talk.hear()
        talk.say(answer(body))

    with wire(large) as server:
        assert side(account(server.url), ask()).body == body
