"""An answer that was cut short is no answer: its end is proven, or the same answer comes twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, VendorUnavailable
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request

from .conftest import Naps, Side, account, ask
from .wires import Talk, answer, wire

BUY = Request("POST", "/buy", "buy", json={"one": 1}, spends=True)
#: Heads of answers that end when the connection does.
BARE = {
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n",
    "Connection: close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
}
#: Bodies without a proof of their end, whole and cut.
PLAIN = {
    "a number": (b"500.0", b"50"),
    "proxies": (b"10.0.0.1:80:user:password\n10.0.0.2:80:user:password", b"10.0.0.1:80:user:password\n10.0.0.2:80:user:pass"),
    "a text": (b'"all of it"', b'"all of it'),
    "nothing": (b"true", b""),
}
#: Bodies with a closing bracket.
CLOSED = {"an object": b' {"balance": 500.0}\n', "a list": b'[{"id": 1}]', "an empty list": b"[]", "an empty object": b"{}"}


def says(*answers: bytes) -> Callable[[Talk], None]:
    """Give one answer for each connection; the last one again and again. The server hangs up after each."""

    def script(talk: Talk) -> None:
        talk.hear()
        talk.say(answers[min(talk.wire.connections, len(answers)) - 1])

    return script


class TestReading:
    @pytest.mark.parametrize("head", BARE.values(), ids=list(BARE))
    @pytest.mark.parametrize("body", PLAIN.values(), ids=list(PLAIN))
    def test_what_comes_twice_counts(self, side: Side, head: bytes, body: tuple[bytes, bytes]) -> None:
        with wire(says(head + body[0])) as server:
            assert side(account(server.url), ask()).body == body[0]
        assert len(server.asked) == 2
        assert side.naps == []

    @pytest.mark.parametrize("head", BARE.values(), ids=list(BARE))
    @pytest.mark.parametrize("body", PLAIN.values(), ids=list(PLAIN))
    def test_a_cut_answer_never_counts(self, side: Side, head: bytes, body: tuple[bytes, bytes]) -> None:
        """A worker asks until two in a row are equal; the triggerer looks again later."""
        whole, cut = body
        with wire(says(head + cut, head + whole)) as server:
            if side.tries > 1:
                assert side(account(server.url), ask()).body == whole
                assert len(server.asked) == 4
            else:
                with pytest.raises(VendorUnavailable, match="proof of their end differ.*moved no money"):
                    side(account(server.url), ask())
                assert len(server.asked) == 2

    def test_a_length_that_is_none_proves_nothing(self, side: Side) -> None:
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: many\r\n\r\n"
        with wire(says(head + b"50", head + b"500.0")) as server:
            try:
                assert side(account(server.url), ask()).body == b"500.0"
            except VendorUnavailable:
                assert side.name == "arun", "aiohttp refuses such an answer"

    def test_answers_that_never_agree_are_no_answer(self, side: Side) -> None:
        def longer_and_longer(talk: Talk) -> None:
            talk.hear()
            talk.say(BARE["HTTP/1.0"] + b"5" * talk.wire.connections)

        with wire(longer_and_longer) as server, pytest.raises(VendorUnavailable, match="proof of their end differ"):
            side(account(server.url), ask())
        assert len(server.asked) == 2 * side.tries

    @pytest.mark.parametrize("proven", [answer(b"500.0"), BARE["HTTP/1.0"] + b'{"balance": 500.0}'], ids=["length", "bracket"])
    def test_a_second_answer_with_a_proof_counts(self, side: Side, proven: bytes) -> None:
        with wire(says(BARE["HTTP/1.0"] + b"50", proven)) as server:
            assert b"500.0" in side(account(server.url), ask()).body
        assert len(server.asked) == 2

    @pytest.mark.parametrize("head", BARE.values(), ids=list(BARE))
    @pytest.mark.parametrize("body", CLOSED.values(), ids=list(CLOSED))
    def test_a_closing_bracket_is_a_proof(self, side: Side, head: bytes, body: bytes) -> None:
        with wire(says(head + body)) as server:
            assert side(account(server.url), ask()).body == body
        assert len(server.asked) == 1

    @pytest.mark.parametrize("framed", [answer(b"500.0"), b"HTTP/1.1 204 None\r\n\r\n"], ids=["length", "204"])
    def test_a_length_is_a_proof(self, side: Side, framed: bytes) -> None:
        with wire(says(framed)) as server:
            side(account(server.url), ask())
        assert len(server.asked) == 1

    def test_chunks_are_a_proof(self, side: Side) -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n500\r\n2\r\n.0\r\n0\r\n\r\n"
        with wire(says(chunked)) as server:
            assert side(account(server.url), ask()).body == b"500.0"
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        "cut",
        [
            answer(b"500.0")[:-1],
            answer(b'{"balance": 500.0}')[:-1],
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n50",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n500\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n500",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        ],
        ids=["length", "length of JSON", "length in HTTP/1.0", "between chunks", "in a chunk", "before the last chunk"],
    )
    def test_an_answer_shorter_than_it_says_is_no_answer(self, side: Side, cut: bytes) -> None:
        with wire(says(cut)) as server, pytest.raises(VendorUnavailable):
            side(account(server.url), ask())
        assert len(server.asked) >= side.tries

    def test_a_refusal_counts_by_its_status(self, side: Side) -> None:
        """Its text often differs from answer to answer, as by a number for the support."""

        def refuse(talk: Talk) -> None:
            talk.hear()
            talk.say(b"HTTP/1.0 404 Not Found\r\n\r\n" + b"x" * talk.wire.connections)

        with wire(refuse) as server:
            assert side(account(server.url), ask()).status == 404
        assert len(server.asked) == 1


class TestSpending:
    @pytest.mark.parametrize("head", BARE.values(), ids=list(BARE))
    @pytest.mark.parametrize("body", [b"7001", b"", b'{"id": 70', b'"7001"'])
    def test_an_answer_without_a_proof_of_its_end_is_unknown(self, naps: Naps, head: bytes, body: bytes) -> None:
        with wire(says(head + body)) as server, pytest.raises(OutcomeUnknown, match="lacks a proof of its end") as error:
            Http(account(server.url), naps).send(BUY)
        assert error.value.money == "unknown"
        assert len(server.asked) == 1

    def test_a_closing_bracket_is_a_proof(self, naps: Naps) -> None:
        with wire(says(BARE["HTTP/1.0"] + b'{"id": 7001}')) as server:
            assert Http(account(server.url), naps).send(BUY).data() == {"id": 7001}
        assert len(server.asked) == 1
