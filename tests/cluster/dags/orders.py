"""The flows of an order: wait in the triggerer, in the worker, or by a sensor of its own; and an extension."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor

PARAMS = {
    "conn_id": Param("iproyal_default", type="string"),
    "request": Param({}, type="object"),
    "order_key": Param("", type="string"),
    "order_id": Param("0", type="string"),
}
CONN_ID, REQUEST, KEY = "{{ params.conn_id }}", "{{ params.request | tojson }}", "{{ params.order_key }}"
BY_HAND = {"schedule": None, "catchup": False, "params": PARAMS, "max_active_runs": 64}

with DAG("create", **BY_HAND):
    CreateProxyOrderOperator(task_id="buy", conn_id=CONN_ID, request=REQUEST, order_key=KEY, deferrable=True)

with DAG("create_in_worker", **BY_HAND):
    CreateProxyOrderOperator(task_id="buy", conn_id=CONN_ID, request=REQUEST, order_key=KEY, deferrable=False)

with DAG("create_then_wait", **BY_HAND):
    order = CreateProxyOrderOperator(
        task_id="buy", conn_id=CONN_ID, request=REQUEST, order_key=KEY, wait_for_completion=False, deferrable=True
    )
    ProxyOrderSensor(task_id="wait", conn_id=CONN_ID, order_id=order.output["order_id"], deferrable=True)

with DAG("extend", **BY_HAND):
    ExtendProxyOrderOperator(
        task_id="buy", conn_id=CONN_ID, order_id="{{ params.order_id }}", request=REQUEST, order_key=KEY, deferrable=True
    )
