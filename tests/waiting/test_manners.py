"""Manners while waiting, counted at the vendor: the number of requests in good times and in trouble.

The vendors' rhythm is sped up to a look every tenth of a second. The tests check the rules: pauses double from two rhythms
on, spread down to their half, and a vendor in trouble gets one call at a time. A busy machine may stand still for
seconds: the tests compute the upper limit from the real time, and wait for the lower one.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any

import pytest

from airflow_provider_proxyorders.purchase.polling import LEAST_MISSES
from airflow_provider_proxyorders.triggers.gate import IN_FLIGHT
from airflow_provider_proxyorders.triggers.poller import Poller
from tests.hooks.connections import Shops

from .room import FASTEST, Room, finish, seed, until, waiting_room, watched

WINDOW = 1.6
#: A vendor that is asked for one order a call, and one that is asked for a hundred.
KINDS = ("proxyscrape", "iproyal")
LONG_AGO = "2026-01-01T00:00:00+00:00"


def most_tries(window: float) -> int:
    """How often a failing vendor can be asked in a window, by the rule: pauses of at least half of 2, 4, 8 ... rhythms."""
    tries, passed = 1, FASTEST
    while passed <= window:
        tries, passed = tries + 1, passed + FASTEST * 2.0**tries
    return tries


def least_tries(window: float) -> int:
    """The same from below: pauses of at most 2, 4, 8 ... rhythms."""
    tries, passed = 1, 2 * FASTEST
    while passed <= window:
        tries, passed = tries + 1, passed + 2 * FASTEST * 2.0**tries
    return tries


def at_both(story: Callable[[str, Room], Coroutine[Any, Any, None]]) -> dict[str, Room]:
    """Let a story happen at both kinds of vendors at the same time."""
    rooms = {vendor: Room() for vendor in KINDS}

    async def both(_: Room) -> None:
        try:
            await asyncio.gather(*(story(vendor, room) for vendor, room in rooms.items()))
        finally:
            for room in rooms.values():
                await room.empty()

    waiting_room(both)
    return rooms


def counted(shops: Shops, waiting: int, least: int = 1, window: float = WINDOW, **kwargs: Any) -> dict[str, tuple[int, float]]:
    """Each vendor's requests from so many waiting triggers, and the seconds they took; all waits go on."""
    requests: dict[str, tuple[int, float]] = {}

    async def story(vendor: str, room: Room) -> None:
        order_ids = seed(shops, vendor, waiting)
        room.enter(shops.connect(vendor), order_ids, **kwargs)
        requests[vendor] = await watched(lambda: shops.box.book.count(vendor), least, window)
        assert room.events == {}

    at_both(story)
    return requests


