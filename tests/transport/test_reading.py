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
    ProxyOrdersError,
    Throttled,
    VendorUnavailable,
)
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.retries import LONGEST_PAUSE, READ_TRIES, reading_tries
from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from tests.vendors import VENDORS

from .conftest import Naps, Side, account, ask, vendor_of
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
    raise Unreached("nobody there", left=False)


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


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

    @pytest.mark.parametrize("value", ["9" * 12, "9" * 400])
    def test_an_absurd_pause_harms_nobody(self, side: Side, box: Sandbox, value: str) -> None:
        """It can still be waited for, added to a date and told to Airflow."""
        self.given(box, value)
        vendor = vendor_of(box, "iproyal")
        with pytest.raises(Throttled) as error:
            side(vendor.account, vendor.balance())
        assert box.book.count("iproyal", "balance") == 1
        assert datetime.now(timezone.utc) + timedelta(seconds=error.value.retry_after or 0)
