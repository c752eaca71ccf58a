"""The DAGs of team blue: a purchase under its default key, and purchases for asset events about its wallet."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger
from airflow_provider_proxyorders.triggers.wallet import WalletBalanceTrigger

CONN_ID = "voodoo_blue"
REQUEST: dict[str, Any] = {"item_id": 5120, "quantity": 2}
events = Asset("blue-events")

with DAG("blue_shop", schedule=None, catchup=False):
    CreateProxyOrderOperator(task_id="buy", conn_id=CONN_ID, request=REQUEST, wait_for_completion=False, retries=0)

with DAG("blue_refill", schedule=[events], catchup=False):

    @task(retries=0)
    def refill(triggering_asset_events: Any = None) -> dict[str, Any]:
        """Buys for each true crossing, and lists the true ends of orders."""
        arrived, level = (
            list(triggering_asset_events[events]),
            WalletBalanceTrigger(conn_id=CONN_ID, low_balance="50", name="refill"),
        )
        crossings = [crossing["key"] for crossing in level.verify_events(arrived)]
        for key in crossings:
            ProxyOrdersHook(CONN_ID).create_order(REQUEST, order_key=key)
        ended = [ending["order_id"] for ending in OrderEventTrigger(conn_id=CONN_ID).verify_events(arrived)]
        return {"arrived": len(arrived), "crossings": crossings, "ended": ended}

    refill()
