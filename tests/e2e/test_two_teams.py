"""Two teams of one Airflow, each with one connection, on PostgreSQL: red tries to reach the things of blue, and nothing crosses.

The DAGs run in Airflow's own processes, with the connections of their team only. Users log in. The receiver runs by itself, with
both connections.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, text

from airflow_provider_proxyorders.domain.model import Actor, Step
from airflow_provider_proxyorders.ledger import Ledger, facts, open_ledger
from airflow_provider_proxyorders.ledger.alarms import Alarms
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from airflow_provider_proxyorders.testing.local_airflow.airflow import _free_port
from airflow_provider_proxyorders.wire.signatures import Scheme
from tests.ledgers import Postgres

from .conftest import connection

pytestmark = pytest.mark.e2e

RED, BLUE = "voodoo_red", "voodoo_blue"
TEAMS = {"red": RED, "blue": BLUE}
#: The user of each team, and the one of none.
USERS = {"reds": "op:red", "blues": "op:blue", "root": "admin"}
READS = ("start", "attention", "wallets", "purchases", "purchases.csv", "webhooks")


@dataclass
class Person:
    """A logged-in user."""

    url: str
    name: str

    def __post_init__(self) -> None:
        answer = requests.post(f"{self.url}/auth/token", json={"username": self.name, "password": self.name}, timeout=60)
        self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(
            method, f"{self.url}{path}", json=body, headers={"X-Proxyorders": "1", **self.headers}, timeout=60
        )

    def page(self, path: str, body: Any = None) -> requests.Response:
        return self.call("POST" if body is not None else "GET", f"/proxyorders/page/api/{path}", body)

    def rest(self, path: str, body: Any = None) -> requests.Response:
        return self.call("POST" if body is not None else "GET", f"/api/v2{path}", body)


@pytest.fixture
def connections(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """A connection of each team, with a wallet of its own."""
    sandbox.state.reset()
    sandbox.state.vendors["voodoo"].open_wallet("blue", balance="500")
    made = {conn_id: connection(sandbox, "voodoo", webhook_secret=f"secret-of-{conn_id}") for conn_id in TEAMS.values()}
    made[BLUE]["password"] = sandbox.token("voodoo", "blue")
    return made


@pytest.fixture
def ledger(postgres: Postgres) -> Ledger:
    return open_ledger(postgres.new_ledger())


@pytest.fixture
def teams(postgres: Postgres, ledger: Ledger, connections: dict[str, dict[str, Any]], tmp_path: Path) -> Iterator[LocalAirflow]:
    """A running Airflow with two teams: their DAGs, users and connections."""
    database, passwords, here = postgres.new_database(), tmp_path / "passwords.json", Path(__file__).parent / "teams"
    passwords.write_text(json.dumps({name: name for name in USERS}))
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": team, "classpath": local, "team_name": team, "kwargs": {"path": str(here / team), "refresh_interval": 5}}
        for team in TEAMS
    ]
    settings = {
        "AIRFLOW__CORE__MULTI_TEAM": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__PROXYORDERS__LEDGER_URL": ledger.engine.url.render_as_string(hide_password=False),
    }
    airflow = LocalAirflow(tmp_path / "airflow", dags_folder=tmp_path / "none", database=database, env=settings)
    airflow.home.mkdir()
    (tmp_path / "none").mkdir()
    airflow.run("db", "migrate")
    engine = create_engine(database)
    with engine.begin() as connection:
        for team in TEAMS:
            connection.execute(text("INSERT INTO team (name) VALUES (:name)"), {"name": team})
    engine.dispose()
    try:
        airflow.start("api-server")
        root = Person(airflow.url, "root")
        airflow.api._opener.addheaders = list(root.headers.items())
        for team, conn_id in TEAMS.items():
            fields = {**connections[conn_id], "extra": json.dumps(connections[conn_id]["extra"])}
            answer = root.rest("/connections", {"connection_id": conn_id, "team_name": team, **fields})
            assert answer.status_code == 201, answer.text
        for part in ("scheduler", "dag-processor"):
            airflow.start(part)
        yield airflow
    finally:
        airflow.close()


@contextmanager
def receiver(airflow: LocalAirflow, connections: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The address of the receiver by itself."""
    port = _free_port()
    env = {**airflow.env, "AIRFLOW__PROXYORDERS__WEBHOOK_RATE": "2"}
    env |= {f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(fields) for conn_id, fields in connections.items()}
    program = "import sys; from airflow_provider_proxyorders.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", program, "webhooks", "serve", "--port", str(port)], env=env) as process:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
            while True:
                try:
                    requests.get(url, timeout=10)
                    break
                except requests.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield url
        finally:
            process.terminate()


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server of somebody else, and the headers of its requests."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path} {self.headers}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/x", heard
    server.shutdown()
    server.server_close()


