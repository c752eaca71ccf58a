"""Executors of a company's own, whose names say little about where they run their tasks."""

from __future__ import annotations

from airflow.executors.base_executor import BaseExecutor
from airflow.executors.local_executor import LocalExecutor


class Tuned(LocalExecutor):
    """Runs tasks on its own host, like the class that it is made of."""


class NonLocalExecutor(BaseExecutor):
    """Runs tasks elsewhere."""
