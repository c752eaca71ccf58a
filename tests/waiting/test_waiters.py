"""Waiting triggers: deadlines, several for one order, leaving early, many at once, and their rows and lines."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
import weakref
from asyncio import events as asyncio_events
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor
from airflow_provider_proxyorders.triggers import poller
from airflow_provider_proxyorders.triggers.gate import IN_FLIGHT
from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger
from tests.hooks.connections import Shops
from tests.tasks.tasks import context, event_of, revived, through_json

from .room import RUNS_FOR, Room, finish, in_seconds, seed, until, waiting_room, watched

LONG_AGO = "2026-01-01T00:00:00+00:00"


class TestDeadline:
    def test_is_said_at_its_moment_and_not_before(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 3)

        async def story(room: Room) -> None:
            began = time.monotonic()
            room.enter(conn_id, order_ids, deadline=0.8)
            await room.all_end()
            assert all(moment - began >= 0.79 for moment in room.when.values())

        assert waiting_room(story).outcomes == {("deadline", None)}

    def test_means_the_same_moment_after_a_restart(self, shops: Shops) -> None:
        shops.connect("iproyal")
        seed(shops, "iproyal", 1)
        moment = in_seconds(1.5)
        before = ProxyOrderTrigger(conn_id="iproyal_default", order_id="700000", deadline=moment)
        stored = through_json(before.serialize()[1])
        time.sleep(0.8)  # no triggerer runs
        again = ProxyOrderTrigger(**stored)
        assert again.serialize()[1]["deadline"] == moment
        assert asyncio.run(event_of(again))["outcome"] == "deadline" and in_seconds(0) >= moment

    def test_that_passed_while_nobody_looked_still_ends_the_wait(self, shops: Shops) -> None:
        shops.connect("iproyal")
        event = asyncio.run(event_of(ProxyOrderTrigger(conn_id="iproyal_default", order_id="7", deadline=in_seconds(-60))))
        assert event["outcome"] == "deadline"

    @pytest.mark.parametrize("fault", [{"action": "hang", "seconds": 60}, {"status": 500}, {"status": 429}], ids=str)
    def test_holds_while_the_vendor_is_in_trouble(self, shops: Shops, fault: dict[str, Any]) -> None:
        shops.box.fault(**fault)
        conn_id, order_ids = shops.connect("proxyscrape", extra={"timeout": 30}), seed(shops, "proxyscrape", 50)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids, deadline=0.5)
            await room.all_end(15)

        assert waiting_room(story).outcomes == {("deadline", None)}

    def test_of_one_is_not_that_of_another_who_waits_for_the_same_order(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 1)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids, deadline=0.5)
            room.enter(conn_id, order_ids)
            await until(lambda: bool(room.events))
            finish(shops, "iproyal", order_ids)
            await room.all_end()

        assert [event["outcome"] for event in waiting_room(story).events["700000"]] == ["deadline", "final"]


class TestSeveralForOneOrder:
    def test_share_its_looks_and_all_learn_of_its_end(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("proxyscrape"), seed(shops, "proxyscrape", 1)

        async def story(room: Room) -> None:
            for _ in range(20):
                room.enter(conn_id, order_ids, poll_interval=0.3)
            asked, seconds = await watched(lambda: shops.box.book.count("proxyscrape"))
            assert asked <= 1 + seconds / 0.09
            finish(shops, "proxyscrape", order_ids)
            await room.all_end()

        room = waiting_room(story)
        assert room.outcomes == {("final", None)} and len(room.events["700000"]) == 20

    def test_one_who_leaves_takes_nobody_along(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 2)

        async def story(room: Room) -> None:
            first = room.enter(conn_id, order_ids)
            second = room.enter(conn_id, order_ids)
            await until(lambda: shops.box.book.count("iproyal") >= 2)
            for task in first:
                task.cancel()
            finish(shops, "iproyal", order_ids)
            await asyncio.wait(second, timeout=10)
            assert {len(events) for events in room.events.values()} == {1} and len(room.events) == 2

        waiting_room(story)


class TestLeaving:
    @pytest.mark.parametrize("vendor", ["iproyal", "proxyscrape"])
    def test_the_last_one_closes_everything(self, shops: Shops, vendor: str) -> None:
        conn_id, order_ids = shops.connect(vendor), seed(shops, vendor, 50)
        kept: list[weakref.ref[object]] = []

        async def story(room: Room) -> None:
            tasks = room.enter(conn_id, order_ids)
            await until(lambda: shops.box.book.count(vendor) >= 3)
            ((_, only_poller),) = poller._pollers.items()
            kept.append(weakref.ref(only_poller))
            client = only_poller.gate.access.http._client
            assert client is not None and not client.closed
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert poller._pollers == {} and client.closed
            del only_poller

        waiting_room(story)
        gc.collect()
        assert kept[0]() is None
        time.sleep(0.5)  # a busy server may still count what was cancelled on its way
        before = shops.box.book.count(vendor)
        time.sleep(0.5)
        assert shops.box.book.count(vendor) == before

    def test_who_left_is_forgotten_while_others_stay(self, shops: Shops) -> None:
        conn_id = shops.connect("iproyal")
        order_ids = seed(shops, "iproyal", 1000)

        async def story(room: Room) -> None:
            leaving = room.enter(conn_id, order_ids[1:], deadline=86400)
            room.enter(conn_id, order_ids[:1])
            await until(lambda: shops.box.book.count("iproyal") >= 15)
            ((_, only_poller),) = poller._pollers.items()
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            assert only_poller.subscribers.count == 1 and len(only_poller.subscribers.by_order) == 1
            for queue in (
                only_poller._answers,
                only_poller.subscribers._deadlines,
                only_poller._schedule._queue,
                only_poller._schedule._moments,
                only_poller._unreadable,
            ):
                assert len(queue) <= 66
            before = shops.box.book.count("iproyal")
            asked, seconds = await watched(lambda: shops.box.book.count("iproyal"), window=1.0)
            assert asked - before <= 1 + seconds / 0.09  # one order, in one call a look

        waiting_room(story)

    def test_one_who_comes_back_is_served_again(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("proxyscrape"), seed(shops, "proxyscrape", 1)

        async def story(room: Room) -> None:
            for _ in range(5):
                (task,) = room.enter(conn_id, order_ids)
                await asyncio.sleep(0.15)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            finish(shops, "proxyscrape", order_ids)
            (task,) = room.enter(conn_id, order_ids)
            await asyncio.wait([task], timeout=20)

        assert len(waiting_room(story).events["700000"]) == 1


class TestManyAtOnce:
    @pytest.mark.parametrize("vendor", ["iproyal", "proxyscrape"])
    def test_the_loop_is_never_held(self, shops: Shops, vendor: str) -> None:
        """2,000 come, hear of trouble, and reach the deadline or are refused. CPU time counts, since the machine is shared."""
        conn_id = shops.connect(vendor, "here")
        other = shops.connect(vendor, "there")
        order_ids = seed(shops, vendor, 2000)
        longest, turn, run = [0.0], [0.0], asyncio_events.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)  # type: ignore[arg-type]
            if handle._context.get(RUNS_FOR) == "waiter":  # type: ignore[attr-defined]
                took = time.thread_time() - began
                longest[0] = max(longest[0], took)
                turn[0] += took

        async def enter(room: Room, conn_id: str, **kwargs: Any) -> None:
            for start in range(0, len(order_ids), 50):  # it is not the test's own work that is measured
                room.enter(conn_id, order_ids[start : start + 50], poll_interval=1.0, **kwargs)
                await asyncio.sleep(0)

        async def story(room: Room) -> None:
            turns = []

            async def watch() -> None:
                """The CPU time of each turn of the loop: many short call-backs hold it as well as a long one."""
                while True:
                    await asyncio.sleep(0)
                    turns.append(turn[0])
                    turn[0] = 0.0

            watching = asyncio.create_task(watch())
            await enter(room, conn_id, deadline=5.0)
            await until(lambda: shops.box.book.count(vendor) >= 5)
            shops.box.fault(vendor, action="status", status=500, times=2)
            await room.all_end(30)
            assert room.outcomes == {("deadline", None)} and len(room.events) == len(order_ids)
            room.events.clear()
            await enter(room, other)
            before = shops.box.book.count(vendor)
            await until(lambda: shops.box.book.count(vendor) >= before + 20)
            shops.box.fault(vendor, action="status", status=401)
            await room.all_end(30)
            assert room.outcomes == {("unreadable", "AuthenticationFailed")} and len(room.events) == len(order_ids)
            watching.cancel()
            await asyncio.wait([watching])
            assert max(turns) < 0.2, "Airflow warns when its loop is held for 0.2 s"

        shops.patch.setattr(asyncio_events.Handle, "_run", timed)
        gc.collect()
        gc.disable()  # to look through everything that a test run has imported takes long, and is not ours
        try:
            waiting_room(story, debug=True)
        finally:
            gc.enable()
        assert longest[0] < 0.1

    def test_the_first_one_does_not_hold_the_loop_with_imports(self, shops: Shops) -> None:
        """In a process of its own, since here everything is imported."""
        shops.connect("iproyal")
        seed(shops, "iproyal", 1, "confirmed")
        code = """
