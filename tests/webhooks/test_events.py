"""``OrderEventTrigger``: one event for every order at its end. An event may be late or come twice, but it comes."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger import inbox as inbox_module
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, open_inbox
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.triggers import events
from airflow_provider_proxyorders.triggers import inbox_listener as inbox_listener
from airflow_provider_proxyorders.triggers.inbox_listener import InboxListener
from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger
from airflow_provider_proxyorders.vendors.base import Polling
from airflow_provider_proxyorders.vendors.voodoo import Voodoo
from tests.ledgers import sqlite_ledger


class Shop:
    """Orders at a vendor of the sandbox, and the inbox for their webhooks."""

    def __init__(self, box: Sandbox, inbox: Inbox):
        self.box, self.inbox = box, inbox

    def order(self, order_id: str, status: str) -> None:
        row = {"id": order_id, "status": status, "item_id": 5120, "quantity": 1}
        self.box.control({"vendor": "voodoo", "order": row})

    def reported(self, order_id: str, copy: int = 0) -> None:
        digest = f"{order_id}-{copy}".rjust(64, "0")
        self.inbox.keep([Hint(digest, "voodoo_default", "voodoo:voodoo_default", order_id, None, "completed")])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    url = sqlite_ledger(tmp_path)
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", url)
    brisk = Polling(first=0.2, fastest=0.2, slowest=2.0)  # its pauses in trouble grow from here
    monkeypatch.setattr(Voodoo, "capabilities", replace(Voodoo.capabilities, polling=brisk))
    monkeypatch.setattr(events, "STORED_AFTER", 0.2)
    with Sandbox.start() as box:
        connection = {"conn_type": "voodoo", "host": box.url("voodoo"), "password": box.token("voodoo")}
        monkeypatch.setenv("AIRFLOW_CONN_VOODOO_DEFAULT", json.dumps(connection))
        yield Shop(box, open_inbox(url))


class Watching:
    """A running trigger and its events."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def __aenter__(self) -> Watching:
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(1.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            stream = OrderEventTrigger(conn_id="voodoo_default").run()
            try:
                async for event in stream:
                    assert isinstance(event, TriggerEvent)
                    self.told.append(event.payload)
            except LedgerError:
                await asyncio.sleep(0.3)  # the triggerer starts it again
            finally:
                await stream.aclose()

    async def until(self, count: int, seconds: float = 30.0) -> list[str]:
        """Ids and statuses of the events, as soon as there are so many, or after some seconds."""
        for _ in range(int(seconds * 20)):
            if len(self.told) >= count:
                break
            await asyncio.sleep(0.05)
        assert not self._task.done(), "the trigger has ended"
        return [f"{event['order_id']} {event['status']}" for event in self.told]


def test_every_order_that_ended_is_told_once_over_restarts_and_copies(shop: Shop) -> None:
    shop.order("o-1", "completed")
    shop.order("o-2", "completed")
    shop.order("o-3", "failed")

    async def main() -> None:
        async with Watching() as first, Watching() as second:  # two triggerers
            await asyncio.to_thread(shop.reported, "o-1")
            end = time.time() + 30
            while not first.told + second.told and time.time() < end:
                await asyncio.sleep(0.05)
            await asyncio.sleep(1.0)
            assert sorted(event["order_id"] for event in first.told + second.told) == ["o-1"]
        await asyncio.to_thread(shop.reported, "o-2")  # without a listener
        await asyncio.to_thread(shop.reported, "o-1", 1)
        async with Watching() as again:
            await asyncio.to_thread(shop.reported, "o-3")
            assert sorted(await again.until(2)) == ["o-2 delivered", "o-3 failed"]
            await asyncio.sleep(1.5)
            assert len(again.told) == 2

    asyncio.run(main())


def test_what_the_vendor_does_not_confirm_yet_is_told_when_it_does(shop: Shop) -> None:
    shop.order("o-1", "processing")

    async def main() -> None:
        async with Watching() as watching:
            await asyncio.to_thread(shop.reported, "o-1")
            assert await watching.until(1, 1.5) == []
            await asyncio.to_thread(
                shop.box.control, {"vendor": "voodoo", "set_status": {"order_id": "o-1", "status": "completed"}}
            )
            assert await watching.until(1) == ["o-1 delivered"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "status": 500},
        {"action": "status", "status": 404},
        {"action": "body", "body": "<p>"},
        {"action": "reset"},
    ],
    ids=["500", "404", "html", "reset"],
)
def test_an_unreadable_order_is_reported_later_and_holds_up_no_other(shop: Shop, fault: dict[str, Any]) -> None:
    shop.order("o-1", "completed")
    shop.order("o-2", "completed")

    async def main() -> None:
        async with Watching() as watching:
            shop.box.fault(vendor="voodoo", operation="get", when="before", times=2, **fault)
            await asyncio.to_thread(shop.reported, "o-1")
            await asyncio.to_thread(shop.reported, "o-2")
            assert sorted(await watching.until(2, 60)) == ["o-1 delivered", "o-2 delivered"]

    asyncio.run(main())


