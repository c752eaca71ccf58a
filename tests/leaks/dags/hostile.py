"""Texts of a hostile vendor on every way from task to task: mapped tasks, op_kwargs, xcom_pull, names of mapped tasks, notes as
order keys; apart, a text that came from no vendor, to show that Airflow renders it and that the scan would find it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, BaseOperator, Param, XComArg, task

from airflow_provider_proxyorders.operators.orders import (
    CreateProxyOrderOperator,
    ExtendProxyOrderOperator,
    FindExpiringOrdersOperator,
)

FOUND = "ti.xcom_pull(task_ids='find', key='found')"


class Take(BaseOperator):
    """Hands on a text. Airflow renders the text of a mapped task, also where it comes from XCom."""

    template_fields = ("text",)

    def __init__(self, *, text: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.text = text

    def execute(self, context: Any) -> str:
        return self.text


def hand_on(found: Any, note: str = "") -> dict[str, Any]:
    """Hand on what came to a task that is not mapped."""
    return {"found": found, "note": note}


with DAG("hostile", schedule=None, catchup=False):
    find = FindExpiringOrdersOperator(
        task_id="find", conn_id="iproyal_default", within="P3D", request={"product_plan_id": 22}, retries=0
    )
    extend = ExtendProxyOrderOperator.partial(
        task_id="extend",
        conn_id="iproyal_default",
        request={"product_plan_id": 22},
        map_index_template="{{ task.order_id }} {{ task.expires_at }}",
        retries=1,
        retry_delay=timedelta(seconds=1),
    ).expand_kwargs(find.output)

    @task(retries=0)
    def texts(found: dict[str, Any]) -> list[dict[str, str]]:
        """The vendor's texts about each order that was found or left out."""
        names = ("order_id", "note", "product", "location", "why")
        return [{"text": " ".join(str(each.get(name)) for name in names)} for each in (*found["due"], *found["left_out"])]

    told = texts(XComArg(find, key="found"))  # type: ignore[arg-type]
    Take.partial(task_id="mapped", map_index_template="{{ task.text }}", retries=0).expand_kwargs(told)
    pulled = PythonOperator(
        task_id="pulled",
        python_callable=hand_on,
        op_kwargs={"found": f"{{{{ {FOUND} }}}}", "note": f"{{{{ {FOUND}['due'][0]['note'] }}}}"},
        retries=0,
    )
    find >> pulled
    PythonOperator(task_id="handed", python_callable=hand_on, op_kwargs={"found": XComArg(find, key="found")}, retries=0)
    keyed = CreateProxyOrderOperator(
        task_id="keyed",
        conn_id="proxy6_default",
        order_key=f"key {{{{ {FOUND}['due'][0]['note'] }}}}",
        request={"count": 1, "period": 7, "country": "nl", "version": 4},
        retries=0,
    )
    find >> keyed

with DAG("rendering", schedule=None, catchup=False, params={"text": Param("", type="string")}):

    @task(retries=0)
    def unsafe(params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """What a vendor would have said, without the gate."""
        assert params is not None
        return [{"text": params["text"]}]

    Take.partial(task_id="mapped", map_index_template="{{ task.text }}", retries=0).expand_kwargs(unsafe())