@pytest.mark.parametrize("waiting", [1, 200])
class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            {"action": "status", "status": 500},
            {"action": "status", "status": 429},
            {"action": "body", "status": 403, "body": "<html>a firewall</html>", "headers": {"Content-Type": "text/html"}},
        ],
        ids=["500", "429", "web page"],
    )
    def test_pauses_grow(self, shops: Shops, waiting: int, fault: dict[str, Any]) -> None:
        shops.box.fault(**fault)
        for asked, seconds in counted(shops, waiting, least=least_tries(WINDOW)).values():
            assert asked <= most_tries(seconds)

    @pytest.mark.parametrize("form", ["seconds", "date"])
    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_counts_for_the_whole_connection(self, shops: Shops, waiting: int, status: int, form: str) -> None:
        after = "30" if form == "seconds" else formatdate(time.time() + 30, usegmt=True)
        shops.box.fault(action="status", status=status, headers={"Retry-After": after})

        async def story(vendor: str, room: Room) -> None:
            room.enter(shops.connect(vendor), seed(shops, vendor, waiting))
            await until(lambda: shops.box.book.count(vendor) == 1)
            await asyncio.sleep(WINDOW)
            assert (room.events, shops.box.book.count(vendor)) == ({}, 1)

        at_both(story)

    def test_a_short_retry_after_is_obeyed_and_all_goes_on(self, shops: Shops, waiting: int) -> None:
        for vendor in KINDS:
            shops.box.fault(vendor, action="status", status=429, headers={"Retry-After": "1"}, times=1)

        async def story(vendor: str, room: Room) -> None:
            order_ids = seed(shops, vendor, waiting)
            began = time.monotonic()
            room.enter(shops.connect(vendor), order_ids)
            await until(lambda: shops.box.book.count(vendor) == 1)
            finish(shops, vendor, order_ids)
            await until(lambda: shops.box.book.count(vendor) > 1)
            assert time.monotonic() - began > 1.0  # the rule alone would ask again after 0.4 s at the latest
            await room.all_end()
            assert room.outcomes == {("final", None)}

        at_both(story)

    def test_a_vendor_that_hangs_is_given_up_and_asked_by_one(self, shops: Shops, waiting: int) -> None:
        shops.box.fault(action="hang", seconds=60)

        async def story(vendor: str, room: Room) -> None:
            order_ids = seed(shops, vendor, waiting)
            room.enter(shops.connect(vendor, extra={"timeout": 0.4}), order_ids)
            asked, seconds = await watched(lambda: shops.box.book.count(vendor), 2, WINDOW)
            assert room.events == {}
            assert asked <= 1 + seconds / 0.4

        at_both(story)

    def test_nobody_listens(self, shops: Shops, asked: list[str], waiting: int) -> None:
        with socket.socket() as taken:  # bound, but it does not listen: a connection is refused
            taken.bind(("127.0.0.1", 0))

            async def story(vendor: str, room: Room) -> None:
                nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/{vendor}"
                room.enter(shops.connect(vendor, host=nobody), seed(shops, vendor, waiting))
                await watched(lambda: asked.count(f"{vendor}_default"), 2, WINDOW)
                assert room.events == {}

            began = time.monotonic()
            at_both(story)  # what is measured is complete when the last one has left
        for vendor in KINDS:
            assert asked.count(f"{vendor}_default") <= most_tries(time.monotonic() - began)

    @pytest.mark.parametrize(
        "fault",
        [
            {"action": "status", "status": 503, "times": 3},
            {"action": "status", "status": 429, "times": 3},
            {"action": "hang", "seconds": 60, "times": 2},
            {"action": "reset", "times": 3},
            {"action": "truncate", "when": "after", "times": 3},
            {"action": "empty", "when": "after", "times": 3},
        ],
        ids=lambda fault: f"{fault['action']}-{fault.get('status', '')}",
    )
    def test_it_recovers(self, shops: Shops, waiting: int, fault: dict[str, Any]) -> None:
        async def story(vendor: str, room: Room) -> None:
            rule = shops.box.fault(vendor, **fault)
            order_ids = seed(shops, vendor, waiting)
            room.enter(shops.connect(vendor, extra={"timeout": 0.4}), order_ids)
            await until(lambda: rule.hits == fault["times"])
            finish(shops, vendor, order_ids)
            await room.all_end()
            assert room.outcomes == {("final", None)} and len(room.events) == waiting

        at_both(story)

    @pytest.mark.parametrize(("status", "reason"), [(401, "AuthenticationFailed"), (403, "OrderingNotPermitted")])
    def test_a_refused_key_ends_all_waits_with_one_call(self, shops: Shops, waiting: int, status: int, reason: str) -> None:
        shops.box.fault(action="status", status=status)

        async def story(vendor: str, room: Room) -> None:
            conn_id = shops.connect(vendor)
            room.enter(conn_id, seed(shops, vendor, waiting))
            await room.all_end(10)
            assert room.outcomes == {("unreadable", reason)} and len(room.events) == waiting
            assert shops.box.book.count(vendor) == 1
            assert shops.looked_up.count(conn_id) == 2  # to begin with, and once more in case the key was changed

        at_both(story)

    def test_a_key_that_is_refused_later_ends_all_waits_with_the_calls_under_way(self, shops: Shops, waiting: int) -> None:
        async def story(vendor: str, room: Room) -> None:
            conn_id = shops.connect(vendor)
            room.enter(conn_id, seed(shops, vendor, waiting))
            await until(lambda: shops.box.book.count(vendor) >= waiting / 100 + 3)
            shops.box.fault(vendor, action="status", status=401)
            before = shops.box.book.count(vendor)
            await room.all_end(10)
            assert shops.box.book.count(vendor) - before <= 2 * IN_FLIGHT  # an answer that was under way still begins a call
            assert room.outcomes == {("unreadable", "AuthenticationFailed")} and len(room.events) == waiting
            assert shops.looked_up.count(conn_id) == 2

        at_both(story)

    def test_a_changed_key_is_picked_up(self, shops: Shops, waiting: int) -> None:
        async def story(vendor: str, room: Room) -> None:
            conn_id, order_ids = shops.connect(vendor), seed(shops, vendor, waiting)
            room.enter(conn_id, order_ids)
            await until(lambda: shops.box.book.count(vendor) >= 3)
            shops.box.control({"vendor": vendor, "token": {"name": "main", "token": f"another-key-{vendor}"}})
            shops.connect(vendor)
            before = shops.box.book.count(vendor)
            await until(lambda: shops.box.book.count(vendor) > before + 2 * IN_FLIGHT)
            finish(shops, vendor, order_ids)
            await room.all_end()
            assert room.outcomes == {("final", None)} and len(room.events) == waiting
            assert shops.looked_up.count(conn_id) == 2

        at_both(story)

    def test_an_old_order_that_is_not_there_is_asked_for_a_few_times(self, shops: Shops, waiting: int) -> None:
        async def story(vendor: str, room: Room) -> None:
            order_ids = [str(990000 + number) for number in range(waiting)]
            room.enter(shops.connect(vendor), order_ids, placed_at=LONG_AGO)
            await room.all_end()
            assert room.outcomes == {("unreadable", "OrderNotFound")}
            # what a list does not show is looked at by itself each time
            assert LEAST_MISSES * waiting <= shops.box.book.count(vendor, "get") <= 2 * LEAST_MISSES * waiting
            # a hundred a call, and more calls when the loop stood still while they came in
            assert shops.box.book.count(vendor, "list") <= 3 * LEAST_MISSES * max(2, -(-waiting // 20))

        at_both(story)

    def test_a_new_order_may_show_up_late(self, shops: Shops, waiting: int) -> None:
        async def story(vendor: str, room: Room) -> None:
            room.enter(shops.connect(vendor, extra={"settle": 60}), [str(700000 + number) for number in range(waiting)])
            await until(lambda: shops.box.book.count(vendor) >= 3)
            assert room.events == {}
            finish(shops, vendor, seed(shops, vendor, waiting))
            await room.all_end()
            assert room.outcomes == {("final", None)}

        at_both(story)

    def test_a_new_order_that_never_shows_up_is_final_after_the_settle_time(self, shops: Shops, waiting: int) -> None:
        async def story(vendor: str, room: Room) -> None:
            began = time.monotonic()
            room.enter(shops.connect(vendor, extra={"settle": 1}), [str(990000 + number) for number in range(waiting)])
            await room.all_end()
            assert min(room.when.values()) - began >= 1.0
            assert room.outcomes == {("unreadable", "OrderNotFound")}

        at_both(story)


class TestRhythm:
    def test_an_old_order_is_looked_at_rarely(self, shops: Shops) -> None:
        for asked, seconds in counted(shops, 1, window=1.5, placed_at=LONG_AGO).values():
            assert asked <= 1 + seconds / (0.9 * 2)  # every two seconds, here

    def test_but_not_less_often_than_the_user_wants(self, shops: Shops) -> None:
        for asked, seconds in counted(shops, 1, 3, window=1.5, placed_at=LONG_AGO, poll_interval=0.4).values():
            assert asked <= 1 + seconds / (0.9 * 0.4)

    def test_many_orders_are_asked_for_together(self, shops: Shops) -> None:
        """Counted from the second round on: in the first one the orders come in as fast as a busy machine lets them."""
        order_ids = seed(shops, "iproyal", 500)

        async def story(room: Room) -> None:
            room.enter(shops.connect("iproyal"), order_ids, poll_interval=0.5, placed_at=LONG_AGO)
            await until(lambda: shops.box.book.count("iproyal") >= 10)
            before = shops.box.book.count("iproyal")
            asked, seconds = await watched(lambda: shops.box.book.count("iproyal"), least=before + 5, window=2.0)
            assert asked - before <= 1.3 * 5 * (1 + seconds / 0.45)

        waiting_room(story)

    def test_a_pace_is_kept(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("proxyscrape", extra={"requests_per_second": 10}), seed(shops, "proxyscrape", 100)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            asked, seconds = await watched(lambda: shops.box.book.count("proxyscrape"), least=10, window=2.0)
            assert asked <= 1 + 10 * seconds

        waiting_room(story)

    def test_a_vendor_that_throttles_is_asked_more_slowly_from_then_on(self, shops: Shops) -> None:
        """Bursts with pauses between them would be throttled for ever."""
        conn_id, order_ids = shops.connect("proxyscrape"), seed(shops, "proxyscrape", 100)
        rule = shops.box.fault("proxyscrape", action="status", status=429, nth=20)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            await until(lambda: rule.hits == 1)
            before = shops.box.book.count("proxyscrape")
            asked, seconds = await watched(lambda: shops.box.book.count("proxyscrape"), window=1.5)
            assert asked - before <= seconds / 0.07 + IN_FLIGHT

        waiting_room(story)

    def test_one_look_up_one_login_and_few_connections(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("voodoo"), seed(shops, "voodoo", 200)

        async def story(room: Room) -> None:
            before = shops.box.book.connections
            room.enter(conn_id, order_ids)
            await until(lambda: shops.box.book.count("voodoo", "get") > 300)
            assert shops.box.book.connections - before <= IN_FLIGHT

        waiting_room(story)
        assert shops.looked_up == [conn_id]
        assert shops.box.book.count("voodoo", "token") == 1

    def test_a_connection_that_is_wrong_is_looked_up_once(self, shops: Shops) -> None:
        conn_id = shops.connect("iproyal", extra={"daily_limits": "5"})

        async def story(room: Room) -> None:
            room.enter(conn_id, ["1", "2", "3"] * 20)
            room.enter("not_there", ["4"])
            await room.all_end()

        room = waiting_room(story)
        assert room.outcomes == {("unreadable", "ConfigError")}
        assert shops.looked_up.count(conn_id) == 1


class TestOneIsNotAll:
    """Trouble with one order or one connection leaves the others alone."""

    @pytest.mark.parametrize("fault", [{"action": "hang", "seconds": 60}, {"action": "delay", "seconds": 10}])
    @pytest.mark.parametrize("vendor", KINDS)
    def test_a_dead_or_slow_vendor_delays_nobody_elses_orders(self, shops: Shops, vendor: str, fault: dict[str, Any]) -> None:
        other = next(kind for kind in KINDS if kind != vendor)
        bad, good = shops.connect(vendor), shops.connect(other)
        shops.box.fault(vendor, **fault)
        late: list[float] = []

        async def story(room: Room) -> None:
            room.enter(bad, seed(shops, vendor, 200))
            await until(lambda: shops.box.book.count(vendor) >= 1)
            order_ids = [order_id + "0" for order_id in seed(shops, other, 20)]
            shops.box.control(
                [{"vendor": other, "order": {"id": int(i) if other == "iproyal" else i, "quantity": 1,
                  "status": "in-progress" if other == "iproyal" else "paid"}} for i in order_ids]
            )  # fmt: skip
            room.enter(good, order_ids, poll_interval=FASTEST)
            await until(lambda: shops.box.book.count(other) >= 3)
            finished = time.monotonic()
            finish(shops, other, order_ids)
            await until(lambda: len(room.events) == 20)
            late.extend(room.when[order_id] - finished for order_id in order_ids)

        waiting_room(story)
        assert max(late) < 5  # a rhythm of 0.1 s and a busy machine; one answer of the other vendor alone takes longer

    @pytest.mark.parametrize("fault", [{"status": 500}, {"action": "body", "body": "{}"}], ids=["500", "unreadable"])
    def test_an_order_that_cannot_be_read_does_not_hold_up_the_others(self, shops: Shops, fault: dict[str, Any]) -> None:
        conn_id, order_ids = shops.connect("proxyscrape"), seed(shops, "proxyscrape", 20)
        shops.box.control({"vendor": "proxyscrape", "order": {"id": "bad", "status": "paid"}})
        shop: Any = shops.box.state.vendors["proxyscrape"]
        route = shop.route

        def spoilt(ask: Any) -> Any:  # the vendor itself has trouble with one of its orders
            call = route(ask)
            return type(call)("spoilt", call.run) if "bad" in ask.parts else call

        shops.patch.setattr(shop, "route", spoilt)
        shops.box.fault("proxyscrape", "spoilt", **fault)

        async def story(room: Room) -> None:
            room.enter(conn_id, ["bad", *order_ids], poll_interval=0.3)
            await until(lambda: shops.box.book.count("proxyscrape", "get") >= 60)
            finish(shops, "proxyscrape", order_ids)
            await until(lambda: len(room.events) == 20)
            assert "bad" not in room.events
            shops.box.clear_faults()
            finish(shops, "proxyscrape", ["bad"])
            await room.all_end()

        assert waiting_room(story).outcomes == {("final", None)}
        assert shops.box.book.count("proxyscrape", "spoilt") < 12

    def test_a_word_nobody_knows_is_still_pending(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 3)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            finish(shops, "iproyal", order_ids, "parked-by-cosmic-rays")
            await asyncio.sleep(1.0)
            assert room.events == {}
            finish(shops, "iproyal", order_ids)
            await room.all_end()

        assert waiting_room(story).outcomes == {("final", None)}

    def test_a_bug_in_a_vendor_ends_the_wait_of_the_order_it_is_about(self, shops: Shops) -> None:
        from airflow_provider_proxyorders.vendors.iproyal import IPRoyal

        real_many, real_one = IPRoyal.get_many, IPRoyal.get

        def many(self: Any, order_ids: Any) -> Any:
            if bad in order_ids:
                raise ZeroDivisionError
            return real_many(self, order_ids)

        def one(self: Any, order_id: str) -> Any:
            if bad == order_id:
                raise ZeroDivisionError
            return real_one(self, order_id)

        conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 30)
        bad = order_ids[7]
        shops.patch.setattr(IPRoyal, "get_many", many)
        shops.patch.setattr(IPRoyal, "get", one)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            await until(lambda: bool(room.events))
            assert room.events.keys() == {bad} and room.outcomes == {("unreadable", "ZeroDivisionError")}
            finish(shops, "iproyal", order_ids)
            await room.all_end()

        room = waiting_room(story)
        assert {order_id for order_id, events in room.events.items() if events[0]["outcome"] == "final"} == {*order_ids} - {bad}

    def test_a_mistake_of_ours_stops_no_wait(self, shops: Shops) -> None:
        """Here it is made while trouble is dealt with: the order of that call is looked at again, and so are the others."""
        handle, mistakes = Poller._handle, [ZeroDivisionError()]

        async def mistaken(self: Poller, *failure: Any) -> None:
            if mistakes:
                raise mistakes.pop()
            await handle(self, *failure)

        conn_id, order_ids = shops.connect("proxyscrape"), seed(shops, "proxyscrape", 3)
        shops.patch.setattr(Poller, "_handle", mistaken)
        shops.box.fault("proxyscrape", "get", status=503, times=1)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            await until(lambda: not mistakes)
            finish(shops, "proxyscrape", order_ids)
            await room.all_end()

        room = waiting_room(story)
        assert room.outcomes == {("final", None)} and len(room.events) == 3

    def test_an_order_is_not_asked_about_again_whose_waiter_left_while_the_vendor_was_in_trouble(self, shops: Shops) -> None:
        async def story(room: Room) -> None:
            conn_id, (stays, leaves) = shops.connect("proxyscrape", extra={"timeout": 0.4}), seed(shops, "proxyscrape", 2)
            room.enter(conn_id, [stays], backstop=1000.0)
            await until(lambda: shops.box.book.count("proxyscrape") == 1)
            rule = shops.box.fault("proxyscrape", action="hang", seconds=60)
            (task,) = room.enter(conn_id, [leaves])
            await until(lambda: rule.hits == 1)
            task.cancel()
            await asyncio.sleep(3)  # the call times out, and the vendor is left alone for less than a second
            assert shops.box.book.count("proxyscrape") == 2

        waiting_room(story)

    def test_a_read_that_is_refused_once_is_made_again(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 5)
        rule = shops.box.fault("iproyal", "list", action="status", status=422, times=1)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            await until(lambda: rule.hits == 1 and shops.box.book.count("iproyal", "list") >= 2)  # by product from then on
            assert not room.events
            finish(shops, "iproyal", order_ids)
            await room.all_end()

        room = waiting_room(story)
        assert room.outcomes == {("final", None)} and len(room.events) == 5

    def test_reads_that_are_refused_again_and_again_end_the_wait(self, shops: Shops) -> None:
        conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 5)
        for asked in ("list", "get"):
            shops.box.fault("iproyal", asked, action="status", status=422)

        async def story(room: Room) -> None:
            room.enter(conn_id, order_ids)
            await room.all_end()

        assert waiting_room(story).outcomes == {("unreadable", "RequestRefused")}
        assert shops.box.book.count("iproyal", "get") >= 5 * LEAST_MISSES
