"""Watching a wallet in the triggerer: one reading for all watchers, quiet for a vendor in trouble, one event for a crossing."""

from __future__ import annotations

import asyncio
import json
import math
import runpy
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.ledger.alarms import Alarms
from airflow_provider_proxyorders.triggers import subscription
from airflow_provider_proxyorders.triggers import wallet as wallets
from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger
from airflow_provider_proxyorders.triggers.wallet import WalletBalanceTrigger, WalletLevelTrigger
from tests.hooks.connections import VENDORS, Shops
from tests.tasks.tasks import revived

from .room import FASTEST, in_seconds, seed, until, watched

EVERY = 0.1


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "EARLIEST", 0.05)
    monkeypatch.setattr(wallets, "STORED_AFTER", 0.2)
    monkeypatch.setattr(wallets, "KEY_LOOKED_UP", 0.1)


def holds(shops: Shops, amount: str, vendor: str = "iproyal") -> None:
    shops.box.control({"vendor": vendor, "wallet": {"balance": amount}})


def asked(shops: Shops, vendor: str = "iproyal") -> int:
    return shops.box.book.count(vendor, "balance")


class Watches:
    """Triggers in one loop, and their events.

    :ivar said: the payloads, in turn.
    """

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, trigger: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._run(revived(trigger)))
        self.tasks.append(task)
        return task

    async def _run(self, trigger: Any) -> None:
        async with aclosing(trigger.run()) as events:
            async for event in events:
                assert json.loads(json.dumps(event.payload)) == event.payload
                self.said.append(event.payload)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for ended in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        self.tasks.clear()


def let(story: Callable[[Watches], Coroutine[Any, Any, None]]) -> Watches:
    """Let a story happen in a loop of its own; in the end nothing runs on."""
    watches = Watches()

    async def main() -> None:
        try:
            await story(watches)
        finally:
            await watches.end()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    return watches


def level(shops: Shops, vendor: str = "iproyal", deadline: float = 30.0, **options: Any) -> WalletLevelTrigger:
    conn_id = shops.connect(vendor, **options.pop("connection", {}))
    settings = {"at_least": "50", "poll_interval": EVERY, "deadline": in_seconds(deadline), **options}
    return WalletLevelTrigger(conn_id=conn_id, **settings)


def crossing(shops: Shops, vendor: str = "iproyal", **options: Any) -> WalletBalanceTrigger:
    conn_id = shops.connect(vendor, **options.pop("connection", {}))
    return WalletBalanceTrigger(conn_id=conn_id, **{"low_balance": "50", "poll_interval": EVERY, **options})


