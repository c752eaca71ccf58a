"""The scenes of the pictures: expiring orders, a run that waits for a person, a webhook, a low wallet.

One rule: every scene is real. The example DAGs run as a user would run them, at pretended vendors on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow

VENDORS = ("iproyal", "proxyscrape", "voodoo")
WEBHOOK_SECRET = "secret-of-the-pictures"
RENEWAL, ALERT, REFILL = "scheduled_renewal", "low_balance_alert", "event_driven_refill"
#: quick, for the pictures; every few minutes is enough elsewhere
ENVIRONMENT = {"REFILL_EVERY": "2", "AIRFLOW__API__INSTANCE_NAME": "Airflow"}


def connections(box: Sandbox) -> dict[str, dict[str, Any]]:
    extra = {
        "max_order_price": "50.00",
        "daily_limit": "200.00",
        "monthly_limit": "1000.00",
        "min_balance": "5.00",
        "currency": "USD",
        "timezone": "Europe/Berlin",
        "order_page": "https://dashboard.example.com/orders/{order_id}",
    }
    return {
        f"{vendor}_default": {
            "conn_type": vendor,
            "host": box.url(vendor),
            "password": box.token(vendor),
            "extra": {**extra, **({"webhook_secret": WEBHOOK_SECRET} if vendor == "voodoo" else {})},
        }
        for vendor in VENDORS
    }


class Story:
    """The runs behind the pictures."""

    def __init__(self, airflow: LocalAirflow, box: Sandbox):
        self.airflow, self.box = airflow, box

    def orders_that_end(self) -> None:
        """Ten orders with ends from tomorrow; the vendor renews one of them by itself, and one has ended."""
        for number in range(10):
            more = {"auto_extend_settings": {"is_enabled": True}} if number == 1 else {}
            self._order(9001 + number, 1 + number * 0.9 if number < 9 else -1, 1 + number % 3, **more)

    def more_orders(self) -> None:
        """Three fresh orders."""
        for number in range(3):
            self._order(9101 + number, 2 + number * 1.7, 3)

    def _order(self, number: int, days: float, quantity: int, **more: Any) -> None:
        ends = datetime.now(timezone.utc) + timedelta(days=days)
        order = {
            "id": number,
            "product_id": 9,
            "product_plan_id": 22,
            "quantity": quantity,
            "status": "confirmed" if days > 0 else "expired",
            "expire_date": f"{ends:%Y-%m-%d %H:%M:%S}",
            "note": "crawler",
        }
        self.box.control({"vendor": "iproyal", "order": {**order, **more}})

    def renewed(self, **conf: Any) -> str:
        """One run of the renewal, to its end."""
        run_id = self.airflow.trigger(RENEWAL, conf)
        assert self.airflow.wait(RENEWAL, run_id, timeout=300) == "success", self.airflow.tasks(RENEWAL, run_id)
        return run_id

    def renewal_that_asks(self) -> str:
        """A run that waits for an approval."""
        run_id = self.airflow.trigger(RENEWAL, {"within": "P10D", "approve_above": "10.00"})
        self.until(lambda: self._task(RENEWAL, run_id, "approve") == "awaiting_input")
        return run_id

    def ended(self, dag_id: str, run_id: str) -> None:
        assert self.airflow.wait(dag_id, run_id, timeout=300) == "success", self.airflow.tasks(dag_id, run_id)

    def orders_told_by_webhook(self, many: int = 2) -> str:
        """Orders that end with a webhook; each starts the waiting DAG. Returns the last run's id."""
        url = f"{self.airflow.url}/proxyorders/webhooks/voodoo_default"
        self.box.control(
            [{"vendor": "voodoo", "webhook": {"url": url, "secret": WEBHOOK_SECRET}}, {"vendor": "voodoo", "processing": 8}]
        )
        run_id = ""
        for _ in range(many):
            run_id = self.airflow.trigger("webhook_completion")
            self.ended("webhook_completion", run_id)
        self.until(lambda: len(self._runs("order_finished", "success")) >= 1)
        return run_id

    def wallet_runs_low(self) -> str:
        """The wallet gets low: an alert, and an event that starts the refill. Returns the id of the alert's run."""
        self._switch_on(ALERT)
        self._switch_on(REFILL)
        dag = self.airflow.api.call("GET", f"/dags/{REFILL}")
        self.airflow.api.call("PUT", f"/parseDagFile/{quote(dag['file_token'])}")  # its watcher begins when it is read again
        time.sleep(8)  # the first looks find the wallet full
        self.box.control({"vendor": "iproyal", "wallet": {"name": "main", "balance": "12.34"}})
        self.until(lambda: self._runs(REFILL))
        (run_id,) = self._runs(REFILL)
        self.until(lambda: self._task(REFILL, run_id, "topped_up") == "deferred")
        checked = self.airflow.trigger(ALERT, {"extension": {"product_plan_id": 22}})
        self.ended(ALERT, checked)
        alerts = [run_id for run_id in self._runs(ALERT) if self._alerted(run_id)]  # at a full hour its schedule may come first
        return alerts[0]

    def wallet_is_filled(self) -> str:
        """A top-up, and the refill buys. Returns its run's id."""
        (run_id,) = self._runs(REFILL)
        self.box.control({"vendor": "iproyal", "wallet": {"name": "main", "balance": "250"}})
        self.ended(REFILL, run_id)
        return run_id

    def until(self, true: Callable[[], Any], within: float = 120) -> None:
        deadline = time.monotonic() + within
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError("the scene is late")
            time.sleep(0.3)

    def _alerted(self, run_id: str) -> bool:
        wallets = self.airflow.xcom(ALERT, run_id, "check") or {}
        return any(wallet["alert"] == "low" for wallet in wallets.values())

    def _switch_on(self, dag_id: str) -> None:
        self.airflow.api.wait_for_dag(dag_id)
        self.airflow.api.call("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def _task(self, dag_id: str, run_id: str, task_id: str) -> str | None:
        return next((task["state"] for task in self.airflow.tasks(dag_id, run_id) if task["task_id"] == task_id), None)

    def _runs(self, dag_id: str, state: str | None = None) -> list[str]:
        runs = self.airflow.api.call("GET", f"/dags/{dag_id}/dagRuns", limit=50)["dag_runs"]
        return [run["dag_run_id"] for run in runs if state in (None, run["state"])]
