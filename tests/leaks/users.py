"""What users see: answers of the REST API and of the page, and what our command prints. All of it goes into files to scan."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import requests

from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.plugin import PAGE
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow, RestError

#: Runs many commands in one process.
_COMMANDS = """
import json, sys
from airflow_provider_proxyorders.cli.main import main
for words in json.loads(sys.argv[1]):
    print(words, main(words), flush=True)
"""


def see(airflow: LocalAirflow, runs: Mapping[str, str], folder: Path) -> None:
    """Connections, rendered fields, names of mapped tasks, XComs, events and logs; and every call of the page."""
    folder.mkdir()
    paths = ["/connections", "/assets", "/assets/events", "/eventLogs", "/dags/~/dagRuns/~/taskInstances", "/importErrors"]
    for dag_id, run_id in runs.items():
        run = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        paths += [f"{run}/taskInstances/~/xcomEntries", f"{run}/taskInstances"]
        for task in airflow.tasks(dag_id, run_id):
            for number in range(1, int(task["try_number"]) + 1):
                paths.append(f"{run}/taskInstances/{task['task_id']}/logs/{number}?map_index={task['map_index']}")
            mapped = f"/{task['map_index']}" if task["map_index"] >= 0 else ""
            paths.append(f"{run}/taskInstances/{task['task_id']}{mapped}")
    for number, path in enumerate(paths):
        if path == "/assets/events":
            _wait_for_events(airflow)
        try:
            answer = airflow.api.call("GET", path) if "?" in path else airflow.api.call("GET", path, limit=100)
        except RestError as error:
            answer = str(error)
        (folder / f"{number}.json").write_text(f"{path}\n{json.dumps(answer)}")
    for name, text in _page(airflow).items():
        (folder / f"page {name}.txt").write_text(text)


def _wait_for_events(airflow: LocalAirflow) -> None:
    """Until the list has an event. While Airflow's SQLite is busy, it may answer 500."""
    deadline = time.monotonic() + 60
    while True:
        try:
            assert airflow.api.call("GET", "/assets/events")["asset_events"]
            return
        except RestError as error:
            if error.status < 500 or time.monotonic() > deadline:
                raise
            time.sleep(1)


def _page(airflow: LocalAirflow) -> dict[str, str]:
    """The answers of the page to its calls."""
    page = f"{airflow.url}/{PAGE}/api"
    calls = ("start", "attention", "wallets", "purchases", "purchases.csv", "webhooks")
    answers = {name: requests.get(f"{page}/{name}", timeout=20) for name in calls}
    for number, row in enumerate(answers["purchases"].json()["rows"]):
        query = {"order_key": row["order_key"]}
        answers[f"purchase {number}"] = requests.get(f"{page}/purchase", query, timeout=20)
    for name, answer in answers.items():
        assert answer.status_code == 200, (name, answer.text)
    assert len(answers) > len(calls)
    return {name: answer.text for name, answer in answers.items()}


def print_with_the_command(airflow: LocalAirflow, conn_ids: Sequence[str], folder: Path) -> None:
    """Every command that reads, as a table and as data."""
    folder.mkdir()
    orders = open_ledger(f"sqlite:///{airflow.home / 'proxyorders.db'}").purchases()
    assert len(orders) >= 4
    words = [
        *(["ledger", verb, *output] for verb in ("list", "spending") for output in ([], ["-o", "json"])),
        *(["ledger", "show", order.order_key] for order in orders),
        *(["ledger", "show", orders[0].order_key, "-o", "json"], ["ledger", "show", "?"], ["guarantees"]),
        *(["doctor", conn_id] for conn_id in conn_ids),
        *(["ledger", "reconcile", conn_id] for conn_id in conn_ids),
        ["webhooks", "list"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS, json.dumps(words)],
        env=airflow.env, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for part in (done.stdout, done.stderr):
        unsafe = [sign for sign in part if not sign.isprintable() and sign != "\n"]
        assert not unsafe, (unsafe, part)
    (folder / "commands.txt").write_text(f"{words}\n{done.stdout}\n{done.stderr}")
