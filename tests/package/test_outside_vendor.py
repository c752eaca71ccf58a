"""A fourth vendor from another package: exactly what docs/new_vendor.md says, taken from that page and run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.testing import SCENES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def package(project: Path, tmp_path: Path) -> Path:
    """The page's package, installed: its files and its metadata on the path."""
    page = project / "docs" / "new_vendor.md"
    for code in blocks(page, "python"):
        name = re.match(r"# (\w+\.py)\n", code)
        assert name is not None
        (tmp_path / name[1]).write_text(code)
    for exchange in blocks(page, "json"):
        data = json.loads(exchange)
        folder = tmp_path / "exchanges" / data["vendor"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{data['operation']}.{data['case']}.json").write_text(exchange)
    (toml,) = blocks(page, "toml")
    meta = tomllib.loads(toml)["project"]
    info = tmp_path / f"{meta['name'].replace('-', '_')}-{meta['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {meta['name']}\nVersion: {meta['version']}\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in meta["entry-points"].items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def run(package: Path, *words: str, **env: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(package), "AIRFLOW_HOME": str(package / "home"), **env}
    done = subprocess.run([sys.executable, *words], env=environment, cwd=package, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(package: Path) -> None:
    assert f"{2 + len(SCENES)} passed" in run(package, "-m", "pytest", "-q", "test_acme.py", "-p", "no:cacheprovider")


def test_its_form_and_its_guarantees_are_there(package: Path) -> None:
    forms = run(
        package,
        "-c",
        "from airflow.providers_manager import ProvidersManager as P; m = P();"
        "print(sorted(n for n in m.connection_form_widgets if '__acme__' in n), m.field_behaviours['acme'])",
    )
    assert "extra__acme__max_order_price" in forms and "api.acme.example" in forms
    assert "| Acme | create | at most once, and exactly once" in run(
        package, "-m", "airflow_provider_proxyorders.cli.main", "guarantees"
    )


class Acme(BaseHTTPRequestHandler):
    """The vendor of the page: loses the answer to its first order after taking it."""

    taken: dict[str, str]
    loses: list[bool]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["X-Key"] != "k-123456" or body["client_ref"] in self.taken:
            return self.answer(422 if self.headers["X-Key"] == "k-123456" else 401, {"error": "no"})
        self.taken[body["client_ref"]] = "A1"
        if self.loses.pop() if self.loses else False:
            self.connection.close()
            return None
        return self.answer(201, {"id": "A1", "state": "new", "price": "2.50", "currency": "EUR"})

    def do_GET(self) -> None:
        if self.path == "/v1/wallet":
            return self.answer(200, {"amount": "10.00", "currency": "EUR"})
        if self.path.endswith("/proxies"):
            return self.answer(200, {"proxies": [{"host": "127.0.0.1", "port": 1, "user": "u", "password": "p-secret"}]})
        return self.answer(200, {"id": "A1", "state": "ready", "price": "2.50", "currency": "EUR"})

    def answer(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def acme() -> Iterator[str]:
    handler = type("Handler", (Acme,), {"taken": {}, "loses": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


BUY = """
from datetime import datetime, timedelta, timezone
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.purchase.outcome import result_of
hook = ProxyOrdersHook("acme_default")
print(hook.test_connection())
order = hook.create_order({"quantity": 5}, order_key="k")
order = hook.buyer().wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=20))
again = hook.create_order({"quantity": 5}, order_key="k")
print(result_of(order, order.vendor), again.order_id, hook.get_delivery("A1"))
"""


TEST = """
import json, os
from airflow.models.connection import Connection
print(Connection(conn_id="acme_default", **json.loads(os.environ["AIRFLOW_CONN_ACME_DEFAULT"])).test_connection())
"""


def test_airflow_can_test_its_connection(package: Path, acme: str) -> None:
    fields = {"conn_type": "acme", "host": acme, "password": "k-123456"}
    said = run(package, "-c", TEST, AIRFLOW_CONN_ACME_DEFAULT=json.dumps(fields))
    assert "(True, 'Acme: key accepted, balance 10.00 EUR')" in said


def test_an_order_is_bought_through_an_airflow_connection(package: Path, acme: str) -> None:
    extra = {"max_order_price": "5.00"}
    connection = json.dumps({"conn_type": "acme", "host": acme, "password": "k-123456", "extra": extra})
    said = run(package, "-c", BUY, AIRFLOW_CONN_ACME_DEFAULT=connection)
    assert "(True, 'Acme: key accepted" in said
    assert (
        "'order_id': 'A1'" in said
        and "'status': 'delivered'" in said
        and "'price': '2.50'" in said
        and "'currency': 'EUR'" in said
    )
    assert "A1 Delivery(order_id='A1', proxies=1" in said
    assert "p-secret" not in said and "k-123456" not in said
