"""``order_id`` takes what the task that bought the order returned, and with it comes the order of the tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_proxyorders.domain.errors import InvalidParameter
from airflow_provider_proxyorders.domain.inputs import order_id_of
from airflow_provider_proxyorders.operators import CreateProxyOrderOperator, DeliverProxiesOperator, ExtendProxyOrderOperator
from airflow_provider_proxyorders.sensors import ProxyOrderSensor
from tests.hooks.connections import REQUESTS, Shops

from .tasks import context, through_json

RESULT = {"order_key": "k", "order_id": "7001", "price": "6.00"}


@pytest.mark.parametrize("named", [RESULT, json.dumps(RESULT), f"\n {json.dumps(RESULT)}", {"order_id": 7001}, "7001", 7001])
def test_the_id_is_found(named: Any) -> None:
    assert order_id_of(named) == "7001"


@pytest.mark.parametrize(
    ("named", "rule"),
    [
        (str(RESULT), r"the whole result of the task that bought it; in a template name its field, as in \['order_id'\]"),
        ({"orders": 1}, "or the whole result"),
        ({**RESULT, "order_id": None}, "is needed and empty"),
        ({**RESULT, "order_id": {"order_id": "7001"}}, "must be text"),
        ([RESULT], "must be text"),
        ("[7001]\n8", "visible signs"),
    ],
    ids=["Python's text", "another object", "a result without id", "twice", "a list", "lines"],
)
def test_anything_else_is_refused_in_one_sentence(named: Any, rule: str) -> None:
    with pytest.raises(InvalidParameter, match=rule) as error:
        order_id_of(named)
    assert "\n" not in str(error.value)


def test_a_task_that_takes_the_result_runs_after_its_task() -> None:
    with DAG("shop", schedule=None):
        order = CreateProxyOrderOperator(task_id="order", conn_id="c", request={"quantity": 1})
        tasks = [
            DeliverProxiesOperator(task_id="deliver", conn_id="c", order_id=order.output, path="/tmp/p"),
            ExtendProxyOrderOperator(task_id="extend", conn_id="c", order_id=order.output, request={}),
            ProxyOrderSensor(task_id="wait", conn_id="c", order_id=order.output),
        ]
    assert [task.upstream_task_ids for task in tasks] == [{"order"}] * 3


def test_a_whole_result_is_delivered_and_what_the_hook_returned_is_read(shops: Shops, tmp_path: Path) -> None:
    hook = shops.hook("iproyal")
    buy = CreateProxyOrderOperator(task_id="buy", conn_id="iproyal_default", request=REQUESTS["iproyal"])
    result = through_json(buy.execute(context()))
    deliver = DeliverProxiesOperator(task_id="d", conn_id="iproyal_default", order_id=result, path=str(tmp_path / "p.txt"))
    written = deliver.execute({"outlet_events": OutletEventAccessors()})  # type: ignore[arg-type,typeddict-item]
    assert (written["order_id"], written["count"]) == (result["order_id"], 2)
    purchase = hook.create_order(REQUESTS["iproyal"], order_key="another")
    order = hook.get_order(purchase)
    assert hook.get_delivery(order).order_id == purchase.order_id == hook.get_order(hook.get_delivery(purchase)).order_id
    assert len(shops.bought("iproyal")) == 2