@pytest.mark.parametrize("status", [404, 400, 422])
def test_a_made_up_order_is_looked_for_a_few_times_only(shop: Shop, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """A stolen secret makes any number of them, and each look is a call to the vendor. Some ids are refused for their form."""
    monkeypatch.setattr(events, "LONGEST", 0.05)
    if status != 404:
        shop.box.fault("voodoo", "get", when="before", action="body", status=status, body='{"error": "no id"}')

    async def main() -> None:
        async with Watching() as watching:
            await asyncio.to_thread(shop.reported, "made-up")
            assert await watching.until(1, 4.0) == []

    asyncio.run(main())
    assert 2 <= shop.box.book.count("voodoo", "get") <= events.LOOKS_AT_UNKNOWN


def test_the_reference_is_that_of_the_read(shop: Shop) -> None:
    """The first delivery of an order could name any."""
    row = {"id": "o-1", "status": "completed", "item_id": 5120, "quantity": 1, "merchant_order_id": "af-true"}
    shop.box.control({"vendor": "voodoo", "order": row})

    async def main() -> None:
        async with Watching() as watching:
            hint = Hint("f" * 64, "voodoo_default", "voodoo:voodoo_default", "o-1", "af-forged", "completed")
            await asyncio.to_thread(shop.inbox.keep, [hint])
            await watching.until(1)
            assert [event["reference"] for event in watching.told] == ["af-true"]

    asyncio.run(main())


def test_a_reported_order_is_not_read_again(shop: Shop) -> None:
    """A restart finds a month of webhooks, and reads only the unreported orders at the vendor."""

    async def main() -> None:
        async with Watching() as first:
            for number in range(20):
                shop.order(f"o-{number}", "completed")
                await asyncio.to_thread(shop.reported, f"o-{number}")
            assert len(await first.until(20)) == 20
            await asyncio.sleep(1.0)  # Airflow has stored them
        asked = shop.box.book.count("voodoo", "get")
        async with Watching() as again:
            await asyncio.to_thread(shop.reported, "o-7", 1)
            assert await again.until(1, 2.0) == []
        assert shop.box.book.count("voodoo", "get") == asked

    asyncio.run(main())


def test_a_restart_reads_what_is_kept_a_page_at_a_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only orders of its own wallet, each once; every order survives a short outage of the ledger between two pages."""
    ids = [f"o-{number}" for number in range(25)]
    monkeypatch.setattr(events, "PAGE", 10)
    monkeypatch.setattr(events, "AGAIN", 0.2)
    made, read, hint_of = list[int](), list[int](), inbox_module._hint
    monkeypatch.setattr(inbox_module, "_hint", lambda row, *names: made.append(row["id"]) or hint_of(row, *names))  # type: ignore[func-returns-value]
    page_of = Inbox.newest_of_orders

    def newest_of_orders(self: Inbox, *which: Any) -> list[Hint]:
        read.append(1)
        if len(read) == 2:
            raise LedgerError("the ledger is away")
        return page_of(self, *which)

    monkeypatch.setattr(Inbox, "newest_of_orders", newest_of_orders)

    async def main() -> list[str]:
        async with Watching():
            pass
        read.clear()
        for copy in range(3):
            for order_id in ids:
                await asyncio.to_thread(shop.reported, order_id, copy)
            others = [Hint(f"{copy}/{n}", "other", "voodoo:other", f"p-{n}", None, "completed") for n in range(40)]
            await asyncio.to_thread(shop.inbox.keep, others)
        for order_id in ids:
            shop.order(order_id, "completed")
        reported: list[str] = []
        stream = OrderEventTrigger(conn_id="voodoo_default").run()
        async for event in stream:
            if not reported:
                assert len(made) <= 10
            reported.append(event.payload["order_id"])
            if len(reported) == 25:
                break
        await stream.aclose()
        return reported

    assert asyncio.run(main()) == ids


def test_the_event_of_a_triggerer_that_died_is_told_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Airflow has stored the event is unknown."""
    shop.order("o-1", "completed")
    monkeypatch.setattr(events, "STORED_AFTER", 60.0)
    monkeypatch.setattr(events, "HOLD", 4.0)

    async def main() -> None:
        async with Watching() as first:
            await asyncio.to_thread(shop.reported, "o-1")
            assert await first.until(1) == ["o-1 delivered"]
            began = time.time()
        monkeypatch.setattr(events, "STORED_AFTER", 0.2)
        async with Watching() as again, Watching() as other:
            while not again.told + other.told and time.time() < began + 30:
                await asyncio.sleep(0.05)
            assert time.time() > began + 3.0, "the one before might still be at it"
            await asyncio.sleep(5.0)
            assert [event["order_id"] for event in again.told + other.told] == ["o-1"]

    asyncio.run(main())


def test_a_ledger_that_is_away_for_a_while_loses_no_event(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.order("o-1", "completed")
    fix, away = Ledger.decide_once, [True]

    def failing(self: Ledger, name: str, value: str) -> str:
        if away and name.startswith("event of"):
            away.pop()
            raise LedgerError("the ledger is away")
        return fix(self, name, value)

    monkeypatch.setattr(Ledger, "decide_once", failing)

    async def main() -> None:
        async with Watching() as watching:
            await asyncio.to_thread(shop.reported, "o-1")
            assert await watching.until(1) == ["o-1 delivered"] and not away

    asyncio.run(main())


def test_what_comes_before_it_is_known_where_the_watch_begins_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.order("o-1", "completed")
    opened, away = InboxListener._open, threading.Event()

    def failing(self: InboxListener) -> Inbox:
        if away.is_set():
            raise LedgerError("the ledger is away")
        return opened(self)

    monkeypatch.setattr(InboxListener, "_open", failing)
    monkeypatch.setattr(inbox_listener, "AGAIN", 2.0)

    async def main() -> None:
        async with Watching():
            pass  # from now on events are asked for
        away.set()
        async with Watching() as watching:
            await asyncio.to_thread(shop.reported, "o-1")
            away.clear()
            assert await watching.until(1, 10.0) == ["o-1 delivered"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "refusal",
    [{"status": 429, "headers": {"Retry-After": "30"}}, {"status": 401}, {"status": 403}],
    ids=["slow down", "bad key", "not permitted"],
)
def test_a_vendor_that_refuses_is_left_alone_however_many_wait(shop: Shop, refusal: dict[str, Any]) -> None:
    async def main() -> None:
        async with Watching() as watching:
            shop.box.fault(vendor="voodoo", operation="get", when="before", action="status", times=1000, **refusal)
            for number in range(20):
                shop.order(f"o-{number}", "completed")
                await asyncio.to_thread(shop.reported, f"o-{number}")
            assert await watching.until(1, 3.0) == []
        assert shop.box.book.count("voodoo", "get") <= 2

    asyncio.run(main())


def test_another_key_is_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_proxyorders.triggers import orders

    monkeypatch.setattr(orders, "KEY_LOOKED_UP", 0.2)
    good = os.environ["AIRFLOW_CONN_VOODOO_DEFAULT"]
    shop.order("o-1", "completed")

    async def main() -> None:
        monkeypatch.setenv("AIRFLOW_CONN_VOODOO_DEFAULT", json.dumps({**json.loads(good), "password": "ak_none"}))
        async with Watching() as watching:
            await asyncio.to_thread(shop.reported, "o-1")
            assert await watching.until(1, 1.0) == []
            monkeypatch.setenv("AIRFLOW_CONN_VOODOO_DEFAULT", good)
            assert await watching.until(1) == ["o-1 delivered"]

    asyncio.run(main())


def test_a_trigger_hears_of_its_wallet_under_a_new_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wallet got a name while the trigger was listening; webhooks come in under that name from then on."""
    shop.order("o-1", "completed")

    async def main() -> list[str]:
        async with Watching() as watching:
            connection = json.loads(os.environ["AIRFLOW_CONN_VOODOO_DEFAULT"]) | {"extra": {"wallet": "fleet"}}
            monkeypatch.setenv("AIRFLOW_CONN_VOODOO_DEFAULT", json.dumps(connection))
            await asyncio.to_thread(buy_with, "voodoo_default")
            await asyncio.to_thread(shop.inbox.keep, [Hint("d", "voodoo_default", "voodoo:fleet", "o-1", None, "completed")])
            return await watching.until(1)

    buy_with("voodoo_default")
    assert asyncio.run(main()) == ["o-1 delivered"]


def buy_with(conn_id: str) -> None:
    """Let the ledger decide the wallet of a connection, as every purchase does first."""
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    ProxyOrdersHook(conn_id).buyer()


def test_after_several_events_the_last_one_comes_once_more(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow leaves an event behind that comes while a run is queued, until another event comes."""
    monkeypatch.setattr(events, "QUIET", 2.0)
    for order_id in ("o-1", "o-2", "o-3"):
        shop.order(order_id, "completed")

    async def main() -> None:
        async with Watching() as watching:
            await asyncio.to_thread(shop.reported, "o-1")
            await asyncio.to_thread(shop.reported, "o-2")
            told = await watching.until(3)
            assert told == ["o-1 delivered", "o-2 delivered", "o-2 delivered"]
            await asyncio.sleep(3.0)
            await asyncio.to_thread(shop.reported, "o-3")  # it comes alone
            await watching.until(4)
            await asyncio.sleep(3.0)
            assert [event["order_id"] for event in watching.told] == ["o-1", "o-2", "o-2", "o-3"]

    asyncio.run(main())


def test_an_event_soon_after_the_repeat_is_repeated_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUIET", 0.3)
    burst = events.Burst()
    burst.add({"order_id": "o-1"})
    assert burst.repeat() is None
    burst.add({"order_id": "o-2"})
    time.sleep(0.35)
    assert burst.repeat() == {"order_id": "o-2"} and burst.repeat() is None
    burst.add({"order_id": "o-3"})
    time.sleep(0.35)
    assert burst.repeat() == {"order_id": "o-3"}
