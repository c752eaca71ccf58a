"""A wallet runs low: ask for money, wait until it is there, and buy the next order, once.

A watcher reads the wallet every few minutes. A balance below ``LOW_BALANCE`` makes one event, and the event starts this DAG:

- ``asked`` logs that the wallet needs money;
- ``topped_up`` waits in the triggerer, without a worker, until the wallet holds ``RECOVERED_AT``;
- ``order`` buys.

The crossing is the key of the purchase, so it happens once. A repeated event after a crash, a retry, Clear, and a second Airflow
with the same ledger all get the same order. For another purchase the wallet has to run low again.

Airflow makes an asset's watcher when it reads this file. So set the wallet here or in the environment; parameters come too late.
The DAG begins paused, and the watch begins when you switch it on.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, Param, task

from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.sensors.wallet import WalletBalanceSensor
from airflow_provider_proxyorders.triggers.wallet import WalletBalanceTrigger

log = logging.getLogger(__name__)

#: The wallet, its low level, and the balance to fill it up to, in its currency.
CONN_ID = os.environ.get("REFILL_CONN_ID", "iproyal_default")
LOW_BALANCE = os.environ.get("REFILL_LOW_BALANCE", "50.00")
RECOVERED_AT = os.environ.get("REFILL_RECOVERED_AT", "60.00")
#: Seconds between two looks at the balance.
EVERY = float(os.environ.get("REFILL_EVERY", "300"))

watch = WalletBalanceTrigger(
    conn_id=CONN_ID,
    low_balance=LOW_BALANCE,
    recovered_at=RECOVERED_AT,
    poll_interval=EVERY,
    name="refill",  # else other levels are another alert: a raised level of a low wallet would buy again
)
low = Asset("proxyorders-wallet-low", watchers=[AssetWatcher(name="balance", trigger=watch)])


@task(task_id="asked")
def ask_for_money(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """The crossings behind this run, each once: Airflow may fold several events into one run, and repeat one.

    An event that somebody wrote by hand buys nothing: only crossings that the ledger knows count.
    """
    crossings = watch.verify_events(triggering_asset_events[low])
    for crossing in crossings:
        log.warning(
            "Wallet %s is below %s. Please fill it up to %s; then the next order is bought.",
            crossing["wallet"],
            crossing["low_balance"],
            crossing["recovered_at"],
        )
    return crossings


@task
def waits(crossings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The arguments of each wait."""
    return [{"conn_id": crossing["conn_id"], "at_least": crossing["recovered_at"]} for crossing in crossings]


@task
def purchases(crossings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The arguments of each purchase."""
    return [{"conn_id": crossing["conn_id"], "order_key": f"refill:{crossing['key']}"} for crossing in crossings]


with DAG(
    "event_driven_refill",
    schedule=[low],
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args={"owner": "data-platform", "retries": 2},
    doc_md=__doc__,
    tags=["proxyorders"],
    params={
        "request": Param(
            {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2, "auto_extend": False},
            type="object",
            title="Request",
            description="The vendor's own body fields of the next order",
        ),
        "max_price": Param(
            "25.00", type="string", title="Price cap", description="The most the order may cost, in major currency units"
        ),
    },
):
    crossings = ask_for_money()
    topped_up = WalletBalanceSensor.partial(
        task_id="topped_up", deferrable=True, poll_interval=EVERY, timeout=timedelta(days=14).total_seconds()
    ).expand_kwargs(waits(crossings))  # type: ignore[arg-type]
    order = CreateProxyOrderOperator.partial(
        task_id="order",
        request="{{ params.request | tojson }}",
        max_price="{{ params.max_price }}",
        deferrable=True,
        max_active_tis_per_dagrun=4,  # purchases of one wallet take turns, so more would only hold slots
    ).expand_kwargs(purchases(crossings))  # type: ignore[arg-type]
    topped_up >> order
