"""From an order to a pipeline: buy, deliver to a file, fetch pages through the proxies, wake the next DAG.

- ``order`` buys and waits.
- ``deliver`` checks that the proxies answer and writes them to a file for its owner only.
- ``fetch`` runs once per page, each run through another proxy of the file.
- ``table`` writes the results. Its asset event starts ``pipeline_report``.

Passwords are in the file and nowhere else: tasks pass on its path, counts and times.

The file is below ``folder``. If tasks run on several hosts, choose a store within reach of all, such as
``s3://aws_default@bucket/pipeline``.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import time
from typing import Any

from airflow.sdk import DAG, Asset, Context, ObjectStoragePath, Param, get_current_context, task

from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator, read_delivery
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator

log = logging.getLogger(__name__)

#: Schedules for other DAGs: a fresh delivery, and a fresh table of pages.
FRESH = Asset("proxyorders_fresh_delivery")
PAGES = Asset("proxyorders_pages")

HOME = os.environ.get("AIRFLOW_HOME") or os.path.expanduser("~/airflow")
PARAMS = {
    "conn_id": Param(
        "iproyal_default", type="string", title="Connection", description="It holds the wallet and names the vendor"
    ),
    "request": Param(
        {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2},
        type="object",
        title="Request",
        description="The vendor's own body fields",
    ),
    "max_price": Param(
        "25.00", type="string", title="Price cap", description="The most the order may cost, in major currency units"
    ),
    "target": Param(
        "https://example.com/", type="string", title="Page", description="The check of the proxies and every fetch read it"
    ),
    "pages": Param(3, type="integer", minimum=1, maximum=100, title="Pages", description="How many fetches to make"),
    "folder": Param(f"{HOME}/proxyorders-deliveries", type="string", title="Folder", description="Where the files go"),
}


@task(retries=2)
def numbers(delivered: dict[str, Any], params: dict[str, Any] | None = None) -> list[int]:
    """The entry of the file for each fetch, in turns."""
    assert params is not None
    return [number % delivered["count"] for number in range(params["pages"])]


@task(retries=2, max_active_tis_per_dagrun=2)
def fetch(number: int, delivered: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fetch the page through one of the order's proxies."""
    import requests

    assert params is not None
    proxy = read_delivery(delivered["path"], delivered["format"]).proxies[number]
    began = time.monotonic()
    answer = requests.get(params["target"], proxies=proxy.requests, timeout=30)
    answer.raise_for_status()
    took = round(time.monotonic() - began, 3)
    log.info("Fetched %d bytes through %r in %.3f s", len(answer.content), proxy, took)
    return {"entry": number, "status": answer.status_code, "bytes": len(answer.content), "seconds": took}


@task(retries=2, outlets=[PAGES])
def table(rows: list[dict[str, Any]], delivered: dict[str, Any]) -> dict[str, Any]:
    """Write the results beside the delivery, log them as a table, and start the DAGs with this asset as schedule."""
    fetched = [*rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["entry", "status", "bytes", "seconds"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(fetched)
    path = ObjectStoragePath(f"{delivered['path']}.pages.csv")
    path.write_bytes(out.getvalue().encode())
    log.info("%d pages of order %s:\n%s", len(fetched), delivered["order_id"], out.getvalue())
    made = {"path": str(path), "pages": len(fetched), "order_id": delivered["order_id"], "expires_at": delivered["expires_at"]}
    context: Context = get_current_context()
    context["outlet_events"][PAGES].extra.update(made)
    return made


with DAG("order_to_pipeline", schedule=None, catchup=False, doc_md=__doc__, tags=["proxyorders"], params=PARAMS) as pipeline:
    order = CreateProxyOrderOperator(
        task_id="order",
        conn_id="{{ params.conn_id }}",
        request="{{ params.request | tojson }}",
        max_price="{{ params.max_price }}",
        on_unresolved="ask",
        deferrable=True,
    )
    deliver = DeliverProxiesOperator(
        task_id="deliver",
        conn_id="{{ params.conn_id }}",
        order_id="{{ ti.xcom_pull(task_ids='order')['order_id'] }}",
        path="{{ params.folder }}/{{ ti.xcom_pull(task_ids='order')['order_id'] | replace('/', '_') }}.txt",
        check_url="{{ params.target }}",
        outlets=[FRESH],
    )
    order >> deliver
    rows = fetch.partial(delivered=deliver.output).expand(number=numbers(deliver.output))  # type: ignore[arg-type]
    table(rows, deliver.output)  # type: ignore[arg-type]


@task(retries=2)
def report(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """The tables behind this run; Airflow may fold several events into one run.

    An event that is made by hand could name any file, so only those of the task ``table`` count.
    """
    tables = []
    for event in triggering_asset_events[PAGES]:
        if (event.source_dag_id, event.source_task_id) != ("order_to_pipeline", "table"):
            log.warning("An event of %s.%s is left out", event.source_dag_id, event.source_task_id)
            continue
        read = list(csv.DictReader(io.StringIO(ObjectStoragePath(event.extra["path"]).read_bytes().decode())))
        tables.append({"order_id": event.extra["order_id"], "pages": len(read), "bytes": sum(int(row["bytes"]) for row in read)})
    log.info("%s", tables)
    return tables


with DAG("pipeline_report", schedule=[PAGES], catchup=False, doc_md=__doc__, tags=["proxyorders"]) as reporting:
    report()
