"""Sends secrets that are known through a real Airflow that logs everything, then looks for them in all it left behind.

Everything is in one folder: Airflow's home with database, task logs and the output of every process, the ledger, what the
REST API and the page show a user, and what our command prints. What was bought is delivered to a folder beside it, which must
hold the secrets: else nothing was tried. All vendors are hostile: they write the key and templates into every field of every
answer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow, RestError
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors import vendor_class
from tests.vendors import NAMES as VENDORS
from tests.vendors import ROWS

from . import outside, users
from .hostile import RENDERED, TEMPLATE, Hostile
from .scan import Canary, Hit, Scanner

#: letters that every encoding changes; a key may hold them, that of PROXY6 all but the slashes
ODD = "+/=&%\"'<\\"
DAGS = ("leaking", "hostile")
#: Example DAGs. The last one watches the wallet's webhooks and makes asset events of them.
STORIES = ("order_to_pipeline", "order_and_use", "webhook_completion")
#: Orders that end soon. Their notes get the key, a template, two templates behind control characters, and signs for a terminal.
SEEDED = (8001, 8004, 8007, 8011)
EXPECTED = {
    "wrong_key": "failed",
    "echoed": "failed",
    "lost": "success",
    "no_disk": "failed",
    "dead": "failed",
    "codes": "success",
    "delivered": "success",
    "strange_id": "failed",
    "wrong_ledger": "success",
}


@dataclass(frozen=True)
class Result:
    """What the scan found.

    :param clean: where secrets were found; nowhere, if all is well.
    :param careless: where they were found after a user's task had printed, logged and raised them. Airflow hides them in the
        task's log, and shows them in the output of the process that runs tasks, which it does not mask.
    :param planted: where they were found after a task leaked them on purpose.
    :param flowed: kinds of secrets that truly went through, by where they were meant to arrive.
    :param spoilt: how many fields each vendor filled with secrets and templates.
    """

    clean: list[Hit]
    careless: list[Hit]
    planted: list[Hit]
    flowed: dict[str, int]
    spoilt: dict[str, int]
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
    for source in (*(f"dags/{name}.py" for name in STORIES), *(f"tests/leaks/dags/{name}.py" for name in DAGS)):
        (dags / Path(source).name).write_bytes((project / source).read_bytes())
    odd = {vendor: re.sub(r"[/\\]", "", ODD) if ROWS[vendor].key_in_path else ODD for vendor in VENDORS}
    keys = {vendor: f"key-{odd[vendor]}-{secrets.token_hex(12)}" for vendor in VENDORS}
    hook_secret, wrong = f"whsec-{ODD}-{secrets.token_hex(12)}", f"wrong-{ODD}-{secrets.token_hex(12)}"
    of_ledger = f"database-{secrets.token_hex(12)}"
    (goods / "addresses.json").write_text(json.dumps(outside.wrong_addresses(of_ledger)))
    with Sandbox.start(processing=6.0) as box, Hostile.before(box, keys) as hostile:
        box.control([{"vendor": vendor, "token": {"name": "main", "token": key}} for vendor, key in keys.items()])
        connections = {f"{vendor}_default": connection(hostile, vendor, hook_secret) for vendor in VENDORS}
        connections["wrong_key"] = {**connections["iproyal_default"], "password": wrong}
        odd_scheme = {**connections["voodoo_default"]["extra"], "webhook_scheme": {"kind": "hmac"}}
        connections["odd_scheme"] = {**connections["voodoo_default"], "extra": odd_scheme}
        env = {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG", "DEV": "1"}  # with variables of tracebacks
        with LocalAirflow(home, dags_folder=dags, connections=connections, env=env, say=say) as airflow:
            say("orders that go well")
            runs, orders = _good_runs(airflow, box, goods, say)
            say("orders that go wrong")
            box.fault("iproyal", "create", when="after", action="reset", times=1)
            echo = json.dumps({"error": f"bad key {keys['voodoo']}, do not repeat", "code": "validation_error"})
            box.fault("voodoo", "create", when="before", action="body", status=400, body=echo, times=1)
            strange = json.dumps({"success": True, "data": f"{TEMPLATE} {{{{ conn.proxyscrape_default.password }}}}"})
            box.fault("proxyscrape", "create", when="after", action="body", body=strange, times=1)
            conf = {"order_id": orders["iproyal"], "codes_id": orders["voodoo"], "goods": str(goods)}
            runs["leaking"] = airflow.trigger("leaking", conf)
            airflow.wait("leaking", runs["leaking"], timeout=180)
            ended = {task["task_id"]: task["state"] for task in airflow.tasks("leaking", runs["leaking"])}
            assert ended == EXPECTED, _story(airflow, runs, ended)
            say("renewals, with orders that have templates for ids")
            hostile.strange = True
            runs["hostile"] = _renewals(airflow, box, runs)
            hostile.strange = False
            canaries = [
                *(Canary("API key", key) for key in keys.values()),
                *(Canary("webhook secret", hook_secret), Canary("refused API key", wrong)),
                Canary("password of the ledger", of_ledger),
                *(Canary("JWT", part) for token in _issued(box) for part in (token, token.rpartition(".")[2])),
                *(Canary("proxy password", task) for task in _goods(box, "iproyal") + _goods(box, "proxyscrape")[:5]),
                *(Canary("code", task) for task in _goods(box, "voodoo")),
                Canary("rendered template", RENDERED),
            ]
            say("webhooks, true and forged")
            _webhooks(airflow, orders["voodoo"], hook_secret)
            say("what users see")
            users.see(airflow, runs, home / "seen")
            users.print_with_the_command(airflow, list(connections), home / "printed")
            outside.print_at_a_terminal(airflow, list(connections), of_ledger, home / "printed")
            outside.receive_alone(airflow, hook_secret, of_ledger, home / "printed")
            for name in ("careless", "planting", "rendering"):
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
            leaks = {"planting": airflow.trigger("planting", conf), "rendering": airflow.trigger("rendering", {"text": TEMPLATE})}
            assert [airflow.wait(*run) for run in leaks.items()] == ["success"] * 2
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
        dict(hostile.spoilt),
        clean.places,
        clean.size,
    )


def connection(hostile: Hostile, vendor: str, hook_secret: str) -> dict[str, Any]:
    extra = {"max_order_price": "100.00", "currency": "USD", "settle": 0.3}
    if vendor_class(vendor).webhook:
        extra["webhook_secret"] = hook_secret
    return {"conn_type": vendor, "host": hostile.url(vendor), "password": hostile.keys[vendor], "extra": extra}


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


def _renewals(airflow: LocalAirflow, box: Sandbox, runs: dict[str, str]) -> str:
    """Orders that end soon, found, extended by mapped tasks, and told on by every way from task to task."""
    tomorrow = f"{datetime.now(timezone.utc) + timedelta(days=1):%Y-%m-%d %H:%M:%S}"
    usual = {"product_id": 9, "product_plan_id": 22, "status": "confirmed", "expire_date": tomorrow}
    box.control([{"vendor": "iproyal", "order": {**usual, "id": number, "note": f"note {number}"}} for number in SEEDED])
    run = airflow.trigger("hostile")
    state = airflow.wait("hostile", run, timeout=240)
    tasks = airflow.api.call("GET", f"/dags/hostile/dagRuns/{quote(run, safe='')}/taskInstances", limit=100)["task_instances"]
    ended = {(task["task_id"], task["map_index"]): task["state"] for task in tasks}
    assert state == "success", _story(airflow, {"hostile": run}, ended)
    assert [ended["extend", number] for number in range(len(SEEDED))] == ["success"] * len(SEEDED), ended
    names = [task["rendered_map_index"] for task in tasks if task["task_id"] == "mapped"]
    assert len(names) > len(SEEDED) and any("{\ufffd{" in name for name in names), names
    return run


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
    """Deliveries to the receiver in the API server: a good one, a forged one, one that holds the secret, and one for a connection
    whose settings are wrong. The good one makes an asset event."""
    url = f"{airflow.url}/proxyorders/webhooks"
    body = json.dumps({"order_id": order_id, "status": "completed", "codes": [secret]}).encode()
    signed = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    good, odd = f"{url}/voodoo_default", f"{url}/odd_scheme"
    for place, signature, status in (
        (good, signed, 200),
        (good, signed[:-1] + "?", 401),
        (good, secret, 401),
        (odd, signed, 401),
    ):
        answer = requests.post(place, body, headers={"X-Webhook-Signature": signature}, timeout=20)
        assert (answer.status_code, answer.text) == (status, ""), answer.text
    deadline = time.monotonic() + 120
    while order_id not in _events_of_triggers(airflow):
        assert time.monotonic() < deadline, "no asset event about the order came"
        time.sleep(0.5)


def _events_of_triggers(airflow: LocalAirflow) -> str:
    try:
        events = airflow.api.call("GET", "/assets/events")["asset_events"]
    except RestError:  # Airflow cannot show an event while the run that it starts is only queued
        return ""
    return json.dumps([event["extra"] for event in events if event["extra"].get("from_trigger")])


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
