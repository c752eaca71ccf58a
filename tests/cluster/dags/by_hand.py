"""The control: the same orders by a plain task with retries, as without this package."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import requests
from airflow.sdk import DAG, BaseHook, Param, task

with DAG(
    "by_hand",
    schedule=None,
    catchup=False,
    max_active_runs=64,
    params={"conn_id": Param("", type="string"), "request": Param({}, type="object")},
):

    @task(retries=2, retry_delay=timedelta(seconds=15))
    def buy(params: Any = None) -> Any:
        connection = BaseHook.get_connection(params["conn_id"])
        headers = {"X-Access-Token": connection.password}
        answer = requests.post(f"{connection.host}/orders", json=params["request"], headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.json()

    buy()
