"""The trigger: waits without a worker, reads only, remembers moments and no secrets, and shares what it needs."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger
from tests.hooks.connections import REQUESTS, VENDORS, Shops
from tests.vendors import ROWS

from .tasks import event_of, revived, through_json

WRONG_WORDS = {name: next(iter(row.bad_ends)) for name, row in ROWS.items()}


def soon(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


def trigger(conn_id: str, order_id: str, *, deadline: float = 20.0, **options: Any) -> ProxyOrderTrigger:
    return ProxyOrderTrigger(conn_id=conn_id, order_id=order_id, deadline=soon(deadline), **{"poll_interval": 0.1, **options})


def event(*args: Any, **options: Any) -> Any:
    return asyncio.run(event_of(trigger(*args, **options)))


def ordered(shops: Shops, vendor: str) -> str:
    """An order that stays pending until the sandbox's clock is put forward; returns its id."""
    shops.box.control({"vendor": vendor, "processing": 3600})
    order = shops.hook(vendor).create_order(REQUESTS[vendor], order_key=f"one of {vendor}")
    assert order.order_id is not None
    return order.order_id


def looks(shops: Shops, vendor: str) -> int:
    """How often orders were asked for, one by one or many in one call."""
    return shops.box.book.count(vendor, "get") + shops.box.book.count(vendor, "list")


def later(seconds: float, what: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(seconds, what)
    timer.start()
    return timer


class TestStored:
    def test_it_comes_back_as_it_was(self) -> None:
        options: dict[str, Any] = {
            "conn_id": "c",
            "order_id": "7001",
            "deadline": "2026-03-01T00:00:00+00:00",
            "placed_at": "2026-02-28T00:00:00+00:00",
            "poll_interval": 7.5,
            "kind": "extend",
            "evidence": {"expires_at": "2026-03-02T00:00:00+00:00", "extensions": 2, "balance": "10.00"},
        }
        made = ProxyOrderTrigger(**options)
        path, kwargs = made.serialize()
        assert path == "airflow_provider_proxyorders.triggers.orders.ProxyOrderTrigger", "tasks that wait now name it so"
        assert {name: kwargs[name] for name in options} == options
        again = revived(made)
        assert again.serialize() == made.serialize() == through_json([path, kwargs]) or [*again.serialize()] == [path, kwargs]

    def test_the_least_it_needs(self) -> None:
        made = ProxyOrderTrigger(conn_id="c", order_id="1", deadline="2026-03-01T00:00:00+00:00")
        assert revived(made).serialize() == made.serialize()

    def test_what_another_version_left_out_has_a_default(self, shops: Shops) -> None:
        path, kwargs = ProxyOrderTrigger(conn_id="c", order_id="1", deadline="2026-03-01T00:00:00+00:00").serialize()
        least = {name: kwargs[name] for name in ("conn_id", "order_id", "deadline")}
        assert ProxyOrderTrigger(**least).serialize() == (path, kwargs)


@pytest.mark.usefixtures("at_once")
class TestOutcomes:
    def test_an_order_that_is_ready(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor)
        timer = later(0.3, lambda: shops.box.advance(3600))
        said = event(f"{vendor}_default", order_id)
        timer.join()
        assert (said["order_id"], said["outcome"], said["reason"]) == (order_id, "final", None)
        assert through_json(said) == said and shops.box.token(vendor) not in json.dumps(said)

    def test_an_order_that_ended_badly(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor)
        shops.box.control({"vendor": vendor, "set_status": {"order_id": order_id, "status": WRONG_WORDS[vendor]}})
        assert event(f"{vendor}_default", order_id)["outcome"] == "final"

    def test_a_word_that_nobody_knows_is_still_pending(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor)
        shops.box.control({"vendor": vendor, "set_status": {"order_id": order_id, "status": "half-baked"}})
        assert event(f"{vendor}_default", order_id, deadline=0.6)["outcome"] == "deadline"

    def test_the_deadline(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor)
        began = time.monotonic()
        assert event(f"{vendor}_default", order_id, deadline=0.8)["outcome"] == "deadline"
        assert time.monotonic() - began >= 0.7
        assert looks(shops, vendor) >= 1

    def test_a_deadline_that_has_passed(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor)
        assert event(f"{vendor}_default", order_id, deadline=-60.0)["outcome"] == "deadline"

    def test_an_extension_is_final_when_the_expiry_has_grown(self, shops: Shops) -> None:
        fields = {"id": 7001, "status": "confirmed", "expire_date": "2030-02-01 09:15:00"}
        shops.box.control({"vendor": "iproyal", "order": fields})
        conn_id = shops.connect("iproyal")
        before = {"expires_at": "2030-02-01T09:15:00+00:00", "extensions": 0}
        assert event(conn_id, "7001", kind="extend", evidence=before, deadline=0.6)["outcome"] == "deadline"
        shops.hook("iproyal").extend_order("7001", {"product_plan_id": 22}, order_key="e")
        assert event(conn_id, "7001", kind="extend", evidence=before)["outcome"] == "final"

    def test_it_only_reads(self, shops: Shops, vendor: str) -> None:
        """P5: one purchase before, one after."""
        order_id = ordered(shops, vendor)
        event(f"{vendor}_default", order_id, deadline=0.4)
        assert shops.box.book.count(vendor, "create") == len(shops.box.book.charges()) == 1

    def test_nothing_fires_before_the_task_is_put_aside(self, shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
        """Airflow 3.3 may lose a task that is resumed at once; whatever the outcome, it takes two seconds."""
        monkeypatch.undo()  # the real pause
        monkeypatch.setenv("AIRFLOW_CONN_NO_KEY", json.dumps({"conn_type": "iproyal"}))
        given = {"conn_type": "iproyal", "host": shops.box.url("iproyal"), "password": shops.box.token("iproyal")}
        monkeypatch.setenv("AIRFLOW_CONN_GOOD", json.dumps(given))
        monkeypatch.setenv("AIRFLOW_CONN_BAD", json.dumps({**given, "password": "wrong-key"}))
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})

        async def timed(made: ProxyOrderTrigger) -> tuple[str, float]:
            began = time.monotonic()
            return (await event_of(made))["outcome"], time.monotonic() - began

        async def all_of_them() -> list[tuple[str, float]]:
            made = [trigger("good", "7001"), trigger("good", "1", deadline=-5), trigger("bad", "1"), trigger("no_key", "1")]
            return await asyncio.gather(*map(timed, made))

        results = asyncio.run(all_of_them())
        assert [outcome for outcome, _ in results] == ["final", "deadline", "unreadable", "unreadable"]
        assert all(took >= 1.9 for _, took in results)


