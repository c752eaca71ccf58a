"""A session that nobody closes ends with the last one who holds it: a process that lives long keeps no connection of the past."""

from __future__ import annotations

import gc
import time

import psutil

from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Request

from .conftest import account
from .wires import Talk, answer, wire


def polite(talk: Talk) -> None:
    talk.hear()
    talk.say(answer(b"{}"))
    talk.hear()


def open_files() -> int:
    number: int = psutil.Process().num_fds()
    return number


def test_a_session_that_nobody_closes() -> None:
    with wire(polite) as server:
        gc.collect()  # of other tests
        before = open_files()
        http = Http(account(server.url))
        assert http.send(Request("GET", "/orders", "orders")).status == 200
        assert open_files() > before
        del http
        gc.collect()
        deadline = time.monotonic() + 10
        while open_files() > before and time.monotonic() < deadline:  # the server closes its side a moment later
            time.sleep(0.02)
        assert open_files() == before
