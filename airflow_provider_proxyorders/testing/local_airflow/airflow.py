"""Starts a real Airflow (API server, scheduler, DAG processor, triggerer), each part as a process of its own.

Three rules:

- One private folder and environment variables hold all settings, so other Airflows of this machine stay untouched.
- Each part can be stopped and started again while the others run.
- Leaving the context ends every part. A part that survives is an error.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow_provider_proxyorders.testing.local_airflow.process import Process
from airflow_provider_proxyorders.testing.local_airflow.rest import RestApi, RestError

#: part -> how the health report names it; the API server is what reports
_PARTS: Mapping[str, str | None] = {
    "api-server": None,
    "scheduler": "scheduler",
    "dag-processor": "dag_processor",
    "triggerer": "triggerer",
}
#: the API server reads the log files itself, so the other parts need no log server
_ARGUMENTS = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}


class AirflowDidNotStart(RuntimeError):
    """A part of Airflow ended early or stayed silent. The message ends with its last output."""


class LocalAirflow:
    """An Airflow that is up inside a ``with`` block.

    :param home: a private folder, created if missing. Its ``console/`` holds the log files of the parts.
    :param connections: connection id -> its fields, see :meth:`RestApi.add_connection`.
    :param database: ``sqlite``, or the SQLAlchemy URL of an empty PostgreSQL database, ``postgresql+psycopg://...``.
    :param env: further environment variables, e.g. ``AIRFLOW__PROXYORDERS__LEDGER_URL``.
    :param say: receives a few words at each step of start and end.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags_folder: Path,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        database: str = "sqlite",
        env: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.home = Path(home).resolve()
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = RestApi(self.url)
        self._connections = dict(connections or {})
        self._say = say
        self.env = {
            **_clean_environment(),
            **_settings(self.home, Path(dags_folder).resolve(), database, self.port),
            **(env or {}),
        }
        console = self.home / "console"
        self.parts = {name: Process(self._command(name), self.env, self.home, console / f"{name}.log") for name in _PARTS}

    # -- the whole of it ------------------------------------------------------------------------------------------

    def __enter__(self) -> LocalAirflow:
        try:
            self._start_all()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End every part.

        :raises RuntimeError: when a process survives.
        """
        self._say("ending Airflow")
        stubborn = []
        deadline = time.monotonic() + 3.0  # then the private Airflow is killed; it holds nothing worth saving
        for part in self.parts.values():
            part.ask_to_stop()
        for part in self.parts.values():
            try:
                part.stop(grace=max(0.0, deadline - time.monotonic()))
            except RuntimeError as error:
                stubborn.append(str(error))
        if stubborn:
            raise RuntimeError("; ".join(stubborn))

    def _start_all(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._say("creating Airflow's database")
        self.run("db", "migrate")
        self._say(f"starting Airflow: {', '.join(_PARTS)}")
        for name in _PARTS:
            self.parts[name].start()
        for name in _PARTS:
            self._wait_until_up(name, since=None)
            if _PARTS[name] is None:
                self.api.wake_tasks_api()
            self._say(f"{name} is up")
        for conn_id, connection in self._connections.items():
            self.api.add_connection(conn_id, connection)

    # -- one part -------------------------------------------------------------------------------------------------

    def stop(self, part: str) -> None:
        """Stop one part and all processes it started, with SIGTERM first."""
        self.parts[part].stop()

    def kill(self, part: str) -> None:
        """Kill one part and all processes it started, as a crash of its machine would."""
        self.parts[part].kill()

    def start(self, part: str) -> None:
        """Start a stopped part again and wait until it is up."""
        since = datetime.now(timezone.utc)
        self.parts[part].start()
        self._wait_until_up(part, since)
        if _PARTS[part] is None:
            self.api.wake_tasks_api()

    def pid(self, part: str) -> int:
        """Process id of a part."""
        return self.parts[part].pid

    def run(self, *arguments: str, timeout: float = 180.0) -> str:
        """Run an ``airflow`` command in this Airflow's environment and return its output.

        :raises AirflowDidNotStart: when it fails.
        """
        done = subprocess.run(
            self._command(*arguments),
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise AirflowDidNotStart(f"airflow {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *arguments, *_ARGUMENTS.get(arguments[0], [])]

    def _wait_until_up(self, part: str, since: datetime | None, timeout: float = 120.0) -> None:
        deadline = time.monotonic() + timeout
        while not self._is_up(part, since):
            code = self.parts[part].exit_code()
            if code is not None or time.monotonic() > deadline:
                what = f"ended with {code}" if code is not None else f"is not up after {timeout:g} s"
                raise AirflowDidNotStart(f"Airflow's {part} {what}. Its last output:\n{self.console(part)}")
            time.sleep(0.2)

    def _is_up(self, part: str, since: datetime | None) -> bool:
        try:
            health = self.api.health()
        except RestError:
            return False
        name = _PARTS[part]
        if name is None:
            return True
        report = health.get(name) or {}
        beat = report.get(f"latest_{name}_heartbeat")
        if report.get("status") != "healthy" or not beat:
            return False
        # after a restart the heartbeat of the former process is still fresh
        return since is None or datetime.fromisoformat(str(beat).replace("Z", "+00:00")) >= since

    # -- reading --------------------------------------------------------------------------------------------

    def console(self, part: str, lines: int = 40) -> str:
        """The last lines of a part's output."""
        try:
            text = self.parts[part].log.read_text(errors="replace")
        except FileNotFoundError:
            return "(nothing)"
        return "\n".join(text.splitlines()[-lines:])

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """See :meth:`RestApi.trigger`."""
        return self.api.trigger(dag_id, conf, run_id)

    def wait(self, dag_id: str, run_id: str, timeout: float = 120.0) -> str:
        """See :meth:`RestApi.wait`."""
        return self.api.wait(dag_id, run_id, timeout)

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """See :meth:`RestApi.tasks`."""
        return self.api.tasks(dag_id, run_id)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """See :meth:`RestApi.xcom`."""
        return self.api.xcom(dag_id, run_id, task_id, key, map_index)

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """See :meth:`RestApi.task_log`."""
        return self.api.task_log(dag_id, run_id, task_id, try_number, map_index)


