"""Sends secrets that are known through a real Airflow that logs everything, then looks for them in all it left behind.

Everything is in one folder: Airflow's home with database, task logs and the output of every process, the ledger, what the
REST API shows a user, and what our command prints. What was bought is delivered to a folder beside it, which must hold the
secrets: else nothing was tried.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow, RestError
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors import vendor_class
from tests.vendors import NAMES as VENDORS

from .scan import Canary, Hit, Scanner

#: letters that every encoding changes; a key may hold them
ODD = "+/=&%\"'<\\"
EXPECTED = {
    "wrong_key": "failed",
    "echoed": "failed",
    "lost": "success",
    "no_disk": "failed",
    "dead": "failed",
    "codes": "success",
    "delivered": "success",
}


@dataclass(frozen=True)
class Result:
    """What the scan found.

    :param clean: where secrets were found; nowhere, if all is well.
    :param careless: where they were found after a user's task had printed, logged and raised them. Airflow hides them in the
        task's log, and shows them in the output of the process that runs tasks, which it does not mask.
    :param planted: where they were found after a task leaked them on purpose.
    :param flowed: kinds of secrets that truly went through, by where they were meant to arrive.
    """

    clean: list[Hit]
    careless: list[Hit]
    planted: list[Hit]
    flowed: dict[str, int]
    places: int
    size: int


def play(project: Path, folder: Path, say: Callable[[str], None] = lambda text: None) -> Result:
    """Run it all; takes one to two minutes.

    :param project: the checkout, for its DAGs.
    :param folder: empty; afterwards all that was looked into is in ``home``.
    :raises AssertionError: when a run did not go the way it must, so that a scan would prove nothing.
    """
    home, goods, dags = folder / "home", folder / "goods", folder / "dags"
    for path in (home, goods, dags):
        path.mkdir(parents=True)
    for source in ("dags/order_to_pipeline.py", "dags/order_and_use.py", "tests/leaks/dags/leaking.py"):
        (dags / Path(source).name).write_bytes((project / source).read_bytes())
    keys = {vendor: f"key-{ODD}-{secrets.token_hex(12)}" for vendor in VENDORS}
    hook_secret, wrong = f"whsec-{ODD}-{secrets.token_hex(12)}", f"wrong-{ODD}-{secrets.token_hex(12)}"
    with Sandbox.start(processing=6.0) as box:
        box.control([{"vendor": vendor, "token": {"name": "main", "token": key}} for vendor, key in keys.items()])
        connections = {f"{vendor}_default": connection(box, vendor, hook_secret) for vendor in VENDORS}
        connections["wrong_key"] = {**connections["iproyal_default"], "password": wrong}
        with LocalAirflow(
            home, dags_folder=dags, connections=connections, env={"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}, say=say
        ) as airflow:
            say("orders that go well")
            runs, orders = _good_runs(airflow, box, goods, say)
            say("orders that go wrong")
            box.fault("iproyal", "create", when="after", action="reset", times=1)
            echo = json.dumps({"error": f"bad key {keys['voodoo']}, do not repeat", "code": "validation_error"})
            box.fault("voodoo", "create", when="before", action="body", status=400, body=echo, times=1)
            conf = {"order_id": orders["iproyal"], "codes_id": orders["voodoo"], "goods": str(goods)}
            runs["leaking"] = airflow.trigger("leaking", conf)
            airflow.wait("leaking", runs["leaking"], timeout=180)
            ended = {task["task_id"]: task["state"] for task in airflow.tasks("leaking", runs["leaking"])}
            assert ended == EXPECTED, _story(airflow, runs, ended)
            canaries = [
                *(Canary("API key", key) for key in keys.values()),
                *(Canary("webhook secret", hook_secret), Canary("refused API key", wrong)),
                *(Canary("JWT", part) for token in _issued(box) for part in (token, token.rpartition(".")[2])),
                *(Canary("proxy password", task) for task in _goods(box, "iproyal") + _goods(box, "proxyscrape")[:5]),
                *(Canary("code", task) for task in _goods(box, "voodoo")),
            ]
            say("webhooks, true and forged")
            _webhooks(airflow, orders["voodoo"], hook_secret)
            say("what users see")
            _what_users_see(airflow, runs, home / "seen")
            _what_the_command_prints(airflow, home / "printed")
            for name in ("careless", "planting"):
                airflow.api.wait_for_dag(name)
            for part in ("triggerer", "dag-processor"):  # they may say something while they end
                airflow.stop(part)
            say("looking for secrets")
            clean = Scanner(canaries)
            clean.folder(home)
            say("a careless user")
            assert airflow.wait("careless", airflow.trigger("careless", conf)) == "failed"
            careless = Scanner(canaries)
            careless.folder(home)
            say("a leak, planted")
            assert airflow.wait("planting", airflow.trigger("planting", conf)) == "success"
            planted = Scanner(canaries)
            planted.folder(home)
    arrived = Scanner(canaries)
    arrived.folder(goods)
    flowed = {kind: sum(hit.kind == kind for hit in arrived.hits) for kind in ("proxy password", "code")}
    return Result(
        sorted(clean.hits),
        sorted(careless.hits - clean.hits),
        sorted(planted.hits - careless.hits),
        flowed,
        clean.places,
        clean.size,
    )


def connection(box: Sandbox, vendor: str, hook_secret: str) -> dict[str, Any]:
    extra = {"max_order_price": "100.00", "currency": "USD", "settle": 0.3, "webhook_secret": hook_secret}
    return {"conn_type": vendor, "host": box.url(vendor), "password": box.token(vendor), "extra": extra}


def _good_runs(
    airflow: LocalAirflow, box: Sandbox, goods: Path, say: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Every vendor, deferred and in a worker, into files, through proxies and to the DAG that waits for them."""
    runs = {
        "order_to_pipeline": airflow.trigger("order_to_pipeline", {"target": box.whoami, "folder": str(goods), "pages": 2}),
        "order_and_use": airflow.trigger("order_and_use", {"conn_id": "voodoo_default"}),
        "order_and_use_in_worker": airflow.trigger(
            "order_and_use_in_worker", {"conn_id": "proxyscrape_default", "target": box.whoami}
        ),
    }
    orders = {}
    _watch_triggers(airflow, runs["order_to_pipeline"])
    for (dag_id, run_id), vendor in zip(runs.items(), ("iproyal", "voodoo", "proxyscrape"), strict=True):
        state = airflow.wait(dag_id, run_id, timeout=180)
        assert state == "success", _story(airflow, runs, state)
        orders[vendor] = airflow.xcom(dag_id, run_id, "order")["order_id"]
        say(f"{dag_id}: {state}")
    return runs, orders


