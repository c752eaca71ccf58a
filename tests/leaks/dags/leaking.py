"""What can go wrong around secrets, one task each; apart, a user who logs what was bought, and a task that truly leaks, to show
that the scan would find it."""

from __future__ import annotations

import base64
import json
import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator, read_delivery
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator

IPROYAL: dict[str, Any] = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2}
VOODOO: dict[str, Any] = {"item_id": 5120, "quantity": 2}
PROXYSCRAPE: dict[str, Any] = {
    "type": "new_datacenter_shared",
    "country": "Malta",
    "days": 30,
    "proxies[us]": 4,
    "bandwidth": 0,
}
PARAMS = {
    "order_id": Param("0", type="string", description="An IPRoyal order that is delivered"),
    "codes_id": Param("0", type="string", description="A Voodoo order that is delivered"),
    "goods": Param("nowhere", type="string", description="A folder that is not scanned"),
}
AGAIN: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)}

with DAG("leaking", schedule=None, catchup=False, params=PARAMS):
    CreateProxyOrderOperator(task_id="wrong_key", conn_id="wrong_key", request=IPROYAL, retries=0)
    CreateProxyOrderOperator(task_id="echoed", conn_id="voodoo_default", request=VOODOO, retries=0)
    CreateProxyOrderOperator(task_id="strange_id", conn_id="proxyscrape_default", request=PROXYSCRAPE, retries=0)
    CreateProxyOrderOperator(task_id="lost", conn_id="iproyal_default", request=IPROYAL, deferrable=True, **AGAIN)
    proxies = {"conn_id": "iproyal_default", "order_id": "{{ params.order_id }}"}
    DeliverProxiesOperator(task_id="no_disk", path="/proc/nowhere/goods", **proxies, **AGAIN)  # type: ignore[arg-type]
    DeliverProxiesOperator(
        task_id="dead",
        path="{{ params.goods }}/dead.txt",
        check_url="http://127.0.0.1:1/",
        retries=0,
        **proxies,  # type: ignore[arg-type]
    )
    DeliverProxiesOperator(
        task_id="codes",
        conn_id="voodoo_default",
        order_id="{{ params.codes_id }}",
        path="{{ params.goods }}/codes.jsonl",
        format="jsonl",
        retries=0,
    )
    DeliverProxiesOperator(task_id="delivered", path="{{ params.goods }}/goods.txt", retries=0, **proxies)  # type: ignore[arg-type]

    @task(retries=0)
    def wrong_ledger(params: dict[str, Any] | None = None) -> list[str]:
        """Buys with each address of a ledger that cannot work, with a password in it; the log has the whole error."""
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        assert params is not None
        said = []
        for address in json.loads(Path(params["goods"], "addresses.json").read_text()):
            os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = address
            try:
                ProxyOrdersHook("iproyal_default").create_order(IPROYAL, order_key="wrong ledger")
            except LedgerError as error:
                logging.getLogger(__name__).exception("the ledger cannot be used")
                said.append(str(error))
            else:
                raise RuntimeError("it can be used")
        return said

    wrong_ledger()

with DAG("careless", schedule=None, catchup=False, params=PARAMS):

    @task(retries=0)
    def careless(params: dict[str, Any] | None = None) -> None:
        """What a user may do by mistake; Airflow's masker was told."""
        import requests

        assert params is not None
        delivery = read_delivery(f"{params['goods']}/goods.txt")
        for proxy in delivery.proxies:
            print("printed", proxy.url, delivery)
            logging.getLogger(__name__).warning("logged %s with %s", proxy.url, proxy.requests)
        try:
            requests.get("http://127.0.0.1:1/", proxies=delivery.proxies[0].requests, timeout=5).raise_for_status()
        except requests.RequestException as error:
            raise RuntimeError(f"cannot use {delivery.proxies[0].url}") from error

    careless()

with DAG("planting", schedule=None, catchup=False, params=PARAMS):

    @task(retries=0)
    def plant(params: dict[str, Any] | None = None) -> str:
        """Reads the goods behind the masker's back, logs them and hands them on."""
        assert params is not None
        secret = Path(params["goods"], "goods.txt").read_text().splitlines()[0]
        logging.getLogger(__name__).warning("a leak: %s", secret)
        return base64.b64encode(f"and one: {secret}".encode()).decode()

    plant()
