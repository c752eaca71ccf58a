"""What a purchase takes from the running Airflow task: its actor and its fence."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.model import Actor


def actor_of(context: Mapping[str, Any] | None) -> Actor:
    """The task of a context as the ledger's history names it; outside of a task only the host."""
    if context is None:
        return Actor(host=socket.gethostname())
    ti = context["ti"]
    return Actor(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number or 0,
        host=socket.gethostname(),
    )


def fence_of(context: Mapping[str, Any] | None) -> Callable[[str], None] | None:
    """Airflow's own fence: if Airflow has replaced this try by another, writing to the task's state store raises."""
    store = context.get("task_state_store") if context is not None else None
    if store is None:
        return None

    def fence(order_key: str) -> None:
        try:
            store.set("proxyorders_order_key", order_key)
        except Exception as error:
            logging.getLogger(__name__).debug("task state store", exc_info=True)
            raise LedgerError(
                "Airflow no longer accepts state from this try, so another try may have replaced it; this one buys nothing "
                f"({type(error).__name__})."
            ) from None

    return fence
