"""The vendor's webhook wakes the waiting task, and starts another DAG.

``webhook_completion`` buys without waiting and then waits for the vendor's signed POST. A slow poll is the back-stop for a lost
webhook. ``order_finished`` runs for every order of the connection that ends, also for orders from elsewhere. It gets the order's
id and status, without proxies and codes.

Both need the connection's ``webhook_secret`` and a receiver within the vendor's reach: see docs/webhooks.md. Leave these DAGs
paused until then.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, Param, task

from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.sensors.orders import ProxyOrderWebhookSensor
from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger

log = logging.getLogger(__name__)
CONN_ID = "voodoo_default"

with DAG(
    "webhook_completion",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["proxyorders"],
    params={
        "request": Param(
            {"item_id": 5120, "quantity": 1}, type="object", title="Request", description="The vendor's body fields"
        ),
        "max_price": Param("25.00", type="string", title="Price cap", description="The most the order may cost"),
    },
):
    order = CreateProxyOrderOperator(
        task_id="order",
        conn_id=CONN_ID,
        request="{{ params.request | tojson }}",
        max_price="{{ params.max_price }}",
        wait_for_completion=False,
    )
    completed = ProxyOrderWebhookSensor(
        task_id="completed",
        conn_id=CONN_ID,
        order_id="{{ ti.xcom_pull(task_ids='order')['order_id'] }}",
        backstop=300,
        timeout=86400,
    )
    order >> completed

endings_watch = OrderEventTrigger(conn_id=CONN_ID)
finished = Asset("proxyorders-finished", watchers=[AssetWatcher(name="endings", trigger=endings_watch)])

with DAG("order_finished", schedule=[finished], catchup=False, doc_md=__doc__, tags=["proxyorders"]):

    @task(task_id="told")
    def log_endings(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """The orders that ended since the last run; Airflow may fold several events into one run.

        An event that somebody wrote by hand is left out: only orders count that the trigger has reported.
        """
        endings = endings_watch.verify_events(triggering_asset_events[finished])
        for ending in endings:
            log.info("Order %s ended as %s", ending.get("order_id"), ending.get("status"))
        return endings

    log_endings()
