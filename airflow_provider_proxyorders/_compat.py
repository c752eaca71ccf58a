"""The few Airflow names outside of ``airflow.sdk``, in one place so that an upgrade of Airflow touches one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any


def mask_secret(secret: str | list[str]) -> None:
    """Register one secret or several; Airflow replaces them in the logs of this task."""
    from airflow.sdk.log import mask_secret as register

    register([*secret] if isinstance(secret, list) else secret)


def context_or_none() -> Any | None:
    """The context of the running task, ``None`` outside of one."""
    from airflow.sdk import get_current_context

    try:
        return get_current_context()
    except RuntimeError:
        return None


def was_mapped_to_none(operator: Any, name: str) -> bool:
    """Whether this mapped task got None for a parameter from its mapping, and the DAG file left the parameter open.

    A plain task, and ``partial(name=None)``, are the author's own None.
    """
    passed = getattr(operator, "_BaseOperator__init_kwargs", {})
    if not getattr(operator, "_BaseOperator__from_mapped", False) or passed.get(name, ...) is not None:
        return False
    dag = operator.get_dag()
    mapped = dag.task_dict.get(operator.task_id) if dag else None
    return name not in getattr(mapped, "partial_kwargs", {})


def executors() -> list[str]:
    """The configured executors, in the words of ``[core] executor``."""
    from airflow.sdk import conf

    configured = conf.get("core", "executor", fallback="LocalExecutor") or ""
    return [part.strip() for part in configured.replace(";", ",").split(",") if part.strip()]


def act_as_airflow_command() -> None:
    """Let this process read the connections in Airflow's own database, like ``airflow connections get``."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def airflow_home() -> str:
    """The folder of Airflow's own files."""
    return os.path.expandvars(os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow")))


def gauge(name: str, value: float, tags: Mapping[str, Any]) -> None:
    """Set one of our metrics, ``proxyorders.NAME``, in the metrics system of this Airflow."""
    from airflow.sdk.observability import stats

    stats.gauge(f"proxyorders.{name}", value, tags=dict(tags))


def incr(name: str, tags: Mapping[str, Any], count: int = 1) -> None:
    """Count one of our metrics up."""
    from airflow.sdk.observability import stats

    stats.incr(f"proxyorders.{name}", count, tags=dict(tags))


def timing(name: str, seconds: float, tags: Mapping[str, Any]) -> None:
    """Report a duration as one of our metrics."""
    from airflow.sdk.observability import stats

    stats.timing(f"proxyorders.{name}", timedelta(seconds=seconds), tags=dict(tags))