class TestLevel:
    @pytest.mark.parametrize("vendor", VENDORS)
    def test_it_fires_when_the_wallet_holds_enough(self, shops: Shops, vendor: str) -> None:
        holds(shops, "49.99", vendor)

        async def story(watches: Watches) -> None:
            task = watches.begin(level(shops, vendor))
            await until(lambda: asked(shops, vendor) >= 3)
            assert watches.said == []
            holds(shops, "50", vendor)
            await asyncio.wait_for(task, 10)

        (event,) = let(story).said
        assert (event["outcome"], event["reason"]) == ("reached", None)

    def test_the_deadline(self, shops: Shops) -> None:
        holds(shops, "1")

        async def story(watches: Watches) -> None:
            await asyncio.wait_for(watches.begin(level(shops, deadline=0.5)), 5)

        assert let(story).said[0]["outcome"] == "deadline"

    @pytest.mark.parametrize(
        ("permission", "connection", "reason"),
        [("write", {"password": "wrong-key"}, "AuthenticationFailed"), ("none", {}, "OrderingNotPermitted")],
    )
    def test_a_refused_key_ends_it_at_once(self, shops: Shops, permission: str, connection: dict[str, str], reason: str) -> None:
        shops.box.control({"vendor": "iproyal", "permission": permission})

        async def story(watches: Watches) -> None:
            await asyncio.wait_for(watches.begin(level(shops, connection=connection)), 5)

        (event,) = let(story).said
        assert (event["outcome"], event["reason"], asked(shops)) == ("unreadable", reason, 1)

    def test_another_currency_is_never_enough(self, shops: Shops) -> None:
        holds(shops, "50", "proxyscrape")

        async def story(watches: Watches) -> None:
            trigger = level(shops, "proxyscrape", connection={"extra": {"currency": "EUR"}})
            await asyncio.wait_for(watches.begin(trigger), 10)

        (event,) = let(story).said
        assert (event["outcome"], event["reason"]) == ("unreadable", "ConfigError")

    def test_a_connection_that_is_not_there(self, shops: Shops) -> None:
        trigger = WalletLevelTrigger(conn_id="nobody", at_least="5", deadline=in_seconds(20))

        async def story(watches: Watches) -> None:
            await asyncio.wait_for(watches.begin(trigger), 5)

        assert (let(story).said[0]["outcome"], shops.box.book.count("iproyal")) == ("unreadable", 0)

    def test_fifty_who_wait_are_one_reader(self, shops: Shops) -> None:
        holds(shops, "1")

        async def story(watches: Watches) -> None:
            for _ in range(50):
                watches.begin(level(shops))
            reads, seconds = await watched(lambda: asked(shops), 5, window=2.0)
            assert reads <= seconds / (0.8 * EVERY) + 2

        let(story)
        assert shops.looked_up == ["iproyal_default"]

    def test_retry_after_is_obeyed_by_all(self, shops: Shops) -> None:
        holds(shops, "1")
        shops.box.fault("iproyal", "balance", action="status", status=429, headers={"Retry-After": "2"}, times=1)

        async def story(watches: Watches) -> None:
            began = time.monotonic()
            for _ in range(10):
                watches.begin(level(shops))
            await until(lambda: asked(shops) >= 2)
            assert time.monotonic() - began >= 2.0
            await until(lambda: asked(shops) >= 3)
            assert watches.said == []

        let(story)

    def test_a_vendor_in_trouble_is_asked_less_and_less(self, shops: Shops) -> None:
        shops.box.fault("iproyal", "balance", action="status", status=503)

        async def story(watches: Watches) -> None:
            for _ in range(10):
                watches.begin(level(shops))
            reads, seconds = await watched(lambda: asked(shops), 2, window=2.0)
            assert reads <= 2 + math.log2(seconds / (0.5 * EVERY))
            assert watches.said == []

        let(story)

    @pytest.mark.parametrize("fault", [{"action": "status", "status": 500}, {"action": "body", "body": "<html>"}])
    def test_orders_that_are_read_well_do_not_have_a_failing_balance_asked_for_more(
        self, shops: Shops, fault: dict[str, Any]
    ) -> None:
        """Nor does the balance hold up the orders: what it takes from them gets less and less."""
        (order_id,) = seed(shops, "iproyal", 1)
        shops.box.fault("iproyal", "balance", **fault)

        def looks() -> int:
            return shops.box.book.count("iproyal", "get") + shops.box.book.count("iproyal", "list")

        async def story(watches: Watches) -> None:
            for _ in range(10):
                watches.begin(level(shops))
            watches.begin(
                ProxyOrderTrigger(conn_id="iproyal_default", order_id=order_id, deadline=in_seconds(60), poll_interval=EVERY)
            )
            reads, seconds = await watched(lambda: asked(shops), 2, window=4.0)
            assert reads <= 2 + math.log2(seconds / (0.5 * FASTEST))
            before = looks()
            await until(lambda: looks() >= before + 10)
            assert watches.said == []

        let(story)

    def test_a_reading_that_goes_well_ends_the_trouble(self, shops: Shops) -> None:
        rule = shops.box.fault("iproyal", "balance", action="status", status=503)
        holds(shops, "1")

        async def story(watches: Watches) -> None:
            watches.begin(level(shops))
            await until(lambda: asked(shops) >= 4)
            rule.release()
            await until(lambda: asked(shops) >= 6)
            shops.box.fault("iproyal", "balance", action="status", status=503, times=1)
            await until(lambda: asked(shops) >= 7)
            began, before = time.monotonic(), asked(shops)
            await until(lambda: asked(shops) >= before + 2)
            assert time.monotonic() - began < 0.5 * FASTEST * 2**5, "one more failure on top of the four would take longer"

        let(story)

    @pytest.mark.parametrize(
        ("permission", "connection", "reason"),
        [("write", {"password": "wrong-key"}, "AuthenticationFailed"), ("none", {}, "OrderingNotPermitted")],
    )
    def test_a_refused_key_is_shown_once_for_fifty_who_wait(
        self, shops: Shops, permission: str, connection: dict[str, str], reason: str
    ) -> None:
        shops.box.control({"vendor": "iproyal", "permission": permission})

        async def story(watches: Watches) -> None:
            waiting = [watches.begin(level(shops, connection=connection)) for _ in range(50)]
            await asyncio.wait_for(asyncio.gather(*waiting), 10)

        assert {(event["outcome"], event["reason"]) for event in let(story).said} == {("unreadable", reason)}
        assert asked(shops) == 1
        assert shops.looked_up == ["iproyal_default"] * 2, "once more, for the key may have been changed"

    def test_a_connection_that_is_not_there_is_looked_up_once_for_fifty_who_wait(self, shops: Shops) -> None:
        async def story(watches: Watches) -> None:
            trigger = WalletLevelTrigger(conn_id="nobody", at_least="5", deadline=in_seconds(20))
            await asyncio.wait_for(asyncio.gather(*[watches.begin(trigger) for _ in range(50)]), 10)

        assert {(event["outcome"], event["reason"]) for event in let(story).said} == {("unreadable", "ConfigError")}
        assert shops.looked_up == ["nobody"]

    def test_who_comes_after_a_refusal_asks_anew(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "permission": "none"})
        holds(shops, "60")

        async def story(watches: Watches) -> None:
            watches.begin(crossing(shops))  # stays, and with it the connection's poller
            await until(lambda: asked(shops) == 1)
            await asyncio.sleep(0.2)
            shops.box.control({"vendor": "iproyal", "permission": "write"})
            await asyncio.wait_for(watches.begin(level(shops)), 5)

        assert [event["outcome"] for event in let(story).said] == ["reached"]

    def test_what_is_stored_comes_back_and_is_no_secret(self, shops: Shops) -> None:
        for trigger in (level(shops), crossing(shops, recovered_at="80", on=["low", "ok"], name="n")):
            again: Any = revived(trigger)
            assert again.serialize() == trigger.serialize()
            assert shops.box.token("iproyal") not in json.dumps(trigger.serialize()[1])


