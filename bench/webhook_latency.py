"""How long it takes from a webhook to the event of the trigger that waits for its order, while a thousand orders wait.

The triggers of all orders run in this process, as in a triggerer; the vendor and the receiver are processes of their own. An
order ends at the vendor, its delivery is sent, and the clock runs from that moment until the trigger has read the order and has
fired. Without the webhook the next look would come after five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import measuring
import webhooks
from measuring import SandboxProcess, Series, Verdicts

#: Seconds until everybody waits, has been looked at once, and listens.
SETTLE = 12.0
DEADLINE = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
PLACED = (datetime.now(timezone.utc) - timedelta(minutes=30)).isoformat()


def body_of(order_id: str) -> bytes:
    return json.dumps({"order_id": order_id, "status": "completed"}, sort_keys=True, separators=(",", ":")).encode()


async def wait(order_id: str, arrived: dict[str, float]) -> None:
    from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

    trigger = ProxyOrderTrigger(conn_id="shop", order_id=order_id, deadline=DEADLINE, placed_at=PLACED, backstop=300.0)
    async for event in trigger.run():
        if event.payload["outcome"] == "final":
            arrived[order_id] = time.perf_counter()
        return


async def measure(
    box: SandboxProcess, receiver: webhooks.Server, waiting: int, deliveries: int, pace: float
) -> tuple[Series, int]:
    """Seconds from delivery to event, and how many were lost.

    :param pace: deliveries a second.
    """
    ids = [f"order-{number}" for number in range(waiting)]
    box.control(*({"vendor": "voodoo", "order": {"id": order_id, "status": "processing"}} for order_id in ids))
    arrived: dict[str, float] = {}
    tasks = [asyncio.create_task(wait(order_id, arrived)) for order_id in ids]
    await asyncio.sleep(SETTLE)
    sent: dict[str, float] = {}

    async def deliver(order_id: str) -> None:
        await asyncio.to_thread(box.control, {"vendor": "voodoo", "set_status": {"order_id": order_id, "status": "completed"}})
        sent[order_id] = time.perf_counter()
        await asyncio.to_thread(receiver.post, body_of(order_id))

    posts = []
    for order_id in random.Random(7).sample(ids, deliveries):
        posts.append(asyncio.create_task(deliver(order_id)))
        await asyncio.sleep(random.expovariate(pace))
    await asyncio.gather(*posts)
    await asyncio.sleep(3.0)
    taken = Series([[arrived[order_id] - at for order_id, at in sent.items() if order_id in arrived]])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return taken, deliveries - len(taken.samples)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--waiting", type=int, default=1000, help="how many orders wait (1000)")
    parser.add_argument("--deliveries", type=int, help="how many of them end (300; with --full all)")
    parser.add_argument("--pace", type=float, default=20.0, help="deliveries a second (20)")


def main() -> int:
    options = measuring.options(__doc__ or "", add)
    deliveries = options.deliveries or (options.waiting if options.full else min(300, options.waiting))
    measuring.private_airflow()
    print(f"{measuring.machine()}; {options.waiting} waiting, {deliveries} deliveries, {options.pace:g} a second\n", flush=True)
    verdicts, rows = Verdicts(), []
    with tempfile.TemporaryDirectory(prefix="proxyorders-bench-") as folder, measuring.postgres() as new:
        stores = {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}", **({"PostgreSQL": new()} if new else {})}
        for store, database in stores.items():
            with measuring.sandbox() as box:
                os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = database
                os.environ["AIRFLOW_CONN_SHOP"] = box.connection("voodoo", webhook_secret=webhooks.SECRET)
                with webhooks.server(webhooks.OURS, database) as receiver:
                    taken, lost = asyncio.run(measure(box, receiver, options.waiting, deliveries, options.pace))
            rows.append([store, f"{taken.median:.3f}", f"{taken.late:.3f}", f"{max(taken.samples):.3f}", lost])
            if store == "SQLite":
                verdicts.at_most("SQLite: delivery to event, 99 %", taken.late, 1.0, " s")
            else:
                verdicts.at_most("PostgreSQL: delivery to event, median", taken.median, 0.2, " s")
            verdicts.at_most(f"{store}: deliveries that woke nobody within seconds", lost, 0)
    print(measuring.table(["delivery to event", "median s", "99 % s", "longest s", "lost"], rows), flush=True)
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
