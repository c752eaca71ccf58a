"""Several DAGs, workers and processes keep the same order paid at the same time: the vendor's book shows one extension."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator, FindExpiringOrdersOperator
from airflow_provider_proxyorders.renewal.search import find_due
from tests.hooks.connections import Shops
from tests.tasks.tasks import Run, context

from .conftest import PLAN

VendorHas = Callable[..., str]
DAY = timedelta(days=1)
TASK = """
import json, sys
from airflow.sdk.exceptions import AirflowSkipException
from airflow_provider_proxyorders.renewal.search import find_due
from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator
from tests.tasks.tasks import context
task = ExtendProxyOrderOperator(task_id="t", conn_id="iproyal_default", order_id="7001", request={"product_plan_id": 22},
                                deferrable=False, poll_interval=0.1, paid_through=sys.argv[2])
try:
    print(json.dumps(task.execute(context(dag_id=sys.argv[1]))))
except AirflowSkipException as error:
    print(json.dumps({"skipped": str(error)}))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, shops: Shops) -> Iterator[str]:
    """The ledger of these tests, in each database it can live in."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        shops.patch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", url)
    yield request.param


def together(tasks: list[Callable[[], Any]]) -> list[Any]:
    """Run them at once; a task that is told to come back later does so, as Airflow's retry would."""

    def tried(task: Callable[[], Any]) -> Any:
        for _ in range(20):
            try:
                return task()
            except AirflowSkipException as skipped:
                return str(skipped)
            except ProxyOrdersError as error:
                if error.retry == "never":
                    return error
        raise AssertionError("twenty tries were not enough")

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(tried, tasks))


def extending(shops: Shops, number: int, **options: Any) -> Callable[[], Any]:
    conn_id = shops.connect("iproyal")
    arguments = {"order_id": "7001", "request": PLAN, "deferrable": False, "poll_interval": 0.1, **options}
    return lambda: ExtendProxyOrderOperator(task_id="t", conn_id=conn_id, **arguments).execute(context(dag_id=f"dag {number}"))


def test_many_dags_at_once(shops: Shops, vendor_has: VendorHas, now: datetime, database: str) -> None:
    vendor_has(7001, 2 * DAY)
    outcomes = together([extending(shops, number, paid_through=now + 9 * DAY) for number in range(6)])
    assert len(shops.bought("iproyal")) == 1
    assert sum(isinstance(each, dict) for each in outcomes) == 1, (
        outcomes
    )  # one task hands the purchase on, the others are skipped
    assert all("Nothing was bought" in each for each in outcomes if isinstance(each, str))


def test_with_keys_of_their_own(shops: Shops, vendor_has: VendorHas, now: datetime, database: str) -> None:
    """Different keys are different purchases; that the order is paid is seen all the same, right before one is sent."""
    vendor_has(7001, 2 * DAY)
    made = [extending(shops, number, order_key=f"mine {number}", paid_through=now + 9 * DAY) for number in range(5)]
    outcomes = together(made)
    assert len(shops.bought("iproyal")) == 1, outcomes
    assert sum(isinstance(each, dict) for each in outcomes) == 1


def test_mapped_over_the_same_list_by_two_dags(shops: Shops, vendor_has: VendorHas, now: datetime, database: str) -> None:
    for number in range(1, 5):
        vendor_has(number, number * timedelta(hours=5))
    conn_id = shops.connect("iproyal")
    lists = [
        FindExpiringOrdersOperator(task_id="find", conn_id=conn_id, within=3 * DAY).execute(context(dag_id=f"dag {number}"))
        for number in (1, 2)
    ]
    assert lists[0] == lists[1] and len(lists[0]) == 4
    tasks = [extending(shops, dag, **each) for dag, renewals in enumerate(lists) for each in renewals]
    outcomes = together(tasks)
    bought = [entry.order_id for entry in shops.bought("iproyal")]
    assert sorted(bought) == ["1", "2", "3", "4"], outcomes
    results = [each for each in outcomes if isinstance(each, dict)]
    assert sorted(each["order_id"] for each in results) == ["1", "2", "3", "4"]  # each is counted once


def test_lost_answers_on_the_way(shops: Shops, vendor_has: VendorHas, now: datetime, database: str) -> None:
    vendor_has(7001, 2 * DAY)
    shops.box.fault("iproyal", "extend", when="after", times=1, action="reset")
    together([extending(shops, number, paid_through=now + 9 * DAY) for number in range(4)])
    assert len(shops.bought("iproyal")) == 1


def test_replacing_at_once(shops: Shops, now: datetime, database: str) -> None:
    from tests.hooks.connections import REQUESTS

    hook = shops.hook("proxyscrape")
    old = hook.create_order(REQUESTS["proxyscrape"], order_key="old")
    hook.buyer().wait(old, deadline=now + timedelta(seconds=30), poll_interval=0.05)

    def replacing(number: int) -> Callable[[], Any]:
        arguments = {"order_id": str(old.order_id), "if_unsupported": "reorder", "deferrable": False, "poll_interval": 0.1}
        return lambda: ExtendProxyOrderOperator(task_id="t", conn_id="proxyscrape_default", **arguments).execute(  # type: ignore[arg-type]
            context(dag_id=f"dag {number}", run=Run(f"run {number}"))
        )

    outcomes = together([replacing(number) for number in range(4)])
    assert len(shops.bought("proxyscrape")) == 2, outcomes
    (result,) = [each for each in outcomes if isinstance(each, dict)]
    renewals = find_due(hook.buyer(), as_of=now, within=40 * DAY, term=30 * DAY)
    assert [each.order_id for each in renewals.due] == [result["order_id"]]
    assert [(left.order_id, left.reason) for left in renewals.left_out] == [(old.order_id, "replaced")]


def test_two_processes(shops: Shops, vendor_has: VendorHas, now: datetime) -> None:
    """Workers that share nothing but the ledger's file."""
    vendor_has(7001, 2 * DAY)
    shops.connect("iproyal")
    shops.box.fault("iproyal", "extend", action="delay", seconds=0.5)
    command = [sys.executable, "-c", TASK]
    started = [
        subprocess.Popen(
            [*command, dag, (now + 9 * DAY).isoformat()],
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for dag in ("one", "two")
    ]
    ended = [process.communicate(timeout=120) for process in started]
    said = [json.loads(out.strip().splitlines()[-1]) if out.strip() else {"error": errors[-500:]} for out, errors in ended]
    assert len(shops.bought("iproyal")) == 1, said
    assert sorted("skipped" in each for each in said) == [False, True], said
