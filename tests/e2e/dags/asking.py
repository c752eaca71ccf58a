"""A purchase that asks in Required Actions where evidence cannot decide."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator

with DAG(
    "asking",
    schedule=None,
    catchup=False,
    params={
        "conn_id": Param("voodoo_default", type="string"),
        "request": Param({}, type="object"),
        "order_key": Param("k", type="string"),
    },
):
    CreateProxyOrderOperator(
        task_id="buy",
        conn_id="{{ params.conn_id }}",
        request="{{ params.request | tojson }}",
        order_key="{{ params.order_key }}",
        on_unresolved="ask",
        response_timeout="PT10M",
        deferrable=True,
    )
