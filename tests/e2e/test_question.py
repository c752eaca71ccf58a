"""Under a real Airflow lost answers at Voodoo ask in Required Actions. Answered there, by the command, and on the page."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.waking import WAS_NOT_TAKEN, WAS_TAKEN
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from tests.vendors import ROWS

from .conftest import WITHOUT_WEBHOOKS

pytestmark = pytest.mark.e2e

PAGE = "/proxyorders/page/api/"


def path(run_id: str) -> str:
    return f"/dags/asking/dagRuns/{quote(run_id, safe='')}/taskInstances/buy"


def question(airflow: LocalAirflow, run_id: str) -> Any:
    return airflow.api.call("GET", f"{path(run_id)}/-1/hitlDetails")


def wait_for_the_question(airflow: LocalAirflow, run_id: str) -> None:
    deadline = time.monotonic() + 90
    while (task := airflow.api.call("GET", path(run_id), timeout=60))["state"] != "awaiting_input":
        assert task["state"] not in ("success", "failed") and time.monotonic() < deadline, task
        time.sleep(0.3)


@pytest.mark.timeout(400)
def test_three_lost_answers_are_decided_in_three_ways(airflow: LocalAirflow, box: Sandbox, ledger: Ledger) -> None:
    keys = [f"asked-{way}-{time.time_ns()}" for way in ("there", "command", "page")]
    runs: dict[str, tuple[str, str]] = {}
    for number, key in enumerate(keys):
        box.clear_faults()
        box.fault("voodoo", "create", when="after", action="reset", times=1)
        given = {"conn_id": WITHOUT_WEBHOOKS, "request": dict(ROWS["voodoo"].request), "order_key": key}
        run_id = airflow.trigger("asking", given)
        wait_for_the_question(airflow, run_id)
        runs[key] = run_id, box.book.orders("voodoo")[number].order_id
    there, command, page = keys

    run_id, order_id = runs[there]
    asked = question(airflow, run_id)
    assert asked["options"] == [WAS_TAKEN, WAS_NOT_TAKEN] and "Did Voodoo take this order" in asked["subject"]
    assert key_in(asked["body"], there) and not asked["response_received"]
    answer = {"chosen_options": [WAS_TAKEN], "params_input": {"order_id": order_id}}
    airflow.api.call("PATCH", f"{path(run_id)}/-1/hitlDetails", answer)

    decision = {"order_key": page, "word": "adopt", "order_id": runs[page][1], "note": "seen in the dashboard"}
    assert "order" in on_the_page(airflow, "decision/check", decision)["outcome"]
    assert on_the_page(airflow, "decision", decision)["order_id"] == runs[page][1]

    resolve = ["ledger", "resolve", command, "--adopt", runs[command][1], "--yes"]
    done = subprocess.run(
        [sys.executable, "-m", "airflow_provider_proxyorders.cli.main", *resolve],
        env={**airflow.env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    for key, (run_id, order_id) in runs.items():
        assert airflow.wait("asking", run_id) == "success", airflow.task_log("asking", run_id, "buy")
        assert airflow.xcom("asking", run_id, "buy")["order_id"] == order_id
        assert question(airflow, run_id)["response_received"], key
        purchase = ledger.find(key)
        assert purchase is not None and purchase.step is Step.DELIVERED and purchase.order_id == order_id
    assert len(box.book.charges("voodoo")) == len(keys), "one charge each"


def on_the_page(airflow: LocalAirflow, path: str, body: dict[str, str]) -> Any:
    """A call of the page, as its module sends it."""
    headers = {"Content-Type": "application/json", "X-Proxyorders": "1"}
    call = Request(f"{airflow.url}{PAGE}{path}", json.dumps(body).encode(), headers, method="POST")
    with build_opener(ProxyHandler({})).open(call, timeout=60) as answer:
        return json.loads(answer.read())


def key_in(body: str, key: str) -> bool:
    return any(line.startswith("order key") and line.endswith(key) for line in body.splitlines())
