"""A purchase without an answer: it provably never left, or its outcome is unknown. A guess is forbidden."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.errors import NeverSent, OutcomeUnknown, VendorUnavailable
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request

from .conftest import Naps, Side, account, ask
from .wires import Talk, Wire, answer, deaf, free_port, proper, wire

BUY = Request("POST", "/buy", "buy", json={"one": 1}, spends=True)
Tls = tuple[ssl.SSLContext, Path]


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@contextlib.contextmanager
def no_such_host() -> Iterator[str]:
    yield "http://nonexistent.invalid"


class TestNeverLeft:
    @pytest.mark.parametrize("where", [nobody, no_such_host, deaf], ids=["refused", "unknown host", "connect timeout"])
    def test_without_a_connection(self, naps: Naps, where: object) -> None:
        with where() as url, pytest.raises(NeverSent, match=r"did not leave. This try bought nothing") as error:  # type: ignore[operator]
            Http(account(url, timeout=0.3), naps).send(BUY)
        assert error.value.money == "untouched"
        assert error.value.retry == "soon"
        assert naps == []

    def test_with_a_certificate_that_is_not_trusted(self, self_signed: Tls, naps: Naps) -> None:
        with wire(proper, self_signed[0]) as server, pytest.raises(NeverSent, match="(?i)certificate"):
            Http(account(server.url), naps).send(BUY)
        assert server.asked == []

    def test_with_a_certificate_for_another_host(self, self_signed: Tls, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        with wire(proper, self_signed[0]) as server, pytest.raises(NeverSent, match="(?i)certificate"):
            Http(account(f"https://localhost:{server.port}"), naps).send(BUY)
        assert server.asked == []

    def test_where_the_proxy_is_away(self, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(NeverSent):
            Http(account("http://vendor.invalid"), naps).send(BUY)

    @pytest.mark.parametrize("status", [403, 407, 502])
    def test_where_the_proxy_opens_no_way_to_the_vendor(self, naps: Naps, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
        def refuse(talk: Talk) -> None:
            talk.hear()
            talk.say(answer(status=status))

        with wire(refuse) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with pytest.raises(NeverSent):
                Http(account("https://vendor.invalid"), naps).send(BUY)
        assert [asked.line.partition(" HTTP/")[0] for asked in proxy.asked] == ["CONNECT vendor.invalid:443"]
        assert "POST" not in str(proxy.asked)


def hang_up(talk: Talk) -> None:
    talk.hear()


def reset(talk: Talk) -> None:
    talk.hear()
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_unheard(talk: Talk) -> None:
    """The connection was made, so something may have arrived."""
    talk.sock.recv(1, socket.MSG_PEEK)  # else the connection may be refused before anything was sent
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(talk: Talk) -> None:
    talk.hear()
    talk.wire.over.wait(2)


def half_a_head(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 2")


def half_a_body(talk: Talk) -> None:
    talk.hear()
    talk.say(answer(b'{"id": "7001"}')[:-4])


def half_a_chunk(talk: Talk) -> None:
    talk.hear()
    talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nonly this")


def no_http(talk: Talk) -> None:
    talk.hear()
    talk.say(b"220 mail.example.com ready\r\n")


def bad_zip(talk: Talk) -> None:
    talk.hear()
    talk.say(answer(b"this is no gzip", headers="Content-Encoding: gzip\r\n"))


BROKEN = [hang_up, reset, reset_unheard, silent, half_a_head, half_a_body, half_a_chunk, no_http, bad_zip]


class TestUnknown:
    @pytest.mark.parametrize("script", BROKEN)
    def test_with_a_connection_and_no_answer(self, naps: Naps, script: object) -> None:
        with wire(script) as server, pytest.raises(OutcomeUnknown, match="left the purchase unanswered") as error:  # type: ignore[arg-type]
            Http(account(server.url, timeout=0.3), naps).send(BUY)
        assert error.value.money == "unknown"
        assert server.connections == 1

    def test_where_tls_stands_and_the_vendor_hangs_up(
        self, self_signed: Tls, naps: Naps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        with wire(hang_up, self_signed[0]) as server, pytest.raises(OutcomeUnknown):
            Http(account(server.url), naps).send(BUY)
        assert len(server.asked) == 1

    def test_where_the_proxy_took_it_and_hung_up(self, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        with wire(hang_up) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            with pytest.raises(OutcomeUnknown):
                Http(account("http://vendor.invalid"), naps).send(BUY)
        assert [asked.line for asked in proxy.asked] == ["POST http://vendor.invalid/buy HTTP/1.1"]

    def test_where_the_way_through_the_proxy_stood(self, self_signed: Tls, naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1]))
        with wire(hang_up, self_signed[0]) as vendor, wire(tunnel) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with pytest.raises(OutcomeUnknown):
                Http(account(vendor.url), naps).send(BUY)
        assert len(vendor.asked) == len(proxy.asked) == 1


class TestReading:
    """A failed reading call moved no money, and a worker tries it a few times."""

    @pytest.mark.parametrize("script", BROKEN)
    def test_with_a_connection_and_no_answer(self, side: Side, script: object) -> None:
        with wire(script) as server, pytest.raises(VendorUnavailable, match="moved no money"):  # type: ignore[arg-type]
            side(account(server.url, timeout=0.2), ask())
        assert server.connections >= 1
        assert len(side.naps) == side.tries - 1

    @pytest.mark.parametrize("where", [nobody, no_such_host, deaf], ids=["refused", "unknown host", "connect timeout"])
    def test_without_a_connection(self, side: Side, where: object) -> None:
        with where() as url, pytest.raises(VendorUnavailable, match="moved no money"):  # type: ignore[operator]
            side(account(url, timeout=0.2), ask())
        assert len(side.naps) == side.tries - 1

    def test_with_a_certificate_that_is_not_trusted(self, side: Side, self_signed: Tls) -> None:
        with wire(proper, self_signed[0]) as server, pytest.raises(VendorUnavailable, match="(?i)certificate"):
            side(account(server.url), ask())
        assert server.asked == []


def tunnel(talk: Talk) -> None:
    """The script of a proxy: it opens a way to any address and passes bytes on."""
    host, _, port = talk.hear().line.split()[1].rpartition(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, int(port))) as far:
        talk.say(b"HTTP/1.1 200 OK\r\n\r\n")
        with selectors.DefaultSelector() as ends:
            ends.register(talk.sock, selectors.EVENT_READ, far)
            ends.register(far, selectors.EVENT_READ, talk.sock)
            while not talk.wire.over.is_set():
                for end, _ in ends.select(0.1):
                    data = end.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    end.data.sendall(data)


__all__ = ["Wire", "tunnel"]
