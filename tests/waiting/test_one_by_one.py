"""After a useless call for many orders: a call for each of them, with the same manners as always."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_proxyorders.purchase.polling import LEAST_MISSES
from airflow_provider_proxyorders.triggers.gate import IN_FLIGHT
from airflow_provider_proxyorders.triggers.schedule import PollSchedule
from airflow_provider_proxyorders.vendors import vendor_class
from tests.hooks.connections import Shops

from .room import Room, finish, seed, until, waiting_room

MANY = 60
LONG_AGO = "2026-01-01T00:00:00+00:00"
EMPTY = json.dumps({"data": [], "meta": {"current_page": 1, "last_page": 1}})
#: what a list can say that says nothing of the orders it was asked for
LISTS: dict[str, dict[str, Any]] = {
    "refused": {"action": "status", "status": 422},
    "not-there": {"action": "status", "status": 404},
    "shows-none": {"action": "body", "body": EMPTY},
}


@pytest.fixture(params=LISTS)
def order_ids(request: pytest.FixtureRequest, shops: Shops) -> list[str]:
    """Ids of old orders, at a vendor with useless lists."""
    shops.box.fault("iproyal", "list", **LISTS[request.param])
    return seed(shops, "iproyal", MANY)


def singles(shops: Shops) -> int:
    return shops.box.book.count("iproyal", "get")


def test_all_learn_of_their_end(shops: Shops, order_ids: list[str]) -> None:
    async def story(room: Room) -> None:
        room.enter(shops.connect("iproyal"), order_ids, placed_at=LONG_AGO)
        await until(lambda: singles(shops) >= MANY)
        assert room.events == {}
        finish(shops, "iproyal", order_ids)
        await room.all_end()

    room = waiting_room(story)
    assert room.outcomes == {("final", None)} and len(room.events) == MANY


def test_a_pause_that_the_vendor_asks_for_is_given(shops: Shops, order_ids: list[str]) -> None:
    rule = shops.box.fault("iproyal", "get", action="status", status=429, headers={"Retry-After": "30"}, nth=20)

    async def story(room: Room) -> None:
        room.enter(shops.connect("iproyal"), order_ids, placed_at=LONG_AGO)
        await until(lambda: rule.hits == 1)
        before = singles(shops)
        await asyncio.sleep(1.5)
        assert singles(shops) - before <= IN_FLIGHT and room.events == {}

    waiting_room(story)


def test_a_key_that_is_refused_is_looked_up_once_more_and_then_all_are_told(shops: Shops, order_ids: list[str]) -> None:
    shops.box.fault("iproyal", "get", action="status", status=401)
    conn_id = shops.connect("iproyal")

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids, placed_at=LONG_AGO)
        await room.all_end()
        await asyncio.sleep(0.5)

    room = waiting_room(story)
    assert room.outcomes == {("unreadable", "AuthenticationFailed")}
    assert [len(events) for events in room.events.values()] == [1] * MANY
    assert singles(shops) <= IN_FLIGHT and shops.looked_up.count(conn_id) == 2


def test_another_key_is_used_for_the_rest(shops: Shops, order_ids: list[str]) -> None:
    conn_id = shops.connect("iproyal")

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids, placed_at=LONG_AGO)
        await until(lambda: singles(shops) >= 2)
        shops.box.control({"vendor": "iproyal", "token": {"name": "main", "token": "another-key"}})
        shops.connect("iproyal")
        await until(lambda: singles(shops) >= MANY)
        finish(shops, "iproyal", order_ids)
        await room.all_end()

    room = waiting_room(story)
    assert room.outcomes == {("final", None)} and len(room.events) == MANY
    assert shops.looked_up.count(conn_id) == 2


def test_who_has_left_is_not_asked_for(shops: Shops, order_ids: list[str]) -> None:
    rule = shops.box.fault("iproyal", "get", action="pause", times=IN_FLIGHT)

    async def story(room: Room) -> None:
        tasks = room.enter(shops.connect("iproyal"), order_ids, placed_at=LONG_AGO, backstop=1000.0)
        await until(lambda: rule.hits >= 1)
        await asyncio.sleep(0.2)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks[1:])
        rule.release()
        await asyncio.sleep(1.0)
        assert singles(shops) <= IN_FLIGHT + 1

    waiting_room(story)


@pytest.mark.parametrize("kind", ["not-there", "shows-none"])
def test_an_order_that_is_not_there_either_is_told_so_after_a_few_looks_at_it(shops: Shops, kind: str) -> None:
    shops.box.fault("iproyal", "list", **LISTS[kind])

    async def story(room: Room) -> None:
        room.enter(shops.connect("iproyal"), [str(990000 + number) for number in range(MANY)], placed_at=LONG_AGO)
        await room.all_end()

    room = waiting_room(story)
    assert room.outcomes == {("unreadable", "OrderNotFound")} and len(room.events) == MANY
    assert LEAST_MISSES * MANY <= singles(shops) <= 2 * LEAST_MISSES * MANY


def test_a_young_order_that_a_list_does_not_show_is_not_asked_for_alone(shops: Shops) -> None:
    order_ids = seed(shops, "iproyal", MANY)
    shops.box.fault("iproyal", "list", **LISTS["shows-none"])

    async def story(room: Room) -> None:
        room.enter(shops.connect("iproyal", extra={"settle": 60}), order_ids)
        await until(lambda: shops.box.book.count("iproyal", "list") >= 5)
        assert (singles(shops), room.events) == (0, {})

    waiting_room(story)


def test_a_vendor_that_names_no_orders_a_call_is_asked_for_one(shops: Shops) -> None:
    vendor = vendor_class("proxyscrape")
    shops.patch.setattr(vendor, "capabilities", replace(vendor.capabilities, ids_per_read=0))
    order_ids = seed(shops, "proxyscrape", 3)

    async def story(room: Room) -> None:
        room.enter(shops.connect("proxyscrape"), order_ids)
        await until(lambda: shops.box.book.count("proxyscrape") >= 6)
        finish(shops, "proxyscrape", order_ids)
        await room.all_end()

    assert waiting_room(story).outcomes == {("final", None)}


class TestSchedule:
    def test_those_alone_and_those_together_come_in_turn(self) -> None:
        schedule, order_ids = PollSchedule(), [str(number) for number in range(1000)]
        schedule.plan(order_ids[:500], 1.0)
        schedule.plan_alone(order_ids[500:])
        sizes = [len(schedule.take(2.0, 100)) for _ in range(20)]
        assert sizes.count(100) == 5 and sizes.count(1) == 15 and 100 in sizes[:2] and 1 in sizes[:2]
        while schedule.take(2.0, 100):
            pass
        assert schedule.next == float("inf")

    @pytest.mark.parametrize("seed", range(10))
    def test_against_a_plain_model(self, seed: int) -> None:
        chance, schedule, model, alone = random.Random(seed), PollSchedule(), dict[str, float](), set[str]()
        for now in range(3000):
            some = [*dict.fromkeys(str(chance.randrange(200)) for _ in range(chance.choice((1, 3, 7))))]
            what = chance.random()
            if what < 0.3:
                schedule.plan(some, now + 5.0)
                for order_id in some:
                    model[order_id] = min(now + 5.0, model.get(order_id, float("inf")))
            elif what < 0.5:
                schedule.plan_alone(some)
                alone.update(some)
                model.update(dict.fromkeys(some, float("-inf")))
            elif what < 0.6:
                for order_id in some:
                    schedule.forget(order_id)
                    model.pop(order_id, None)
                    alone.discard(order_id)
            else:
                due = {order_id for order_id, moment in model.items() if moment <= now}
                taken = schedule.take(now, 7)
                assert len(taken) == len(set(taken)) <= 7 and set(taken) <= due and bool(taken) == bool(due)
                assert len(taken) == 1 or not alone & set(taken)
                for order_id in taken:
                    del model[order_id]
                    alone.discard(order_id)
            assert schedule.next == min(model.values(), default=float("inf"))
        for order_id in model:
            schedule.forget(order_id)
        assert schedule.next == float("inf") and len(schedule._alone) + len(schedule._queue) <= 66
