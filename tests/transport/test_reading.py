"""Reading calls are patient: a few tries, growing pauses, and a vendor that names a pause gets it or is left alone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from statistics import mean
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderNotFound,
    OutcomeUnknown,
    ProxyOrdersError,
    SpendRefused,
    Throttled,
    UnreadableAnswer,
    VendorUnavailable,
)
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.retries import LONGEST_PAUSE, READ_TRIES, reading_tries
from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from tests.vendors import VENDORS

from .conftest import Naps, Side, account, ask, create, vendor_of
from .wires import Talk, answer, wire

#: the longest pause before each further try
BOUNDS = [0.5, 1.0, 2.0]


class TestTries:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_a_passing_answer_is_asked_for_again(self, side: Side, box: Sandbox, status: int) -> None:
        box.fault("iproyal", "balance", action="status", status=status)
        vendor = vendor_of(box, "iproyal")
        with pytest.raises(Throttled if status == 429 else VendorUnavailable):
            side(vendor.account, vendor.balance())
        assert box.book.count("iproyal", "balance") == side.tries
        assert len(side.naps) == side.tries - 1
        assert all(0 <= nap <= bound for nap, bound in zip(side.naps, BOUNDS, strict=False))

    @pytest.mark.parametrize("fault", ["reset", "close", "truncate", "hang"])
    def test_no_answer_is_asked_for_again(self, side: Side, fault: str) -> None:
        def break_off(talk: Talk) -> None:
            talk.hear()
            if fault == "truncate":
                talk.say(answer(b"0123456789")[:-5])
            elif fault == "hang":
                talk.wire.over.wait(1)
            elif fault == "reset":
                import socket
                import struct

                talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        with wire(break_off) as server, pytest.raises(VendorUnavailable, match="moved no money"):
            side(account(server.url, timeout=0.2), ask())
        # aiohttp asks once more by itself, at once, where a connection breaks
        assert side.tries <= len(server.asked) <= (2 if side.name == "arun" else READ_TRIES)
        assert len(side.naps) == side.tries - 1

    @pytest.mark.parametrize("failures", [1, 2, 3])
    def test_the_first_good_answer_counts(self, worker: Side, box: Sandbox, failures: int) -> None:
        box.fault("iproyal", "balance", action="status", status=503, times=failures)
        vendor = vendor_of(box, "iproyal")
        assert f"{worker(vendor.account, vendor.balance()).available.amount}" == "1000"
        assert box.book.count("iproyal", "balance") == failures + 1

    @pytest.mark.parametrize(
        ("status", "error"), [(400, ProxyOrdersError), (401, AuthenticationFailed), (403, ProxyOrdersError), (404, OrderNotFound)]
    )
    def test_an_answer_that_will_not_change_is_asked_for_once(
        self, side: Side, box: Sandbox, status: int, error: type[Exception]
    ) -> None:
        box.fault("iproyal", "balance", action="status", status=status)
        vendor = vendor_of(box, "iproyal")
        with pytest.raises(error):
            side(vendor.account, vendor.balance())
        assert box.book.count("iproyal", "balance") == 1
        assert side.naps == []

    def test_a_refused_key_is_not_hammered_at_any_vendor(self, side: Side, box: Sandbox) -> None:
        for name in VENDORS:
            vendor = vendor_of(box, name, secret="wrong-key")
            with pytest.raises(AuthenticationFailed):
                side(vendor.account, vendor.balance())
            assert box.book.count(name) == 1

    def test_pauses_grow(self) -> None:
        runs: list[list[float]] = []
        for _ in range(200):
            naps = Naps()
            with pytest.raises(Unreached):
                reading_tries(naps)(unreached)
            runs.append(naps)
        assert all(len(naps) == READ_TRIES - 1 for naps in runs)
        averages = [mean(naps[turn] for naps in runs) for turn in range(READ_TRIES - 1)]
        assert averages == sorted(averages) and averages[-1] > 2 * averages[0]
        assert len({tuple(naps) for naps in runs}) == 200, "every run waits a little differently"

    def test_a_flow_can_go_on_without_an_answer(self, side: Side, box: Sandbox) -> None:
        def flow() -> Flow[str]:
            try:
                yield Request("GET", "/balance", "read balance")
            except VendorUnavailable as error:
                return f"went on: {type(error).__name__}"
            raise AssertionError("there was an answer")

        box.fault("iproyal", "balance", action="close")
        assert side(vendor_of(box, "iproyal").account, flow()) == "went on: VendorUnavailable"


def unreached() -> Response:
    raise Unreached("nobody there")


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


#: Answers of 200 that cannot be read.
UNREADABLE: dict[str, dict[str, Any]] = {
    "empty": {"action": "empty"},
    "html": {"action": "body", "body": "<html>busy</html>"},
    "cut": {"action": "body", "body": '{"balance": 12'},
    "null": {"action": "body", "body": "null"},
}


class TestReadingAgain:
    """A read that decides about money is made again when its answer cannot be read."""

    @pytest.mark.parametrize("fault", UNREADABLE)
    def test_the_first_readable_answer_counts(self, vendor: Vendor, box: Sandbox, naps: Naps, fault: str) -> None:
        box.fault(vendor.name, "balance", times=2, **UNREADABLE[fault])
        assert Http(vendor.account, naps).run_reading(vendor.balance).available.amount > 0
        assert box.book.count(vendor.name, "balance") == 3
        assert all(0 <= nap <= bound for nap, bound in zip(naps, BOUNDS, strict=False))
        assert len(naps) == 2

    def test_the_tries_are_bounded(self, box: Sandbox, naps: Naps) -> None:
        vendor = vendor_of(box, "iproyal")
        box.fault("iproyal", "balance", action="empty")
        with pytest.raises(UnreadableAnswer, match="moves no money"):
            Http(vendor.account, naps).run_reading(vendor.balance)
        assert box.book.count("iproyal", "balance") == READ_TRIES

    def test_a_refusal_and_silence_are_left_as_they_are(self, box: Sandbox, naps: Naps) -> None:
        vendor = vendor_of(box, "iproyal", secret="not-a-token")
        with pytest.raises(AuthenticationFailed):
            Http(vendor.account, naps).run_reading(vendor.balance)
        assert box.book.count("iproyal", "balance") == 1
        box.fault("iproyal", "balance", action="status", status=503)
        with pytest.raises(VendorUnavailable):
            Http(vendor.account, naps).run_reading(vendor.balance)
        assert box.book.count("iproyal", "balance") == 1 + READ_TRIES

    def test_a_purchase_has_no_place_in_it(self, vendor: Vendor, box: Sandbox, naps: Naps) -> None:
        with pytest.raises(SpendRefused):
            Http(vendor.account, naps).run_reading(lambda: create(vendor))
        assert box.book.charges() == []


class TestRetryAfter:
    def given(self, box: Sandbox, value: str, **rule: Any) -> None:
        box.fault("iproyal", "balance", **{"action": "status", "status": 429, "headers": {"Retry-After": value}, **rule})

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_the_pause_asked_for_is_given(self, worker: Side, box: Sandbox, form: str, status: int) -> None:
        self.given(box, "7" if form == "seconds" else http_date(8), status=status, times=1)
        vendor = vendor_of(box, "iproyal")
        worker(vendor.account, vendor.balance())
        assert len(worker.naps) == 1
        assert 6 < worker.naps[0] <= 8

    def test_a_pause_in_the_past_is_none(self, worker: Side, box: Sandbox) -> None:
        self.given(box, http_date(-3600), times=1)
        vendor = vendor_of(box, "iproyal")
        worker(vendor.account, vendor.balance())
        assert len(worker.naps) == 1
        assert 0 <= worker.naps[0] <= BOUNDS[0]

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_a_pause_that_is_too_long_to_wait_for_ends_the_call_at_once(self, side: Side, box: Sandbox, form: str) -> None:
        self.given(box, f"{LONGEST_PAUSE + 1:.0f}" if form == "seconds" else http_date(LONGEST_PAUSE + 2))
        vendor = vendor_of(box, "iproyal")
        with pytest.raises(Throttled) as error:
            side(vendor.account, vendor.balance())
        assert box.book.count("iproyal", "balance") == 1
        assert side.naps == []
        assert error.value.retry_after is not None and LONGEST_PAUSE < error.value.retry_after <= LONGEST_PAUSE + 2

    def test_the_longest_pause_is_still_waited_for(self, worker: Side, box: Sandbox) -> None:
        self.given(box, f"{LONGEST_PAUSE:.0f}", times=1)
        vendor = vendor_of(box, "iproyal")
        worker(vendor.account, vendor.balance())
        assert worker.naps == [LONGEST_PAUSE]

    @pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "\u00b2", "Mon, 99 Foo 2030 00:00:00 GMT", "5, 5", "0x10"])
    def test_what_cannot_be_read_counts_as_not_said(self, side: Side, value: str) -> None:
        def throttling(talk: Talk) -> None:
            while True:
                talk.hear()
                talk.say(answer(status=429, headers=f"Retry-After: {value}\r\n"))

        with wire(throttling) as server:
            response = side(account(server.url), ask())
        assert response.status == 429
        assert response.retry_after is None
        assert len(server.asked) == side.tries

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_purchase_that_is_not_answered_says_how_long_to_wait(self, vendor: Vendor, box: Sandbox, status: int) -> None:
        box.fault(vendor.name, "create", action="status", status=status, headers={"Retry-After": "90"})
        with pytest.raises(OutcomeUnknown) as error:
            Http(vendor.account).run(create(vendor), lambda request: None)
        assert error.value.retry_after == 90.0

    @pytest.mark.parametrize(
        ("asked", "waits"), [("12", [12]), ("55", [20, 20, 15]), ("604800", [20] * 5)], ids=["short", "long", "a week"]
    )
    def test_what_follows_a_purchase_waits_as_it_asked(self, box: Sandbox, naps: Naps, asked: str, waits: list[int]) -> None:
        """Each request waits for a while, so no single one holds a worker for ever."""
        vendor = vendor_of(box, "iproyal")
        box.fault("iproyal", "create", action="status", status=429, headers={"Retry-After": asked})
        http = Http(vendor.account, naps)
        with pytest.raises(OutcomeUnknown):
            http.run(create(vendor), lambda request: None)
        assert naps == []
        for _ in range(5):
            http.run(vendor.balance())
        assert [round(nap) for nap in naps] == waits

    def test_a_purchase_that_is_taken_asks_for_no_pause(self, vendor: Vendor, box: Sandbox, naps: Naps) -> None:
        http = Http(vendor.account, naps)
        http.run(create(vendor), lambda request: None)
        http.run(vendor.balance())
        assert naps == []

    @pytest.mark.parametrize("value", ["9" * 12, "9" * 400])
    def test_an_absurd_pause_harms_nobody(self, side: Side, box: Sandbox, value: str) -> None:
        """It can still be waited for, added to a date and told to Airflow."""
        self.given(box, value)
        vendor = vendor_of(box, "iproyal")
        with pytest.raises(Throttled) as error:
            side(vendor.account, vendor.balance())
        assert box.book.count("iproyal", "balance") == 1
        assert datetime.now(timezone.utc) + timedelta(seconds=error.value.retry_after or 0)
