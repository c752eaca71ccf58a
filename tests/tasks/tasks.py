"""What Airflow gives to a task, as far as our tasks ask for it, and a triggerer for one task at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import BaseTrigger

START = datetime(2026, 3, 1, tzinfo=timezone.utc)


@dataclass
class Ti:
    """One try of one task."""

    dag_id: str = "shop"
    run_id: str = "manual__1"
    task_id: str = "buy"
    map_index: int | None = -1
    try_number: int = 1
    xcoms: dict[str, Any] = field(default_factory=dict)
    began: datetime | None = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return self.began


@dataclass
class Run:
    run_id: str = "manual__1"
    data_interval_start: datetime | None = START
    data_interval_end: datetime | None = START + timedelta(days=1)


class StateStore:
    """Airflow's task state, which refuses to be written by a try that was replaced."""

    def __init__(self, replaced: bool = False):
        self.kept: dict[str, Any] = {}
        self.replaced = replaced

    def set(self, key: str, value: Any) -> None:
        if self.replaced:
            raise RuntimeError("task instance not found")
        self.kept[key] = through_json(value)

    def get(self, key: str, default: Any = None) -> Any:
        return default if self.replaced else self.kept.get(key, default)


def context(*, run: Run | None = None, **ti: Any) -> Any:
    """The context of a task; more of it can be put in."""
    run = run or Run()
    return {"ti": Ti(run_id=run.run_id, **ti), "dag_run": run, "task_state_store": StateStore()}


def through_json(value: Any) -> Any:
    """A value as it comes back from Airflow's database."""
    return json.loads(json.dumps(value))


def revived(trigger: BaseTrigger) -> BaseTrigger:
    """A trigger as another process makes it from what was stored."""
    from importlib import import_module

    path, kwargs = trigger.serialize()
    module, _, name = path.rpartition(".")
    made: BaseTrigger = getattr(import_module(module), name)(**through_json(kwargs))
    return made


async def event_of(trigger: BaseTrigger, within: float = 20.0) -> Any:
    """The event a trigger ends with."""

    async def first() -> Any:
        events: Any = trigger.run()
        try:
            async for event in events:
                return event.payload
        finally:
            await events.aclose()
        raise AssertionError("the trigger ended without an event")

    return await asyncio.wait_for(first(), within)


@dataclass
class Story:
    """What became of a task that was run to its end.

    :param deferred: every time it was put aside.
    :param events: what its triggers said.
    """

    result: Any = None
    deferred: list[TaskDeferred] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)


def run(make: Callable[[], BaseOperator], given: Any, *, while_deferred: Callable[[], None] = lambda: None) -> Story:
    """Run a task to its end as Airflow would: every time it is resumed by another worker, its trigger in another process.

    :param make: makes the task anew for every worker.
    """
    story = Story()
    try:
        story.result = make().execute(given)
        return story
    except TaskDeferred as deferred:
        story.deferred.append(deferred)
    while True:
        last = story.deferred[-1]
        while_deferred()
        story.events.append(asyncio.run(event_of(revived(last.trigger))))
        kwargs = {**through_json(last.kwargs or {}), "event": through_json(story.events[-1])}
        try:
            story.result = make().resume_execution(last.method_name, kwargs, given)
            return story
        except TaskDeferred as deferred:
            story.deferred.append(deferred)
