"""The sandbox as a program: starts, tells how to use it, ends in order."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "airflow_provider_proxyorders.sandbox"]


def start(*arguments):
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(plain_send, number):
    program = start("--port", "0", "--processing", "0", "--seed", "1")
    try:
        text = ""
        while "whoami" not in text:
            line = program.stdout.readline()
            assert line, program.stderr.read()
            text += line
        for vendor in ("proxyscrape", "voodoo", "iproyal"):
            command = next(line for line in text.splitlines() if f"add {vendor}_sandbox" in line)
            connection = json.loads(shlex.split(command)[-1])
            assert connection["conn_type"] == vendor and connection["host"].endswith(f"/{vendor}")
            exported = next(line for line in text.splitlines() if f"AIRFLOW_CONN_{vendor.upper()}_SANDBOX=" in line)
            assert json.loads(shlex.split(exported)[1].partition("=")[2]) == connection
        url = re.search(r"iproyal: (\S+)  token (\S+)", text)
        assert plain_send("GET", url[1] + "/balance", headers={"X-Access-Token": url[2]}).data == 1000
        # a client that keeps its connection open does not keep the program from ending
        idle = socket.create_connection(("127.0.0.1", int(url[1].split(":")[2].split("/")[0])))
        program.send_signal(number)
        assert program.wait(20) == 0
        idle.close()
        assert program.stderr.read() == ""
    finally:
        program.kill()
        program.communicate()


def test_a_taken_port_is_said_in_one_line(box):
    done = start("--port", str(box.port))
    out, error = done.communicate(timeout=20)
    assert done.returncode == 1 and out == ""
    assert f"127.0.0.1:{box.port}" in error and "--port" in error and len(error.splitlines()) == 1


def test_help_and_bad_arguments():
    done = start("--help")
    out, _ = done.communicate(timeout=20)
    assert done.returncode == 0 and "--processing" in out
    for arguments in (["--port", "70000"], ["--processing", "-1"], ["--speed", "nan"]):
        bad = start(*arguments)
        _, error = bad.communicate(timeout=20)
        assert bad.returncode == 2 and arguments[0] in error and "Traceback" not in error


def test_a_taken_port_in_python_is_an_os_error(box):
    from airflow_provider_proxyorders.sandbox import Sandbox

    with pytest.raises(OSError):
        Sandbox.start(box.port)


def test_it_brings_no_part_of_the_other_side():
    """The sandbox must not agree with our adapters because it is them."""
    code = "import sys, airflow_provider_proxyorders.sandbox.standalone; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    loaded = done.stdout.decode().split()
    assert "airflow_provider_proxyorders.sandbox.server" in loaded
    ours = {name for name in loaded if name.startswith("airflow_provider_proxyorders.") and ".sandbox" not in name}
    values = ("dates", "errors", "exact_json", "inputs", "model", "names", "secrets", "text")
    assert ours == {
        *(f"airflow_provider_proxyorders.{name}" for name in ("domain", "wire")),
        *(f"airflow_provider_proxyorders.domain.{name}" for name in values),
        *(f"airflow_provider_proxyorders.wire.{name}" for name in ("gate", "quoting", "reading", "signatures")),
    }
    assert not {"airflow", "requests", "sqlalchemy"} & set(loaded)
