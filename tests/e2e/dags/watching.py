"""Waits for an order that somebody else bought, in every way a sensor can."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor

with DAG(
    "watching",
    schedule=None,
    catchup=False,
    params={"conn_id": Param("iproyal_default", type="string"), "order_id": Param("0", type="string")},
):
    for name, options in {
        "deferred": {"deferrable": True},
        "poked": {"deferrable": False, "poke_interval": 1},
        "rescheduled": {"deferrable": False, "mode": "reschedule", "poke_interval": 2},
        "soft": {"deferrable": True, "soft_fail": True, "timeout": 300},
    }.items():
        ProxyOrderSensor(task_id=name, conn_id="{{ params.conn_id }}", order_id="{{ params.order_id }}", **options)
