"""The few Airflow names outside of ``airflow.sdk``, in one place so that an upgrade of Airflow touches one file."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import cache, partial
from importlib import import_module
from typing import Any


def mask_secret(secret: str | list[str]) -> None:
    """Register one secret or several; Airflow replaces them in the logs of this task."""
    from airflow.sdk.log import mask_secret as register

    register([*secret] if isinstance(secret, list) else secret)


def import_for_look_up() -> None:
    """Import what Airflow's look-up of a connection imports at its first call. A real triggerer has it."""
    for module in ("airflow.sdk.definitions.connection", "airflow.sdk.execution_time.supervisor"):
        with suppress(ImportError):  # another version may have other places
            import_module(module)


@contextmanager
def quiet_masker() -> Iterator[None]:
    """Look a connection up without the warning that a setting such as ``"currency": "USD"`` is too short a secret to mask.

    Airflow warns once a process, for every text of the extra, secret or not. What is secret is registered once more afterwards,
    and then a short one is warned about.
    """
    from airflow.sdk._shared.secrets_masker import secrets_masker

    def is_other(record: logging.LogRecord) -> bool:
        return "too short" not in str(record.msg)

    masker, log = secrets_masker.SecretsMasker, secrets_masker.log
    warned = masker._has_warned_short_secret
    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)
        masker._has_warned_short_secret = warned


def context_or_none() -> Any | None:
    """The context of the running task, ``None`` outside of one."""
    from airflow.sdk import get_current_context

    try:
        return get_current_context()
    except RuntimeError:
        return None


class _PartialWithDefaults:
    """``Operator.partial`` with the defaults of the operator's own signature, such as its retries.

    Airflow fills in only those of ``BaseOperator`` before 3.3.2; from then on this hands Airflow's own ``partial`` on.
    """

    def __get__(self, task: Any, kind: type) -> Callable[..., Any]:
        from airflow.sdk.bases import operator

        original: Callable[..., Any] = vars(operator.BaseOperator)["partial"].__get__(task, kind)
        if task is not None or hasattr(operator, "_get_operator_defaults"):
            return original
        return partial(_partial_with_defaults, kind, original)


def _partial_with_defaults(kind: type, original: Callable[..., Any], **kwargs: Any) -> Any:
    from airflow.sdk.bases.operator import OPERATOR_DEFAULTS, get_merged_defaults
    from airflow.sdk.definitions._internal.contextmanager import DagContext, TaskGroupContext

    dag = kwargs.get("dag") or DagContext.get_current()
    group = kwargs.get("task_group") or (TaskGroupContext.get_current(dag) if dag else None)
    from_dag, _ = get_merged_defaults(dag, group, None, kwargs.get("default_args"))
    own = {
        name: parameter.default
        for base in reversed(kind.__mro__)
        if base.__module__.startswith("airflow_provider_proxyorders.") and "__init__" in vars(base)
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
        if name in {*OPERATOR_DEFAULTS, "retry_policy"} and parameter.default is not parameter.empty
    }
    return original(**{**{name: value for name, value in own.items() if name not in from_dag}, **kwargs})


class KeepsDefaults:
    """Base of all operators and sensors here: mapped tasks are retried as others are."""

    partial: Any = _PartialWithDefaults()


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


#: Executors set one of these in the container of a task, whatever ``[core] executor`` says there.
_IN_A_CONTAINER = ("AIRFLOW_IS_K8S_EXECUTOR_POD", "AIRFLOW_IS_EXECUTOR_CONTAINER")
_LOCAL_EXECUTOR = "airflow.executors.local_executor.LocalExecutor"


def container_of_a_task() -> str | None:
    """The variable by which an executor marks this process's container as one for a task alone; ``None`` elsewhere."""
    return next((name for name in _IN_A_CONTAINER if os.environ.get(name)), None)


def executors() -> list[str]:
    """The executors of ``[core] executor``, without teams and aliases: the short name of one of Airflow's own, or a class."""
    from airflow.sdk import conf

    configured = conf.get("core", "executor", fallback="LocalExecutor") or "LocalExecutor"
    of_teams = (team.rpartition("=")[2] for team in configured.split(";"))
    names = (entry.rpartition(":")[2].strip() for entries in of_teams for entry in entries.split(","))
    return [name for name in names if name]


@cache
def runs_on_one_host(executor: str) -> bool:
    """Whether an executor runs all tasks on its own host: Airflow's ``LocalExecutor``, or a class that says so.

    :param executor: as :func:`executors` names it.
    """
    if executor in ("LocalExecutor", _LOCAL_EXECUTOR):
        return True
    module, _, name = executor.rpartition(".")
    try:
        return getattr(import_module(module), name).is_local is True
    except Exception:  # one of Airflow's other executors by its short name, or a class that is missing here
        return False


def act_as_airflow_command() -> None:
    """Let this process read the connections in Airflow's own database, like ``airflow connections get``."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def tabs_of_operators() -> bool:
    """Whether Airflow can show a plugin's tab on the tasks of chosen operators alone, as from 3.4 on. For the API server."""
    from airflow.api_fastapi.core_api.datamodels.plugins import ReactAppResponse

    return "applies_to" in ReactAppResponse.model_fields


