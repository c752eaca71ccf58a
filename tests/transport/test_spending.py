"""P5: only a permit lets money move. P1 at the wire: a purchase is sent once, whatever happens to its answer."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, SpendRefused, VendorUnavailable
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport import flow, worker
from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

from .conftest import Naps, Side, account, ask, create, vendor_of
from .wires import Talk, answer, wire

BUY = Request("POST", "/buy", "buy", json={"one": 1}, spends=True)


#: Answers to a purchase that came, and that an HTTP library may refuse to read.
STRANGE = {
    "two lengths": b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "no length": b"HTTP/1.1 502 Bad\r\nContent-Length: many\r\n\r\n{}",
    "an address in Latin-1": b"HTTP/1.1 303 See Other\r\nLocation: /auftr\xe4ge/7\r\nContent-Length: 0\r\n\r\n",
    "an address that is none": b"HTTP/1.1 302 Found\r\nLocation: http://[oh/7\r\nContent-Length: 0\r\n\r\n",
    "another scheme": b"HTTP/1.1 302 Found\r\nLocation: gopher://elsewhere/7\r\nContent-Length: 0\r\n\r\n",
    "no header": b"HTTP/1.1 500 Oh\r\nthis is none\r\n\r\n",
    "a word of the libraries": b"HTTP/1.1 CERTIFICATE_VERIFY_FAILED\r\n\r\n",
    "no gzip": b"HTTP/1.1 500 Oh\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
    "no HTTP": b"220 mail.example.com ESMTP\r\n",
}


def allowed(request: Request) -> None:
    """A permit that lets everything pass."""


class TestOnlyWorkersSpend:
    def test_without_a_permit_no_purchase_leaves(self, side: Side, vendor: Vendor, box: Sandbox) -> None:
        with pytest.raises(SpendRefused, match=r"create order would move money.*Nothing was sent"):
            side(vendor.account, create(vendor))
        assert box.book.count(vendor.name, "create") == 0
        assert box.book.charges() == []

    def test_without_a_permit_no_extension_leaves(self, side: Side, box: Sandbox) -> None:
        box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
        vendor = vendor_of(box, "iproyal")
        with pytest.raises(SpendRefused, match="extend order"):
            side(vendor.account, vendor.extend("7001", {"product_plan_id": 22}))
        assert box.book.count("iproyal", "extend") == 0
        assert box.book.charges() == []

    def test_the_side_of_the_triggerer_cannot_be_given_a_permit(self) -> None:
        for drive in (flow.arun, AsyncHttp.asend):
            assert "permit" not in inspect.signature(drive).parameters

    def test_what_comes_before_a_refused_purchase_is_read_only(self, side: Side, box: Sandbox) -> None:
        vendor = vendor_of(box, "voodoo")
        with pytest.raises(SpendRefused):
            side(vendor.account, create(vendor))
        assert box.book.count("voodoo") == box.book.count("voodoo", "token") == 1

    def test_a_refused_flow_is_closed(self, side: Side, box: Sandbox) -> None:
        ended: list[str] = []

        def flow() -> Flow[None]:
            try:
                yield BUY
            finally:
                ended.append("closed")

        with pytest.raises(SpendRefused):
            side(vendor_of(box, "iproyal").account, flow())
        assert ended == ["closed"]

    def test_a_permit_that_raises_stops_the_purchase(self, vendor: Vendor, box: Sandbox) -> None:
        def superseded(request: Request) -> None:
            assert request.spends
            raise RuntimeError("another worker has it")

        with pytest.raises(RuntimeError, match="another worker"):
            Http(vendor.account).run(create(vendor), superseded)
        assert box.book.count(vendor.name, "create") == 0

    def test_the_permit_is_asked_right_before_and_for_the_purchase_only(self, vendor: Vendor, box: Sandbox) -> None:
        sent_before: list[int] = []

        def permit(request: Request) -> None:
            assert request.spends
            sent_before.append(box.book.count(vendor.name, "create"))

        Http(vendor.account).run(create(vendor), permit)
        assert sent_before == [0]
        assert len(box.book.orders(vendor.name)) == 1


LOST: dict[str, dict[str, Any]] = {
    "hang": {"action": "hang"},
    "reset": {"action": "reset"},
    "close": {"action": "close"},
    "truncated": {"action": "truncate"},
}
ANSWERED: dict[str, dict[str, Any]] = {
    **{str(status): {"action": "status", "status": status} for status in (302, 307, 308, 400, 401, 408, 409, 425, 429)},
    **{str(status): {"action": "status", "status": status} for status in (500, 502, 503, 504)},
    "429, try again at once": {"action": "status", "status": 429, "headers": {"Retry-After": "0"}},
    "503, try again at once": {"action": "status", "status": 503, "headers": {"Retry-After": "0"}},
    "empty": {"action": "empty"},
    "html": {"action": "body", "body": "<html>"},
}


class TestOnce:
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("fault", LOST)
    def test_a_purchase_without_an_answer_is_sent_once(
        self, vendor: Vendor, box: Sandbox, naps: Naps, fault: str, when: str
    ) -> None:
        vendor.account.timeout = 0.3
        box.fault(vendor.name, "create", when=when, **LOST[fault])
        with pytest.raises(OutcomeUnknown) as error:
            Http(vendor.account, naps).run(create(vendor), allowed)
        assert error.value.money == "unknown"
        assert box.book.count(vendor.name, "create") == 1
        assert len(box.book.orders(vendor.name)) == (1 if when == "after" else 0)
        assert naps == []

    @pytest.mark.parametrize("fault", ANSWERED)
    def test_a_purchase_with_any_answer_is_sent_once(self, box: Sandbox, naps: Naps, fault: str) -> None:
        box.fault("iproyal", "create", **ANSWERED[fault])
        vendor = vendor_of(box, "iproyal")
        request = next(create(vendor)).with_headers(vendor.auth_headers())
        response = Http(vendor.account, naps).send(request)
        assert isinstance(response, Response)
        assert response.status == box.faults()[0].status or response.status == 200
        assert box.book.count("iproyal", "create") == 1
        assert naps == []

    @pytest.mark.parametrize("strange", STRANGE)
    def test_an_answer_that_no_library_takes_is_an_answer_all_the_same(self, naps: Naps, strange: str) -> None:
        """It came after the purchase, so it proves nothing about the money; "nothing was sent" would buy twice."""

        def odd(talk: Talk) -> None:
            talk.hear()
            talk.say(STRANGE[strange])

        with wire(odd) as server:
            http = Http(account(server.url), naps)
            try:
                response = http.run(ask(BUY), allowed)
                assert not response.ok
            except OutcomeUnknown:
                pass
            assert len(server.asked) == 1

    @pytest.mark.parametrize("strange", STRANGE)
    def test_nor_does_it_make_a_reading_call_a_mistake_in_the_connection(self, side: Side, strange: str) -> None:
        def odd(talk: Talk) -> None:
            while talk.hear():
                talk.say(STRANGE[strange])

        with wire(odd) as server:
            try:
                assert not side(account(server.url), ask()).ok
            except VendorUnavailable as error:
                assert "moved no money" in str(error)

    def test_a_kept_connection_that_ends_under_a_purchase_does_not_send_it_again(self, naps: Naps) -> None:
        """The vendor closes an idle connection at the very moment at which the purchase goes out."""

        def hang_up_on_the_second(talk: Talk) -> None:
            talk.hear()
            talk.say(answer())
            talk.hear()

        with wire(hang_up_on_the_second) as server:
            http = Http(account(server.url), naps)
            http.run(ask())
            with pytest.raises(OutcomeUnknown):
                http.run(ask(BUY), allowed)
        assert [asked.line.split()[0] for asked in server.asked] == ["GET", "POST"]
        assert server.connections == 1

    def test_a_purchase_does_not_go_out_on_a_connection_that_was_idle_for_long(
        self, box: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vendor = vendor_of(box, "iproyal")
        http = Http(vendor.account)
        http.run(vendor.balance())
        http.run(create(vendor), allowed)
        assert box.book.connections == 1
        monkeypatch.setattr(worker, "STALE_AFTER", 0.0)
        http.run(create(vendor), allowed)
        assert box.book.connections == 2
        assert len(box.book.orders("iproyal")) == 2

    def test_the_next_purchase_after_a_lost_one_gets_its_own_answer(self, naps: Naps) -> None:
        """A late answer to the first must never be read as the answer to the second."""

        def late(talk: Talk) -> None:
            asked = talk.hear()
            if asked.body == b'{"number":1}':
                talk.wire.over.wait(0.6)
            talk.say(answer(asked.body))

        with wire(late) as server:
            http = Http(account(server.url, timeout=0.3), naps)
            with pytest.raises(OutcomeUnknown):
                http.send(Request("POST", "/buy", json={"number": 1}, spends=True))
            second = http.send(Request("POST", "/buy", json={"number": 2}, spends=True))
        assert second.data() == {"number": 2}
        assert [asked.body for asked in server.asked] == [b'{"number":1}', b'{"number":2}']
