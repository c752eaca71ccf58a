"""A vendor's text is data: Airflow's own renderer makes nothing of what the package hands on.

A mapped task takes its parameters over from XCom, and Airflow renders them (``expand_kwargs``).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator
from airflow_provider_proxyorders.renewal.search import find_due
from airflow_provider_proxyorders.wallet.reconcile import reconcile
from tests.hooks.connections import Shops

KEY = "the-key-of-the-connection"
TEMPLATES = ["{{ conn.iproyal_default.password }}", "{%- set x = conn.iproyal_default.password %}{{x}}", "{# #}{{ conn }}"]


class Connections:
    """Stands for ``conn`` in a task's context: any way to it ends at the key."""

    password = KEY

    def __getattr__(self, name: str) -> Connections:
        return self

    def __str__(self) -> str:
        return KEY


def rendered(texts: Any) -> str:
    """What Airflow makes of the parameters of a mapped task."""
    task = ExtendProxyOrderOperator(task_id="extend", conn_id="iproyal_default", order_id="1")
    context: Any = {"conn": Connections()}
    return str(task.render_template(texts, context))


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_text_of_a_vendor_is_rendered(shops: Shops, template: str) -> None:
    assert KEY in rendered([{"order_id": template}]), "a user's own template is rendered"
    hook = shops.hook("iproyal")
    ends = f"{datetime.now(timezone.utc) + timedelta(days=1):%Y-%m-%d %H:%M:%S}"
    texts = ("product_name", "plan_name", "location", "locations", "note", "status")
    order = {"id": 7001, "quantity": 1, "expire_date": ends, **dict.fromkeys(texts, template)}
    page = {"data": [order, {**order, "id": template}, {template: template}], "meta": {"current_page": 1, "last_page": 1}}
    for operation, body in (("list", page), ("products", {"data": [{"id": 1, "name": template, template: [template]}]})):
        shops.box.fault("iproyal", operation, action="body", status=200, body=json.dumps(body))
    shops.box.fault("iproyal", "balance", action="status", status=422, body=json.dumps({"message": template}))
    orders = hook.list_orders()
    found = find_due(hook.buyer(), as_of=datetime.now(timezone.utc), within=timedelta(days=3))
    with pytest.raises(ProxyOrdersError) as refused:
        reconcile(hook.buyer())
    told = [
        [asdict(each) for each in orders],
        [asdict(each) for each in (*found.due, *found.left_out)],
        found.lines(),
        hook.get_products(),
        str(refused.value),
    ]
    words = template.strip("{%#- }")[:20]
    assert words in str(told), "the vendor's words came through, as text"
    assert KEY not in rendered(told)
    assert [each.order_id for each in found.due] == ["7001"]
