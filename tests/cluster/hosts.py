"""Two hosts with Airflow and Celery. They share PostgreSQL, Redis, the network and their settings, and no file.

Each host has an ``AIRFLOW_HOME``, a DAG folder, logs and a host name of its own. The name is a UTS namespace's where root may
make one. A part that ends by itself is started again after five seconds, as a service manager does.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg

from airflow_provider_proxyorders.testing.local_airflow import AirflowDidNotStart, RestApi, RestError
from airflow_provider_proxyorders.testing.local_airflow.airflow import _clean_environment, _free_port, _settings
from airflow_provider_proxyorders.testing.local_airflow.process import Process

from .services import LEDGER, METADATA, Broker, Database

PROJECT = Path(__file__).resolve().parents[2]
#: An environment with Celery; `make cluster` makes it from requirements/cluster.txt.
PYTHON = PROJECT / ".venv-cluster" / "bin" / "python"
READY = PROJECT / ".venv-cluster" / ".ready"
SLOTS = 4
#: Airflow's own limits, shorter than its defaults (in brackets), so that a minute shows what else takes ten.
LIMITS: Mapping[str, Mapping[str, object]] = {
    "scheduler": {
        "task_instance_heartbeat_timeout": 20,  # (300) a task without a sign of life is tried again
        "task_instance_heartbeat_timeout_detection_interval": 3,  # (10)
        "task_queued_timeout": 30,  # (600) a task whose message is lost is queued again
        "task_queued_timeout_check_interval": 5,  # (120)
        "orphaned_tasks_check_interval": 10,  # (300) tasks of a dead scheduler go to the other one
        "scheduler_health_check_threshold": 10,  # (30)
    },
    "workers": {"min_heartbeat_interval": 1},  # (5)
    "triggerer": {"triggerer_health_check_threshold": 10},  # (30) what a dead triggerer had goes to the other one
}
RESTART_AFTER = 5.0
WORKER = "worker"
_QUIET = ["--skip-serve-logs"]


class Host:
    """One host: processes with a name of their own.

    :param env: its whole environment.
    :param parts: of Airflow.
    """

    def __init__(self, name: str, home: Path, env: Mapping[str, str], parts: Sequence[str]):
        self.name, self.home = name, home
        (home / "config").mkdir(parents=True)  # Airflow looks for modules there
        (home / "config" / "this_host.py").write_text(f"def name():\n    return {name!r}\n")
        self.parts = {
            part: Process(
                [*_as_host(name), str(PYTHON), "-m", "airflow", *self._arguments(part)], env, home, home / f"{part}.out"
            )
            for part in parts
        }
        self._read: dict[str, int] = {}

    def _arguments(self, part: str) -> list[str]:
        if part == WORKER:
            names = ["--concurrency", str(SLOTS), "--celery-hostname", f"{WORKER}@{self.name}"]
            return ["celery", "worker", *names, "--without-mingle", "--without-gossip", *_QUIET]
        return [part, *(_QUIET if part in ("scheduler", "triggerer") else [])]

    def start(self, part: str) -> None:
        process = self.parts[part]
        self._read[part] = process.log.stat().st_size if process.log.exists() else 0
        process.start()

    def output(self, part: str) -> str:
        """What a part wrote since its last start."""
        with self.parts[part].log.open("rb") as log:
            log.seek(self._read.get(part, 0))
            return log.read().decode(errors="replace")

    def supervisors(self) -> list[psutil.Process]:
        """The worker's children that run a task now. The task process is their child."""
        members = self.parts[WORKER].members()
        parents = _parents(members)
        return [
            process
            for process in members
            if parents.get(process.pid) == self.parts[WORKER].pid and process.pid in parents.values()
        ]

    def tasks(self) -> list[psutil.Process]:
        """The processes that run a task's own code."""
        members = self.parts[WORKER].members()
        parents = _parents(members)
        return [process for process in members if parents.get(parents.get(process.pid, 0)) == self.parts[WORKER].pid]


