"""Mapped tasks have the retries of others: Airflow fills them in beforehand, from the signature and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator
from airflow_provider_proxyorders.operators.ledger import ReconcileLedgerOperator
from airflow_provider_proxyorders.operators.orders import (
    CreateProxyOrderOperator,
    ExtendProxyOrderOperator,
    FindExpiringOrdersOperator,
)
from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor, ProxyOrderWebhookSensor
from airflow_provider_proxyorders.sensors.wallet import WalletBalanceSensor
from airflow_provider_proxyorders.tasks.retry_policy import OrderRetryPolicy

CASES: list[tuple[Any, dict[str, Any], str]] = [
    (CreateProxyOrderOperator, {"request": {"quantity": 1}}, "conn_id"),
    (ExtendProxyOrderOperator, {"order_id": "1"}, "conn_id"),
    (FindExpiringOrdersOperator, {"within": "P3D"}, "conn_id"),
    (DeliverProxiesOperator, {"order_id": "1", "path": "/tmp/proxies"}, "conn_id"),
    (ReconcileLedgerOperator, {}, "conn_id"),
    (CheckWalletOperator, {"low_balance": "50"}, "conn_ids"),
    (WalletBalanceSensor, {"at_least": "50"}, "conn_id"),
    (ProxyOrderSensor, {"order_id": "1"}, "conn_id"),
    (ProxyOrderWebhookSensor, {"order_id": "1"}, "conn_id"),
]


@pytest.mark.parametrize(("kind", "given", "over"), CASES, ids=[kind.__name__ for kind, _, _ in CASES])
def test_retries(kind: Any, given: dict[str, Any], over: str) -> None:
    with DAG("plain"):
        plain = kind(task_id="plain", **given, **{over: "c"})
        mapped = kind.partial(task_id="mapped", **given).expand(**{over: ["c"]})
    for task in (plain, mapped):
        assert (task.retries, task.retry_delay) == (2, timedelta(seconds=15))
        assert isinstance(task.retry_policy, OrderRetryPolicy)
    with DAG("own", default_args={"retries": 7, "retry_delay": timedelta(seconds=1)}):
        plain = kind(task_id="plain", **given, **{over: "c"})
        mapped = kind.partial(task_id="mapped", **given).expand(**{over: ["c"]})
    for task in (plain, mapped):
        assert (task.retries, task.retry_delay) == (7, timedelta(seconds=1))
