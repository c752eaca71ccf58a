"""One contender of ``waiting.py`` in a process of its own: so many orders wait, are measured, get usable, and are told.

Every contender asks every five seconds. Ours and the peers are their own triggers, as a triggerer runs them; the limits are what
one would write by hand for this vendor alone. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import measuring
import psutil

EVERY = 5.0
#: Seconds after which everybody has been asked about once, and for how long they are measured then.
SETTLE, WINDOW = 8.0, 12.0
PATIENCE = 60.0
DEADLINE = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
#: Ours asks young orders more often than anybody else here; these are old enough for a look every five seconds.
PLACED = (datetime.now(timezone.utc) - timedelta(minutes=5)).isoformat()
#: Orders come, and get usable, in so many parts spread over five seconds, so that it does not matter who asks when.
PARTS = 20


class Contender:
    """Waits for orders of one vendor of the sandbox; by default by running a trigger for each.

    :cvar counted: the counted operation, as the sandbox names it.
    """

    vendor: ClassVar[str]
    counted: ClassVar[str]
    parts: ClassVar[int] = PARTS

    def __init__(self, box: measuring.SandboxProcess, ids: Sequence[str]):
        self.box, self.ids = box, ids
        self.base, self.token = box.url(self.vendor), box.token(self.vendor)

    def place(self) -> None:
        """Put the orders there, pending."""
        self.box.control(*({"vendor": self.vendor, "order": self.order(order_id, "paid")} for order_id in self.ids))

    def finish(self, ids: Sequence[str]) -> None:
        """Make orders usable."""
        ends = ({"order_id": order_id, "status": "processed"} for order_id in ids)
        self.box.control(*({"vendor": self.vendor, "set_status": end} for end in ends))

    def order(self, order_id: str, status: str) -> dict[str, Any]:
        return {"id": order_id, "status": status}

    def trigger(self, order_id: str) -> Any:
        raise NotImplementedError

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The shared part of all waits."""
        yield

    async def wait(self, order_id: str) -> bool:
        """Wait for one order; False when the contender gave up on it."""
        events = self.trigger(order_id).run()
        try:
            async for event in events:
                return self.good(event.payload)
        finally:
            await events.aclose()
        return False

    def good(self, payload: Any) -> bool:
        return True


class OursSingle(Contender):
    vendor, counted = "proxyscrape", "get"

    def trigger(self, order_id: str) -> Any:
        from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

        os.environ.setdefault("AIRFLOW_CONN_SHOP", self.box.connection(self.vendor))
        return ProxyOrderTrigger(conn_id="shop", order_id=order_id, deadline=DEADLINE, placed_at=PLACED, poll_interval=EVERY)

    def good(self, payload: Any) -> bool:
        return bool(payload["outcome"] == "final")


class IPRoyal(Contender):
    vendor, counted = "iproyal", "list"

    def place(self) -> None:
        rows = ({"id": int(order_id), "status": "in-progress", "quantity": 1} for order_id in self.ids)
        self.box.control(*({"vendor": self.vendor, "order": row} for row in rows))

    def finish(self, ids: Sequence[str]) -> None:
        ends = ({"order_id": order_id, "status": "confirmed"} for order_id in ids)
        self.box.control(*({"vendor": self.vendor, "set_status": end} for end in ends))


class OursList(IPRoyal, OursSingle):
    """The same trigger at a vendor that can be asked for many orders at once."""

    vendor, counted = "iproyal", "list"


class LimitSingle(Contender):
    """A task for each order, one client."""

    vendor, counted = "proxyscrape", "get"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=8)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"api-token": self.token}
        ) as self.client:
            yield

    async def wait(self, order_id: str) -> bool:
        while True:
            await asyncio.sleep(EVERY)
            async with self.client.get(f"{self.base}/v4/account/orders/{order_id}/status") as answer:
                if json.loads(await answer.read())["data"]["status"] == "processed":
                    return True


class LimitList(IPRoyal):
    """One loop with a hundred orders a call, and a future for each order."""

    vendor, counted = "iproyal", "list"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        import aiohttp

        self.pending: dict[str, asyncio.Future[bool]] = {}
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), headers={"X-Access-Token": self.token}
        ) as self.client:
            poller = asyncio.create_task(self.poll())
            yield
            poller.cancel()

    async def poll(self) -> None:
        while True:
            began, ids = time.monotonic(), list(self.pending)
            for start in range(0, len(ids), 100):
                params = [*(("order_ids[]", order_id) for order_id in ids[start : start + 100]), ("per_page", "100")]
                async with self.client.get(f"{self.base}/orders", params=params) as answer:
                    for row in json.loads(await answer.read())["data"]:
                        if row["status"] == "confirmed":
                            self.pending.pop(str(row["id"])).set_result(True)
            await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))

    async def wait(self, order_id: str) -> bool:
        self.pending[order_id] = asyncio.get_running_loop().create_future()
        return await self.pending[order_id]


class HttpSensor(Contender):
    """Takes a 404 for "not yet" and any other answer for the end, so its orders appear when they are usable."""

    vendor, counted = "proxyscrape", "get"

    def place(self) -> None:
        pass

    def finish(self, ids: Sequence[str]) -> None:
        self.box.control(*({"vendor": self.vendor, "order": self.order(order_id, "processed")} for order_id in ids))

    def trigger(self, order_id: str) -> Any:
        from airflow.providers.http.triggers.http import HttpSensorTrigger

        os.environ.setdefault("AIRFLOW_CONN_PLAIN", json.dumps({"conn_type": "http", "host": self.base}))
        return HttpSensorTrigger(
            endpoint=f"v4/account/orders/{order_id}/status",
            http_conn_id="plain",
            headers={"api-token": self.token},
            poke_interval=EVERY,
        )


