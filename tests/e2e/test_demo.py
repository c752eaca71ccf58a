"""The demo as a person runs it: it buys everything once, says so, and leaves nothing running, also when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

VENDORS = ("proxyscrape", "iproyal", "voodoo", "proxy6")


def start(folder: Path) -> subprocess.Popen[str]:
    """The demo, with its temporary files in a folder of the test."""
    return subprocess.Popen(
        [sys.executable, "-m", "airflow_provider_proxyorders.cli.main", "demo"],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Processes that work in the folder, and files in it."""
    left = [str(path) for path in folder.iterdir()]
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                left.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return left


class Machine(threading.Thread):
    """Notes for how long this machine held a process up that had nothing to do.

    :ivar held_up: the longest time, in seconds.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.held_up, self._done = 0.0, threading.Event()

    def run(self) -> None:
        while not self._done.is_set():
            before = time.monotonic()
            self._done.wait(0.2)
            self.held_up = max(self.held_up, time.monotonic() - before - 0.2)

    def __enter__(self) -> Machine:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self.join()


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    assert demo.stdout is not None
    output = ""
    for line in demo.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"{text!r} was never said:\n{output}")


def test_buys_once_at_every_vendor_and_shows_it(tmp_path: Path) -> None:
    began = time.monotonic()
    with Machine() as machine:
        demo = start(tmp_path)
        said, _ = demo.communicate(timeout=270)
    assert demo.returncode == 0, said
    rows = [line.split() for line in said.splitlines() if re.match(rf"({'|'.join(VENDORS)}) +(create|extend) ", line)]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("proxyscrape", "create", "delivered"),
        ("iproyal", "create", "delivered"),
        ("iproyal", "extend", "delivered"),
        ("voodoo", "create", "delivered"),
        ("proxy6", "create", "delivered"),
        ("proxy6", "extend", "delivered"),
    ]
    assert "6 purchases, each exactly once" in said
    moments = [float(match) for match in re.findall(r"^\[ *(\d+\.\d) s\]", said, re.MULTILINE)]
    silences = [later - earlier for earlier, later in zip(moments, moments[1:], strict=False)]
    assert max(silences) < 8 + machine.held_up, said  # the aim is five
    (up,) = re.findall(r"^\[ *(\d+\.\d) s\] Airflow is up", said, re.MULTILINE)
    took = time.monotonic() - began - float(up)
    assert took < max(60.0, 2 * float(up)), "the runs, a second try included, are not much slower than the start of Airflow"
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("moment", "how"),
    [
        ("creating Airflow's database", signal.SIGINT),
        ("starting Airflow", signal.SIGTERM),
        ("task order: deferred", signal.SIGINT),
    ],
)
def test_an_interrupt_ends_everything(moment: str, how: signal.Signals, tmp_path: Path) -> None:
    demo = start(tmp_path)
    read_until(demo, moment)
    time.sleep(1.0)
    demo.send_signal(how)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert left_behind(tmp_path) == []
