"""A vendor from another package: exactly what docs/new_vendor.md says and ``proxyorders new-vendor`` writes, built and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.cli import new_vendor
from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.testing import SCENES


@pytest.fixture(scope="module")
def package(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the page's package: built as its ``pyproject.toml`` says, and installed there."""
    source, folder = tmp_path_factory.mktemp("source") / "acme-orders", tmp_path_factory.mktemp("installed")
    new_vendor.write("acme", source)
    install(source, folder)
    shutil.copytree(source / "tests", folder / "tests")
    return folder


def install(source: Path, folder: Path) -> None:
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)


def run(package: Path, *words: str, **env: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(package), "AIRFLOW_HOME": str(package / "home"), **env}
    done = subprocess.run([sys.executable, *words], env=environment, cwd=package, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(package: Path) -> None:
    assert f"{2 + len(SCENES)} passed" in run(package, "-m", "pytest", "-q", "tests", "-p", "no:cacheprovider")


def test_its_form_and_its_guarantees_are_there(package: Path) -> None:
    forms = run(
        package,
        "-c",
        "from airflow.providers_manager import ProvidersManager as P; m = P();"
        "print(sorted(n for n in m.connection_form_widgets if '__acme__' in n), m.field_behaviours['acme'])",
    )
    assert "extra__acme__daily_limit" in forms and "api.acme.example" in forms
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


class TestNewVendor:
    def test_the_command_writes_a_package_of_another_name_that_builds_and_passes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["new-vendor", "blue_owl"]) == 0
        said = capsys.readouterr()
        source = tmp_path / "blue-owl-orders"
        assert f"{Path('blue-owl-orders/blue_owl_orders/vendor.py')}" in said.out.splitlines() and "pip install -e ." in said.err
        assert [path for path in source.rglob("*") if path.is_file() and "acme" in path.read_text().lower()] == []
        installed = tmp_path / "installed"
        install(source, installed)
        shutil.copytree(source / "tests", installed / "tests")
        assert "passed" in run(installed, "-m", "pytest", "-q", "tests", "-p", "no:cacheprovider", "-k", "test_exchange")
        assert "BlueOwl" in run(installed, "-m", "airflow_provider_proxyorders.cli.main", "guarantees")

    @pytest.mark.parametrize("name", ["Acme", "7up", "a-b", "a__b", "class", "", "../x", "iproyal"])
    def test_a_name_that_cannot_be_one_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ProxyOrdersError, match="NAME must be|installed already"):
            new_vendor.write(name, tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_a_folder_in_use_stays_as_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("mine")
        with pytest.raises(ProxyOrdersError, match="is in use"):
            new_vendor.write("acme", tmp_path)
        assert os.listdir(tmp_path) == ["mine"]


BROKEN = """
import json, logging
logging.basicConfig(level="WARNING")
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
from airflow_provider_proxyorders.vendors.registry import usable_vendors, vendor_class
print(json.dumps({
    "acme": "acme" in manager.hooks, "voodoo": manager.hooks["voodoo"].hook_name, "provider": "acme-orders" in manager.providers,
    "usable": [vendor.name for vendor in usable_vendors()],
}))
try:
    vendor_class("acme")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (None, "ModuleNotFoundError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("Acme = 7", "must be a class with name = 'acme'"),
    ],
    ids=["an empty package", "a missing library", "an exit", "no vendor"],
)
def test_a_broken_package_is_named_and_left_out_and_airflow_works_on(
    package: Path, tmp_path: Path, code: str | None, why: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(package, broken, ignore=shutil.ignore_patterns("home"))
    if code is None:
        shutil.rmtree(broken / "acme_orders")
    else:
        (broken / "acme_orders" / "vendor.py").write_text(code)
    lines = run(broken, "-c", BROKEN).splitlines()
    seen = json.loads(lines[-2])
    assert seen == {"acme": False, "voodoo": "Voodoo", "provider": True, "usable": ["iproyal", "proxy6", "proxyscrape", "voodoo"]}
    assert lines[-1].startswith("ConfigError vendor 'acme' is out of use: ") and why in lines[-1]
    assert lines[-1].endswith("Nothing was sent. Mend or uninstall acme-orders.")
