"""The month's checks of its wallet: two DAGs with one alert, whose notifier writes into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseNotifier, Param

from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator


class Line(BaseNotifier):
    """Adds a line to a file."""

    template_fields: Sequence[str] = ("path", "line")

    def __init__(self, path: str, line: str):
        super().__init__()
        self.path, self.line = path, line

    def notify(self, context: Any) -> None:
        with Path(self.path).open("a") as file:
            file.write(f"{self.line}\n")


for dag_id in ("month_check", "month_check_again"):
    with DAG(
        dag_id,
        schedule=None,
        catchup=False,
        params={
            "conn_id": Param("month_wallet", type="string"),
            "path": Param("/dev/null", type="string"),
            "day": Param(0, type="integer"),
            "low": Param("1", type="string"),
            "recovered": Param("1", type="string"),
            "horizon": Param("P7D", type="string"),
        },
    ):
        CheckWalletOperator(
            task_id="check",
            conn_ids="{{ params.conn_id }}",
            low_balance="{{ params.low }}",
            recovered_at="{{ params.recovered }}",
            horizon="{{ params.horizon }}",
            alert_name="month",
            notifiers=Line("{{ params.path }}", "{{ params.day }} {{ alert.state }} {{ alert.balance }}"),
        )
