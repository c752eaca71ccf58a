"""Every Airflow process pays for our metadata, every DAG file for our operators and sensors: both within a budget.

A measuring process first imports Airflow with our distribution hidden, so the baseline holds nothing of ours. Then it loads the
metadata through its entry point, as Airflow does, and imports the modules. Airflow parses DAG files again and again, so modules
and memory are counted. The benchmark ``bench/parse.py`` times the metadata.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

MODULES = 60
MEGABYTES = 2.0
#: they take 60 to 300 ms each to import
HEAVY = {"aiohttp", "alembic", "fastapi", "httpx", "requests", "sqlalchemy", "starlette", "tenacity", "urllib3", "uvicorn"}

_MEASURE = """
import json, sys, tracemalloc
if sys.version_info >= (3, 12):  # as Airflow chooses
    from importlib import metadata
else:
    import importlib_metadata as metadata

every = metadata.distributions
metadata.distributions = lambda **which: (d for d in every(**which) if d.metadata["Name"] != "airflow-provider-proxyorders")
from airflow.sdk import DAG
DAG("d", schedule=None)
metadata.distributions = every
assert not [name for name in sys.modules if name.startswith("airflow_provider_proxyorders")]
(entry,) = metadata.entry_points(group="apache_airflow_provider", module="airflow_provider_proxyorders")
before = set(sys.modules)
entry.load()()
after_metadata = set(sys.modules)
tracemalloc.start()
{imports}
memory = tracemalloc.get_traced_memory()[0]
print(json.dumps({{
    "metadata": sorted(after_metadata - before),
    "memory": memory, "modules": sorted(set(sys.modules) - before),
}}))
"""
_AS_AIRFLOW_DOES = """
import json, sys
from airflow.sdk import DAG
print(json.dumps(sorted(name for name in sys.modules if name.startswith("airflow_provider_proxyorders"))))
"""

_AS_A_TASK_DOES = """
import json, sys
from airflow.sdk.plugins_manager import _get_plugins, integrate_listener_plugins, integrate_macros_plugins
from airflow.sdk.listener import get_listener_manager
plugins, errors = _get_plugins()
integrate_macros_plugins()
integrate_listener_plugins(get_listener_manager())
assert not errors and "proxyorders" in [plugin.name for plugin in plugins], (plugins, errors)
of_the_plugin = sorted(name for name in sys.modules if name.startswith("airflow_provider_proxyorders"))
{work}
print(json.dumps({{"plugin": of_the_plugin, "all": sorted(sys.modules)}}))
"""
#: what the tasks of a DAG with everything import, and what they import while they work
_WORK = """
import importlib, pkgutil
import airflow_provider_proxyorders as package
rooms = "operators sensors tasks triggers hooks purchase renewal wallet delivery ledger transport"
for room in rooms.split():
    for module in pkgutil.walk_packages([f"{package.__path__[0]}/{room}"], f"{package.__name__}.{room}."):
        if "migrations" not in module.name and not module.name.endswith("form_requests"):
            importlib.import_module(module.name)
"""

OPERATORS = "airflow_provider_proxyorders.operators.orders"
SENSORS = "airflow_provider_proxyorders.sensors.orders"
WALLETS = ", ".join(f"airflow_provider_proxyorders.{name}.wallet" for name in ("operators", "sensors", "triggers"))


def run(script: str) -> Any:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_process_that_imports_airflow_loads_no_module_of_ours() -> None:
    assert run(_AS_AIRFLOW_DOES) == ["airflow_provider_proxyorders"]


def test_the_metadata_loads_no_other_module() -> None:
    assert run(_MEASURE.format(imports=""))["metadata"] == ["airflow_provider_proxyorders"]


def test_a_task_process_loads_the_plugin_alone() -> None:
    """Airflow imports each plugin in every task process; the page, the receiver and the button are built in the API server."""
    loaded = run(_AS_A_TASK_DOES.format(work=""))["plugin"]
    package = "airflow_provider_proxyorders"
    assert loaded == [package, f"{package}._compat", f"{package}.plugin"]


def test_no_task_process_imports_the_page() -> None:
    """Also not while it works: whatever a task of ours can import brings no part of page, receiver or web server."""
    loaded = run(_AS_A_TASK_DOES.format(work=_WORK))["all"]
    assert "airflow_provider_proxyorders.purchase.buyer" in loaded
    rooms = {name.split(".")[1] for name in loaded if name.startswith("airflow_provider_proxyorders.")}
    assert not rooms & {"page", "webhooks", "cli", "testing", "sandbox"}
    assert not {"fastapi", "starlette", "uvicorn"} & {name.partition(".")[0] for name in loaded}


@pytest.mark.parametrize(
    "modules", [OPERATORS, f"{OPERATORS}, {SENSORS}", WALLETS], ids=["operators", "operators and sensors", "wallets"]
)
def test_metadata_and_operators_stay_within_the_budget(modules: str) -> None:
    measured = run(_MEASURE.format(imports=f"import {modules}"))
    new = measured["modules"]
    assert modules.partition(",")[0] in new
    assert not HEAVY & {name.partition(".")[0] for name in new}
    assert len(new) <= MODULES, f"{len(new)} modules: {new}"
    assert measured["memory"] <= MEGABYTES * 1024 * 1024, f"{measured['memory'] / 1024 / 1024:.2f} MB"
