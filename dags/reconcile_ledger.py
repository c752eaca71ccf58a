"""Compare what this Airflow thinks it bought with what the vendors say, every day, and say so when a person should look.

``reconcile`` runs once for each connection. It settles purchases whose answer was lost, brings orders up to date, and looks for
what the ledger cannot explain: an order at the vendor that nobody here intended, an order that the vendor no longer lists, a
balance that fell by more than was bought. Any of these fails its task, after it stopped further purchases from that wallet where
a lost purchase could no longer be told from somebody else's. ``report`` says how all wallets stand, and fails where one needs a
look, so that there is one message a run.

It never spends. The first run takes what an account holds as known. It begins paused: name your connections, set ``NOTIFIERS``,
and switch it on. Without notifiers a failed run in Airflow's page says it.
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

#: When it runs; at a quiet hour, since it reads every order that is not finished.
SCHEDULE = "30 4 * * *"
#: Who is told of a wallet that needs a look, for example ``[SlackNotifier(text="{{ exception }}")]``.
NOTIFIERS: list[BaseNotifier] = []

LISTS = ("settled", "updated", "inconclusive", "strange", "unclear", "missing")


@task
def wallets(params: dict[str, Any] | None = None) -> list[str]:
    """The connections to compare; those that pay from one wallet need to be named once."""
    assert params is not None
    return [*dict.fromkeys(params["conn_ids"])]


@task(trigger_rule="all_done", on_failure_callback=NOTIFIERS)
def report(conn_ids: list[str]) -> dict[str, dict[str, Any]]:
    """How each wallet stands, those whose comparison failed included: how many of each finding, and the wallet's state."""
    ti = get_current_context()["ti"]
    told: dict[str, dict[str, Any]] = {}
    for number, conn_id in enumerate(conn_ids):
        found = ti.xcom_pull(task_ids="reconcile", map_indexes=number)
        if not found:
            told[conn_id] = {"state": "could not be compared, see its task"}
        else:
            counts = {name: len(found[name]) for name in LISTS}
            fell = found["unexplained"] is not None and Decimal(found["unexplained"].split()[0]) > 0  # else it grew: a top-up
            look = (
                fell or counts["inconclusive"] or counts["strange"] or counts["unclear"] or counts["missing"] or found["frozen"]
            )
            state = "needs a look" if look else "agrees"
            told[conn_id] = {"state": state, **counts, "unexplained": found["unexplained"], "frozen": found["frozen"]}
        log.info("%s: %s", conn_id, told[conn_id])
    bad = [f"{conn_id} {seen['state']}" for conn_id, seen in told.items() if seen["state"] != "agrees"]
    if bad:
        ti.xcom_push(key="return_value", value=told)
        raise AirflowFailException(f"{'; '.join(bad)}. The log of task reconcile says what to look at.")
    return told


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
