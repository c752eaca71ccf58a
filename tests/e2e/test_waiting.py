"""Many tasks wait under the real triggerer, which is killed meanwhile: all end, and nothing is bought again.

A command of its own, since it takes minutes: ``PROXYORDERS_WAITING=1000`` waits for a thousand orders; without it nothing runs.
"""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow

MANY = int(os.environ.get("PROXYORDERS_WAITING", "60"))
BOUGHT = MANY // 10
#: What a worker needs for a task, at the most, on a busy machine.
SECONDS = 120 + 2.0 * (MANY + 2 * BOUGHT)
pytestmark = pytest.mark.skipif("PROXYORDERS_WAITING" not in os.environ, reason="takes minutes; set PROXYORDERS_WAITING=60")
IPROYAL = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2}


def states(airflow: LocalAirflow, run_id: str) -> Counter[str]:
    """How many tasks of the run are in which state."""
    path = f"/dags/waiting/dagRuns/{run_id}/taskInstances"
    tasks: Counter[str] = Counter()
    for offset in range(0, MANY + BOUGHT + 4, 100):
        page = airflow.api.call("GET", path, limit=100, offset=offset)["task_instances"]
        tasks.update(f"{task['task_id']} {task['state']}" for task in page if task["map_index"] >= 0)
    return tasks


def wait_until(airflow: LocalAirflow, run_id: str, wanted: dict[str, int], seconds: float) -> float:
    """Wait for so many tasks in such states; returns the seconds it took."""
    began = time.monotonic()
    while (tasks := states(airflow, run_id)) != wanted:
        assert time.monotonic() - began < seconds, tasks
        time.sleep(1.0)
    return time.monotonic() - began


@pytest.mark.timeout(int(4 * SECONDS))
def test_a_triggerer_killed_while_many_wait_loses_and_buys_nothing(airflow: LocalAirflow, box: Sandbox) -> None:
    box.control([{"vendor": "iproyal", "processing": 1e6}, {"vendor": "iproyal", "wallet": {"balance": "100000.00"}}])
    ids = [str(50000 + number) for number in range(MANY)]
    rows = ({"id": int(order_id), "status": "in-progress", "quantity": 1} for order_id in ids)
    box.control([{"vendor": "iproyal", "order": row} for row in rows])
    keys = [f"waiting-{time.time_ns()}-{number}" for number in range(BOUGHT)]
    run_id = airflow.trigger("waiting", {"keys": keys, "order_ids": ids, "request": IPROYAL})
    deferring = wait_until(airflow, run_id, {"wait deferred": MANY, "buy deferred": BOUGHT}, SECONDS)

    airflow.kill("triggerer")
    bought = [entry.order_id for entry in box.book.orders("iproyal")]
    half = MANY // 2
    ends = [{"order_id": order_id, "status": "confirmed"} for order_id in [*bought, *ids[:half]]]
    box.control([{"vendor": "iproyal", "set_status": end} for end in ends])  # while nobody looks
    airflow.start("triggerer")
    first = wait_until(airflow, run_id, {"wait success": half, "wait deferred": MANY - half, "buy success": BOUGHT}, SECONDS)

    before, began = box.book.count("iproyal", "list"), time.monotonic()
    time.sleep(10.0)
    asked = box.book.count("iproyal", "list") - before
    assert asked <= (half / 100 + 1) * ((time.monotonic() - began) / 4.5 + 1)  # a hundred a call, every five seconds

    box.control([{"vendor": "iproyal", "set_status": {"order_id": order_id, "status": "confirmed"}} for order_id in ids[half:]])
    second = wait_until(airflow, run_id, {"wait success": MANY, "buy success": BOUGHT}, SECONDS)
    assert airflow.wait("waiting", run_id) == "success"
    assert sorted(entry.order_id for entry in box.book.charges("iproyal")) == sorted(bought)
    assert len(set(bought)) == BOUGHT
    console = airflow.console("triggerer", 10**6)
    print(
        f"\n{MANY} + {BOUGHT} orders: all deferred after {deferring:.0f} s; {half} and {BOUGHT} resumed {first:.0f} s after the "
        f"triggerer was back, the rest {second:.0f} s after they were usable; {asked} requests in 10 s; "
        f"{console.count('was blocked for')} warnings of a blocked loop"
    )
