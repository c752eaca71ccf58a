"""A refusal or a wish for quiet counts for all calls of a connection, also for calls in line already, and for them alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import AuthenticationFailed, UnreadableAnswer
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.triggers.gate import IN_FLIGHT
from airflow_provider_proxyorders.triggers.poller import waiting_on
from airflow_provider_proxyorders.vendors import voodoo
from tests.hooks.connections import Shops

from .room import Room, finish, seed, until, waiting_room

MANY = 50


class TestALoginThatRanOut:
    """All calls stand in line for one login."""

    async def in_line(self, shops: Shops, room: Room, conn_id: str, order_ids: list[str], **answer: Any) -> Rule:
        """Let the login run out while many wait; the vendor holds back its answer to the next one."""
        room.enter(conn_id, order_ids)
        await until(lambda: shops.box.book.count("voodoo", "get") >= 3 * MANY)
        rule = shops.box.fault("voodoo", "token", action="pause")
        shops.box.fault("voodoo", "token", **answer)
        later = time.time() + 86400
        shops.patch.setattr(voodoo, "now", lambda: later)
        await until(lambda: rule.hits == 1)
        await asyncio.sleep(0.5)  # the others come, too
        return rule

    @pytest.mark.parametrize("status", [429, 503])
    def test_the_vendor_wants_to_be_left_alone(self, shops: Shops, status: int) -> None:
        conn_id, order_ids = shops.connect("voodoo"), seed(shops, "voodoo", MANY)

        async def story(room: Room) -> None:
            answer = {"status": status, "headers": {"Retry-After": "2"}, "times": 1}
            rule = await self.in_line(shops, room, conn_id, order_ids, **answer)
            asked, began = shops.box.book.count("voodoo"), time.monotonic()
            rule.release()
            await asyncio.sleep(1.0)
            assert time.monotonic() - began > 2 or shops.box.book.count("voodoo") == asked
            finish(shops, "voodoo", order_ids)
            await room.all_end()

        room = waiting_room(story)
        assert room.outcomes == {("final", None)} and len(room.events) == MANY
        assert shops.box.book.count("voodoo", "token") == 3  # the first one, the one that was refused, and one more for all

    def test_the_key_is_refused(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("voodoo"), seed(shops, "voodoo", MANY)

        async def story(room: Room) -> None:
            rule = await self.in_line(shops, room, conn_id, order_ids, status=401)
            asked = shops.box.book.count("voodoo")
            rule.release()
            await room.all_end()
            assert shops.box.book.count("voodoo") == asked

        room = waiting_room(story)
        assert room.outcomes == {("unreadable", "AuthenticationFailed")} and len(room.events) == MANY
        assert shops.looked_up.count(conn_id) == 2

    def test_the_connection_holds_another_key(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("voodoo"), seed(shops, "voodoo", MANY)

        async def story(room: Room) -> None:
            rule = await self.in_line(shops, room, conn_id, order_ids, status=401, times=1)
            shops.box.control({"vendor": "voodoo", "token": {"name": "main", "token": "another-key"}})
            shops.connect("voodoo")
            rule.release()
            finish(shops, "voodoo", order_ids)
            await room.all_end()

        room = waiting_room(story)
        assert room.outcomes == {("final", None)} and len(room.events) == MANY
        assert shops.box.book.count("voodoo", "token") == 3 and shops.looked_up.count(conn_id) == 2


class TestACallUnderWay:
    """It stops before its next request once another call has met a wish for quiet."""

    async def quiet(self, shops: Shops, vendor: str, rule: Rule) -> int:
        """Requests after the first sign of trouble."""
        await until(lambda: rule.hits == 1)
        before = shops.box.book.count(vendor)
        await asyncio.sleep(2.0)
        return shops.box.book.count(vendor) - before

    @pytest.mark.parametrize("status", [429, 503])
    def test_that_waits_for_its_place_in_the_pace(self, shops: Shops, status: int) -> None:
        conn_id, order_ids = shops.connect("proxyscrape", extra={"requests_per_second": 5}), seed(shops, "proxyscrape", MANY)
        rule = shops.box.fault("proxyscrape", status=status, headers={"Retry-After": "30"}, nth=10)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            assert await self.quiet(shops, "proxyscrape", rule) <= 1

        waiting_room(story)

    def test_that_reads_page_by_page(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("iproyal", extra={"page_size": 5}), seed(shops, "iproyal", 800)
        rule = shops.box.fault("iproyal", status=429, headers={"Retry-After": "30"}, nth=60)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            assert await self.quiet(shops, "iproyal", rule) <= IN_FLIGHT

        waiting_room(story)

    def test_goes_on_when_the_vendor_may_be_asked_again(self, shops: Shops) -> None:
        conn_id, order_ids = (
            shops.connect("iproyal", extra={"page_size": 5, "requests_per_second": 100}),
            seed(shops, "iproyal", 300),
        )
        rule = shops.box.fault("iproyal", status=429, headers={"Retry-After": "1"}, nth=30)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            await until(lambda: rule.hits == 1)
            finish(shops, "iproyal", order_ids)
            await room.all_end()

        room = waiting_room(story)
        assert room.outcomes == {("final", None)} and len(room.events) == 300


def test_a_balance_that_cannot_be_read_silences_no_order(shops: Shops) -> None:
    conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 3)
    shops.box.fault("iproyal", "balance", action="body", body="<html>")

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids)
        await until(lambda: shops.box.book.count("iproyal", "list") >= 2)
        async with waiting_on(conn_id) as poller:
            began = time.monotonic()
            for _ in range(7):  # a vendor in trouble would be left alone for at least six seconds by now
                with pytest.raises(UnreadableAnswer):
                    await poller.gate.ask(lambda vendor: vendor.balance())
            assert time.monotonic() - began < 5
            assert poller.gate.access.backoff.trouble == 0
        finish(shops, "iproyal", order_ids)
        await room.all_end()

    assert waiting_room(story).outcomes == {("final", None)}


class TestAnotherKey:
    def test_another_setting_counts(self, shops: Shops) -> None:
        """While another use, such as an AssetWatcher, keeps the connection's poller alive."""
        conn_id, order_ids = shops.connect("proxyscrape"), seed(shops, "proxyscrape", 2)
        fault = shops.box.fault("proxyscrape", status=401)

        async def story(room: Room) -> None:
            async with waiting_on(conn_id) as poller:
                room.enter(conn_id, order_ids[:1])
                await room.all_end()
                assert room.outcomes == {("unreadable", "AuthenticationFailed")}
                waits = asyncio.create_task(poller.gate.wait_for_other_key(0.1))
                await asyncio.sleep(0.3)
                assert not waits.done()
                shops.connect("proxyscrape", extra={"auth": "bearer"})
                await asyncio.wait_for(waits, 10)
                assert poller.gate.vendor.auth_headers().keys() == {"Authorization"}
                fault.release()
                finish(shops, "proxyscrape", order_ids)
                room.enter(conn_id, order_ids[1:])
                await room.all_end()

        assert waiting_room(story).events[order_ids[1]][0]["outcome"] == "final"

    def test_that_somebody_else_has_found_is_not_waited_for(self, shops: Shops) -> None:
        conn_id = shops.connect("iproyal")
        shops.box.fault("iproyal", "balance", status=401, times=1)

        async def story(room: Room) -> None:
            async with waiting_on(conn_id) as poller:
                with pytest.raises(AuthenticationFailed):
                    await poller.gate.ask(lambda vendor: vendor.balance())
                refused = poller.gate.vendor
                shops.box.control({"vendor": "iproyal", "token": {"name": "main", "token": "another-key"}})
                shops.connect("iproyal")
                assert await poller.gate.renew(refused)
                await asyncio.wait_for(poller.gate.wait_for_other_key(0.1), 5)
                assert (await poller.gate.ask(lambda vendor: vendor.balance())).available.amount > 0

        waiting_room(story)
