"""Woken by a webhook: between the first look and the webhook the vendor is left alone; a lost webhook costs one slow look."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from airflow_provider_proxyorders.hooks.settings import ledger_url
from airflow_provider_proxyorders.ledger.inbox import Hint, open_inbox
from tests.hooks.connections import Shops

from .room import FASTEST, Room, finish, seed, until, waiting_room, watched

WALLET = "voodoo:voodoo_default"


def deliver(order_id: str, wallet: str = WALLET) -> None:
    digest = f"{wallet}/{order_id}/{time.monotonic_ns()}"
    open_inbox(ledger_url()).keep([Hint(digest, "voodoo_default", wallet, order_id, None, "completed")])


@pytest.fixture
def conn_id(shops: Shops) -> str:
    return shops.connect("voodoo", extra={"webhook_secret": "a-webhook-secret"})


def test_a_delivery_wakes_its_order_and_until_then_nobody_asks(shops: Shops, conn_id: str) -> None:
    order_ids = seed(shops, "voodoo", 20)

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids, backstop=300.0)
        await until(lambda: shops.box.book.count("voodoo", "get") == 20)
        await asyncio.sleep(1.5)  # fifteen times the vendor's pace
        assert shops.box.book.count("voodoo", "get") == 20, "one look each, and no polling after it"
        finish(shops, "voodoo", order_ids[:5])
        await asyncio.sleep(1.0)
        assert room.events == {}, "nobody told it"
        for order_id in order_ids[:5]:
            await asyncio.to_thread(deliver, order_id)
        await until(lambda: len(room.events) == 5)
        assert shops.box.book.count("voodoo", "get") == 25

    assert waiting_room(story).outcomes == {("final", None)}


def test_what_a_delivery_says_is_not_believed(shops: Shops, conn_id: str) -> None:
    order_ids = seed(shops, "voodoo", 2)

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids, backstop=300.0)
        await until(lambda: shops.box.book.count("voodoo", "get") == 2)
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await asyncio.to_thread(deliver, order_ids[0])  # says completed, and is not
        await asyncio.to_thread(deliver, order_ids[1], "voodoo:another")  # of another wallet
        await asyncio.to_thread(deliver, "nobody-knows")
        asked, _ = await watched(lambda: shops.box.book.count("voodoo", "get"), 5)
        assert room.events == {}
        doublings = math.log2((time.monotonic() - began) / FASTEST)
        assert asked <= 2 + 3 + doublings, "soon again, and then less and less often"
        finish(shops, "voodoo", order_ids[:1])  # the vendor's reads were behind its webhook
        await until(lambda: len(room.events) == 1)

    waiting_room(story)


def test_a_lost_delivery_costs_one_slow_look(shops: Shops, conn_id: str) -> None:
    order_ids = seed(shops, "voodoo", 10)

    async def story(room: Room) -> None:
        entered = time.monotonic()
        room.enter(conn_id, order_ids, backstop=4.0)
        await until(lambda: shops.box.book.count("voodoo", "get") == 10)
        finish(shops, "voodoo", order_ids)
        await room.all_end()
        assert time.monotonic() - entered >= 0.9 * 4.0
        assert shops.box.book.count("voodoo", "get") == 20

    assert waiting_room(story).outcomes == {("final", None)}


def test_without_the_ledger_waiting_goes_on(shops: Shops, conn_id: str) -> None:
    order_ids = seed(shops, "voodoo", 3)
    shops.patch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", "sqlite:////nowhere/at/all/ledger.db")

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids, backstop=1.0)
        await until(lambda: shops.box.book.count("voodoo", "get") == 3)
        finish(shops, "voodoo", order_ids)
        await room.all_end()

    assert waiting_room(story).outcomes == {("final", None)}
