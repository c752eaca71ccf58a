"""A sandbox that stops or shuts its door while many connect: no socket is left to the garbage collector."""

from __future__ import annotations

import gc
import socket
import sys
import threading
import time
import warnings

import pytest

from airflow_provider_proxyorders.sandbox.server import Sandbox


@pytest.mark.parametrize("how", ["stops", "lets nobody in"])
def test_who_connects_meanwhile_is_not_forgotten(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: left.append(str(raised.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(12):
            _hammered(how)
        gc.collect()
    assert left == []


def _hammered(how: str) -> None:
    with Sandbox.start() as box:
        go = threading.Event()

        def hammer() -> None:
            while not go.is_set():
                with socket.socket() as peer:
                    peer.settimeout(0.2)
                    peer.connect_ex(("127.0.0.1", box.port))
                time.sleep(0.0005)

        hammers = [threading.Thread(target=hammer) for _ in range(3)]
        for one in hammers:
            one.start()
        if how == "lets nobody in":
            box.fault("iproyal", action="slow_connect", seconds=0.05, times=1)
            with socket.create_connection(("127.0.0.1", box.port)) as buyer:
                buyer.sendall(b"GET /iproyal/balance HTTP/1.1\r\nHost: sandbox\r\n\r\n")
                buyer.recv(100)
        box.stop()
        go.set()
        for one in hammers:
            one.join()
