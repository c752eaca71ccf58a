"""The main job under a real scheduler, triggerer and API server, believed only where the sandbox's book agrees."""

from __future__ import annotations

import contextlib
import json
import re
import time
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow, RestError
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors import vendor_class
from tests.vendors import PRICES

from .conftest import VENDORS, connection

pytestmark = pytest.mark.e2e

IPROYAL = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2}


def goods(box: Sandbox, vendor: str, order_id: str) -> list[str]:
    """The passwords or codes that an order yielded."""
    account = Account(vendor, "c", f"{vendor}:c", box.url(vendor), box.token(vendor))
    return list(Http(account).run(vendor_class(vendor)(account).delivery(order_id)).secrets())


def tries(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> int:
    return next(int(task["try_number"]) for task in airflow.tasks(dag_id, run_id) if task["task_id"] == task_id)


def all_logs(airflow: LocalAirflow, dag_id: str, run_id: str) -> str:
    """Everything the run's tasks logged, every try; a task that was skipped by another has no log."""
    texts = []
    for task in airflow.tasks(dag_id, run_id):
        for number in range(1, int(task["try_number"]) + 1):
            with contextlib.suppress(RestError):
                texts.append(airflow.task_log(dag_id, run_id, task["task_id"], number, task["map_index"]))
    return "\n".join(texts)


def wait_for_task(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str, state: str, timeout: float = 180) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if any(task["task_id"] == task_id and task["state"] == state for task in airflow.tasks(dag_id, run_id)):
            return
        time.sleep(0.2)
    raise AssertionError(f"{task_id} did not become {state}: {airflow.tasks(dag_id, run_id)}")


@pytest.mark.parametrize("dag_id", ["order_and_use", "order_and_use_in_worker"])
def test_every_vendor_buys_waits_and_uses(airflow: LocalAirflow, box: Sandbox, ledger: Ledger, dag_id: str) -> None:
    runs = {
        vendor: airflow.trigger(
            dag_id,
            {
                "conn_id": f"{vendor}_default",
                "target": box.whoami,
                "extend": {"product_plan_id": 22} if vendor == "iproyal" else None,
            },
        )
        for vendor in VENDORS
    }
    for vendor, run_id in runs.items():
        assert airflow.wait(dag_id, run_id, timeout=180) == "success", all_logs(airflow, dag_id, run_id)
        result = airflow.xcom(dag_id, run_id, "order")
        booked = box.book.orders(vendor)
        assert [entry.order_id for entry in booked] == [result["order_id"]]
        assert (result["vendor"], result["kind"], result["status"]) == (vendor, "create", "delivered")
        assert Decimal(result["price"]) == PRICES[vendor] == Decimal(booked[0].amount)
        used = airflow.xcom(dag_id, run_id, "use")
        assert used["count"] > 0
        assert used["fetched"] == (None if vendor == "voodoo" else 200)
        purchase = ledger.find(result["order_key"])
        assert purchase is not None and purchase.step is Step.DELIVERED and purchase.order_id == result["order_id"]
    extension = airflow.xcom(dag_id, runs["iproyal"], "extend")
    assert (extension["kind"], extension["status"], extension["price"]) == ("extend", "delivered", "6")
    assert [entry.kind for entry in box.book.charges("iproyal")] == ["create", "extend"]
    story = all_logs(airflow, dag_id, runs["iproyal"])
    assert "Intended at IPRoyal, quoted at 6.00 USD" in story and "Placed as order" in story


def test_a_triggerer_restarted_while_orders_wait_resumes_without_a_second_order(airflow: LocalAirflow, box: Sandbox) -> None:
    box.control([{"processing": 25.0, "vendor": vendor} for vendor in VENDORS])
    runs = {vendor: airflow.trigger("order_and_use", {"conn_id": f"{vendor}_default"}) for vendor in VENDORS}
    for run_id in runs.values():
        wait_for_task(airflow, "order_and_use", run_id, "order", "deferred")
    airflow.kill("triggerer")
    airflow.start("triggerer")
    for vendor, run_id in runs.items():
        assert airflow.wait("order_and_use", run_id, timeout=180) == "success", all_logs(airflow, "order_and_use", run_id)
        assert [entry.order_id for entry in box.book.orders(vendor)] == [
            airflow.xcom("order_and_use", run_id, "order")["order_id"]
        ]


def test_clear_returns_the_same_order(airflow: LocalAirflow, box: Sandbox) -> None:
    run_id = airflow.trigger("buying", {"request": IPROYAL})
    assert airflow.wait("buying", run_id) == "success", all_logs(airflow, "buying", run_id)
    before = airflow.xcom("buying", run_id, "buy")
    airflow.api.clear("buying", run_id, "buy")
    assert airflow.wait("buying", run_id) == "success", all_logs(airflow, "buying", run_id)
    assert airflow.xcom("buying", run_id, "buy")["order_id"] == before["order_id"]
    assert len(box.book.charges("iproyal")) == 1


def test_extending_twice_in_a_row_extends_once(airflow: LocalAirflow, box: Sandbox) -> None:
    run_id = airflow.trigger("buying", {"request": IPROYAL})
    assert airflow.wait("buying", run_id) == "success", all_logs(airflow, "buying", run_id)
    conf = {"order_id": airflow.xcom("buying", run_id, "buy")["order_id"], "request": {"product_plan_id": 23}}
    first = airflow.trigger("extending", conf)
    assert airflow.wait("extending", first) == "success", all_logs(airflow, "extending", first)
    airflow.api.clear("extending", first, "extend")  # after the extension landed: the expiry is another now, the key is not
    assert airflow.wait("extending", first) == "success"
    second = airflow.trigger("extending", conf)  # the order now runs for longer than only_within
    assert airflow.wait("extending", second) == "success"
    assert [task["state"] for task in airflow.tasks("extending", second)] == ["skipped"]
    assert re.search(r"order \d+ runs until .* UTC, beyond .* UTC\. Nothing was bought", all_logs(airflow, "extending", second))
    assert [entry.kind for entry in box.book.charges("iproyal")] == ["create", "extend"]


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"request": {**IPROYAL, "quantity": 0}}, "request field 'quantity'"),
        ({"request": "not json"}, "must be an object of the vendor's body fields"),
        ({"conn_id": "no_caps", "request": IPROYAL}, "max_order_price"),
        ({"conn_id": "bad_limit", "request": IPROYAL}, "did you mean 'daily_limit'?"),
        ({"conn_id": "wrong_key", "request": IPROYAL}, "does not accept the key"),
    ],
)
def test_a_users_mistake_is_one_clear_error_without_retry_and_without_money(
    airflow: LocalAirflow, box: Sandbox, conf: dict[str, Any], says: str
) -> None:
    bad = {
        "no_caps": {**connection(box, "iproyal"), "extra": {}},
        "bad_limit": connection(box, "iproyal", daily_limits="5.00"),
        "wrong_key": {**connection(box, "iproyal"), "password": "not-the-token"},
    }
    name = conf.get("conn_id")
    if name:
        airflow.api.add_connection(name, bad[name])
    run_id = airflow.trigger("buying", conf)
    assert airflow.wait("buying", run_id) == "failed"
    assert tries(airflow, "buying", run_id, "buy") == 1
    log = all_logs(airflow, "buying", run_id)
    assert says in log and "Nothing was" in log
    assert "not-the-token" not in log
    assert box.book.charges() == []