def _watch_triggers(airflow: LocalAirflow, run_id: str, timeout: float = 90.0) -> None:
    """Keep what the database says of the triggers while a task waits: their rows are gone when they have fired."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=10)) as connection:
            rows = connection.execute("SELECT * FROM trigger").fetchall()
            waiting = connection.execute("SELECT * FROM task_instance WHERE state = 'deferred'").fetchall()
        if rows and waiting:
            (airflow.home / "triggers.txt").write_text(f"{rows}\n{waiting}")
            return
        time.sleep(0.1)
    raise AssertionError(f"no task was deferred: {airflow.tasks('order_to_pipeline', run_id)}")


def _goods(box: Sandbox, vendor: str) -> list[str]:
    """Passwords or codes of every order of a vendor that is delivered."""
    account = Account(vendor, "c", f"{vendor}:c", box.url(vendor), box.token(vendor))
    http, kind = Http(account), vendor_class(vendor)(account)
    return [secret for entry in box.book.orders(vendor) for secret in http.run(kind.delivery(entry.order_id)).secrets()]


def _issued(box: Sandbox) -> Mapping[str, Any]:
    """The JWTs that the sandbox handed out."""
    issued: Mapping[str, Any] = box.state.vendors["voodoo"].issued  # type: ignore[attr-defined]
    return issued


def _webhooks(airflow: LocalAirflow, order_id: str, secret: str) -> None:
    """Deliveries to the receiver in the API server: a good one, a forged one, and one that holds the secret itself."""
    url = f"{airflow.url}/proxyorders/webhooks/voodoo_default"
    body = json.dumps({"order_id": order_id, "status": "completed", "codes": [secret]}).encode()
    signed = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    for signature, status in ((signed, 200), (signed[:-1] + "?", 401), (secret, 401)):
        answer = requests.post(url, body, headers={"X-Webhook-Signature": signature}, timeout=10)
        assert (answer.status_code, answer.text) == (status, ""), answer.text


def _what_users_see(airflow: LocalAirflow, runs: Mapping[str, str], folder: Path) -> None:
    """Answers of the REST API, which are what the page shows: connections, rendered fields, XComs, events, logs."""
    folder.mkdir()
    paths = ["/connections", "/assets", "/assets/events", "/eventLogs", "/dags/~/dagRuns/~/taskInstances", "/importErrors"]
    for dag_id, run_id in runs.items():
        run = f"/dags/{dag_id}/dagRuns/{run_id.replace(':', '%3A').replace('+', '%2B')}"
        paths.append(f"{run}/taskInstances/~/xcomEntries")
        for task in airflow.tasks(dag_id, run_id):
            for number in range(1, int(task["try_number"]) + 1):
                paths.append(f"{run}/taskInstances/{task['task_id']}/logs/{number}")
            if task["map_index"] < 0:
                paths.append(f"{run}/taskInstances/{task['task_id']}")
    for number, path in enumerate(paths):
        try:
            answer = airflow.api.call("GET", path, limit=100)
        except RestError as error:
            answer = str(error)
        (folder / f"{number}.json").write_text(f"{path}\n{json.dumps(answer)}")


def _what_the_command_prints(airflow: LocalAirflow, folder: Path) -> None:
    folder.mkdir()
    orders = open_ledger(f"sqlite:///{airflow.home / 'proxyorders.db'}").purchases()
    assert len(orders) >= 4
    words = [
        ["guarantees"],
        ["ledger", "list"],
        *(["ledger", "show", order.order_key] for order in orders),
        ["ledger", "show", "?"],
    ]
    for number, arguments in enumerate(words):
        done = subprocess.run(
            [sys.executable, "-m", "airflow_provider_proxyorders.cli.main", *arguments],
            env=airflow.env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == (1 if arguments[-1] == "?" else 0), done.stderr
        (folder / f"{number}.txt").write_text(f"{arguments}\n{done.stdout}\n{done.stderr}")


def _story(airflow: LocalAirflow, runs: Mapping[str, str], ended: object) -> str:
    """What happened, for a person; secrets in it are invented ones."""
    logs = []
    for dag_id, run_id in runs.items():
        for task in airflow.tasks(dag_id, run_id):
            if task["state"] not in ("success", None):
                try:
                    log = airflow.task_log(dag_id, run_id, task["task_id"], max(1, task["try_number"]), task["map_index"])
                except RestError as error:
                    log = str(error)
                logs.append(f"{dag_id}.{task['task_id']} {task['state']}:\n{log[-3000:]}")
    return "\n".join([str(ended), *logs])
