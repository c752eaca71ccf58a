"""Users import from the packages ``operators``, ``sensors``, ``hooks`` and ``triggers``; a DAG file pays for what it uses."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from airflow_provider_proxyorders import get_provider_info

PACKAGE = "airflow_provider_proxyorders"
ROOMS = ("operators", "sensors", "hooks", "triggers", "testing")
#: for the package itself, although the name looks public
INTERNAL = {"UnreadableDelivery", "WalletLevelTrigger"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_loads_and_type_checkers_know_it(room: str) -> None:
    package = import_module(f"{PACKAGE}.{room}")
    assert package.__file__
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    imports = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.{room}.")
    ]
    for_checkers = {alias.name: node.module for node in imports for alias in node.names}
    assert set(for_checkers) == set(package.__all__)
    for name, module in for_checkers.items():
        assert module and getattr(package, name) is getattr(import_module(module), name)
    with pytest.raises(AttributeError, match=f"module '{PACKAGE}.{room}' has no attribute 'Operator'"):
        package.Operator  # noqa: B018


@pytest.mark.parametrize("room", ["operators", "sensors", "triggers", "hooks"])
def test_every_class_of_the_metadata_is_offered(room: str) -> None:
    modules = {name for entry in get_provider_info()[room] for name in entry["python-modules"]}  # type: ignore[attr-defined]
    classes = {
        name
        for module in modules
        for name, item in vars(import_module(module)).items()
        if isinstance(item, type) and item.__module__ == module and not name.startswith("_")
    }
    offered = set(import_module(f"{PACKAGE}.{room}").__all__)
    assert classes - INTERNAL <= offered


def test_a_name_loads_no_module_that_it_does_not_need() -> None:
    script = """
import sys
from airflow_provider_proxyorders.sensors import WalletBalanceSensor
from airflow_provider_proxyorders import hooks, operators, triggers
ours = {name.partition(".")[2] for name in sys.modules if name.startswith("airflow_provider_proxyorders.")}
print(*sorted(ours & {"sensors.orders", "operators.orders", "operators.delivery", "hooks.proxyorders", "triggers.poller"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
