"""What runs beside Airflow's own processes: our command at a terminal, and the receiver by itself.

Both run with ``DEV=1``, which makes Airflow's logging show the variables of a traceback. Both also get addresses of the ledger
that cannot work, with a password in every place that a person or a library puts it.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import requests

from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from airflow_provider_proxyorders.testing.local_airflow.airflow import _free_port
from airflow_provider_proxyorders.wire.signatures import Scheme
from tests.ledger.test_address import FORMS, HIDDEN

#: Runs each command for each address of the ledger.
_COMMANDS = """
import json, os, sys
from airflow_provider_proxyorders.cli.main import main
addresses, commands = json.loads(sys.argv[1])
for address in addresses or [""]:
    if address:
        os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = address
    for words in commands:
        main([word.replace("ADDRESS", address) for word in words])
    print("an address is done", flush=True)
"""
#: The receiver, with a mistake of ours in it if the second word says so.
_RECEIVER = """
import sys
from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.webhooks import receiver
def mistaken(sender, body):
    secrets = sender.secrets
    raise KeyError(secrets)
if sys.argv[2] == "mistaken":
    receiver._hint = mistaken
main(["webhooks", "serve", "--port", sys.argv[1]])
"""


def wrong_addresses(password: str) -> list[str]:
    """Addresses of ledgers that cannot be opened, each with the password."""
    encoded = f"%{ord(password[0]):02x}{password[1:]}"
    addresses = [form.replace("%68ush-quiet", encoded).replace(HIDDEN, password) for form in FORMS.values()]
    assert all(password[1:] in address for address in addresses)
    return addresses


def print_at_a_terminal(airflow: LocalAirflow, conn_ids: Sequence[str], password: str, folder: Path) -> None:
    """The reading commands at a terminal: with the ledger, and with each wrong address of one."""
    folder.mkdir(exist_ok=True)
    key = open_ledger(f"sqlite:///{airflow.home / 'proxyorders.db'}").purchases()[0].order_key
    lists = [["ledger", "list"], ["ledger", "show", key], ["webhooks", "list"]]
    good = _at_a_terminal(airflow.env, [], [*lists, *(["doctor", conn_id] for conn_id in conn_ids)])
    assert key in good, good
    addresses = wrong_addresses(password)
    wrong = [*lists, ["doctor", "voodoo_default"], ["ledger", "list", "--ledger", "ADDRESS"]]
    bad = _at_a_terminal(airflow.env, addresses, wrong)
    assert bad.count("an address is done") == len(addresses) and bad.count("ledger") > len(addresses), bad
    (folder / "terminal.txt").write_text(good + bad)


def _at_a_terminal(env: Mapping[str, str], addresses: Sequence[str], commands: Sequence[Sequence[str]]) -> str:
    leader, follower = pty.openpty()
    said = b""
    try:
        with subprocess.Popen(
            [sys.executable, "-c", _COMMANDS, json.dumps([addresses, commands])],
            env={**env, "DEV": "1", "COLUMNS": "1000"}, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower,
        ):  # fmt: skip
            os.close(follower)
            with suppress(OSError):  # the terminal is gone when its last writer is
                while part := os.read(leader, 65536):
                    said += part
    finally:
        os.close(leader)
    return said.decode()


def receive_alone(airflow: LocalAirflow, secret: str, password: str, folder: Path) -> None:
    """The receiver by itself, whose ledger is away, and with a mistake of ours: true, forged and odd deliveries."""
    folder.mkdir(exist_ok=True)
    for fault, answers in {"ledger away": [503, 503, 503, 401], "mistaken": [503, 401, 503, 401]}.items():
        port, env = _free_port(), {**airflow.env, "DEV": "1"}
        if fault == "ledger away":
            env["AIRFLOW__PROXYORDERS__LEDGER_URL"] = wrong_addresses(password)[0]
        output = folder / f"receiver, {fault}.txt"
        with output.open("wb") as file, subprocess.Popen(
            [sys.executable, "-c", _RECEIVER, str(port), fault], env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        ) as process:  # fmt: skip
            try:
                statuses = _deliveries(f"http://127.0.0.1:{port}", secret)
            finally:
                process.terminate()
        said = output.read_text()
        assert statuses == answers, (statuses, said)
        assert "Webhook refused with 503" in said and ("KeyError" in said) is (fault == "mistaken"), said


def _deliveries(url: str, secret: str) -> list[int]:
    """The answers to a true, a forged, a deep and an odd delivery; all of them bring the secret along."""
    body, deep = json.dumps({"order_id": "7001", "codes": [secret]}).encode(), b"[" * 600 + b"]" * 600
    signed = Scheme().sign(body, secret)
    forged = {name: f"{value[:-1]}?{secret}" for name, value in signed.items()}

    def post(conn_id: str, body: bytes, headers: Mapping[str, str]) -> Callable[[], int]:
        return lambda: requests.post(f"{url}/{conn_id}", body, headers=headers, timeout=60).status_code

    posts = [
        post("voodoo_default", body, signed),
        post("voodoo_default", body, forged),
        post("voodoo_default", deep, Scheme().sign(deep, secret)),
        post("odd_scheme", body, signed),
    ]
    deadline = time.monotonic() + 120
    while True:
        try:
            requests.get(url, timeout=10)
            break
        except requests.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.3)
    return [each() for each in posts]


__all__ = ["print_at_a_terminal", "receive_alone", "wrong_addresses"]
