"""From an order to a pipeline under a real Airflow, and the leak scan of everything it leaves behind."""

from __future__ import annotations

import csv
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from tests.leaks.play import play

from .test_main_job import all_logs, goods

pytestmark = pytest.mark.e2e

PIPELINE = "order_to_pipeline"


def started_by_event(airflow: LocalAirflow, dag_id: str, timeout: float = 60) -> str:
    """The run that an asset event started."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        runs = airflow.api.call("GET", f"/dags/{dag_id}/dagRuns", limit=10)["dag_runs"]
        if runs:
            return str(runs[-1]["dag_run_id"])
        time.sleep(0.3)
    raise AssertionError(f"no run of {dag_id}")


def extras(airflow: LocalAirflow, name: str) -> list[dict[str, Any]]:
    """What the events of an asset say."""
    (asset,) = [each for each in airflow.api.call("GET", "/assets", limit=100)["assets"] if each["name"] == name]
    return [each["extra"] for each in airflow.api.call("GET", "/assets/events", asset_id=asset["id"])["asset_events"]]


def test_from_an_order_to_the_dag_that_waits_for_its_results(airflow: LocalAirflow, box: Sandbox, tmp_path: Path) -> None:
    run_id = airflow.trigger(PIPELINE, {"target": box.whoami, "folder": str(tmp_path / "goods"), "pages": 3})
    assert airflow.wait(PIPELINE, run_id, timeout=180) == "success", all_logs(airflow, PIPELINE, run_id)
    order = airflow.xcom(PIPELINE, run_id, "order")
    delivered = airflow.xcom(PIPELINE, run_id, "deliver")

    file = Path(delivered["path"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (delivered["order_id"], delivered["count"]) == (order["order_id"], 2)
    assert delivered["expires_at"] == order["expires_at"]
    assert (delivered["health"]["checked"], delivered["health"]["healthy"]) == (2, 2)
    lines = file.read_text().split()
    assert all(secret in file.read_text() for secret in goods(box, "iproyal", order["order_id"]))

    rows = [airflow.xcom(PIPELINE, run_id, "fetch", map_index=number) for number in range(3)]
    assert [(row["entry"], row["status"]) for row in rows] == [(0, 200), (1, 200), (0, 200)]
    assert box.book.count("forward", "http") == 2 + 3  # the check and the fetches; without the login the answer is 407
    assert requests.get(box.whoami, proxies={"http": lines[0]}, timeout=5).json()["via"] == "proxy"
    wrong = lines[0].replace("@", "x@")
    assert requests.get(box.whoami, proxies={"http": wrong}, timeout=5).status_code == 407

    table = airflow.xcom(PIPELINE, run_id, "table")
    with open(table["path"], newline="") as text:
        assert [int(row["entry"]) for row in csv.DictReader(text)] == [0, 1, 0]
    assert delivered in extras(airflow, "proxyorders_fresh_delivery")
    assert table in extras(airflow, "proxyorders_pages")
    report = started_by_event(airflow, "pipeline_report")
    assert airflow.wait("pipeline_report", report) == "success"
    (extra,) = airflow.xcom("pipeline_report", report, "report")
    assert extra == {"order_id": order["order_id"], "pages": 3, "bytes": sum(row["bytes"] for row in rows)}

    shown = all_logs(airflow, PIPELINE, run_id) + json.dumps([order, delivered, rows, table, extra])
    assert not [secret for secret in goods(box, "iproyal", order["order_id"]) if secret in shown]
    assert len(box.book.charges("iproyal")) == 1


def test_secrets_are_nowhere_in_what_airflow_leaves_behind(project: Path, tmp_path: Path) -> None:
    result = play(project, tmp_path / "scan")
    assert result.clean == []
    assert result.places > 100 and all(result.flowed.values()) and min(result.spoilt.values()) > 0 and len(result.spoilt) == 4
    # a user's own print is hidden in the task's log; the output of the process that runs tasks is Airflow's, and not masked
    assert {hit.where for hit in result.careless} <= {"console/scheduler.log"}
    places = {(hit.form, hit.where.partition("/")[0].partition(",")[0]) for hit in result.planted}
    assert {("raw", "logs"), ("base64", "airflow.db")} <= places
    # the same template, as a text of no vendor, is rendered and found: the scan sees where a vendor's would be
    rendered = {hit.where for hit in result.planted if hit.kind == "rendered template"}
    assert {f"airflow.db, table {table}" for table in ("rendered_task_instance_fields", "task_instance", "xcom")} <= rendered