@pytest.mark.usefixtures("at_once")
class TestTrouble:
    @pytest.mark.parametrize(("status", "reason"), [(401, "AuthenticationFailed"), (403, "OrderingNotPermitted")])
    def test_a_refused_key_ends_the_wait_at_once(self, shops: Shops, vendor: str, status: int, reason: str) -> None:
        """P6: it is not hammered."""
        order_id, before = ordered(shops, vendor), looks(shops, vendor)
        for asked in ("get", "list"):
            shops.box.fault(vendor, asked, action="status", status=status)
        said = event(f"{vendor}_default", order_id)
        assert (said["outcome"], said["reason"]) == ("unreadable", reason)
        assert 1 <= looks(shops, vendor) - before <= 2

    def test_a_key_that_was_never_good(self, shops: Shops, vendor: str) -> None:
        conn_id = shops.connect(vendor, password="wrong-key")
        said = event(conn_id, "7001")
        assert (said["outcome"], said["reason"]) == ("unreadable", "AuthenticationFailed")
        assert "wrong-key" not in json.dumps(said)

    @pytest.mark.parametrize("wrong", [{"password": ""}, {"extra": {"daily_limits": "5"}}, {"host": "http://user:pw@127.0.0.1"}])
    def test_a_connection_that_is_wrong(self, shops: Shops, wrong: dict[str, Any]) -> None:
        said = event(shops.connect("iproyal", **wrong), "7001")
        assert (said["outcome"], said["reason"]) == ("unreadable", "ConfigError")

    def test_a_connection_that_is_gone(self, shops: Shops) -> None:
        said = event("nowhere", "7001")
        assert said["outcome"] == "unreadable"

    def test_a_vendor_that_asks_for_a_pause_gets_it(self, shops: Shops) -> None:
        order_id = ordered(shops, "voodoo")
        rule = shops.box.fault("voodoo", "get", action="status", status=429, headers={"Retry-After": "1"}, times=1)
        shops.box.advance(3600)
        began = time.monotonic()
        assert event("voodoo_default", order_id)["outcome"] == "final"
        assert time.monotonic() - began >= 1.0
        assert (rule.hits, shops.box.book.count("voodoo", "get")) == (1, 2)

    def test_a_long_pause_is_kept_until_the_deadline(self, shops: Shops) -> None:
        order_id = ordered(shops, "voodoo")
        shops.box.fault("voodoo", "get", action="status", status=429, headers={"Retry-After": "9" * 30})
        assert event("voodoo_default", order_id, deadline=0.8)["outcome"] == "deadline"
        assert shops.box.book.count("voodoo", "get") == 1

    @pytest.mark.parametrize(
        "fault",
        [
            {"action": "status", "status": 500},
            {"action": "body", "body": "<html>maintenance</html>"},
            {"action": "empty"},
            {"action": "close"},
            {"action": "truncate"},
        ],
    )
    def test_what_passes_is_waited_out(self, shops: Shops, fault: dict[str, Any]) -> None:
        order_id = ordered(shops, "voodoo")
        shops.box.advance(3600)
        rule = shops.box.fault("voodoo", "get", times=2, **fault)
        assert event("voodoo_default", order_id)["outcome"] == "final"
        assert rule.hits == 2

    def test_a_new_order_that_is_not_shown_yet_is_tolerated(self, shops: Shops) -> None:
        conn_id = shops.connect("voodoo", extra={"settle": 20})
        order_id = ordered(shops, "voodoo")
        shops.connect("voodoo", extra={"settle": 20})
        shops.box.advance(3600)
        rule = shops.box.fault("voodoo", "get", action="status", status=404, times=3)
        assert event(conn_id, order_id, placed_at=soon(-1))["outcome"] == "final"
        assert rule.hits == 3

    @pytest.mark.parametrize("vendor", ["voodoo", "iproyal"])
    def test_an_old_order_that_is_not_there_ends_the_wait(self, shops: Shops, vendor: str) -> None:
        conn_id = shops.connect(vendor, extra={"settle": 5})
        said = event(conn_id, "4242", placed_at=soon(-60))
        assert (said["outcome"], said["reason"]) == ("unreadable", "OrderNotFound")

    def test_trouble_with_one_connection_is_nobody_elses(self, shops: Shops) -> None:
        order_id = ordered(shops, "voodoo")
        shops.box.advance(3600)
        away = shops.connect("iproyal", "away", host="http://127.0.0.1:1")

        async def both() -> Any:
            return await asyncio.gather(event_of(trigger(away, "1", deadline=1.5)), event_of(trigger("voodoo_default", order_id)))

        assert [said["outcome"] for said in asyncio.run(both())] == ["deadline", "final"]