def deliver(url: str, conn_id: str, secret_of: str, order_id: str) -> int:
    """Send a webhook, signed with the secret of a connection."""
    body = json.dumps({"order_id": order_id, "status": "completed"}).encode()
    return requests.post(f"{url}/{conn_id}", body, headers=Scheme().sign(body, f"secret-of-{secret_of}"), timeout=60).status_code


def run(airflow: LocalAirflow, dag_id: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> tuple[str, str]:
    """Run a DAG; returns its run and how it ended."""
    started = airflow.trigger(dag_id, conf, run_id)
    return started, airflow.wait(dag_id, started, timeout=180)


def refilled(airflow: LocalAirflow, runs: int) -> list[dict[str, Any]]:
    """What so many runs of ``blue_refill`` made of their events.

    A run has the events up to the one that queued it, and what comes before it starts waits for the next event. So each event
    is sent after the run of the one before.
    """
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        begun = airflow.api.call("GET", "/dags/blue_refill/dagRuns", limit=100, order_by="run_after")["dag_runs"]
        if len(begun) >= runs and all(each["state"] in ("success", "failed") for each in begun):
            assert {each["state"] for each in begun} == {"success"} and len(begun) == runs
            return [airflow.xcom("blue_refill", each["dag_run_id"], "refill") for each in begun]
        time.sleep(0.5)
    raise AssertionError(f"fewer than {runs} runs of blue_refill")


def test_nothing_crosses(teams: LocalAirflow, ledger: Ledger, sandbox: Sandbox, connections: dict[str, dict[str, Any]]) -> None:
    def charged() -> list[str]:
        return [entry.wallet for entry in sandbox.book.charges("voodoo") if entry.kind == "create"]

    reds, blues, root = (Person(teams.url, name) for name in USERS)

    # 1. keys: red buys under the default key of blue's next run; then blue buys
    key = "create:blue_shop:buy:manual__the_next"
    assert run(teams, "red_shop", {"conn_id": RED, "order_key": key})[1] == "success"
    assert run(teams, "blue_shop", run_id="manual__the_next")[1] == "success"
    theirs = teams.xcom("blue_shop", "manual__the_next", "buy")
    assert charged() == ["main", "blue"] and theirs["order_key"].startswith(f"{key}@")

    # 4. connections, orders and keys: what a DAG of red gets by the hook
    with listener() as (elsewhere, heard):
        spied, state = run(teams, "red_spy", {"elsewhere": elsewhere, "order_id": theirs["order_id"]})
        assert state == "success"
    said = teams.xcom("red_spy", spied, "spy")
    assert said.pop("my key elsewhere") == "success: 200" and connections[RED]["password"] not in heard[0]
    assert "Bearer" not in heard[0]
    assert said.pop("their end of an order") == "success: []"
    assert [text for text in said.values() if text.startswith("success")] == []
    assert "is missing" in said["their connection"]
    assert run(teams, "red_shop", {"conn_id": BLUE, "order_key": "stolen"})[1] == "failed"

    # 2. asset events: made up by red, which Airflow keeps from blue's DAG, and by a user of blue
    assets = root.rest("/assets?name_pattern=blue-events").json()["assets"]
    forged = [
        {"key": "made-up", "order_id": f"{theirs['order_id']}, told"},
        {"payload": {"key": f"voodoo:{BLUE}/refill#1", "conn_id": BLUE, "order_id": theirs["order_id"]}},
        {"payload": {"key": f"voodoo:{RED}/refill#1", "order_id": f"{theirs['order_id']}\0"}},
    ]
    assert Alarms(ledger.engine).observe(f"voodoo:{RED}", "refill", "low") is not None
    for runs, extra in enumerate(forged, start=1):
        reds.rest("/assets/events", {"asset_id": assets[0]["id"], "extra": extra})
        answer = blues.rest("/assets/events", {"asset_id": assets[0]["id"], "extra": extra})
        assert answer.status_code == 200, answer.text
        made = refilled(teams, runs)
    assert [each for result in made for each in (*result["crossings"], *result["ended"])] == []
    assert sum(result["arrived"] for result in made) >= len(forged) and charged() == ["main", "blue"]

    # 3. webhooks: blue's name with red's secret, a flood of red's own, and other spellings of its name
    with receiver(teams, connections) as url:
        assert deliver(url, BLUE, RED, "made-up") == 401
        flood = [deliver(url, name, RED, theirs["order_id"]) for name in (RED, RED.upper(), "Voodoo_Red") * 6]
        assert (flood[0], flood[-1], set(flood)) == (200, 429, {200, 429})
        assert deliver(url, BLUE, BLUE, theirs["order_id"]) == 200
    assert {(hint.conn_id, hint.wallet) for hint in Inbox(ledger.engine).since(0)} == {
        (RED, f"voodoo:{RED}"),
        (BLUE, f"voodoo:{BLUE}"),
    }

    # the page and REST: what red sees and decides
    ledger.freeze(f"voodoo:{BLUE}", "a reason of theirs")
    shown = "".join(reds.page(path).text for path in READS) + reds.page(f"purchase?order_key={key}").text
    assert RED in shown and not [word for word in (BLUE, theirs["order_key"], "a reason of theirs") if word in shown]
    assert reds.page(f"purchase?order_key={theirs['order_key']}").status_code == 404
    for path, body in (
        ("decision", {"order_key": theirs["order_key"], "word": "give up"}),
        ("unfreeze", {"wallet": f"voodoo:{BLUE}"}),
        ("doctor", {"conn_id": BLUE}),
    ):
        assert reds.page(path, body).status_code == 404
    for path in (f"/connections/{BLUE}", "/dags/blue_shop/dagRuns/manual__the_next/taskInstances/buy/xcomEntries/return_value"):
        assert reds.rest(path).status_code in (403, 404)
    assert theirs["order_key"] in blues.page("purchases").text, "its owner sees it"

    # what is true still counts: blue's own crossing buys once, for blue
    ledger.unfreeze(f"voodoo:{BLUE}", "a reason of theirs", Actor(), "")
    crossing = Alarms(ledger.engine).observe(f"voodoo:{BLUE}", "refill", "low")
    assert crossing is not None
    facts.event_turn(ledger, BLUE, theirs["order_id"], 1).decide_once("a 1")
    true = {"payload": {"key": crossing.key, "order_id": theirs["order_id"]}}
    assert blues.rest("/assets/events", {"asset_id": assets[0]["id"], "extra": true}).status_code == 200
    (result,) = [result for result in refilled(teams, len(forged) + 1) if result["crossings"]]
    assert (result["crossings"], result["ended"]) == ([crossing.key], [theirs["order_id"]])
    assert charged() == ["main", "blue", "blue"]
    purchase = ledger.find(theirs["order_key"])
    assert purchase is not None and purchase.wallet == f"voodoo:{BLUE}" and purchase.step is not Step.REJECTED