class Cluster:
    """Both hosts, up inside a ``with`` block.

    :param dags: a folder that each host gets a copy of.
    :param connections: connection id -> its fields.
    """

    def __init__(
        self,
        folder: Path,
        dags: Path,
        database: Database,
        broker: Broker,
        connections: Callable[[str], Mapping[str, Mapping[str, Any]]],
        say: Callable[[str], None] = lambda text: None,
    ):
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.api = RestApi(self.url)
        self.database, self.broker = database, broker
        self._connections, self._say = connections, say
        env = {**_clean_environment(), **_settings(folder / "host-a", folder, database.url(METADATA), port)}
        env |= {
            f"AIRFLOW__{section}__{name}".upper(): str(value)
            for section, options in LIMITS.items()
            for name, value in options.items()
        }
        env |= {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "32",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "this_host.name",
            "AIRFLOW__CELERY__BROKER_URL": broker.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database.url(METADATA)}",
            "AIRFLOW__PROXYORDERS__LEDGER_URL": database.url(LEDGER),
        }
        first = ("api-server", "dag-processor", "scheduler", "triggerer", WORKER)
        self.hosts = [
            Host(name, folder / name, _of_host(env, folder / name, dags), parts)
            for name, parts in (("host-a", first), ("host-b", ("scheduler", "triggerer", WORKER)))
        ]
        self.restarts = 0
        self.most_connections = 0
        self._down: set[Process] = set()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _start(self) -> None:
        began = time.monotonic()
        host = self.hosts[0]
        migrate = Process(
            [str(PYTHON), "-m", "airflow", "db", "migrate"], host.parts[WORKER].env, host.home, host.home / "migrate.out"
        )
        migrate.start()
        self._until(lambda: migrate.exit_code() is not None, "airflow db migrate", 240)
        if migrate.exit_code():
            raise AirflowDidNotStart(migrate.log.read_text()[-4000:])
        for host in self.hosts:
            for part in host.parts:
                host.start(part)
        self._until(self._is_up, "both hosts", 240)
        self.api.wake_tasks_api()
        for conn_id, fields in self._connections(self.url).items():
            self.api.add_connection(conn_id, fields)
        self._keeper.start()
        self._say(f"both hosts are up after {time.monotonic() - began:.0f} s")

    def close(self) -> None:
        """End every process."""
        self._over.set()
        if self._keeper.ident is not None:
            self._keeper.join(30)
        processes = [process for host in self.hosts for process in host.parts.values()]
        for process in processes:
            process.ask_to_stop()
        deadline = time.monotonic() + 2.0
        for process in processes:
            process.stop(grace=max(0.0, deadline - time.monotonic()))

    # -- crashes --------------------------------------------------------------------------------------------------

    def kill(self, host: Host, part: str, away: float) -> None:
        """SIGKILL a part and all processes that it started; start it again after some seconds."""
        process = host.parts[part]
        self._down.add(process)
        try:
            process.kill()
            time.sleep(away)
            host.start(part)
        finally:
            self._down.discard(process)

    def _keep(self) -> None:
        """Start again what ended by itself, and count the ledger's connections."""
        ended: dict[Process, float] = {}
        while not self._over.wait(0.5):
            self._count_connections()
            for host in self.hosts:
                for part, process in host.parts.items():
                    if process.exit_code() is None or process in self._down:
                        ended.pop(process, None)
                    elif time.monotonic() - ended.setdefault(process, time.monotonic()) > RESTART_AFTER:
                        process.kill()
                        host.start(part)
                        self.restarts += 1

    def _count_connections(self) -> None:
        try:
            ((number,),) = self.database.do(
                "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [LEDGER], user="postgres"
            )
        except psycopg.Error:
            return
        self.most_connections = max(self.most_connections, number)

    # -- being up -------------------------------------------------------------------------------------------------

    def _is_up(self) -> bool:
        for host in self.hosts:
            for part, process in host.parts.items():
                if process.exit_code() is not None:
                    raise AirflowDidNotStart(f"{part} of {host.name} ended:\n{host.output(part)[-4000:]}")
        try:
            self.api.health()
        except RestError:
            return False
        beats = "SELECT hostname, job_type FROM job WHERE state = 'running' AND latest_heartbeat > now() - interval '10 seconds'"
        jobs = set(self.database.do(METADATA, beats))
        expected = {(host.name, f"{part.title().replace('-', '')}Job") for host in self.hosts for part in host.parts}
        expected = {(host, job) for host, job in expected if job in ("SchedulerJob", "TriggererJob", "DagProcessorJob")}
        return expected <= jobs and all(" ready." in host.output(WORKER) for host in self.hosts)

    def _until(self, done: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                tails = [f"{host.name} {part}: {host.output(part)[-800:]}" for host in self.hosts for part in host.parts]
                raise AirflowDidNotStart("\n".join([f"{what}: not up after {seconds:g} s", *tails]))
            time.sleep(0.3)


def _as_host(name: str) -> list[str]:
    """The beginning of a command that runs under another host name; empty where only root may do that."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"):
        return []
    return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]


def _of_host(env: Mapping[str, str], home: Path, dags: Path) -> dict[str, str]:
    shutil.copytree(dags, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    return {**env, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags")}


def _parents(processes: Sequence[psutil.Process]) -> dict[int, int]:
    parents = {}
    for process in processes:
        try:
            parents[process.pid] = process.ppid()
        except psutil.NoSuchProcess:
            continue
    return parents
