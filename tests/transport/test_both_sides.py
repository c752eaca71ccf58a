"""Worker and triggerer hear the same: the recorded reading exchanges, run over HTTP by both drivers against the sandbox."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.flow import arun
from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request
from tests.contract.replay import SPENDING, Exchange, exchanges, flow_of, view

from .conftest import VENDORS, Naps, Side, ask, create, vendor_of
from .wires import Talk, answer, wire

READING = [exchange for exchange in exchanges() if "sandbox" in exchange.data and exchange.operation not in SPENDING]


@pytest.mark.parametrize("exchange", READING, ids=lambda exchange: exchange.name)
def test_both_sides_make_the_same_of_it(box: Sandbox, exchange: Exchange) -> None:
    box.control([{"vendor": exchange.vendor, **command} for command in exchange.data["sandbox"]])
    results = {name: outcome(box, exchange, Side(name)) for name in ("run", "arun")}
    assert results["run"] == results["arun"]
    expected = exchange.data["expect"]
    kind, result = results["run"]
    assert kind == expected.get("raises", "returned")
    if kind == "returned" and "returns" in expected:
        assert type(result) is type(expected["returns"])


def outcome(box: Sandbox, exchange: Exchange, side: Side) -> tuple[str, Any]:
    fields = deepcopy(exchange.data.get("account", {}))
    fields.pop("secret", None)
    refused = exchange.data["expect"].get("raises") == "AuthenticationFailed"
    key = "not-a-token" if refused else box.token(exchange.vendor)
    vendor = vendor_of(box, exchange.vendor, secret=key, **fields)
    try:
        return "returned", view(side(vendor.account, flow_of(vendor, exchange)))
    except ProxyOrdersError as error:
        return type(error).__name__, str(error)


def test_there_are_exchanges_of_every_vendor() -> None:
    assert {exchange.vendor for exchange in READING} == set(VENDORS)
    assert len(READING) > 30


class TestKeptConnections:
    @pytest.mark.parametrize("name", sorted(VENDORS))
    def test_calls_one_after_the_other_share_one(self, side: Side, box: Sandbox, name: str) -> None:
        vendor = vendor_of(box, name)
        side(vendor.account, *[vendor.balance() for _ in range(20)])
        assert box.book.count(name, "balance") == 20
        assert box.book.connections == 1
        if name == "voodoo":
            assert box.book.count(name, "token") == 1

    def test_refusals_do_not_cost_a_connection(self, side: Side, box: Sandbox) -> None:
        vendor = vendor_of(box, "iproyal")
        side(vendor.account, *[ask(Request("GET", "/orders/999", headers=vendor.auth_headers())) for _ in range(5)])
        assert box.book.connections == 1

    def test_calls_at_once_share_a_few(self, box: Sandbox) -> None:
        vendor = vendor_of(box, "iproyal")

        async def many() -> None:
            client = AsyncHttp(vendor.account, connections=4)
            try:
                for _ in range(3):
                    await asyncio.gather(*[arun(vendor.balance(), client.asend) for _ in range(40)])
            finally:
                await client.aclose()

        asyncio.run(many())
        assert box.book.count("iproyal", "balance") == 120
        assert box.book.connections <= 4

    def test_a_closed_client_opens_anew(self, box: Sandbox) -> None:
        vendor = vendor_of(box, "iproyal")
        http = Http(vendor.account)
        http.close()
        http.run(vendor.balance())
        http.close()
        http.run(vendor.balance())

        async def twice() -> None:
            client = AsyncHttp(vendor.account)
            await client.aclose()
            for _ in range(2):
                await arun(vendor.balance(), client.asend)
                await client.aclose()

        asyncio.run(twice())
        assert box.book.connections == 4

    def test_a_wait_that_is_cancelled_leaves_the_client_usable(self, box: Sandbox) -> None:
        vendor = vendor_of(box, "iproyal", timeout=5.0)
        rule = box.fault("iproyal", "balance", action="pause", times=1)

        async def cancelled() -> str:
            client = AsyncHttp(vendor.account)
            try:
                waiting = asyncio.create_task(arun(vendor.balance(), client.asend))
                await asyncio.to_thread(rule.wait)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                return str((await arun(vendor.balance(), client.asend)).available)
            finally:
                await client.aclose()

        assert asyncio.run(cancelled()) == "1000.00"

    def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(self, side: Side) -> None:
        """On a kept connection, what is still under way belongs to the question before."""

        def late(talk: Talk) -> None:
            while True:
                asked = talk.hear()
                if asked.line.startswith("GET /slow"):
                    talk.wire.over.wait(0.3)
                talk.say(answer(f'"{asked.line.split()[1]}"'.encode()))

        with wire(late) as server:
            account = Account("x", "c", "w", server.url, "secret", timeout=0.15)
            with pytest.raises(ProxyOrdersError):
                side(account, ask(Request("GET", "/slow")))
            assert side(account, ask(Request("GET", "/fast"))).data() == "/fast"


class TestPace:
    def test_every_call_takes_its_place(self, side: Side, box: Sandbox) -> None:
        vendor = vendor_of(box, "iproyal", requests_per_second=0.05)
        side(vendor.account, *[vendor.balance() for _ in range(4)])
        assert len(side.naps) == 3, "the first call need not wait"
        assert side.naps == pytest.approx([20, 40, 60], abs=8)

    def test_every_try_takes_its_place(self, worker: Side, box: Sandbox) -> None:
        """A vendor in trouble is asked as slowly as a healthy one."""
        vendor = vendor_of(box, "iproyal", requests_per_second=0.01)
        box.fault("iproyal", "balance", action="status", status=503)
        with pytest.raises(ProxyOrdersError):
            worker(vendor.account, vendor.balance())
        assert [nap for nap in worker.naps if nap > 50] == pytest.approx([100, 200, 300], abs=1)

    def test_a_purchase_waits_before_it_is_permitted_and_not_after(self, box: Sandbox) -> None:
        """From the permit on, others count the seconds until they may look into it."""
        vendor, naps = vendor_of(box, "iproyal", requests_per_second=0.5), Naps()
        http = Http(vendor.account, naps)
        http.run(vendor.balance())
        before_permit: list[int] = []
        http.run(create(vendor), lambda request: before_permit.append(len(naps)))
        assert before_permit == [1] == [len(naps)]
        assert naps[0] == pytest.approx(2.0, abs=0.3)

    def test_without_a_pace_nobody_waits(self, side: Side, box: Sandbox) -> None:
        vendor = vendor_of(box, "iproyal")
        side(vendor.account, *[vendor.balance() for _ in range(5)])
        assert side.naps == []

    def test_the_real_pace(self, box: Sandbox) -> None:
        import time

        vendor = vendor_of(box, "iproyal", requests_per_second=25.0)
        http = Http(vendor.account)
        began = time.monotonic()
        for _ in range(6):
            http.run(vendor.balance())
        assert time.monotonic() - began >= 5 / 25

    def test_threads_share_a_pace(self) -> None:
        import threading

        from airflow_provider_proxyorders.transport.pace import Pacer

        pacer, places = Pacer(10.0, clock=lambda: 0.0), Naps()
        threads = [threading.Thread(target=lambda: places.append(pacer.reserve())) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(places) == pytest.approx([place / 10 for place in range(20)])

    def test_a_pause_is_not_saved_up(self) -> None:
        from airflow_provider_proxyorders.transport.pace import Pacer

        now = [0.0]
        pacer = Pacer(1.0, clock=lambda: now[0])
        assert [pacer.reserve(), pacer.reserve()] == [0.0, 1.0]
        now[0] = 100.0
        assert [pacer.reserve(), pacer.reserve()] == [0.0, 1.0]
