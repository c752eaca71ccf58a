"""Compare the ledger with the vendors every day, and fail if a wallet needs a look.

``reconcile`` runs once per connection. It settles unresolved purchases, brings orders up to date, and looks for three things the
ledger cannot explain:

- a foreign order, bought outside this ledger,
- an order that is missing in the vendor's list,
- a balance that fell by more than the purchases cost.

Each of them fails the task. A foreign order also freezes the wallet, since a lost purchase could be mistaken for it. ``report``
shows the state of all wallets and fails if one needs a look, so a run sends one message.

It never spends. The first run accepts everything the account holds at that time. It begins paused: name your connections, set
``NOTIFIERS``, and switch it on. Without notifiers you see the failed run in Airflow's page.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from typing import Any

from airflow.sdk import DAG, BaseNotifier, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_proxyorders.operators.ledger import ReconcileLedgerOperator

log = logging.getLogger(__name__)

#: When it runs; at a quiet hour, since it reads every unfinished order.
SCHEDULE = "30 4 * * *"
#: They report a wallet in need of a look, for example ``[SlackNotifier(text="{{ exception }}")]``.
NOTIFIERS: list[BaseNotifier] = []

LISTS = ("settled", "updated", "unresolved", "foreign", "maybe_ours", "missing")


@task
def wallets(params: dict[str, Any] | None = None) -> list[str]:
    """The connections to compare; name one for each wallet."""
    assert params is not None
    return [*dict.fromkeys(params["conn_ids"])]


@task(trigger_rule="all_done", on_failure_callback=NOTIFIERS)
def report(conn_ids: list[str]) -> dict[str, dict[str, Any]]:
    """The state of each wallet with the number of each finding, failed comparisons included."""
    ti = get_current_context()["ti"]
    states: dict[str, dict[str, Any]] = {}
    for number, conn_id in enumerate(conn_ids):
        comparison = ti.xcom_pull(task_ids="reconcile", map_indexes=number)
        if not comparison:
            states[conn_id] = {"state": "could not be compared, see its task"}
        else:
            counts = {name: len(comparison[name]) for name in LISTS}
            unexplained, frozen = comparison["unexplained"], comparison["frozen"]
            fell = unexplained is not None and Decimal(unexplained.split()[0]) > 0  # else it grew: a top-up
            look = fell or counts["unresolved"] or counts["foreign"] or counts["maybe_ours"] or counts["missing"] or frozen
            state = "needs a look" if look else "agrees"
            states[conn_id] = {"state": state, **counts, "unexplained": unexplained, "frozen": frozen}
        log.info("%s: %s", conn_id, states[conn_id])
    bad = [f"{conn_id} {wallet['state']}" for conn_id, wallet in states.items() if wallet["state"] != "agrees"]
    if bad:
        ti.xcom_push(key="return_value", value=states)
        raise AirflowFailException(f"{'; '.join(bad)}. Read the log of task reconcile.")
    return states


with DAG(
    "reconcile_ledger",
    schedule=SCHEDULE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args={"owner": "data-platform", "execution_timeout": timedelta(minutes=30)},
    doc_md=__doc__,
    tags=["proxyorders"],
    params={
        "conn_ids": Param(["iproyal_default"], type="array", title="Connections", description="One for each wallet"),
    },
):
    conn_ids = wallets()
    reconcile = ReconcileLedgerOperator.partial(task_id="reconcile").expand(conn_id=conn_ids)
    reconcile >> report(conn_ids)  # type: ignore[arg-type]