def test_a_sensor_waits_in_every_mode_for_an_order_that_was_bought_elsewhere(airflow: LocalAirflow, box: Sandbox) -> None:
    box.control([{"vendor": "iproyal", "order": {"id": 8001, "status": "in-progress", "quantity": 1}}])
    run_id = airflow.trigger("watching", {"order_id": "8001"})
    wait_for_task(airflow, "watching", run_id, "deferred", "deferred")
    wait_for_task(airflow, "watching", run_id, "rescheduled", "up_for_reschedule")
    box.control([{"vendor": "iproyal", "set_status": {"order_id": "8001", "status": "confirmed"}}])
    assert airflow.wait("watching", run_id, timeout=180) == "success", all_logs(airflow, "watching", run_id)
    for task_id in ("deferred", "poked", "rescheduled"):
        result = airflow.xcom("watching", run_id, task_id)
        assert (result["order_id"], result["order_key"], result["status"]) == ("8001", None, "delivered")
    assert box.book.charges() == []


def test_a_sensor_fails_or_skips_when_the_order_ends_badly(airflow: LocalAirflow, box: Sandbox) -> None:
    box.control([{"vendor": "iproyal", "order": {"id": 8002, "status": "refunded", "quantity": 1}}])
    run_id = airflow.trigger("watching", {"order_id": "8002"})
    assert airflow.wait("watching", run_id) == "failed"
    states = {task["task_id"]: (task["state"], task["try_number"]) for task in airflow.tasks("watching", run_id)}
    assert states["soft"][0] == "skipped"
    assert [states[task_id] for task_id in ("deferred", "poked", "rescheduled")] == [("failed", 1)] * 3
    assert "ended as 'refunded' at IPRoyal" in all_logs(airflow, "watching", run_id)


def test_what_was_bought_is_in_no_log_and_in_no_xcom(airflow: LocalAirflow, box: Sandbox) -> None:
    runs = {vendor: airflow.trigger("order_and_use", {"conn_id": f"{vendor}_default"}) for vendor in VENDORS}
    for vendor, run_id in runs.items():
        assert airflow.wait("order_and_use", run_id, timeout=180) == "success"
        shown = all_logs(airflow, "order_and_use", run_id)
        shown += json.dumps([airflow.xcom("order_and_use", run_id, task_id) for task_id in ("choose", "order", "use")])
        assert box.token(vendor) not in shown
        secrets = goods(box, vendor, airflow.xcom("order_and_use", run_id, "order")["order_id"])
        assert secrets and not [secret for secret in secrets if secret in shown]
