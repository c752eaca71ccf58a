"""Many orders at once: some bought here, the others by somebody else; a list of each by parameter."""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor

with DAG(
    "waiting",
    schedule=None,
    catchup=False,
    max_active_tasks=64,
    params={
        "keys": Param([], type="array"),
        "order_ids": Param([], type="array"),
        "request": Param({}, type="object"),
    },
):

    @task
    def keys(params: dict) -> list[str]:  # type: ignore[type-arg]
        return list(params["keys"])

    @task
    def order_ids(params: dict) -> list[str]:  # type: ignore[type-arg]
        return list(params["order_ids"])

    CreateProxyOrderOperator.partial(
        task_id="buy", conn_id="iproyal_default", request="{{ params.request | tojson }}", deferrable=True, poll_interval=5
    ).expand(order_key=keys())
    ProxyOrderSensor.partial(
        task_id="wait", conn_id="iproyal_default", deferrable=True, end_from_trigger=True, poll_interval=5, timeout=3600
    ).expand(order_id=order_ids())
