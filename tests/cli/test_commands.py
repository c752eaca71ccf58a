"""The command as a whole: help, exit status, guarantees, the sandbox as a program, and Airflow's own connections."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import airflow_provider_proxyorders
from airflow_provider_proxyorders.purchase.guarantees import sentences, table
from airflow_provider_proxyorders.vendors import vendor_class, vendor_names
from tests.vendors import NAMES

from .conftest import Command

#: rows of each vendor in the table of guarantees
ROWS = ("create", "extend", "price", "waiting", "orders")
PROGRAM = Path(sys.executable).parent / "proxyorders"
COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): ("sandbox", "demo", "doctor", "guarantees", "ledger"),
    ("sandbox",): ("--port", "--processing", "--seed", "--speed"),
    ("demo",): ("--keep",),
    ("doctor",): ("CONN_ID", "--json"),
    ("guarantees",): (),
    ("ledger",): ("list", "show", "resolve", "unfreeze"),
    ("ledger", "list"): ("--unresolved", "--limit", "--ledger-url"),
    ("ledger", "show"): ("order_key", "--ledger-url"),
    ("ledger", "resolve"): ("--adopt", "--absent", "--unchecked", "--yes", "--ledger-url"),
    ("ledger", "unfreeze"): ("wallet", "--yes", "--ledger-url"),
}


class TestHelp:
    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_every_command_explains_itself(self, command: Command, words: tuple[str, ...]) -> None:
        said = command(*words, "--help")
        assert (said.status, said.err) == (0, "")
        assert said.out.lower().startswith(f"usage: proxyorders {' '.join(words)}".rstrip())
        assert not [part for part in COMMANDS[words] if part not in said.out]

    def test_version(self, command: Command) -> None:
        said = command("--version")
        assert (said.status, said.out.strip()) == (0, airflow_provider_proxyorders.__version__)

    @pytest.mark.parametrize(
        "words",
        [
            (),
            ("nothing",),
            ("ledger",),
            ("ledger", "nothing"),
            ("ledger", "show"),
            ("guarantees", "--nothing"),
            ("doctor",),
            ("doctor", "one", "two"),
            ("sandbox", "-x"),
        ],
        ids=" ".join,
    )
    def test_wrong_arguments(self, command: Command, words: tuple[str, ...]) -> None:
        said = command(*words)
        assert (said.status, said.out) == (2, "")
        assert "usage: proxyorders" in said.err.lower()

    @pytest.mark.parametrize("words", [("--port", "70000"), ("--port", "x"), ("--processing", "-1"), ("--speed", "nan")])
    def test_wrong_arguments_of_the_sandbox(self, command: Command, words: tuple[str, ...]) -> None:
        assert command("sandbox", *words).status == 2


class TestGuarantees:
    def test_every_vendor_and_every_operation(self, command: Command) -> None:
        said = command("guarantees")
        assert said.status == 0
        rows = [row.split(" | ") for row in said.out.splitlines()[2:]]
        rows_of_vendors = {(row[0].strip("| "), row[1]) for row in rows}
        assert rows_of_vendors == {(vendor_class(name).title, what) for name in vendor_names() for what in ROWS}
        assert said.out.strip() == table().strip()

    @pytest.mark.parametrize("name", NAMES)
    def test_they_follow_from_what_is_offered(self, name: str) -> None:
        offered = vendor_class(name).capabilities
        said = sentences(vendor_class(name))
        assert ("not offered" in said["extend"]) is not offered.extend
        assert ("quoted right before" in said["price"]) is offered.quote_create
        assert ("exactly once" in said["create"]) is (offered.create_evidence in ("order", "reference", "search"))
        assert ("a person" in said["create"]) is True, "no vendor's evidence decides everything"

    def test_no_more_is_claimed_than_in_the_design(self) -> None:
        assert "at most once" in sentences(vendor_class("proxyscrape"))["create"]
        assert sentences(vendor_class("iproyal"))["extend"].startswith("exactly once")


class TestProgram:
    def test_it_is_installed(self) -> None:
        done = subprocess.run([PROGRAM, "guarantees"], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "IPRoyal" in done.stdout

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_sandbox_starts_and_ends(self, number: signal.Signals) -> None:
        started = (
            [PROGRAM, "sandbox", "--port", "0"]
            if number is signal.SIGINT
            else [sys.executable, "-m", MODULE, "sandbox", "--port=0"]
        )
        with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as box:
            try:
                assert box.stdout is not None and box.stderr is not None
                first = box.stdout.readline()
                address = re.search(r"http://127\.0\.0\.1:\d+", first)
                assert address is not None, first
                with urllib.request.urlopen(f"{address[0]}/_sandbox/book", timeout=10) as answer:
                    assert json.load(answer)["orders"] == []
                box.send_signal(number)
                assert box.wait(15) == 0
                assert box.stderr.read() == ""
            finally:
                box.kill()

    def test_a_port_that_is_taken(self) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = subprocess.run([PROGRAM, "sandbox", f"--port={port}"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and "Try another --port" in done.stderr


MODULE = "airflow_provider_proxyorders.cli.main"

#: Runs in a process of its own, since it makes Airflow's database and puts a connection into it.
IN_AIRFLOWS_DATABASE = """
import sys
from airflow.utils.db import initdb
initdb()
from airflow import settings
from airflow.models import Connection
session = settings.Session()
session.add(Connection(conn_id="stored", conn_type="voodoo", host=sys.argv[1], password=sys.argv[2], extra='{"timeout": 2}'))
session.commit()
session.close()

from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.ledger import Intent, open_ledger
from airflow_provider_proxyorders.domain.model import Money, Step, Actor, decimal
from airflow_provider_proxyorders.hooks.settings import ledger_url

ledger = open_ledger(ledger_url())
intent = Intent("k", "create", "voodoo", "stored", "voodoo:stored", "a" * 64, {}, Money(decimal("9"), "USD"))
order = ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=0)
ledger.record(order, Step.UNKNOWN, "no answer", Actor())
sys.exit(main(["ledger", "resolve", "k", "--adopt", sys.argv[3], "--yes"]))
"""


def test_a_connection_in_airflows_own_database_is_found(tmp_path: Path) -> None:
    """Most connections are there. Outside of a task Airflow looks there on request only."""
    from airflow_provider_proxyorders.sandbox import Sandbox

    with Sandbox.start(port=0) as box:
        box.control({"vendor": "voodoo", "order": {"id": "order-1", "status": "completed"}})
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))},
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        words = [sys.executable, "-c", IN_AIRFLOWS_DATABASE, box.url("voodoo"), box.token("voodoo"), "order-1"]
        began = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nafter {time.monotonic() - began:.0f} s"
    assert "'k' was taken as order order-1 (completed)" in done.stdout
