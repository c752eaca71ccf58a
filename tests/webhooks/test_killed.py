"""A receiver is killed. Before the commit it has promised nothing; after it the webhook is safe, and a repeat is a copy."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, open_inbox

from .conftest import SCHEME, SECRET, webhook_body

SERVE = """
import os, signal, sys
import uvicorn
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.webhooks.app import receiver

moment, marker = sys.argv[1], sys.argv[2]
keep = Inbox.keep

def killed(self, hints):
    if not os.path.exists(marker):
        open(marker, "w").close()
        if moment == "before commit":
            os.kill(os.getpid(), signal.SIGKILL)
        keep(self, hints)
        if moment == "after commit":
            os.kill(os.getpid(), signal.SIGKILL)
    return keep(self, hints)

Inbox.keep = killed
server = uvicorn.Server(uvicorn.Config(receiver(), port=int(sys.argv[3]), log_level="error", access_log=False))
server.run()
"""


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def send(port: int, process: subprocess.Popen[bytes]) -> int | None:
    """One try of the vendor; ``None`` if the receiver died."""
    deadline = time.monotonic() + 120  # it imports Airflow first
    while time.monotonic() < deadline:
        try:
            url, body = f"http://127.0.0.1:{port}/voodoo_default", webhook_body()
            return requests.post(url, data=body, headers=SCHEME.sign(body, SECRET), timeout=10).status_code
        except requests.ConnectionError:
            if process.poll() is not None:
                return None
            time.sleep(0.1)
    raise AssertionError("the receiver still runs without an answer")


@pytest.mark.parametrize(("moment", "kept"), [("before commit", 0), ("after commit", 1)])
def test_killed_and_started_again(database: str, tmp_path: Path, moment: str, kept: int) -> None:
    connection = {"conn_type": "voodoo", "password": "ak_key", "extra": {"webhook_secret": SECRET}}
    environment = {
        **os.environ,
        "AIRFLOW__PROXYORDERS__LEDGER_URL": database,
        "AIRFLOW_CONN_VOODOO_DEFAULT": json.dumps(connection),
    }
    inbox = open_inbox(database)
    answers: list[int | None] = []
    for _ in range(2):
        port = free_port()
        words = [sys.executable, "-c", SERVE, moment, str(tmp_path / "marker"), str(port)]
        process = subprocess.Popen(words, env=environment)
        try:
            answers.append(send(port, process))
            if answers == [None]:
                assert len(inbox.since(0)) == kept
        finally:
            process.kill()
            process.wait(10)
    assert answers == [None, 200], "the first try was never answered, so the vendor tried again"
    (hint,) = inbox.since(0)
    assert hint.times == kept + 1


#: Enough for twelve senders to be in the middle of many when the receiver is killed.
ORDERS = 400


def test_killed_again_and_again_under_load(database: str, tmp_path: Path) -> None:
    """The command itself, killed twice under load: every acknowledged webhook is stored, and in the end all are, once each."""
    connection = {"conn_type": "voodoo", "password": "ak_key", "extra": {"webhook_secret": SECRET}}
    environment = {
        **os.environ,
        "AIRFLOW__PROXYORDERS__LEDGER_URL": database,
        "AIRFLOW_CONN_VOODOO_DEFAULT": json.dumps(connection),
    }
    inbox, port = open_inbox(database), free_port()
    words = [sys.executable, "-m", "airflow_provider_proxyorders.cli.main", "webhooks", "serve", "--port", str(port)]
    answered: set[str] = set()
    waiting = [f"order-{number}" for number in range(ORDERS)]
    stop = threading.Event()

    def vendor() -> None:
        """Sends one after the other, each until it is answered by 200."""
        with requests.Session() as session:
            while waiting and not stop.is_set():
                order_id = waiting.pop()
                body = webhook_body(order_id)
                while not stop.is_set():
                    with contextlib.suppress(requests.ConnectionError):
                        url = f"http://127.0.0.1:{port}/voodoo_default"
                        if session.post(url, data=body, headers=SCHEME.sign(body, SECRET), timeout=20).status_code == 200:
                            answered.add(order_id)
                            break
                    time.sleep(0.05)

    vendors = [threading.Thread(target=vendor) for _ in range(12)]
    for thread in vendors:
        thread.start()
    try:
        for kills_left in (2, 1, 0):
            process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
            try:
                wanted = len(answered) + ORDERS // 5 if kills_left else ORDERS
                deadline = time.monotonic() + 120
                while len(answered) < wanted and time.monotonic() < deadline:
                    time.sleep(0.002)
            finally:
                process.kill()
                process.wait(10)
            acknowledged = set(answered)
            kept = kept_ids(inbox)
            assert acknowledged <= set(kept), "answered and lost"
            assert len(kept) == len(set(kept)), "kept twice"
    finally:
        stop.set()
        for thread in vendors:
            thread.join()
    assert len(answered) == len(kept_ids(inbox)) == ORDERS


def kept_ids(inbox: Inbox) -> list[str]:
    hints: list[Hint] = []
    while page := inbox.since(hints[-1].number if hints else 0):
        hints += page
    return [hint.order_id for hint in hints]
