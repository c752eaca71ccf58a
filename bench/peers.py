"""One try of a purchase with each tool that a user could pick today, as its documentation shows it.

Each is a factory ``(address of the vendor, folder that outlives a try) -> one try``. It raises ``ImportError`` where the tool is
not installed. Only addresses are bent: where a tool insists on its vendor's host, a subclass replaces the host and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: The time limit in seconds that a try sets wherever its tool has a setting for one.
TIMEOUT = 0.7
BODY = {"item": "example", "quantity": 1}

Try = Callable[[], object]


class TaskInstance:
    """What the operators ask of Airflow's own."""

    dag_id, task_id, run_id, map_index, try_number = "bench", "buy", "manual", -1, 1
    stats_tags: dict[str, str] = {}

    def xcom_push(self, key: str, value: object) -> None:
        pass


@dataclass
class StateStore:
    """Airflow's ``task_state_store``, which outlives a try."""

    file: Path

    def get(self, key: str) -> Any:
        return self._all().get(key)

    def set(self, key: str, value: Any) -> None:
        self.file.write_text(json.dumps({**self._all(), key: value}))

    def _all(self) -> dict[str, Any]:
        return json.loads(self.file.read_text()) if self.file.exists() else {}


def context(folder: Path) -> Any:
    return {"ti": TaskInstance(), "run_id": "manual", "task_state_store": StateStore(folder / "state.json")}


def connect(name: str, **fields: Any) -> None:
    os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(fields)


def http_operator(address: str, folder: Path) -> Try:
    from airflow.providers.http.operators.http import HttpOperator

    connect("vendor", conn_type="http", host=address)
    task = HttpOperator(
        task_id="buy", http_conn_id="vendor", endpoint="/orders", data=json.dumps(BODY), extra_options={"timeout": TIMEOUT}
    )
    return lambda: task.execute(context(folder))


def resumable_job(address: str, folder: Path) -> Try:
    from airflow.providers.http.hooks.http import HttpHook
    from airflow.sdk import BaseOperator, ResumableJobMixin

    connect("vendor", conn_type="http", host=address)

    class Buy(ResumableJobMixin, BaseOperator):
        def execute(self, context: Any) -> Any:
            return self.execute_resumable(context)

        def _ask(self, method: str, path: str, data: Any = None) -> Any:
            hook = HttpHook(method, http_conn_id="vendor")
            return hook.run(path, data and json.dumps(data), extra_options={"timeout": TIMEOUT}).json()

        def submit_job(self, context: Any) -> Any:
            return self._ask("POST", "/orders", BODY)["id"]

        def get_job_status(self, external_id: Any, context: Any) -> str:
            return str(self._ask("GET", f"/orders/{external_id}")["status"])

        def is_job_active(self, status: str) -> bool:
            return status == "pending"

        def is_job_succeeded(self, status: str) -> bool:
            return status == "delivered"

        def poll_until_complete(self, external_id: Any, context: Any) -> None:
            if not self.is_job_succeeded(status := self.get_job_status(external_id, context)):
                raise RuntimeError(f"the order ended as {status}")

        def get_job_result(self, external_id: Any, context: Any) -> Any:
            return external_id

    task = Buy(task_id="buy")
    return lambda: task.execute(context(folder))


def fivetran(address: str, folder: Path) -> Try:
    from fivetran_provider_async.hooks import FivetranHook
    from fivetran_provider_async.operators import FivetranOperator

    class Hook(FivetranHook):
        api_protocol, api_host = "http", urlsplit(address).netloc

    connect("fivetran", conn_type="fivetran", login="key", password="secret")
    task = FivetranOperator(
        task_id="buy", fivetran_conn_id="fivetran", connector_id="example", deferrable=False, wait_for_completion=False
    )
    task.hook = Hook("fivetran", timeout_seconds=TIMEOUT, retry_limit=3, retry_delay=0.1)  # type: ignore[arg-type]
    return lambda: task.execute(context(folder))


def hightouch(address: str, folder: Path) -> Try:
    from airflow_provider_hightouch.hooks.hightouch import HightouchHook

    connect("hightouch", conn_type="http", host=f"{address}/", password="token", extra={"timeout": TIMEOUT})
    return lambda: HightouchHook("hightouch", request_retry_delay=0.1).start_sync(sync_id="1")


def dbt_cloud(address: str, folder: Path) -> Try:
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook

    class Hook(DbtCloudHook):
        def get_conn(self, *args: Any, **kwargs: Any) -> Any:
            session = super().get_conn(*args, **kwargs)
            self.base_url = f"{address}/"
            return session

    connect("dbt", conn_type="dbt_cloud", login="1", password="token", host="dbt.example")
    hook = Hook("dbt", timeout_seconds=TIMEOUT, retry_limit=3, retry_delay=0.1)  # type: ignore[arg-type]
    return lambda: hook.trigger_job_run(job_id=1, cause="buy").json()


def proxy_seller(address: str, folder: Path) -> Try:
    from proxy_seller_user_api import Api

    api = Api({"key": "key", "base_url": address, "timeout": TIMEOUT, "money_timeout": TIMEOUT})
    api.setPaymentCode("balance")
    return lambda: api.orderMakeIpv4("USA", "1m", 1, customTargetName="example")


def _stripe(address: str, key: str | None) -> Try:
    import stripe

    client = stripe.StripeClient(
        "sk_test_example",
        base_addresses={"api": address},
        http_client=stripe.RequestsClient(timeout=TIMEOUT),
    )
    options: Any = {"idempotency_key": key} if key else {}
    return lambda: client.v1.payment_intents.create({"amount": 900, "currency": "usd"}, options)


def stripe_automatic(address: str, folder: Path) -> Try:
    return _stripe(address, None)


def stripe_keyed(address: str, folder: Path) -> Try:
    return _stripe(address, "dag.task.2030-01-01")


def agent_once(address: str, folder: Path) -> Try:
    import requests
    from once import Once

    def post() -> Any:
        answer = requests.post(f"{address}/orders", json=BODY, timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.json()

    once = Once(folder / "once.db", unknown_on=(TimeoutError, requests.RequestException))
    return lambda: once.execute(post, key="dag.task.2030-01-01", tool_name="buy")


def http_operator_restarted(address: str, folder: Path) -> Try:
    """The deferrable operator's trigger, once in a triggerer that stops and once in the next one."""
    import asyncio

    from airflow.providers.http.triggers.http import HttpTrigger

    connect("vendor", conn_type="http", host=address)

    async def trigger(seconds: float) -> None:
        # what a triggerer runs is made anew from the database
        made = HttpTrigger(http_conn_id="vendor", endpoint="/orders", data=json.dumps(BODY))
        again = HttpTrigger(**made.serialize()[1])
        await asyncio.wait_for(anext(again.run()), seconds)

    def one_then_other() -> None:
        try:
            asyncio.run(trigger(TIMEOUT))
        except TimeoutError:
            asyncio.run(trigger(10))

    return one_then_other
