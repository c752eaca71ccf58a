"""What a DAG file pays for importing our operators and sensors, beyond what Airflow itself makes it pay.

Airflow parses DAG files again and again, so this is counted, in modules and in memory; nothing here is timed.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULES = 60
MEGABYTES = 2.0
#: they take 60 to 300 ms each to import
HEAVY = {"aiohttp", "alembic", "fastapi", "httpx", "requests", "sqlalchemy", "starlette", "tenacity", "urllib3", "uvicorn"}

_SCRIPT = """
import json, sys, tracemalloc
from airflow.sdk import DAG
DAG("d", schedule=None)
before = set(sys.modules)
tracemalloc.start()
import {modules}
print(json.dumps({{"memory": tracemalloc.get_traced_memory()[0], "new": sorted(set(sys.modules) - before)}}))
"""

OPERATORS = "airflow_provider_proxyorders.operators.orders"
SENSORS = "airflow_provider_proxyorders.sensors.orders"
WALLETS = ", ".join(f"airflow_provider_proxyorders.{name}.wallet" for name in ("operators", "sensors", "triggers"))


@pytest.mark.parametrize(
    "modules", [OPERATORS, f"{OPERATORS}, {SENSORS}", WALLETS], ids=["operators", "operators and sensors", "wallets"]
)
def test_within_the_budget(modules: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(modules=modules)], capture_output=True, text=True, check=True, timeout=120
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    new = seen["new"]
    assert modules.partition(",")[0] in new
    assert not HEAVY & {name.partition(".")[0] for name in new}
    assert len(new) <= MODULES, f"{len(new)} modules: {new}"
    assert seen["memory"] <= MEGABYTES * 1024 * 1024, f"{seen['memory'] / 1024 / 1024:.2f} MB"
