"""The import rules bite: each rule reports a copy of the package with one forbidden import, one stray module or one circle.

``make check`` checks the package itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAYERS = "Imports go down only"
CIRCLES = "No circles between the files of a room"
TEST_TOOLS = "Only the commands use the sandbox and the test tools"
HTTP = "Only the transport knows HTTP libraries"
#: rule -> (module, a line that breaks the rule)
VIOLATIONS = {
    LAYERS: ("domain/model.py", "from airflow_provider_proxyorders.purchase import buyer"),
    "Values, wire format and vendors do no I/O": ("vendors/fields.py", "import asyncio"),
    "Nothing below the hooks knows Airflow": ("purchase/buyer.py", "import airflow.sdk"),
    TEST_TOOLS: ("operators/orders.py", "from airflow_provider_proxyorders.sandbox import Sandbox"),
    HTTP: ("ledger/schema.py", "import requests"),
    "Only the ledger knows SQL": ("purchase/buyer.py", "import sqlalchemy"),
}
WHERE = ["", "def late():\n    ", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "]
WHERE_IDS = ["at the top", "inside a function", "for type checkers"]


def lint(folder: Path) -> str:
    # run as a module function: the script beside the interpreter would read the installed package instead of the copy
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache', '--no-logo'])"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture
def package(project: Path, tmp_path: Path) -> Path:
    """A copy of the package that a test may spoil."""
    shutil.copytree(project / "airflow_provider_proxyorders", tmp_path / "airflow_provider_proxyorders")
    shutil.copy(project / "pyproject.toml", tmp_path)
    return tmp_path / "airflow_provider_proxyorders"


def append(module: Path, line: str) -> None:
    with module.open("a") as source:
        source.write(f"\n{line}\n")


def test_each_rule_reports_its_violation(package: Path) -> None:
    for module, line in VIOLATIONS.values():
        append(package / module, line)
    report = lint(package.parent)
    for rule in VIOLATIONS:
        assert f"{rule} BROKEN" in report, report


@pytest.mark.parametrize("stray", ["stray.py", "stray/__init__.py"], ids=["a module", "a room"])
def test_a_module_in_no_layer_is_reported(package: Path, stray: str) -> None:
    (package / stray).parent.mkdir(exist_ok=True)
    (package / stray).touch()
    report = lint(package.parent)
    assert f"{LAYERS} BROKEN" in report, report
    assert "airflow_provider_proxyorders.stray" in report


@pytest.mark.parametrize("where", WHERE, ids=WHERE_IDS)
def test_a_circle_within_a_room_is_reported(package: Path, where: str) -> None:
    append(package / "domain" / "errors.py", f"{where}from airflow_provider_proxyorders.domain import account")
    append(package / "domain" / "account.py", f"{where}from airflow_provider_proxyorders.domain import errors")
    report = lint(package.parent)
    assert f"{CIRCLES} BROKEN" in report, report
    assert f"{LAYERS} KEPT" in report


@pytest.mark.parametrize("where", WHERE, ids=WHERE_IDS)
def test_an_upward_import_is_reported(package: Path, where: str) -> None:
    append(package / "domain" / "dates.py", f"{where}from airflow_provider_proxyorders.wire import messages")
    assert f"{LAYERS} BROKEN" in lint(package.parent)


@pytest.mark.parametrize("library", ["aiohttp", "httpx", "urllib3"])
def test_every_http_library_stays_in_the_transport(package: Path, library: str) -> None:
    append(package / "wallet" / "check.py", f"import {library}")
    report = lint(package.parent)
    assert f"{HTTP} BROKEN" in report, report
    assert f"airflow_provider_proxyorders.wallet.check -> {library}" in report


def test_the_test_tools_stay_out_of_what_runs_in_production(package: Path, project: Path) -> None:
    append(package / "webhooks" / "app.py", "from airflow_provider_proxyorders.testing import local_airflow")
    assert f"{TEST_TOOLS} BROKEN" in lint(package.parent)
    rules = (project / "pyproject.toml").read_text(encoding="utf-8")
    layers, sources = (
        re.search(rf"{before} = \[([^\]]*?)\n\]", rules[start:])
        for before, start in (("layers", 0), ("source_modules", rules.index(TEST_TOOLS)))
    )
    assert layers
    assert sources
    rooms = {room for line in re.findall(r'"(.*?)"', layers[1]) for room in line.split(" | ")}
    assert set(re.findall(r'"airflow_provider_proxyorders\.(.*?)"', sources[1])) == rooms - {"cli", "sandbox", "testing"}
