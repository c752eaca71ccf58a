"""Hear in time that money runs out: one alert when a wallet gets low, one when it recovers.

``check`` reads the wallets every hour. A wallet is low in three cases:

- it is empty,
- its balance is below ``low_balance``,
- its balance cannot pay for the renewals within ``horizon``; the alert names the first order to lapse.

The ledger records each alert. So an hourly run, a run by hand and a second DAG with the same levels send it once together. If
every notifier fails, the next try sends it again. ``summary`` logs the wallets as a table.

It only reads. It begins paused: name your connections, set ``NOTIFIERS``, and switch it on. Without notifiers the alert is a
warning in the task's log.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseNotifier, Param, task

from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator

log = logging.getLogger(__name__)

#: When it runs.
SCHEDULE = "@hourly"
#: They send the alert, for example ``[SlackNotifier(text="{{ alert.subject }}: {{ alert.text }}")]`` or
#: ``[SmtpNotifier(to="ops@example.com", subject="{{ alert.subject }}", html_content="{{ alert.text }}")]``.
NOTIFIERS: list[BaseNotifier] = []

PARAMS = {
    "conn_ids": Param(
        ["iproyal_default"],
        type="array",
        title="Connections",
        description="The wallets to check, each by itself",
    ),
    "low_balance": Param(
        "50.00",
        type=["string", "null"],
        title="Low below",
        description="In the wallet's currency; empty: only the renewals count",
    ),
    "recovered_at": Param(
        None,
        type=["string", "null"],
        title="Recovered from",
        description="Empty: a tenth above, so a wavering balance is quiet",
    ),
    "horizon": Param(
        "P7D",
        type=["string", "null"],
        title="Horizon",
        description="Pay for the renewals within this time; empty: only the balance counts",
    ),
    "extension": Param(
        None,
        type=["object", "null"],
        title="Extension",
        description='Body fields to ask the vendor for prices with, such as {"product_plan_id": 22}; empty: the last ones paid',
    ),
}


@task(retries=2)
def summary(wallets: dict[str, Any]) -> list[str]:
    """A line for each wallet."""
    lines = []
    for conn_id, wallet in wallets.items():
        line = f"{conn_id:<24} {wallet['state']:<4} {wallet['balance']:>10} {wallet['currency'] or '':<3}"
        line += f"  runway {wallet['runway'] or '-'}"
        if wallet["first_uncovered_order_id"]:
            line += f", first to lapse: order {wallet['first_uncovered_order_id']} at {wallet['first_uncovered_at']}"
        if wallet["days_left"]:
            line += f", {wallet['days_left']} days at {wallet['spent_per_day']} a day"
        lines.append(line)
    log.info("Wallets:\n%s", "\n".join(lines))
    return lines


with DAG(
    "low_balance_alert",
    schedule=SCHEDULE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args={"owner": "data-platform", "execution_timeout": timedelta(minutes=15)},
    doc_md=__doc__,
    tags=["proxyorders"],
    params=PARAMS,
):
    check = CheckWalletOperator(
        task_id="check",
        conn_ids="{{ params.conn_ids | tojson }}",
        low_balance="{{ params.low_balance or '' }}",
        recovered_at="{{ params.recovered_at or '' }}",
        horizon="{{ params.horizon or '' }}",
        extension="{{ params.extension | tojson }}",
        notifiers=NOTIFIERS,
    )
    summary(check.output)  # type: ignore[arg-type]