class DbtCloud(Contender):
    """Its own vendor's answers, put there as the sandbox's answer to a path that it does not know, for all orders at once."""

    vendor, counted, parts = "proxyscrape", "unknown", 1

    def say(self, status: int) -> None:
        body = json.dumps({"data": {"id": 1, "status": status}})
        self.box.ask("faults", {"vendor": self.vendor, "operation": self.counted, "action": "body", "body": body})

    def place(self) -> None:
        self.say(3)  # running

    def finish(self, ids: Sequence[str]) -> None:
        for rule in self.box.ask("faults"):
            self.box.ask(f"faults/{rule['number']}/release", {})
        self.say(10)  # success

    def trigger(self, order_id: str) -> Any:
        from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook
        from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

        base, real = self.base, DbtCloudHook.get_request_url_params

        def plain(tenant: str, endpoint: str, include_related: Any = None, *, api_version: str = "v2") -> Any:
            return f"{base}/api/{api_version}/accounts/{endpoint}", real(tenant, endpoint, include_related)[1]

        if not hasattr(DbtCloudHook, "_bent"):  # the hook insists on https
            DbtCloudHook.get_request_url_params, DbtCloudHook._bent = staticmethod(plain), True
        os.environ.setdefault(
            "AIRFLOW_CONN_DBT", json.dumps({"conn_type": "dbt_cloud", "login": "1", "password": "token", "host": "dbt.example"})
        )
        return DbtCloudRunJobTrigger(
            conn_id="dbt", run_id=int(order_id), end_time=time.time() + 3600, poll_interval=EVERY, account_id=1
        )

    def good(self, payload: Any) -> bool:
        return bool(payload["status"] == "success")


CONTENDERS: dict[str, type[Contender]] = {
    "ours, list": OursList,
    "ours, single reads": OursSingle,
    "limit, 100 ids a call": LimitList,
    "limit, single reads": LimitSingle,
    "HttpSensor, deferrable": HttpSensor,
    "dbt-cloud": DbtCloud,
}


async def measure(contender: Contender) -> dict[str, float]:
    """The figures of one contender, by name."""
    box, ids, me = contender.box, contender.ids, psutil.Process()
    ends: dict[str, float] = {}
    failed = 0

    async def one(order_id: str) -> None:
        nonlocal failed
        try:
            good = await contender.wait(order_id)
        except Exception:
            good = False
        failed += not good
        if good:
            ends[order_id] = time.monotonic()

    def seen() -> tuple[int, int]:
        book = box.ask("book")
        return int(book["counts"].get(contender.vendor, {}).get(contender.counted, 0)), int(book["connections"])

    async with contender.open():
        warm = asyncio.create_task(one("0"))  # imports and the first connection are not a waiter's memory
        await asyncio.sleep(3.0)
        gc.collect()
        empty = me.memory_info().rss
        tasks = []
        for part in range(PARTS):
            tasks += [asyncio.create_task(one(order_id)) for order_id in ids[part::PARTS]]
            await asyncio.sleep(EVERY / PARTS)
        await asyncio.sleep(SETTLE)
        asked, connected = await asyncio.to_thread(seen)
        cpu, began = time.process_time(), time.monotonic()
        await asyncio.sleep(WINDOW)
        used, passed = time.process_time() - cpu, time.monotonic() - began
        asked_after, connected_after = await asyncio.to_thread(seen)
        gc.collect()
        memory = me.memory_info().rss - empty
        usable: dict[str, float] = {}
        shuffled = random.Random(5).sample(ids, len(ids))  # or who was asked first would get usable first
        for part in range(contender.parts):
            some = shuffled[part :: contender.parts]
            usable |= dict.fromkeys(some, time.monotonic())
            await asyncio.to_thread(contender.finish, some)
            await asyncio.sleep(EVERY / PARTS)
        await asyncio.wait(tasks, timeout=PATIENCE)
        late = sorted(max(0.0, moment - usable[order_id]) for order_id, moment in ends.items() if order_id in usable)
        for task in (*tasks, warm):
            task.cancel()
        await asyncio.gather(*tasks, warm, return_exceptions=True)
    requests = asked_after - asked
    return {
        "cpu": used / passed,
        "cpu_per_request": used / requests if requests else 0.0,
        "asked_per_minute": requests / len(ids) * 60 / passed,
        "connected": connected_after - connected - 1,  # one of them is the question about it
        "connected_in_all": connected_after - 3,
        "memory": memory / len(ids),
        "median": statistics.median(late) if late else float("inf"),
        "late": late[int(len(late) * 0.99) - 1] if late else float("inf"),
        "lost": len(ids) - len(late),
    }


def main() -> None:
    name, many = sys.argv[1], int(sys.argv[2])
    measuring.private_airflow()
    with measuring.sandbox() as box:
        contender = CONTENDERS[name](box, [str(100000 + number) for number in range(many)])
        if name not in ("limit, 100 ids a call", "limit, single reads"):
            contender.trigger("0")  # says right away when it is not installed
        contender.place()
        print(json.dumps(asyncio.run(measure(contender))))


if __name__ == "__main__":
    try:
        main()
    except ImportError as missing:
        print(json.dumps({"missing": str(missing)}))
