"""Wallets under a real Airflow: one alert for a crossing, one run for an event, one purchase, and a ledger that agrees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow

from .conftest import WATCHED, WATCHED_TOKEN
from .test_main_job import all_logs

pytestmark = pytest.mark.e2e

ALERT, REFILL, RECONCILE = "low_balance_alert", "event_driven_refill", "reconcile_ledger"
WALLET = f"iproyal:{WATCHED}"


@pytest.fixture
def switched_on(airflow: LocalAirflow) -> Iterator[None]:
    """The three DAGs, which begin paused, for the time of a test."""
    for dag_id in (ALERT, REFILL, RECONCILE):
        switch(airflow, dag_id, on=True)
    dag = airflow.api.call("GET", f"/dags/{REFILL}")
    airflow.api.call("PUT", f"/parseDagFile/{quote(dag['file_token'])}")  # its watcher begins when its file is read again
    yield
    for dag_id in (ALERT, REFILL, RECONCILE):
        switch(airflow, dag_id, on=False)


def switch(airflow: LocalAirflow, dag_id: str, *, on: bool) -> None:
    airflow.api.wait_for_dag(dag_id)
    airflow.api.call("PATCH", f"/dags/{dag_id}", {"is_paused": not on})


def until(true: Callable[[], Any], within: float = 60) -> Any:
    deadline = time.monotonic() + within
    while not (value := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)
    return value


def done(airflow: LocalAirflow, dag_id: str, conf: dict[str, Any], state: str = "success") -> str:
    """Run a DAG to its end; returns the run's id."""
    run_id = airflow.trigger(dag_id, conf)
    assert airflow.wait(dag_id, run_id, timeout=90) == state, all_logs(airflow, dag_id, run_id)
    return run_id


def checked(airflow: LocalAirflow) -> dict[str, Any]:
    """What one run of the alert DAG saw."""
    run_id = done(airflow, ALERT, {"conn_ids": [WATCHED], "low_balance": "50.00"})
    wallet: dict[str, Any] = airflow.xcom(ALERT, run_id, "check")[WATCHED]
    said = all_logs(airflow, ALERT, run_id).count("ALERT: ")
    assert said == (1 if wallet["alert"] else 0)
    return wallet


def refills(airflow: LocalAirflow) -> list[str]:
    return [run["dag_run_id"] for run in airflow.api.call("GET", f"/dags/{REFILL}/dagRuns", limit=20)["dag_runs"]]


def holds(box: Sandbox, amount: str) -> None:
    box.control({"vendor": "iproyal", "wallet": {"name": "second", "balance": amount}})


def test_money_runs_out_and_comes_back(
    airflow: LocalAirflow, box: Sandbox, ledger: Ledger, switched_on: None, tmp_path: Path
) -> None:
    box.control({"vendor": "iproyal", "token": {"name": "second", "token": WATCHED_TOKEN, "balance": "100"}})
    file = tmp_path / "told.txt"
    assert (checked(airflow)["state"], refills(airflow)) == ("ok", [])

    # into low: told once, whoever looks, and one event starts one run
    holds(box, "12.34")
    first = checked(airflow)
    assert (first["state"], first["alert"], first["balance"], first["currency"]) == ("low", "low", "12.34", "USD")
    second = checked(airflow)
    assert (second["state"], second["alert"], second["since"]) == ("low", None, first["since"])
    done(airflow, "alerting", {"path": str(file)})
    assert file.read_text() == "low 12.34 by check of alerting\n"
    (refill,) = until(lambda: refills(airflow))
    until(lambda: any(t["task_id"] == "topped_up" and t["state"] == "deferred" for t in airflow.tasks(REFILL, refill)))
    assert box.book.charges("iproyal") == []

    # money comes: the run buys once, and the recovery is told once
    holds(box, "100")
    assert airflow.wait(REFILL, refill, timeout=90) == "success", all_logs(airflow, REFILL, refill)
    (bought,) = box.book.orders("iproyal")
    result = airflow.xcom(REFILL, refill, "order", map_index=0)
    assert (bought.wallet, bought.order_id) == ("second", result["order_id"])
    (asked,) = airflow.xcom(REFILL, refill, "asked")
    assert result["order_key"] == f"refill:{asked['key']}" and asked["wallet"] == WALLET
    purchase = ledger.find(result["order_key"])
    assert purchase is not None and purchase.step is Step.DELIVERED
    assert checked(airflow)["alert"] == "recovered"
    assert checked(airflow)["alert"] is None

    # the purchase once more, as a person would who clears the task: the same order
    airflow.api.clear(REFILL, refill, "order")
    assert airflow.wait(REFILL, refill, timeout=90) == "success"
    assert len(box.book.charges("iproyal")) == 1
    assert refills(airflow) == [refill]

    # the ledger agrees with the vendor, until somebody else buys from the wallet
    run_id = done(airflow, RECONCILE, {"conn_ids": [WATCHED]})
    assert airflow.xcom(RECONCILE, run_id, "report")[WATCHED]["state"] == "agrees"
    strange = {"id": 990001, "status": "confirmed", "quantity": 1}
    box.control({"vendor": "iproyal", "wallet": "second", "order": strange})
    run_id = done(airflow, RECONCILE, {"conn_ids": [WATCHED]}, state="failed")
    report = airflow.xcom(RECONCILE, run_id, "report")[WATCHED]
    assert (report["state"], report["foreign"]) == ("needs a look", 1) and "990001" in report["frozen"]
    ledger.freeze(WALLET, None)