def _clean_environment() -> dict[str, str]:
    """The environment of this process, without the settings of other Airflows."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode Airflow starts two to three times slower
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, [env.get(name), "127.0.0.1", "localhost"]))
    return env


def _settings(home: Path, dags_folder: Path, database: str, port: int) -> dict[str, str]:
    settings: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags_folder,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "simple_auth_manager_all_admins": True,  # without log-in: the server listens on this machine only
            "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
            "fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "test_connection": "Enabled",
        },
        "api": {
            "host": "127.0.0.1",
            "port": port,
            "base_url": f"http://127.0.0.1:{port}",
            "workers": 1,
            "secret_key": secrets.token_hex(32),
        },
        "api_auth": {"jwt_secret": secrets.token_hex(32)},
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}" if database == "sqlite" else database},
        # a person or a test is waiting, so Airflow polls often
        "scheduler": {
            "job_heartbeat_sec": 1,
            "scheduler_heartbeat_sec": 1,
            "scheduler_idle_sleep_time": 0.2,
            "trigger_timeout_check_interval": 1,
        },
        # by default the end of a task may be noticed five seconds late, see RETRIES of the operators
        "workers": {"min_heartbeat_interval": 1},
        "triggerer": {"job_heartbeat_sec": 1, "triggerer_health_check_threshold": 6},
        "dag_processor": {"refresh_interval": 5},
        "logging": {"colored_console_log": False},
    }
    if database != "sqlite":
        settings["database"]["sql_alchemy_conn_async"] = database  # psycopg serves both; Airflow's default is asyncpg
    env = {"AIRFLOW_HOME": str(home)}
    for section, options in settings.items():
        env.update({f"AIRFLOW__{section}__{name}".upper(): str(value) for name, value in options.items()})
    return env


def _free_port() -> int:
    """A free port, below the range the system uses for outgoing connections."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AirflowDidNotStart("Airflow needs a free port between 20000 and 29999; all of those tried are in use")