@pytest.mark.usefixtures("at_once")
class TestRestart:
    def test_the_deadline_is_a_moment(self, shops: Shops) -> None:
        """Stopped and started anew, it fires at the moment that was meant in the first place."""
        order_id = ordered(shops, "proxyscrape")
        made = trigger("proxyscrape_default", order_id, deadline=1.5)
        began = time.monotonic()

        async def stopped() -> None:
            waiting = asyncio.create_task(event_of(made))
            await asyncio.sleep(0.5)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(stopped())
        again = revived(made)
        assert again.serialize() == made.serialize()
        assert asyncio.run(event_of(again))["outcome"] == "deadline"
        assert time.monotonic() - began >= 1.4

    def test_an_order_that_got_ready_meanwhile(self, shops: Shops, vendor: str) -> None:
        made = trigger(f"{vendor}_default", ordered(shops, vendor))
        stored = through_json(made.serialize())
        shops.box.advance(3600)
        assert asyncio.run(event_of(ProxyOrderTrigger(**stored[1])))["outcome"] == "final"

    def test_it_can_be_stopped_at_any_instant(self, shops: Shops) -> None:
        """And leaves nothing behind: no task, no client."""
        order_id = ordered(shops, "voodoo")

        async def often() -> None:
            for turn in range(24):
                waiting = asyncio.create_task(event_of(trigger("voodoo_default", order_id)))
                for _ in range(turn):
                    await asyncio.sleep(0)
                if turn % 4 == 3:
                    await asyncio.sleep(0.01 * turn)
                waiting.cancel()
                done, _ = await asyncio.wait([waiting], timeout=20)
                assert done, f"stopped after {turn} steps, it hangs"
                assert waiting.cancelled()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ResourceWarning)
            asyncio.run(often())
            gc.collect()
        assert [str(warning.message) for warning in warned if "lient" in str(warning.message)] == []

    def test_one_that_ends_does_not_hold_up_itself(self, shops: Shops) -> None:
        """The last one who waits closes the shared client, at the same instant at which a call of it returns."""
        order_id = ordered(shops, "voodoo")
        shops.box.advance(3600)

        async def often() -> None:
            for _ in range(20):
                said = await event_of(trigger("voodoo_default", order_id), within=20)
                assert said["outcome"] == "final"
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(often())


