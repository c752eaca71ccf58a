"""Airflow's side of a question, as the execution API of Airflow 3.3 keeps it: one question for a task instance, one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CreateHITLDetailPayload

from .tasks import through_json


@dataclass
class Asked:
    """A question and its answer."""

    question: CreateHITLDetailPayload
    chosen: list[str] | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class RequiredActions:
    """Takes what a task process sends to its supervisor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.asked: dict[str, Asked] = {}
        self.up = True
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", self, raising=False)

    def send(self, msg: Any) -> Any:
        if not self.up:
            raise RuntimeError("the API server is away")
        if isinstance(msg, CreateHITLDetailPayload):  # the first question stays, its answer goes
            asked = self.asked.setdefault(str(msg.ti_id), Asked(msg))
            asked.chosen, asked.fields = None, {}
        else:
            raise AssertionError(f"Airflow takes no {type(msg).__name__} from a task")

    def only(self) -> Asked:
        (asked,) = self.asked.values()
        return asked


def answer(option: str, user: str | None = "ada", **fields: Any) -> dict[str, Any]:
    """The event of an answered question."""
    named = {"id": "7", "name": user} if user else None
    at = datetime(2026, 3, 1, tzinfo=timezone.utc)
    return {
        "chosen_options": [option],
        "params_input": fields,
        "responded_at": at,
        "responded_by_user": named,
        "timedout": False,
    }


#: The event of a time to wait that is over, also of one that was ended from elsewhere.
TIME_IS_OVER = {"error": "The Human-in-the-loop response timeout has passed without a response.", "error_type": "timeout"}


class Worker:
    """Runs a task until it waits for a person or ends; every resumption is by another worker."""

    def __init__(self, make: Callable[[], BaseOperator], given: Any):
        self.make, self.context = make, given
        self.waits: list[TaskAwaitingInput] = []
        self.result: Any = None

    def start(self) -> bool:
        """Whether the task waits now."""
        return self._run(lambda: self.make().execute(self.context))

    def go_on(self, event: dict[str, Any]) -> bool:
        """The same after what ended the waiting."""
        last = self.waits[-1]
        kwargs = {**through_json(last.kwargs or {}), "event": event}
        return self._run(lambda: self.make().resume_execution(last.method_name, kwargs, self.context))

    def _run(self, run: Callable[[], Any]) -> bool:
        try:
            self.result = run()
        except TaskAwaitingInput as waits:
            self.waits.append(waits)
            return True
        return False
