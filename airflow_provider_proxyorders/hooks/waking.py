"""Tasks that wait in Airflow's *Required Actions* for the outcome of a purchase: which they are, and how they learn of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.model import TAKEN, Actor, Step

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.ledger import Ledger

log = logging.getLogger(__name__)

#: The line of a purchase's history that tells of a question; its actor is the task that waits.
ASKED = "asked in Airflow's Required Actions"
#: The answers, and the field beside them.
WAS_TAKEN, WAS_NOT_TAKEN = "It was taken", "It was not taken"
ORDER_ID = "order_id"
#: Stands beside an answer that only shows a decision from elsewhere. No task takes it for an answer of its own.
DECIDED_ELSEWHERE = "decided elsewhere"


def askers(ledger: Ledger, order_key: str) -> Iterator[tuple[Actor, bool]]:
    """The tasks that asked about a purchase, oldest first, and whether they asked about its last sending."""
    history = ledger.history(order_key)
    sent = max((place for place, entry in enumerate(history) if entry.step is Step.SENT), default=-1)
    for place, entry in enumerate(history):
        if entry.why == ASKED and entry.actor.task_id is not None:
            yield entry.actor, place > sent


def wake_tasks(ledger: Ledger, purchase: Purchase, by: Actor) -> int:
    """After a decision from elsewhere: let the tasks that wait for it go on; returns how many do.

    A task that stays unreached looks for itself some minutes later. While the purchase is unresolved, its question stays open:
    not every decision settles it.

    :param purchase: after the decision.
    """
    taken = purchase.step in TAKEN
    if not taken and (purchase.unresolved or purchase.step not in (Step.INTENDED, Step.REJECTED)):
        return 0
    try:
        waiting = dict.fromkeys(
            (actor.dag_id, actor.run_id, actor.task_id, actor.map_index)
            for actor, last in askers(ledger, purchase.order_key)
            if last
        )
        if not waiting:
            return 0
        names = ("dag_id", "run_id", "task_id", "map_index")
        tasks = [dict(zip(names, task, strict=True)) for task in waiting]
        fields = {ORDER_ID: purchase.order_id, DECIDED_ELSEWHERE: True}
        return _compat.wake(tasks, WAS_TAKEN if taken else WAS_NOT_TAKEN, fields, by.host)
    except Exception:
        log.info("The task that waits for %s is not reached from here; it looks for itself within minutes", purchase.order_key)
        log.debug("waking", exc_info=True)
        return 0
