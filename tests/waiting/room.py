"""A waiting room: many triggers in one event loop, as in a triggerer, and their events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger
from tests.hooks.connections import Shops
from tests.vendors import ROWS

#: ``waiter`` in what runs for those who wait: a task's own code, or the poller's, which they start.
RUNS_FOR: ContextVar[str] = ContextVar("RUNS_FOR", default="")
#: Seconds between looks at a young order in these tests.
FASTEST = 0.1
PENDING = {name: row.pending for name, row in ROWS.items()}
USABLE = {name: row.usable for name, row in ROWS.items()}


def in_seconds(seconds: float) -> str:
    """A moment from now, as a trigger's kwargs hold it."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


class Room:
    """The waiting triggers and their events.

    :ivar events: payloads by order id, as they came; a list each, since several triggers may wait for one order.
    """

    def __init__(self) -> None:
        self.events: dict[str, list[Any]] = {}
        self.when: dict[str, float] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.triggers: list[ProxyOrderTrigger] = []

    def enter(self, conn_id: str, order_ids: Iterable[str], *, deadline: float = 60.0, **kwargs: Any) -> list[asyncio.Task[None]]:
        """Begin to wait for some orders; the deadline is given in seconds from now."""
        before = len(self.tasks)
        for order_id in order_ids:
            trigger = ProxyOrderTrigger(conn_id=conn_id, order_id=order_id, deadline=in_seconds(deadline), **kwargs)
            self.triggers.append(trigger)
            self.tasks.append(asyncio.get_running_loop().create_task(self._run(trigger)))
        return self.tasks[before:]

    async def _run(self, trigger: ProxyOrderTrigger) -> None:
        RUNS_FOR.set("waiter")
        events: Any = trigger.run()
        try:
            async for event in events:
                self.events.setdefault(trigger.order_id, []).append(event.payload)
                self.when[trigger.order_id] = time.monotonic()
        finally:
            await events.aclose()

    async def all_end(self, within: float = 20.0) -> None:
        """Wait until all waits are over."""
        _, waiting = await asyncio.wait(self.tasks, timeout=within)
        assert not waiting, f"{len(waiting)} still wait"
        for task in self.tasks:
            task.result()

    @property
    def outcomes(self) -> set[tuple[str, str | None]]:
        """All different ends: outcome and reason."""
        return {(event["outcome"], event["reason"]) for events in self.events.values() for event in events}

    async def empty(self) -> None:
        """End the remaining waits."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def waiting_room(story: Callable[[Room], Coroutine[Any, Any, None]], debug: bool = False) -> Room:
    """Let a story happen in an event loop of its own; at its end all waits and tasks are over."""
    room = Room()

    async def main() -> None:
        try:
            await story(room)
        finally:
            await room.empty()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main(), debug=debug)
    return room


async def until(true: Callable[[], bool], within: float = 15.0) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


async def watched(count: Callable[[], int], least: int = 0, window: float = 1.5) -> tuple[int, float]:
    """Wait for a window, and until so much was counted; returns the count by now, and the seconds that it took."""
    began = time.monotonic()
    await asyncio.sleep(window)
    await until(lambda: count() >= least)
    return count(), time.monotonic() - began


def seed(shops: Shops, vendor: str, many: int, status: str = "") -> list[str]:
    """Put earlier orders there; returns their ids."""
    ids = [str(700000 + number) for number in range(many)]
    status = status or PENDING[vendor]
    orders = [{"id": order_id, "quantity": 1, "status": status} for order_id in ids]
    shops.box.control([{"vendor": vendor, "order": order} for order in orders])
    return ids


def finish(shops: Shops, vendor: str, order_ids: Iterable[str], status: str = "") -> None:
    """Let orders become usable."""
    status = status or USABLE[vendor]
    shops.box.control([{"vendor": vendor, "set_status": {"order_id": order_id, "status": status}} for order_id in order_ids])
