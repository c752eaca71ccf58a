"""Hear in time that money runs out: one message when a wallet gets low, one when it has recovered.

Every hour ``check`` reads the wallets. A wallet is low when its balance is below ``low_balance``, when it is empty, or when it
does not pay for what is due within ``horizon``; the message names the first order that would lapse. Who has been told is in the
ledger: an hourly run, a run by hand and a second DAG with the same levels say it once together, and a message that nobody could
take is sent again by the next try. ``summary`` puts the wallets into the log as a table.

It only reads. It begins paused, so that copying it asks nobody: name your connections, set ``NOTIFIERS``, and switch it on.
Without notifiers the task's log says it, as a warning.
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
#: Who is told, for example ``[SlackNotifier(text="{{ alert.subject }}: {{ alert.text }}")]`` or
#: ``[SmtpNotifier(to="ops@example.com", subject="{{ alert.subject }}", html_content="{{ alert.text }}")]``.
NOTIFIERS: list[BaseNotifier] = []

PARAMS = {
    "conn_ids": Param(
        ["iproyal_default"],
        type="array",
        title="Connections",
        description="The wallets to look at; one that fails stops no other",
    ),
    "low_balance": Param(
        "50.00",
        type=["string", "null"],
        title="Low below",
        description="In the wallet's currency; empty: only what is due counts",
    ),
    "recovered_at": Param(
        None,
        type=["string", "null"],
        title="Recovered from",
        description="Empty: a tenth above, so that a wavering balance is quiet",
    ),
    "horizon": Param(
        "P7D",
        type=["string", "null"],
        title="Horizon",
        description="Pay for what is due within this; empty: only the balance counts",
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
    for conn_id, seen in wallets.items():
        line = (
            f"{conn_id:<24} {seen['state']:<4} {seen['balance']:>10} {seen['currency'] or '':<3}  runway {seen['runway'] or '-'}"
        )
        if seen["first_uncovered_order_id"]:
            line += f", first not paid for: order {seen['first_uncovered_order_id']} at {seen['first_uncovered_at']}"
        if seen["days_left"]:
            line += f", {seen['days_left']} days at {seen['spent_per_day']} a day"
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
