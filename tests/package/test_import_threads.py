"""A triggerer's threads may load the package's modules at the same moment, in any order."""

from __future__ import annotations

import subprocess
import sys

LOAD = """
import importlib, pkgutil, sys, threading
import alembic, sqlalchemy.dialects.postgresql, simplejson  # what is slow to load, and not what is tried here

name = "airflow_provider_proxyorders"
wrong = []

def load(module, ready):
    ready.wait()
    try:
        importlib.import_module(module)
    except Exception as error:
        wrong.append(f"{module}: {type(error).__name__}: {error}")

for package in sys.argv[1:]:
    parent = importlib.import_module(package)
    found = [module.name for module in pkgutil.iter_modules(parent.__path__) if module.name != "migrations"]
    modules = [package, *(f"{package}.{module}" for module in found)]
    for attempt in range(max(20, len(modules))):  # each module is the first once
        for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] == name]:
            del sys.modules[loaded]
        importlib.import_module(name)
        ready = threading.Barrier(len(modules))
        turned = modules[attempt % len(modules):] + modules[: attempt % len(modules)]
        threads = [threading.Thread(target=load, args=(module, ready)) for module in turned]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
print(*sorted(set(wrong)), sep="\\n")
"""


def test_modules_can_be_loaded_by_many_threads_at_once() -> None:
    packages = [f"airflow_provider_proxyorders.{name}" for name in ("ledger", "vendors")]
    done = subprocess.run([sys.executable, "-c", LOAD, *packages], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
