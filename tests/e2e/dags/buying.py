"""One purchase with everything by parameter."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator

PARAMS = {
    "conn_id": Param("iproyal_default", type="string"),
    "request": Param({}, type=["object", "string"]),
    "order_key": Param(None, type=["string", "null"]),
    "order_id": Param("0", type="string"),
}

with DAG("buying", schedule=None, catchup=False, params=PARAMS):
    CreateProxyOrderOperator(
        task_id="buy",
        conn_id="{{ params.conn_id }}",
        request="{{ params.request | tojson }}",
        order_key="{{ params.order_key or '' }}",
        deferrable=True,
    )

with DAG("extending", schedule=None, catchup=False, params=PARAMS):
    ExtendProxyOrderOperator(
        task_id="extend",
        conn_id="{{ params.conn_id }}",
        order_id="{{ params.order_id }}",
        request="{{ params.request | tojson }}",
        only_within=timedelta(days=40),
        deferrable=True,
    )
