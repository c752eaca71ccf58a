"""Webhook-delivered completion under a real Airflow: the plugin in the API server, the triggerer, an asset event."""

from __future__ import annotations

import json
import socket
import time
from urllib.parse import urlsplit

import pytest
import requests

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from airflow_provider_proxyorders.wire.signatures import Scheme

from .conftest import WEBHOOK_SECRET
from .test_main_job import all_logs, wait_for_task

pytestmark = pytest.mark.e2e


def test_a_delivery_wakes_the_waiting_task_and_starts_a_dag(airflow: LocalAirflow, box: Sandbox) -> None:
    url = f"{airflow.url}/proxyorders/webhooks/voodoo_default"
    box.control(
        [{"vendor": "voodoo", "webhook": {"url": url, "secret": WEBHOOK_SECRET}}, {"vendor": "voodoo", "processing": 3600.0}]
    )
    try:
        run_id = airflow.trigger("webhook_completion")
        wait_for_task(airflow, "webhook_completion", run_id, "completed", "deferred", timeout=90)
        time.sleep(6)  # its first look is over; the next one is the back-stop's, in five minutes
        box.control([{"advance": 3600.0}])
        delivered = time.monotonic()
        assert airflow.wait("webhook_completion", run_id, timeout=120) == "success", all_logs(
            airflow, "webhook_completion", run_id
        )
        assert time.monotonic() - delivered < 60, "the back-stop alone would have taken five minutes"
        order_id = airflow.xcom("webhook_completion", run_id, "completed")["order_id"]
        assert [entry.order_id for entry in box.book.orders("voodoo")] == [order_id]
        assert [
            attempt.status for attempt in box.state.vendors["voodoo"].webhook_sender.attempts if attempt.order_id == order_id
        ] == [200]
        assert told(airflow, order_id) == ["delivered"]
    finally:
        box.control([{"vendor": "voodoo", "webhook": None}])


def test_orders_that_end_close_together_are_all_told(airflow: LocalAirflow, box: Sandbox) -> None:
    """Airflow gives a run the events up to the one that queued it, and leaves the others to the next event."""
    url = f"{airflow.url}/proxyorders/webhooks/voodoo_default"
    order_ids = [f"together-{number}" for number in range(8)]
    for order_id in order_ids:
        row = {"id": order_id, "status": "completed", "item_id": 5120, "quantity": 1}
        box.control([{"vendor": "voodoo", "order": row}])
        body = json.dumps({"order_id": order_id, "status": "completed"}).encode()
        assert requests.post(url, data=body, headers=Scheme().sign(body, WEBHOOK_SECRET), timeout=20).status_code == 200
        time.sleep(0.4)
    waiting, deadline = set(order_ids), time.monotonic() + 180
    while waiting and time.monotonic() < deadline:
        waiting = {order_id for order_id in waiting if not told(airflow, order_id, timeout=0)}
        time.sleep(3)
    assert waiting == set()


def told(airflow: LocalAirflow, order_id: str, timeout: float = 90) -> list[str]:
    """Statuses under which ``order_finished`` was told of an order."""
    deadline = time.monotonic() + timeout
    statuses: list[str] = []
    while not statuses:
        for run in airflow.api.call("GET", "/dags/order_finished/dagRuns")["dag_runs"]:
            if run["state"] == "success":
                events = airflow.xcom("order_finished", run["dag_run_id"], "told")
                statuses += [event["status"] for event in events if event.get("order_id") == order_id]
        if time.monotonic() >= deadline:
            break
        time.sleep(1)
    return statuses


def test_the_mounted_receiver_refuses_what_it_should(airflow: LocalAirflow, box: Sandbox) -> None:
    url = f"{airflow.url}/proxyorders/webhooks/voodoo_default"
    body = b'{"order_id":"unknown-1","status":"completed"}'
    assert requests.post(url, data=body, headers=Scheme().sign(body, WEBHOOK_SECRET), timeout=20).status_code == 200
    assert requests.post(url, data=body, headers=Scheme().sign(body, "wrong"), timeout=20).status_code == 401
    assert requests.post(url, data=body, timeout=20).status_code == 401
    assert requests.get(url, timeout=20).status_code == 405
    nobody = f"{airflow.url}/proxyorders/webhooks/nobody"
    assert requests.post(nobody, data=body, headers=Scheme().sign(body, WEBHOOK_SECRET), timeout=20).status_code == 401
    assert requests.post(url, data=b"x" * 70_000, timeout=20).status_code == 413
    parts = urlsplit(airflow.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as sock:
        path = urlsplit(url).path
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 408"), "a body that does not end is given up in the API server as well"
    assert box.book.charges() == []
