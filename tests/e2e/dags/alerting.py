"""A check of a wallet whose notifier writes into a file, through a template and a real task's context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseNotifier, Param

from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator


class File(BaseNotifier):
    """Adds a line to a file."""

    template_fields: Sequence[str] = ("path", "line")

    def __init__(self, path: str, line: str):
        super().__init__()
        self.path, self.line = path, line

    def notify(self, context: Any) -> None:
        with Path(self.path).open("a") as file:
            file.write(f"{self.line}\n")


with DAG(
    "alerting",
    schedule=None,
    catchup=False,
    params={"conn_id": Param("watched_wallet", type="string"), "path": Param("", type="string")},
):
    CheckWalletOperator(
        task_id="check",
        conn_ids="{{ params.conn_id }}",
        low_balance="50",
        horizon=None,
        notifiers=File("{{ params.path }}", "{{ alert.state }} {{ alert.balance }} by {{ ti.task_id }} of {{ dag.dag_id }}"),
    )
