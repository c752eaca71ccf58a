"""The few calls of Airflow's REST API (v2) needed to start a run and to read it.

One rule: only the standard library, since the other side is always an Airflow on this machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

#: final states of a run
ENDED = frozenset({"success", "failed"})


class RestError(RuntimeError):
    """The API refused a call or stayed silent.

    :param status: HTTP status, or None for silence.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class RestApi:
    """A client for one Airflow without log-in.

    :param base_url: e.g. ``http://127.0.0.1:8080``.
    """

    def __init__(self, base_url: str):
        self.base_url = base_url
        self._opener = build_opener(ProxyHandler({}))

    def call(self, method: str, path: str, body: Any = None, timeout: float = 20.0, **query: Any) -> Any:
        """One call; returns its JSON.

        :param path: below ``/api/v2``, with its variable parts quoted.
        :raises RestError: for every status outside 2xx.
        """
        url = f"{self.base_url}/api/v2{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, {"Content-Type": "application/json", "Accept": "application/json"}, method=method)
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                text = answer.read()
        except HTTPError as error:
            raise RestError(f"{method} {path}: {error.code} {error.read(2000).decode(errors='replace')}", error.code) from None
        except (URLError, OSError) as error:
            raise RestError(f"{method} {path}: {error}") from None
        return json.loads(text) if text else None

    def health(self) -> dict[str, Any]:
        """Status and latest heartbeat of every part of Airflow."""
        answer: dict[str, Any] = self.call("GET", "/monitor/health", timeout=5.0)
        return answer

    def wake_tasks_api(self) -> None:
        """Ask the API of the tasks once. The first question costs Airflow seconds, and a task waits for five."""
        with self._opener.open(f"{self.base_url}/execution/health", timeout=300.0) as answer:
            answer.read()

    def add_connection(self, conn_id: str, connection: Mapping[str, Any]) -> None:
        """Store a connection.

        :param connection: ``conn_type``, and any of ``host``, ``login``, ``password``, ``port``, ``schema`` and ``extra``
            (a mapping).
        """
        body = {"connection_id": conn_id, **connection}
        if not isinstance(body.get("extra", ""), str):
            body["extra"] = json.dumps(body["extra"])
        self.call("POST", "/connections", body)

    def wait_for_dag(self, dag_id: str, timeout: float = 60.0) -> None:
        """Wait until a DAG can be started.

        :raises RestError: with the traceback when a DAG file fails to import; and after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.call("GET", f"/dags/{quote(dag_id)}")
                return
            except RestError as error:
                if error.status != 404:
                    raise
            broken = self.call("GET", "/importErrors")["import_errors"]
            if broken:
                raise RestError("\n".join(f"{error['filename']}: {error['stack_trace']}" for error in broken))
            if time.monotonic() > deadline:
                raise RestError(f"no DAG {dag_id!r} after {timeout:g} s")
            time.sleep(0.3)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Wait until Airflow lists the DAG, start a run, and return its run id.

        :param conf: overrides the DAG's params.
        """
        self.wait_for_dag(dag_id)
        body = {"logical_date": None, "conf": dict(conf or {}), **({"dag_run_id": run_id} if run_id else {})}
        answer = self.call("POST", f"/dags/{quote(dag_id)}/dagRuns", body)
        return str(answer["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        """State of a run, e.g. ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.call("GET", _run(dag_id, run_id))["state"])

    def wait(self, dag_id: str, run_id: str, timeout: float = 120.0) -> str:
        """Wait until a run has ended and return its state.

        :raises TimeoutError: after ``timeout`` seconds, with the states of its tasks.
        """
        deadline = time.monotonic() + timeout
        while (state := self.state(dag_id, run_id)) not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id} {run_id} is {state} after {timeout:g} s: {self.tasks(dag_id, run_id)}")
            time.sleep(0.3)
        return state

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The tasks of a run: ``task_id``, ``map_index`` (-1 for one that is not mapped), ``state``, ``try_number``."""
        tasks = self.call("GET", f"{_run(dag_id, run_id)}/taskInstances", limit=100)["task_instances"]
        return [{name: task[name] for name in ("task_id", "map_index", "state", "try_number")} for task in tasks]

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """The XCom of a task, or None."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        try:
            return self.call("GET", path, map_index=map_index, deserialize="false")["value"]
        except RestError as error:
            if error.status == 404:
                return None
            raise

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """The log of one try as text, one event a line."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        content = self.call("GET", path, map_index=map_index, full_content="true")["content"]
        return "\n".join(_log_line(event) for event in content)

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear tasks of a run, as in Airflow's pages, so that they run again."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False, "reset_dag_runs": True}
        self.call("POST", f"/dags/{quote(dag_id)}/clearTaskInstances", body)


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


#: fields with the same value in every event of one try
_REPEATED = frozenset({"dag_id", "run_id", "task_id", "ti_id", "map_index", "try_number", "logger", "filename", "lineno"})


def _log_line(event: Any) -> str:
    """One structured log event: time, level, text and all further fields."""
    if not isinstance(event, dict):
        return str(event)
    head = [str(event[name]) for name in ("timestamp", "level", "event") if event.get(name)]
    rest = [f"{name}={value}" for name, value in event.items() if name not in {"timestamp", "level", "event"} | _REPEATED]
    return " ".join(head + rest)
