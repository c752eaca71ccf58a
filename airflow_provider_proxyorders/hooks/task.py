"""What a purchase takes from the running Airflow task: its actor, its fence, and a second place for an answer.

One rule: the fence leaves a mark of the ledger in the task's state. A later try with another ledger reads it and buys nothing.
"""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.model import Actor

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.purchase.kept_answers import KeptAnswer, Mark

#: The name of the mark in the state of a task.
MARK = "proxyorders_order_key"


def actor_of(context: Mapping[str, Any] | None) -> Actor:
    """The task of a context as the ledger's history names it; outside of a task only the host."""
    ti = context.get("ti") if context is not None else None
    if ti is None:
        return Actor(host=socket.gethostname())
    return Actor(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number or 0,
        host=socket.gethostname(),
    )


def fence_of(context: Mapping[str, Any] | None, ledger: Ledger) -> Callable[[str], None] | None:
    """Airflow's own fence: if Airflow has replaced this try by another, writing to the task's state store raises.

    :param ledger: in which the purchases are recorded.
    """
    state = context.get("task_state_store") if context is not None else None
    if state is None:
        return None

    def fence(order_key: str) -> None:
        try:
            state.set(MARK, {"order_key": order_key, "ledger": ledger.identity})
        except Exception as error:
            logging.getLogger(__name__).debug("task state store", exc_info=True)
            raise LedgerError(
                "Airflow no longer accepts state from this try, so another try may have replaced it; this one buys nothing "
                f"({type(error).__name__})."
            ) from None

    return fence


def answers_of(context: Mapping[str, Any] | None) -> TaskAnswers | None:
    """The task's own place for an answer that the ledger cannot take; ``None`` outside of a task."""
    state = context.get("task_state_store") if context is not None else None
    return TaskAnswers(state) if state is not None else None


class TaskAnswers:
    """Answers in the state that Airflow keeps for all tries of a task. It is plain text in Airflow, so it holds ids only.

    It survives retries and a killed worker. Clear keeps it in Airflow 3.3 and deletes it in 3.4 by default.
    """

    def __init__(self, state: Any):
        self._state = state

    def keep(self, order_key: str, answer: KeptAnswer) -> None:
        """:raises Exception: Airflow is away, or has replaced this try by another."""
        value = {"order_key": order_key, "order_id": answer.order_id, "handle": answer.handle or "", "fence": answer.fence}
        self._state.set(_name_of(order_key), value)

    def mark(self) -> Mark | None:
        """What the fence of an earlier try left.

        :raises LedgerError: it cannot be read, so this try cannot tell whether the ledger is still the same.
        """
        from airflow_provider_proxyorders.purchase.kept_answers import Mark

        try:
            value = self._state.get(MARK)
        except Exception as error:
            logging.getLogger(__name__).debug("task state store", exc_info=True)
            raise LedgerError(
                "Airflow does not give this task's state out, so this try cannot tell whether an earlier one bought from "
                f"another ledger; this one buys nothing ({type(error).__name__})."
            ) from None
        if isinstance(value, dict):
            return Mark(str(value["order_key"]), str(value["ledger"]))
        return Mark(str(value), "") if value else None  # a text is the key alone, from an older version

    def find(self, order_key: str) -> KeptAnswer | None:
        """The answer that an earlier try kept for an order key."""
        from airflow_provider_proxyorders.purchase.kept_answers import KeptAnswer

        try:
            value = self._state.get(_name_of(order_key))
            if not value or value["order_key"] != order_key:
                return None
            return KeptAnswer(str(value["order_id"]), value["handle"] or None, int(value["fence"]))
        except Exception:  # without the hint the evidence decides
            logging.getLogger(__name__).debug("task state store", exc_info=True)
            return None


def _name_of(order_key: str) -> str:
    """A name without the word that Airflow masks, and short for every order key."""
    return f"orders_answer_{hashlib.sha256(order_key.encode()).hexdigest()[:16]}"
