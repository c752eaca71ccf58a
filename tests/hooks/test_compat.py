"""The few names that Airflow does not offer officially: each still means what we take it for."""

from __future__ import annotations

import pytest
from airflow.sdk.log import redact

from airflow_provider_proxyorders import _compat
from tests.hooks.connections import REQUESTS

from .connections import Shops


def test_outside_of_a_task_there_is_no_context() -> None:
    assert _compat.context_or_none() is None


def test_inside_of_one_the_hook_knows_whose_it_is(shops: Shops) -> None:
    """A user's own task calls the hook without passing anything on; the history still names the task."""
    from airflow.sdk.execution_time.context import set_current_context

    from tests.tasks.tasks import context

    task_context = context(dag_id="mine", task_id="by_hand", try_number=2)
    with set_current_context(task_context):
        assert _compat.context_or_none() is task_context
        shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k")
    history = shops.hook("iproyal").ledger.history("k")
    assert {(row.actor.dag_id, row.actor.task_id, row.actor.try_number) for row in history} == {("mine", "by_hand", 2)}
    assert task_context["task_state_store"].kept["proxyorders_order_key"]["order_key"] == "k"


@pytest.mark.parametrize("secrets", ["first-secret", ["first-secret", "second-secret"]])
def test_secrets_are_masked(secrets: str | list[str]) -> None:
    _compat.mask_secret(secrets)
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        assert secret not in str(redact(f"with {secret} inside"))


@pytest.mark.parametrize(
    ("configured", "names"),
    [
        ("LocalExecutor", ["LocalExecutor"]),
        ("LocalExecutor,CeleryExecutor", ["LocalExecutor", "CeleryExecutor"]),
        (" LocalExecutor , a:b.C ;team=D", ["LocalExecutor", "b.C", "D"]),
        ("Mine:LocalExecutor;=x.Y;two= alias : p.Q , Z", ["LocalExecutor", "x.Y", "p.Q", "Z"]),
        ("", ["LocalExecutor"]),
    ],
)
def test_executors(configured: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", configured)
    assert _compat.executors() == names


def test_a_none_of_a_mapping_differs_from_the_authors_none() -> None:
    """Airflow keeps the parameters of a task, and marks a mapped one; both names are its own."""
    from typing import Any

    from airflow.sdk import DAG, BaseOperator

    class Task(BaseOperator):
        def __init__(self, *, cap: str | None = None, size: int = 1, **kwargs: Any):
            super().__init__(**kwargs)
            self.cap, self.size = cap, size

    with DAG("d"):
        plain = Task(task_id="plain", cap=None)
        mapped: Any = Task.partial(task_id="mapped").expand(cap=[None, "5"])
        partial: Any = Task.partial(task_id="partial", cap=None).expand(size=[1])
    assert not _compat.was_mapped_to_none(plain, "cap")
    assert not _compat.was_mapped_to_none(Task(task_id="alone"), "cap")
    assert _compat.was_mapped_to_none(mapped.unmap({"cap": None}), "cap")
    assert not _compat.was_mapped_to_none(mapped.unmap({"cap": "5"}), "cap")
    assert not _compat.was_mapped_to_none(mapped.unmap({"cap": "5"}), "size")
    assert not _compat.was_mapped_to_none(partial.unmap({"size": 1}), "cap")


def test_measures_go_where_airflows_own_go() -> None:
    """Without a receiver they go nowhere, and never raise."""
    _compat.gauge("waiting", 3, {"vendor": "iproyal", "conn_id": "c"})
    _compat.incr("polls", {"vendor": "iproyal"})
    _compat.timing("resumed", 0.5, {"vendor": "iproyal"})


def test_the_process_is_marked_only_where_nobody_marked_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    _compat.act_as_airflow_command()
    assert os.environ["_AIRFLOW_PROCESS_CONTEXT"] == "client"
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")
    _compat.act_as_airflow_command()
    assert os.environ["_AIRFLOW_PROCESS_CONTEXT"] == "server"
