"""A ledger behind PgBouncer in transaction mode: no statement meets another process's, and no webhook waits for a poll."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from airflow_provider_proxyorders.ledger import listening, open_ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, open_inbox
from airflow_provider_proxyorders.triggers.inbox_listener import InboxListener

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="needs PgBouncer, which `make pooler` installs as root")


@pytest.fixture
def pooled(postgres_url: str) -> Iterator[str]:
    """The address of an empty ledger through a pooler with three connections to its server."""
    direct = make_url(postgres_url)
    folder = Path(str(direct.query["host"]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / f"pgbouncer-{port}.ini"
    config.write_text(f"""
        [databases]
        * = host={folder} port={direct.port or 5432} user={direct.username}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 3
    """)
    config.chmod(0o644)
    owner = folder.stat().st_uid if os.getuid() == 0 else None  # it refuses to run as root
    process = subprocess.Popen([str(PGBOUNCER), "-q", str(config)], user=owner, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not answers(port) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"postgresql+psycopg://ledger@127.0.0.1:{port}/{direct.database}"
    finally:
        process.terminate()
        process.wait(10)
        config.unlink()


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("option", ["", "?prepare_threshold=0"])
def test_many_processes_share_its_connections(pooled: str, option: str) -> None:
    """Each reader and writer has an engine of its own, as a process has. The driver would name a statement at its sixth use."""

    def work(name: str) -> set[str]:
        ledger = open_ledger(f"{pooled}{option}{'&' if option else '?'}application_name={name}")
        return {ledger.decide_once(f"fact {number % 7}", name) for number in range(40)} | {ledger.get("fact 1") or ""}

    names = ["a", "b", "c", "d"]
    with ThreadPoolExecutor(len(names)) as pool:
        decided = list(pool.map(work, names))
    assert len(set(map(frozenset, decided))) == 1, "all of them read the same decisions"


class Ears:
    def __init__(self) -> None:
        self.heard_at: list[float] = []

    def hint(self, hint: Hint) -> None:
        self.heard_at.append(time.monotonic())


def hint(number: int) -> Hint:
    return Hint(f"{number:064d}", "c", "v:c", f"order-{number}", None, "completed")


@pytest.mark.parametrize("direct", [False, True])
def test_a_webhook_does_not_wait_for_the_slow_look(
    pooled: str, postgres_url: str, direct: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an address past the pooler the silence is noticed and told, and the inbox is read every second."""
    monkeypatch.setattr(listening, "DEAF_AFTER", 1.0)
    inbox, ears = open_inbox(pooled), Ears()

    async def story() -> float:
        listener = InboxListener(lambda: pooled, lambda: 30.0, lambda: postgres_url if direct else "")
        listener.join(ears)
        await listener.pin_start()
        await asyncio.sleep(3.0)  # the test notification has come, or is missed
        sent = time.monotonic()
        await asyncio.to_thread(inbox.keep, [hint(1)])
        while not ears.heard_at and time.monotonic() < sent + 10:
            await asyncio.sleep(0.02)
        await listener.leave(ears)
        return ears.heard_at[0] - sent

    late = asyncio.run(story())
    assert late < (1.0 if direct else 3.0)
    assert ("notifications do not arrive here" in caplog.text) is not direct