import asyncio, sys, threading
from datetime import datetime, timedelta, timezone
from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

class Notes:
    loop, other = [], []

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        (cls.loop if threading.current_thread() is threading.main_thread() else cls.other).append(name)

async def main():
    import airflow.jobs.triggerer_job_runner
    deadline = (datetime.now(timezone.utc) + timedelta(seconds=20)).isoformat()
    sys.meta_path.insert(0, Notes)
    async for event in ProxyOrderTrigger(conn_id="iproyal_default", order_id="700000", deadline=deadline).run():
        print(event.payload["outcome"], len(Notes.other), *Notes.loop)

asyncio.run(main())
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        outcome, elsewhere, *held = done.stdout.splitlines()[-1].split()
        assert outcome == "final" and int(elsewhere) > 50
        assert not [name for name in held if not name.startswith(("airflow.", "asgiref"))], "Airflow's own are not ours to move"

    def test_few_connections_and_every_order_is_seen(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("proxyscrape"), seed(shops, "proxyscrape", 300)

        async def story(room: Room) -> None:
            before = shops.box.book.connections
            room.enter(conn_id, order_ids, poll_interval=1.0)
            await asyncio.sleep(1.0)
            finish(shops, "proxyscrape", order_ids)
            await room.all_end()
            assert shops.box.book.connections - before <= IN_FLIGHT

        assert len(waiting_room(story).events) == 300


class TestSecrets:
    @pytest.mark.parametrize("vendor", ["iproyal", "proxyscrape", "voodoo"])
    def test_are_in_no_row_no_event_and_no_log(
        self, shops: Shops, vendor: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        conn_id, order_ids = shops.connect(vendor, extra={"timeout": 0.4}), seed(shops, vendor, 4)
        token = shops.box.token(vendor)
        echo = json.dumps({"error": f"your key {token} is odd", "message": token, "detail": token, "code": token})

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            for fault in ({"status": 500, "body": echo}, {"status": 429, "body": echo}, {"action": "reset"}):
                rule = shops.box.fault(vendor, times=1, **fault)
                await until(lambda rule=rule: rule.hits == 1)  # type: ignore[misc]
            finish(shops, vendor, order_ids[:2])
            await until(lambda: len(room.events) == 2)
            shops.box.fault(vendor, status=403, body=echo)
            await room.all_end()
            assert room.outcomes == {("final", None), ("unreadable", "OrderingNotPermitted")}

        room = waiting_room(story)
        rows = json.dumps([trigger.serialize() for trigger in room.triggers])
        output = capfd.readouterr()
        logged = "\n".join([*(record.getMessage() for record in caplog.records), output.out, output.err])
        assert "Order 700000 is" in logged and ": 403)" in logged
        for shown in (rows, json.dumps(room.events), logged):
            assert token not in shown and "eyJ" not in shown
        assert {key for event in room.events.values() for key in event[0]} == {"order_id", "outcome", "reason", "at"}


class TestSensor:
    def sensor(self, **kwargs: Any) -> ProxyOrderSensor:
        return ProxyOrderSensor(task_id="wait", conn_id="iproyal_default", order_id="700000", deferrable=True, **kwargs)

    def deferred(self, sensor: ProxyOrderSensor) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as caught:
            sensor.execute(context())
        return caught.value

    def ends_with(self, shops: Shops, sensor: ProxyOrderSensor, status: str) -> str:
        """The kind of event that the sensor's trigger ends with, once the order has a status."""
        shops.connect("iproyal")
        seed(shops, "iproyal", 1)
        put_aside = self.deferred(sensor)
        finish(shops, "iproyal", ["700000"], status)

        async def first() -> str:
            events: Any = revived(put_aside.trigger).run()
            async for event in events:
                return type(event).__name__
            raise AssertionError("no event")

        return asyncio.run(asyncio.wait_for(first(), 10))

    def test_may_succeed_without_a_worker(self, shops: Shops) -> None:
        assert self.ends_with(shops, self.sensor(end_from_trigger=True), "confirmed") == "TaskSuccessEvent"

    def test_leaves_a_bad_end_to_the_worker_who_says_why(self, shops: Shops) -> None:
        assert self.ends_with(shops, self.sensor(end_from_trigger=True), "refunded") == "TriggerEvent"

    def test_goes_to_the_worker_unless_asked_otherwise(self, shops: Shops) -> None:
        assert self.ends_with(shops, self.sensor(), "confirmed") == "TriggerEvent"

    def test_whose_order_never_shows_up_does_not_go_round_in_circles(self, shops: Shops) -> None:
        """The age of the wait survives every deferral, so the settle time is over once."""
        from airflow_provider_proxyorders.domain.errors import OrderNotFound

        shops.connect("iproyal", extra={"settle": 0.5})
        sensor = self.sensor()
        put_aside = self.deferred(sensor)
        assert put_aside.kwargs is not None
        event = asyncio.run(event_of(revived(put_aside.trigger)))
        assert event["reason"] == "OrderNotFound"
        with pytest.raises(OrderNotFound):
            self.sensor().execute_complete(context(), event, **through_json(put_aside.kwargs))
