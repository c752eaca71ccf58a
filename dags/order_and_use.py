"""Buy, wait, use: the main job, for any vendor, by parameter.

``order`` buys the request of the run and waits until the order is usable. ``use`` takes its proxies or codes. ``extend`` adds one
more term if the parameters ask for it. Run it by hand, or copy it and give it a schedule. One run buys one order, also after
retries and Clear.

If nothing shows whether the vendor took a purchase, its task asks in Airflow's *Required Actions* and waits for the answer, for
three days at most.

The tasks pass on the order's id, status and price. Proxies and codes are secret, so ``use`` reads them at the vendor.
``order_and_use`` waits in the triggerer and holds no worker meanwhile; ``order_and_use_in_worker`` waits in the worker.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator

log = logging.getLogger(__name__)

#: Small orders with the ids of the vendors' own examples. Yours will differ.
EXAMPLES: dict[str, dict[str, Any]] = {
    "proxyscrape_default": {
        "type": "new_datacenter_shared",
        "country": "Netherlands",
        "days": 30,
        "proxies[us]": 100,
        "bandwidth": 0,
    },
    "iproyal_default": {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2},
    "voodoo_default": {"item_id": 5120, "quantity": 2},
    "proxy6_default": {"count": 2, "period": 30, "country": "nl", "version": 6},
}

PARAMS = {
    "conn_id": Param(
        "proxyscrape_default", type="string", title="Connection", description="It holds the wallet and names the vendor"
    ),
    "request": Param(
        None,
        type=["object", "null"],
        title="Request",
        description="The vendor's own body fields; empty: the small example for the connection above",
    ),
    "max_price": Param(
        "25.00", type="string", title="Price cap", description="The most the order may cost, in major currency units"
    ),
    "target": Param(
        None,
        type=["string", "null"],
        title="Fetch",
        description="An address to fetch through one of the order's proxies; empty: skip it",
    ),
    "extend": Param(
        None,
        type=["object", "null"],
        title="Extend",
        description='Extend the order after use, if the vendor can: body fields such as {"product_plan_id": 22}',
    ),
}


@task(retries=2)
def choose(params: dict[str, Any] | None = None) -> dict[str, Any]:
    """The request of this run."""
    assert params is not None
    request = params["request"] or EXAMPLES.get(params["conn_id"])
    if not request:
        raise ValueError(f"connection {params['conn_id']!r} lacks an example order: give the run a `request`")
    return request


@task(retries=2)
def use(order: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fetch a page through a proxy of the order, or count its codes."""
    import requests

    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    assert params is not None
    delivery = ProxyOrdersHook(params["conn_id"]).get_delivery(order["order_id"])
    log.info("Order %s yielded %d proxies and %d codes", order["order_id"], len(delivery.proxies), len(delivery.codes))
    fetched = None
    if params["target"] and delivery.proxies:
        answer = requests.get(params["target"], proxies=delivery.proxies[0].requests, timeout=30)
        answer.raise_for_status()
        fetched = answer.status_code
        log.info("Fetched %s through %r: %d", params["target"], delivery.proxies[0], fetched)
    return {"count": delivery.count, "fetched": fetched}


@task.short_circuit
def extension_wanted(params: dict[str, Any] | None = None) -> bool:
    """Whether this run asks for an extension."""
    assert params is not None
    return bool(params["extend"])


def build(dag_id: str, *, deferrable: bool) -> DAG:
    with DAG(dag_id, schedule=None, catchup=False, doc_md=__doc__, tags=["proxyorders"], params=PARAMS) as dag:
        order = CreateProxyOrderOperator(
            task_id="order",
            conn_id="{{ params.conn_id }}",
            request=choose(),  # type: ignore[arg-type]
            max_price="{{ params.max_price }}",
            on_unresolved="ask",
            response_timeout="P3D",
            deferrable=deferrable,
        )
        extend = ExtendProxyOrderOperator(
            task_id="extend",
            conn_id="{{ params.conn_id }}",
            order_id="{{ ti.xcom_pull(task_ids='order')['order_id'] }}",
            request="{{ params.extend | tojson }}",
            max_price="{{ params.max_price }}",
            on_unresolved="ask",
            response_timeout="P3D",
            deferrable=deferrable,
        )
        use(order.output) >> extension_wanted() >> extend  # type: ignore[arg-type]
    return dag


order_and_use = build("order_and_use", deferrable=True)
order_and_use_in_worker = build("order_and_use_in_worker", deferrable=False)