class TestCrossing:
    def test_one_event_for_a_crossing(self, shops: Shops) -> None:
        async def story(watches: Watches) -> None:
            watches.begin(crossing(shops))
            await until(lambda: asked(shops) >= 2)
            holds(shops, "49.99")
            await until(lambda: len(watches.said) == 1)
            reads = asked(shops)
            await until(lambda: asked(shops) >= reads + 5)
            holds(shops, "1000")  # recovered; this one tells of low only
            reads = asked(shops)
            await until(lambda: asked(shops) >= reads + 3)
            holds(shops, "0")
            await until(lambda: len(watches.said) == 2)

        first, second = let(story).said
        since, balance = first.pop("since"), first.pop("balance")
        assert (balance, since[:2]) == ("49.99", "20")
        assert first == {
            "key": "iproyal:iproyal_default/event: low below 50, recovered from 55#1",
            "state": "low",
            "conn_id": "iproyal_default",
            "wallet": "iproyal:iproyal_default",
            "currency": "USD",
            "low_balance": "50",
            "recovered_at": "55",
            "crossing": 1,
        }
        assert (second["crossing"], second["balance"]) == (3, "0")
        assert shops.bought("iproyal") == []

    def test_another_level_under_the_same_name_is_the_same_crossing(self, shops: Shops, project: Path) -> None:
        """Otherwise a raised level in dags/event_driven_refill.py, while the wallet is low, would buy once more."""
        holds(shops, "10")
        (watcher,) = runpy.run_path(str(project / "dags" / "event_driven_refill.py"))["low"].watchers
        name = watcher.trigger.name

        async def story(watches: Watches) -> None:
            watches.begin(crossing(shops, recovered_at="60", name=name))
            await until(lambda: len(watches.said) == 1)
            watches.begin(crossing(shops, low_balance="55", recovered_at="60", name=name))
            reads = asked(shops)
            await until(lambda: asked(shops) >= reads + 10)

        assert len(let(story).said) == 1

    def test_recovery_where_it_is_asked_for(self, shops: Shops) -> None:
        holds(shops, "10")

        async def story(watches: Watches) -> None:
            watches.begin(crossing(shops, on=["low", "ok"]))
            await until(lambda: len(watches.said) == 1)
            holds(shops, "60")
            await until(lambda: len(watches.said) == 2)

        assert [event["state"] for event in let(story).said] == ["low", "ok"]

    def test_two_triggerers_tell_once(self, shops: Shops) -> None:
        """Each with a poller of its own, as in two processes; the ledger decides."""
        holds(shops, "10")
        shops.connect("iproyal", "other", extra={"wallet": "iproyal_default"})
        other = WalletBalanceTrigger(conn_id="other", low_balance="50.00", poll_interval=EVERY)

        async def story(watches: Watches) -> None:
            watches.begin(crossing(shops))
            watches.begin(other)
            await until(lambda: asked(shops) >= 10)

        assert len(let(story).said) == 1

    def test_an_event_of_a_triggerer_that_died_is_told_again_under_the_same_key(
        self, shops: Shops, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        holds(shops, "10")
        clock = [time.time()]
        real = Alarms.observe

        def observe(self: Alarms, *args: Any, **options: Any) -> Any:
            from datetime import datetime, timezone

            self.clock = lambda: datetime.fromtimestamp(clock[0], timezone.utc)
            return real(self, *args, **options)

        monkeypatch.setattr(Alarms, "observe", observe)

        async def first(watches: Watches) -> None:
            monkeypatch.setattr(wallets, "STORED_AFTER", 30)  # it dies before it can know that its event was stored
            watches.begin(crossing(shops))
            await until(lambda: len(watches.said) == 1)

        async def second(watches: Watches) -> None:
            monkeypatch.setattr(wallets, "STORED_AFTER", 0.1)
            watches.begin(crossing(shops))
            reads = asked(shops)
            await until(lambda: asked(shops) >= reads + 3)
            assert watches.said == [], "the one before may still be at it"
            clock[0] += 121
            await until(lambda: len(watches.said) == 1)
            clock[0] += 1000
            reads = asked(shops)
            await until(lambda: asked(shops) >= reads + 5)

        (event,), (again,) = let(first).said, let(second).said
        assert event["key"] == again["key"] and event["since"] == again["since"]

    def test_a_refused_key_is_not_shown_again_until_it_is_another(self, shops: Shops) -> None:
        holds(shops, "10")

        async def story(watches: Watches) -> None:
            watches.begin(crossing(shops, connection={"password": "wrong-key"}))
            await until(lambda: asked(shops) == 1)
            await asyncio.sleep(1.0)
            assert asked(shops) == 1
            shops.connect("iproyal")
            await until(lambda: len(watches.said) == 1)

        assert let(story).said[0]["balance"] == "10"

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refusal_that_passes_does_not_silence_it_for_good(
        self, shops: Shops, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        """A firewall's, say: the connection holds the same key as ever, and the vendor takes it again."""
        monkeypatch.setattr(wallets, "KEY_REFUSED", 1.0)
        holds(shops, "10")
        shops.box.fault("iproyal", "balance", action="status", status=status, times=1)

        async def story(watches: Watches) -> None:
            began = time.monotonic()
            watches.begin(crossing(shops))
            await until(lambda: len(watches.said) == 1)
            assert time.monotonic() - began >= 1.0
            assert asked(shops) == 2

        assert let(story).said[0]["balance"] == "10"

    def test_a_ledger_that_is_away_only_delays_it(self, shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
        holds(shops, "10")
        there = "AIRFLOW__PROXYORDERS__LEDGER_URL"
        import os

        url = os.environ[there]
        monkeypatch.setenv(there, "sqlite:////no/such/folder/l.db")

        async def story(watches: Watches) -> None:
            task = watches.begin(crossing(shops))
            await until(lambda: asked(shops) >= 3)
            assert not task.done() and watches.said == []
            monkeypatch.setenv(there, url)
            await until(lambda: len(watches.said) == 1)

        let(story)

    def test_a_connection_that_is_not_there_yet(self, shops: Shops) -> None:
        holds(shops, "10")
        trigger = WalletBalanceTrigger(conn_id="iproyal_default", low_balance="50", poll_interval=EVERY)

        async def story(watches: Watches) -> None:
            task = watches.begin(trigger)
            await asyncio.sleep(0.5)
            assert not task.done()
            shops.connect("iproyal")
            await until(lambda: len(watches.said) == 1)

        let(story)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"low_balance": [5]}, "low_balance must be an amount"),
            ({"low_balance": "many"}, "low_balance must be an amount"),
            ({"low_balance": "5", "recovered_at": "4"}, "recovered_at 4 must not be below low_balance 5"),
            ({"low_balance": "5", "on": ["high"]}, "on must name low, ok or both"),
            ({"low_balance": "5", "poll_interval": 0}, "poll_interval must be.*above 0"),
        ],
    )
    def test_a_mistake_shows_when_the_dag_is_read(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            WalletBalanceTrigger(conn_id="c", **options)
