"""Every example DAG loads without a network and begins with harmless defaults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json, runpy, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("a DAG file that is read asks nobody")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from airflow.sdk import DAG

found, made, enter = {}, [], DAG.__enter__
DAG.__enter__ = lambda dag: made.append(dag) or enter(dag)
for file in sys.argv[1:]:
    made.clear()
    runpy.run_path(file)
    for dag in made:
        found[dag.dag_id] = {
            "file": file,
            "catchup": dag.catchup,
            "runs": dag.max_active_runs,
            "doc": bool(dag.doc_md),
            "paused": dag.is_paused_upon_creation,
            "owners": sorted({task.owner for task in dag.tasks}),
            "params": all(param.get("title") for param in (dag.params.get_param(n).schema for n in dag.params)),
        }
print(json.dumps(found))
"""
#: those that run or buy by themselves once they are switched on
BY_THEMSELVES = ("low_balance_alert", "reconcile_ledger", "event_driven_refill")


@pytest.fixture(scope="module")
def loaded(project: Path) -> dict[str, dict[str, object]]:
    files = sorted(str(file) for file in (project / "dags").glob("*.py"))
    done = subprocess.run([sys.executable, "-c", _SCRIPT, *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    dags: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    assert {dag["file"] for dag in dags.values()} == set(files), "each file holds a DAG"
    return dags


def test_nothing_is_caught_up_and_everything_explains_itself(loaded: dict[str, dict[str, object]]) -> None:
    assert {name: (dag["catchup"], dag["doc"]) for name, dag in loaded.items()} == dict.fromkeys(loaded, (False, True))
    assert all(dag["params"] for dag in loaded.values())


@pytest.mark.parametrize("name", BY_THEMSELVES)
def test_what_runs_by_itself_begins_paused_and_has_an_owner(loaded: dict[str, dict[str, object]], name: str) -> None:
    dag = loaded[name]
    assert (dag["paused"], dag["runs"], dag["owners"]) == (True, 1, ["data-platform"])
