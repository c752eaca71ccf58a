"""The DAGs of team red, which tries to reach the things of team blue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger


def texts(*names: str) -> dict[str, Param]:
    """Parameters that are texts."""
    return {name: Param("", type="string") for name in names}


with DAG("red_shop", schedule=None, catchup=False, params=texts("conn_id", "order_key")):
    CreateProxyOrderOperator(
        task_id="buy",
        conn_id="{{ params.conn_id }}",
        order_key="{{ params.order_key }}",
        request={"item_id": 5120, "quantity": 2},
        wait_for_completion=False,
        retries=0,
    )

with DAG("red_spy", schedule=None, catchup=False, params=texts("elsewhere", "order_id")):

    @task(retries=0)
    def spy(params: dict[str, Any] | None = None) -> dict[str, str]:
        """What each attempt says; a success says so."""
        assert params is not None
        order_id = params["order_id"]

        def try_it(call: Any) -> str:
            try:
                return f"success: {call()}"
            except ProxyOrdersError as error:
                return str(error)

        mine, theirs = ProxyOrdersHook("voodoo_red"), ProxyOrdersHook("voodoo_blue")
        ended = [SimpleNamespace(extra={"payload": {"order_id": order_id, "conn_id": "voodoo_blue"}})]
        return {
            "their connection": try_it(theirs.get_conn),
            "their order with my key": try_it(lambda: mine.get_order(order_id)),
            "their delivery with my key": try_it(lambda: mine.get_delivery(order_id)),
            "their end of an order": try_it(lambda: OrderEventTrigger(conn_id="voodoo_red").verify_events(ended)),
            "my key elsewhere": try_it(lambda: mine.get_conn().get(params["elsewhere"], timeout=10).status_code),
        }

    spy()
