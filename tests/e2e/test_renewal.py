"""The renewal DAG under a real Airflow: found, approved by a person through the API, extended once each, reported to the cent."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow

from .conftest import RENEWED, RENEWED_TOKEN
from .test_main_job import all_logs, wait_for_task

pytestmark = pytest.mark.e2e

DAG = "scheduled_renewal"
DAY = timedelta(days=1)


def answer(airflow: LocalAirflow, run_id: str, option: str) -> dict[str, Any]:
    """Say yes or no, as a person does in the page; returns what was asked."""
    path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    asked: dict[str, Any] = airflow.api.call("GET", path)
    airflow.api.call("PATCH", path, {"chosen_options": [option], "params_input": {}})
    return asked


def run(airflow: LocalAirflow, conf: dict[str, Any], option: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run to its end: what was asked, and the report."""
    run_id = airflow.trigger(DAG, {"conn_id": RENEWED, **conf})
    asked: dict[str, Any] = {}
    if option:
        wait_for_task(airflow, DAG, run_id, "approve", "awaiting_input")
        time.sleep(
            4.0
        )  # nobody reads faster; and Airflow 3.3 may mark a task failed that goes on while it is still being put aside
        asked = answer(airflow, run_id, option)
    assert airflow.wait(DAG, run_id, timeout=120) == "success", all_logs(airflow, DAG, run_id)
    return asked, airflow.xcom(DAG, run_id, "report")


def test_found_approved_extended_reported(airflow: LocalAirflow, box: Sandbox, ledger: Ledger) -> None:
    now = datetime.now(timezone.utc).replace(microsecond=0)

    def order(number: int, ends_in: timedelta, **fields: Any) -> dict[str, Any]:
        expire = (now + ends_in).strftime("%Y-%m-%d %H:%M:%S")
        usual = {"id": number, "product_id": 9, "product_plan_id": 22, "status": "confirmed", "expire_date": expire}
        return {"vendor": "iproyal", "wallet": "third", "order": {**usual, **fields}}

    box.control(
        [
            {"vendor": "iproyal", "token": {"name": "third", "token": RENEWED_TOKEN, "balance": "1000"}},
            order(9001, 1 * DAY),
            order(9002, 2 * DAY, quantity=2),
            order(9003, timedelta(hours=5)),
            order(9004, 1 * DAY, auto_extend_settings={"is_enabled": True}),
            order(9005, 20 * DAY),
            order(9006, -1 * DAY, status="expired"),
        ]
    )

    asked, report = run(airflow, {"approve_above": "5.00"}, "Approve")
    assert asked["subject"] == "Extend 3 orders for 12.00 USD?"
    assert "\n    9003, " in asked["body"] and ": 3.00 USD (quote)" in asked["body"] and "9004" not in asked["body"]
    assert [entry.order_id for entry in box.book.charges("iproyal")] and {e.kind for e in box.book.charges("iproyal")} == {
        "extend"
    }
    assert sorted(entry.order_id for entry in box.book.charges("iproyal")) == ["9001", "9002", "9003"]
    assert report["cost"] == {"USD": "12"}
    soonest = report["extended"][0]
    assert soonest["order_id"] == "9003" and soonest["price"] == "3"
    assert datetime.fromisoformat(soonest["expires_before"]) == now + timedelta(hours=5)
    assert datetime.fromisoformat(soonest["expires_at"]) == now + timedelta(hours=5) + 30 * DAY
    assert {left["order_id"]: left["reason"] for left in report["left_out"]} == {"9004": "auto_extends", "9006": "expired"}
    assert (report["skipped"], report["errors"], report["short"]) == ([], [], [])
    assert report["text"].startswith("3 orders extended for 12 USD; 0 skipped, 0 failed, 2 left out")

    _, again = run(airflow, {"approve_above": "5.00"})  # nothing is due any more, so nobody is asked
    assert (again["extended"], again["cost"]) == ([], {})
    assert again["text"].startswith("0 orders extended for 0;")

    asked, refused = run(airflow, {"approve_above": "5.00", "within": "P33D", "exclude": ["9001"]}, "Reject")
    assert asked["subject"].startswith("Extend 3 orders")
    assert sorted(refused["skipped"]) == ["9002", "9003", "9005"] and refused["extended"] == []
    assert len(box.book.charges("iproyal")) == 3
    keys = [f"extend:iproyal:{RENEWED}:{entry['order_id']}:{entry['expires_before']}" for entry in report["extended"]]
    assert all(ledger.find(key) is not None for key in keys)
