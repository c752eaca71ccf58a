"""Money ran out: ask for it, wait until it is there, and buy the next order, once.

The watcher reads a wallet every few minutes. When its balance falls below ``LOW_BALANCE`` it makes one event, which starts this
DAG: ``asked`` says that money is needed, ``topped_up`` waits in the triggerer, without a worker, until somebody has filled the
wallet up to ``RECOVERED_AT``, and ``order`` buys.

The purchase is keyed by the crossing. So it happens once, even if the event comes twice after a crash, if the run is retried or
cleared, or if a second Airflow with the same ledger watches the same wallet. To buy again, the wallet has to run low again.

An asset's watcher is made when this file is read, so what it watches is set here or in the environment, not by parameters. The
DAG begins paused, and nothing is watched until it is switched on.
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

#: The wallet, the balance below which it is low, and the one that it is to be filled up to at least, in its currency.
CONN_ID = os.environ.get("REFILL_CONN_ID", "iproyal_default")
LOW_BALANCE = os.environ.get("REFILL_LOW_BALANCE", "50.00")
RECOVERED_AT = os.environ.get("REFILL_RECOVERED_AT", "60.00")
#: Seconds between two looks at the balance.
EVERY = float(os.environ.get("REFILL_EVERY", "300"))

low = Asset(
    "proxyorders-wallet-low",
    watchers=[
        AssetWatcher(
            name="balance",
            trigger=WalletBalanceTrigger(
                conn_id=CONN_ID,
                low_balance=LOW_BALANCE,
                recovered_at=RECOVERED_AT,
                poll_interval=EVERY,
                name="refill",  # else other levels are another alert: raising one while the wallet is low would buy once more
            ),
        )
    ],
)


@task
def asked(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """The crossings that started this run, each once: Airflow may fold several events into one run, and bring one twice."""
    found = [event.extra.get("payload", event.extra) for event in triggering_asset_events[low]]
    crossings = [*{crossing["key"]: crossing for crossing in found}.values()]
    for crossing in crossings:
        log.warning(
            "Wallet %s is low: %s %s. Please fill it up to %s; then the next order is bought.",
            crossing["wallet"],
            crossing["balance"],
            crossing["currency"] or "",
            crossing["recovered_at"],
        )
    return crossings


@task
def waits(crossings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each wait is for."""
    return [{"conn_id": crossing["conn_id"], "at_least": crossing["recovered_at"]} for crossing in crossings]


@task
def purchases(crossings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each purchase is known by."""
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
    crossings = asked()
    topped_up = WalletBalanceSensor.partial(
        task_id="topped_up", deferrable=True, poll_interval=EVERY, timeout=timedelta(days=14).total_seconds()
    ).expand_kwargs(waits(crossings))  # type: ignore[arg-type]
    order = CreateProxyOrderOperator.partial(
        task_id="order",
        request="{{ params.request | tojson }}",
        max_price="{{ params.max_price }}",
        deferrable=True,
    ).expand_kwargs(purchases(crossings))  # type: ignore[arg-type]
    topped_up >> order
