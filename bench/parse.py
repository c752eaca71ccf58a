"""What a DAG file pays for importing our operators and sensors, and for building a hundred of our tasks, beside HttpSensor's.

Airflow parses DAG files again and again. Everything is measured in a process of its own, beyond ``from airflow.sdk import DAG``,
which every DAG file pays; medians over several processes, taken in turns. Memory is the process's resident memory.
"""

from __future__ import annotations

import json
import pkgutil
import statistics
import subprocess
import sys
from collections.abc import Sequence

import measuring
from measuring import Verdicts

from airflow_provider_proxyorders import operators, sensors

measuring.private_airflow()

#: every module of operators and sensors that a DAG file could import
OURS = ", ".join(
    f"{package.__name__}.{module.name}" for package in (operators, sensors) for module in pkgutil.iter_modules(package.__path__)
)
IMPORTS = {
    "ours: operators and sensors together": OURS,
    "HttpSensor": "airflow.providers.http.sensors.http",
    "HttpOperator": "airflow.providers.http.operators.http",
    "dbt-cloud operators": "airflow.providers.dbt.cloud.operators.dbt",
    "`requests` alone": "requests",
    "`aiohttp` alone": "aiohttp",
}
#: (import, one task) of a DAG of a hundred
TASKS = {
    "ours": (
        "from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator",
        'CreateProxyOrderOperator(task_id=f"t{n}", conn_id="c", request={"quantity": n}, max_price="5.00")',
    ),
    "HttpOperator": (
        "from airflow.providers.http.operators.http import HttpOperator",
        'HttpOperator(task_id=f"t{n}", http_conn_id="c", endpoint="/orders", data="{}")',
    ),
}

_IMPORT = """
import gc, json, os, sys, time
from airflow.sdk import DAG
DAG("d", schedule=None)
page = os.sysconf("SC_PAGE_SIZE")
resident = lambda: gc.collect() and 0 or int(open("/proc/self/statm").read().split()[1]) * page
modules, memory, began = set(sys.modules), resident(), time.process_time()
import {what}
print(json.dumps([time.process_time() - began, resident() - memory, len(set(sys.modules) - modules)]))
"""
_BUILD = """
import json, time
from airflow.sdk import DAG
DAG("first", schedule=None)
began = time.process_time()
{importing}
with DAG("d", schedule=None):
    for n in range(2):
        {task}
imported = time.process_time()
with DAG("e", schedule=None):
    for n in range(100):
        {task}
print(json.dumps([time.process_time() - imported, time.process_time() - began]))
"""


def run(script: str) -> list[float] | None:
    """The figures that a script prints; None where what it imports is not installed."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    if done.returncode and "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def medians(runs: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*runs, strict=True)]


def in_turns(scripts: dict[str, str], times: int) -> dict[str, list[list[float]]]:
    """Run each script so often, in turns; those whose packages are missing are left out."""
    found: dict[str, list[list[float]]] = {name: [] for name in scripts}
    for turn in range(times + 1):
        for name, script in list(scripts.items()):
            figures = run(script)
            if figures is None:
                scripts.pop(name)
                found.pop(name)
            elif turn:  # the first turn writes bytecode
                found[name].append(figures)
    return found


def ratios(ours: list[list[float]], theirs: list[list[float]], column: int) -> list[float]:
    return [a[column] / b[column] for a, b in zip(ours, theirs, strict=True)]


def main() -> int:
    times = 11 if measuring.options(__doc__ or "").full else 5
    print(f"{measuring.machine()}\n")
    verdicts = Verdicts()
    imports = in_turns({name: _IMPORT.format(what=what) for name, what in IMPORTS.items()}, times)
    ours, sensor = imports["ours: operators and sensors together"], imports.get("HttpSensor")
    rows = []
    for name, runs in imports.items():
        cpu, memory, modules = medians(runs)
        share = f"{statistics.median(ratios(runs, sensor, 0)):.2f}" if sensor else "-"
        rows.append([name, f"{cpu * 1e3:.0f}", share, f"{memory / 1024 / 1024:.1f}", f"{modules:.0f}"])
    print(measuring.table(["beyond `from airflow.sdk import DAG`", "CPU ms", "÷ HttpSensor", "memory MB", "modules"], rows))

    builds = in_turns({name: _BUILD.format(importing=i, task=t) for name, (i, t) in TASKS.items()}, times)
    rows = [[name, *(f"{figure * 1e3:.0f}" for figure in medians(runs))] for name, runs in builds.items()]
    print("\n" + measuring.table(["a DAG of 100 tasks", "building them, CPU ms", "with the imports, CPU ms"], rows))

    _, memory, modules = medians(ours)
    verdicts.at_most("memory of our imports", memory / 1024 / 1024, 2.0, " MB", [run[1] / 1024 / 1024 for run in ours])
    verdicts.at_most("modules of our imports", modules, 60)
    if sensor:
        share = ratios(ours, sensor, 0)
        verdicts.at_most("CPU of our imports ÷ HttpSensor's", statistics.median(share), 0.2, "", share)
    if "HttpOperator" in builds:
        # Airflow may have imported its own providers before it parses a file, so the building alone must bear comparison too
        for column, (what, most) in enumerate((("building 100 of our tasks", 1.15), ("the same with the imports", 1.0))):
            share = ratios(builds["ours"], builds["HttpOperator"], column)
            verdicts.at_most(f"{what} ÷ HttpOperators", statistics.median(share), most, "", share)
    else:
        print("\nHttpOperator is not installed (apache-airflow-providers-http), so there is nothing to compare CPU with.")
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