#: Seconds without a heartbeat after which a triggerer counts as gone.
TRIGGERER_GONE = 120.0


def seconds_since_triggerer() -> float | None:
    """Seconds since a triggerer was last heard; infinite if none runs, ``None`` where Airflow's own database is out of reach."""
    try:
        from airflow import settings
        from airflow.jobs.job import most_recent_job
        from airflow.utils.session import create_session

        url = settings.engine.url if settings.engine is not None else None
        if url is None or (url.get_backend_name() == "sqlite" and not os.path.exists(url.database or "")):
            return None  # connecting would make the file
        with create_session() as session:
            job = most_recent_job("TriggererJob", session=session)
            if job is None or job.state != "running" or job.latest_heartbeat is None:
                return float("inf")
            return (datetime.now(timezone.utc) - job.latest_heartbeat).total_seconds()
    except Exception:  # a task process, another schema, or a database that is down: the doctor leaves the part out
        return None


def base_url() -> str:
    """``[api] base_url``, without a slash at its end."""
    from airflow.sdk import conf

    return (conf.get("api", "base_url", fallback="") or "http://localhost:8080").rstrip("/")


def airflow_home() -> str:
    """The folder of Airflow's own files."""
    return os.path.expandvars(os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow")))


def ask_person(context: Any, *, subject: str, body: str, options: list[str], fields: Mapping[str, Any], users: Any) -> None:
    """Put a question for a person into Airflow's *Required Actions*. The first question of a task instance stays as it is.

    An answer that Airflow has for it already is taken away, so the question is open again.

    :param fields: name -> the parameters of an Airflow ``Param``, for the fields beside the answers.
    :param users: the users for the answer, ``None`` = all with the right.
    """
    from airflow.sdk import Param
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    params = {name: Param(**settings).serialize() for name, settings in fields.items()}
    upsert_hitl_detail(context["ti"].id, options, subject, body, None, False, params, users)


def until_answered(method: str, kwargs: dict[str, Any], timeout: timedelta) -> BaseException:
    """What a task raises to wait for the answer of a person: no worker, no trigger, no new try.

    :param method: goes on with an ``event``: the answer, or an ``error`` after the timeout.
    """
    from airflow.sdk.exceptions import TaskAwaitingInput

    return TaskAwaitingInput(method_name=method, kwargs=kwargs, timeout=timeout)


def is_waiting_for_answer(error: BaseException) -> bool:
    """Whether a task raised this to wait for the answer of a person."""
    from airflow.sdk.exceptions import TaskAwaitingInput

    return isinstance(error, TaskAwaitingInput)


def wake(tasks: Iterable[Mapping[str, Any]], option: str, fields: Mapping[str, Any], by: str) -> int:
    """Let the tasks that wait for a person go on, with their question shown as answered; returns how many waited.

    Their time to wait ends now. Airflow's scheduler resumes such tasks within ``trigger_timeout_check_interval``.

    :param tasks: ``dag_id, run_id, task_id, map_index`` of each.
    :raises Exception: this process has no access to Airflow's own database.
    """
    if hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS"):
        return 0  # a task never has this access
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    now, woken = datetime.now(timezone.utc), 0
    answer: dict[Any, Any] = {
        "responded_at": now,
        "responded_by": {"id": by, "name": by},
        "chosen_options": [option],
        "params_input": fields,
    }
    with create_session() as session:
        for names in tasks:
            waiting = session.query(TaskInstance).filter_by(**names, state=TaskInstanceState.AWAITING_INPUT)
            ids = [ti_id for (ti_id,) in waiting.with_entities(TaskInstance.id)]
            woken += waiting.update({"trigger_timeout": now}, synchronize_session=False)
            for ti_id in ids:  # after the task, as Airflow locks them
                session.query(HITLDetail).filter_by(ti_id=ti_id, responded_at=None).update(answer, synchronize_session=False)
    return woken


def _stats() -> Any:
    """Airflow's metrics of this process: the API server and the triggerer set up another copy of them than a task does."""
    server = sys.modules.get("airflow._shared.observability.metrics.stats")
    if getattr(server, "_factory", None) is not None:
        return server
    from airflow.sdk.observability import stats

    return stats


def has_metrics() -> bool:
    """Whether this Airflow sends metrics anywhere."""
    from airflow.sdk import conf

    switches = ("statsd_on", "statsd_datadog_enabled", "otel_on")
    return any(conf.getboolean("metrics", switch, fallback=False) for switch in switches)


def gauge(name: str, value: float, tags: Mapping[str, Any]) -> None:
    """Set one of our metrics, ``proxyorders.NAME``, in the metrics system of this Airflow."""
    _stats().gauge(f"proxyorders.{name}", value, tags=dict(tags))


def incr(name: str, tags: Mapping[str, Any], count: int = 1) -> None:
    """Count one of our metrics up."""
    _stats().incr(f"proxyorders.{name}", count, tags=dict(tags))


def timing(name: str, seconds: float, tags: Mapping[str, Any]) -> None:
    """Report a duration as one of our metrics."""
    _stats().timing(f"proxyorders.{name}", timedelta(seconds=seconds), tags=dict(tags))
