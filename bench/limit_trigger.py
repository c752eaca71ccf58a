"""The limit under a triggerer: a trigger that one would write by hand for one vendor and one connection.

All of them share one loop that asks for a hundred orders a call every five seconds, and each waits for a future. It looks the
connection up once, logs nothing, survives no fault, and knows no deadline.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

EVERY = 5.0
_pending: dict[str, asyncio.Future[None]] = {}
_poller: asyncio.Task[None] | None = None


class LimitTrigger(BaseTrigger):
    def __init__(self, order_id: str, conn_id: str):
        super().__init__()  # type: ignore[no-untyped-call]
        self.order_id, self.conn_id = order_id, conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "limit_trigger.LimitTrigger", {"order_id": self.order_id, "conn_id": self.conn_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        global _poller
        loop = asyncio.get_running_loop()
        _pending[self.order_id] = loop.create_future()
        if _poller is None:
            _poller = loop.create_task(poll(self.conn_id))
        await _pending[self.order_id]
        yield TriggerEvent({"order_id": self.order_id})  # type: ignore[no-untyped-call]


async def poll(conn_id: str) -> None:
    import aiohttp

    connection = await BaseHook.aget_connection(conn_id)
    headers = {"X-Access-Token": connection.password}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers=headers) as client:
        while True:
            began, ids = time.monotonic(), list(_pending)
            for start in range(0, len(ids), 100):
                params = [*(("order_ids[]", order_id) for order_id in ids[start : start + 100]), ("per_page", "100")]
                async with client.get(f"{connection.host}/orders", params=params) as answer:
                    for row in json.loads(await answer.read())["data"]:
                        if row["status"] == "confirmed":
                            _pending.pop(str(row["id"])).set_result(None)
            await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))
