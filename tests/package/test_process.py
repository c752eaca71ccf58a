"""A part of the local Airflow ends with everything it started, whatever state it is in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from airflow_provider_proxyorders.testing.local_airflow.process import Process

#: a parent that ignores SIGTERM, with a child in a process group of its own that ignores it too
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
print("ready", flush=True)
time.sleep(60)
"""
POLITE = "import time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    made = Process([sys.executable, "-c", request.param], dict(os.environ), tmp_path, tmp_path / "log")
    yield made
    made.kill()


def wait_until_ready(process: Process, times: int) -> None:
    deadline = time.monotonic() + 10
    while not process.log.exists() or process.log.read_text().count("ready") < times:
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("process", [STUBBORN], indirect=True)
def test_stop_ends_those_who_will_not_go_and_those_in_another_group(process: Process) -> None:
    process.start()
    wait_until_ready(process, 2)
    members = process.members()
    assert len(members) == 2 and members[0].pid == process.pid
    assert len({os.getpgid(member.pid) for member in members}) == 2
    process.stop(grace=0.2)
    assert process.members() == []
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)


@pytest.mark.parametrize("process", [POLITE], indirect=True)
def test_starts_again_after_an_end_but_not_twice(process: Process) -> None:
    process.start()
    wait_until_ready(process, 1)
    first = process.pid
    with pytest.raises(RuntimeError, match="running already"):
        process.start()
    process.stop()
    assert process.exit_code() == -signal.SIGTERM
    process.start()
    wait_until_ready(process, 2)
    assert process.pid != first and process.exit_code() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from airflow_provider_proxyorders.testing.local_airflow.process import Process
process = Process([sys.executable, "-c", {POLITE!r}], dict(os.environ), Path("."), Path("log"))
process.start()
while "ready" not in Path("log").read_text(): time.sleep(0.02)
print(process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        orphan = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    _, alive = psutil.wait_procs([orphan], timeout=5)
    for process in alive:
        process.kill()
    assert alive == []