@pytest.mark.usefixtures("at_once")
class TestSharing:
    def test_many_who_wait_are_one_look_up_one_login_and_few_connections(self, shops: Shops, vendor: str) -> None:
        conn_id = shops.connect(vendor)
        shops.box.control({"vendor": vendor, "processing": 3600})
        hook = shops.hook(vendor)
        order_ids = [hook.create_order(REQUESTS[vendor], order_key=f"k{number}").order_id for number in range(20)]
        hook.http.close()
        shops.looked_up.clear()
        before = shops.box.book.connections
        logins = shops.box.book.count("voodoo", "token")

        async def everybody() -> list[Any]:
            waiting = [event_of(trigger(conn_id, str(order_id))) for order_id in order_ids for _ in range(5)]
            opened = asyncio.gather(*waiting)
            await asyncio.sleep(0.5)
            shops.box.advance(3600)
            return await opened

        events = asyncio.run(everybody())
        assert [said["outcome"] for said in events] == ["final"] * 100
        assert shops.looked_up == [conn_id]
        assert shops.box.book.connections - before <= 8
        assert shops.box.book.count("voodoo", "token") - logins == (1 if vendor == "voodoo" else 0)
        if vendor == "iproyal":
            assert shops.box.book.count("iproyal", "get") == 0, "one call asks for all of them"

    def test_the_next_who_waits_after_the_last_left_looks_up_anew(self, shops: Shops) -> None:
        """So a key that was changed in the connection is used by the next try at the latest."""
        order_id = ordered(shops, "voodoo")
        shops.box.advance(3600)
        shops.looked_up.clear()

        async def one_after_the_other() -> None:
            for _ in range(3):
                await event_of(trigger("voodoo_default", order_id))

        asyncio.run(one_after_the_other())
        assert shops.looked_up == ["voodoo_default"] * 3

    def test_several_loops_do_not_meet(self, shops: Shops) -> None:
        order_ids = {vendor: ordered(shops, vendor) for vendor in VENDORS}
        results: list[Any] = []

        def loop() -> None:
            async def all_vendors() -> list[Any]:
                waiting = [event_of(trigger(f"{vendor}_default", order_ids[vendor])) for vendor in VENDORS]
                return await asyncio.gather(*waiting)

            results.extend(asyncio.run(all_vendors()))

        threads = [threading.Thread(target=loop) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        shops.box.advance(3600)
        for thread in threads:
            thread.join(20)
        assert [said["outcome"] for said in results] == ["final"] * len(threads) * len(VENDORS)


BLOCKING = """
import asyncio, json, sys, time
from datetime import datetime, timedelta, timezone
from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger
from airflow_provider_proxyorders.triggers import subscription
subscription.EARLIEST = 0.05

took = []
real = asyncio.Handle._run

def timed(handle):
    began = time.thread_time()
    try:
        return real(handle)
    finally:
        took.append(time.thread_time() - began)

asyncio.Handle._run = timed

async def one(number, conn_id):
    deadline = (datetime.now(timezone.utc) + timedelta(seconds=1.0)).isoformat()
    made = ProxyOrderTrigger(conn_id=conn_id, order_id=str(7000 + number), deadline=deadline, poll_interval=0.2)
    async for event in made.run():
        return event.payload["outcome"]

async def main():
    return await asyncio.gather(*[one(number, conn_id) for number in range(100) for conn_id in ("over_http", "over_https")])

outcomes = asyncio.run(main(), debug=True)
print(json.dumps({"outcomes": sorted(set(outcomes)), "longest": max(took), "steps": len(took)}))
"""


def test_the_loop_is_never_blocked(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a new process, as a triggerer is: nothing that the first hundred waits import or read may take a tenth of a second.

    Counted is the time of the processor, so that a busy machine does not count.
    """
    given = {"conn_type": "iproyal", "host": shops.box.url("iproyal"), "password": shops.box.token("iproyal")}
    shops.box.control([{"vendor": "iproyal", "order": {"id": 7000 + number, "status": "in-progress"}} for number in range(100)])
    monkeypatch.setenv("AIRFLOW_CONN_OVER_HTTP", json.dumps(given))
    # nobody answers there: the certificate authorities are read all the same
    monkeypatch.setenv("AIRFLOW_CONN_OVER_HTTPS", json.dumps({**given, "host": "https://127.0.0.1:1"}))
    done = subprocess.run([sys.executable, "-c", BLOCKING], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["outcomes"] == ["deadline"]
    assert said["longest"] < 0.3, f"{said['longest']:.3f} s in one of {said['steps']} steps"
