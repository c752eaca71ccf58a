"""The cost of our metadata to each Airflow process, and of our operators and sensors to a DAG file, beside HttpSensor's.

Airflow parses DAG files again and again. Each figure comes from a process of its own: the median over several processes, taken in
turns. The baseline is ``from airflow.sdk import DAG`` with our distribution hidden, since Airflow loads every provider's metadata
there. Our figures hold our metadata, loaded and validated as Airflow does. Memory is the process's resident memory.
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
MODULES = ", ".join(
    f"{package.__name__}.{module.name}" for package in (operators, sensors) for module in pkgutil.iter_modules(package.__path__)
)
METADATA = "ours: loading the metadata"
OURS = "ours: metadata, operators and sensors together"
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

_BASELINE = """
import gc, json, os, sys, time
from importlib.resources import files
import jsonschema
try:
    import importlib_metadata as metadata  # Airflow takes it on an older Python
except ImportError:
    from importlib import metadata

every = metadata.distributions
metadata.distributions = lambda **which: (d for d in every(**which) if d.metadata["Name"] != "airflow-provider-proxyorders")
from airflow.sdk import DAG
DAG("d", schedule=None)
metadata.distributions = every
schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
validator = jsonschema.validators.validator_for(schema)(schema)
provider = {module: entry for entry in metadata.entry_points(group="apache_airflow_provider") for module in [entry.module]}
validator.validate(provider["airflow.providers.standard.get_provider_info"].load()())
page = os.sysconf("SC_PAGE_SIZE")
resident = lambda: gc.collect() and 0 or int(open("/proc/self/statm").read().split()[1]) * page
modules, memory, began = set(sys.modules), resident(), time.process_time()
"""
_FIGURES = """
print(json.dumps([time.process_time() - began, resident() - memory, len(set(sys.modules) - modules)]))
"""
_METADATA = "info = provider['airflow_provider_proxyorders'].load()()\n"
#: Airflow's own check of a provider's metadata, in each process too
_VALIDATE = "validator.validate(info)\n"
IMPORTS = {
    METADATA: _METADATA,
    "ours: the same with Airflow's validation": f"{_METADATA}{_VALIDATE}",
    OURS: f"{_METADATA}{_VALIDATE}import {MODULES}",
    "HttpSensor": "import airflow.providers.http.sensors.http",
    "HttpOperator": "import airflow.providers.http.operators.http",
    "dbt-cloud operators": "import airflow.providers.dbt.cloud.operators.dbt",
    "`requests` alone": "import requests",
    "`aiohttp` alone": "import aiohttp",
}

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
    """The figures that a script prints, or None when a package it imports is missing."""
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
    """Run each script so often, in turns. A script with a missing package is left out."""
    taken: dict[str, list[list[float]]] = {name: [] for name in scripts}
    for turn in range(times + 1):
        for name, script in list(scripts.items()):
            figures = run(script)
            if figures is None:
                scripts.pop(name)
                taken.pop(name)
            elif turn:  # the first turn writes bytecode
                taken[name].append(figures)
    return taken


def ratios(ours: list[list[float]], theirs: list[list[float]], column: int) -> list[float]:
    return [a[column] / b[column] for a, b in zip(ours, theirs, strict=True)]


def main() -> int:
    times = 11 if measuring.options(__doc__ or "").full else 5
    print(f"{measuring.machine()}\n")
    verdicts = Verdicts()
    imports = in_turns({name: f"{_BASELINE}{what}{_FIGURES}" for name, what in IMPORTS.items()}, times)
    ours, sensor = imports[OURS], imports.get("HttpSensor")
    rows = []
    for name, runs in imports.items():
        cpu, memory, modules = medians(runs)
        share = f"{statistics.median(ratios(runs, sensor, 0)):.2f}" if sensor else "-"
        rows.append([name, f"{cpu * 1e3:.1f}", share, f"{memory / 1024 / 1024:.1f}", f"{modules:.0f}"])
    print(measuring.table(["beyond `from airflow.sdk import DAG`", "CPU ms", "÷ HttpSensor", "memory MB", "modules"], rows))

    builds = in_turns({name: _BUILD.format(importing=i, task=t) for name, (i, t) in TASKS.items()}, times)
    rows = [[name, *(f"{figure * 1e3:.0f}" for figure in medians(runs))] for name, runs in builds.items()]
    print("\n" + measuring.table(["a DAG of 100 tasks", "building them, CPU ms", "with the imports, CPU ms"], rows))

    cpu, _, modules = medians(imports[METADATA])
    verdicts.at_most("CPU of loading our metadata", cpu * 1e3, 1.0, " ms", [run[0] * 1e3 for run in imports[METADATA]])
    verdicts.at_most("modules of our metadata", modules, 1)
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
        print("\nA comparison of CPU needs HttpOperator: install apache-airflow-providers-http.")
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
