"""The few names that Airflow 3.3 does not offer through ``airflow.sdk``, in one place so that an upgrade touches one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mask_secret(secret: str | list[str]) -> None:
    """Register one value or several that Airflow must replace in the logs of this task."""
    from airflow.sdk.log import mask_secret as register

    register([*secret] if isinstance(secret, list) else secret)


def context_or_none() -> Any | None:
    """The context of the running task, None outside of one."""
    from airflow.sdk import get_current_context

    try:
        return get_current_context()
    except RuntimeError:
        return None


def executors() -> list[str]:
    """The configured executors, as they are written in ``[core] executor``."""
    from airflow.sdk import conf

    configured = conf.get("core", "executor", fallback="LocalExecutor") or ""
    return [part.strip() for part in configured.replace(";", ",").split(",") if part.strip()]


def act_as_airflow_command() -> None:
    """Let this process read the connections in Airflow's own database, as ``airflow connections get`` does."""
    import os

    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def airflow_home() -> str:
    """The folder Airflow keeps its own files in."""
    import os

    return os.path.expandvars(os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow")))


def gauge(name: str, value: float, tags: Mapping[str, Any]) -> None:
    """Set one of our measures, ``proxyorders.NAME``, in whatever Airflow reports its own to."""
    from airflow.sdk.observability import stats

    stats.gauge(f"proxyorders.{name}", value, tags=dict(tags))


def incr(name: str, tags: Mapping[str, Any], count: int = 1) -> None:
    """Count up."""
    from airflow.sdk.observability import stats

    stats.incr(f"proxyorders.{name}", count, tags=dict(tags))


def timing(name: str, seconds: float, tags: Mapping[str, Any]) -> None:
    """Report how long something took."""
    from datetime import timedelta

    from airflow.sdk.observability import stats

    stats.timing(f"proxyorders.{name}", timedelta(seconds=seconds), tags=dict(tags))
