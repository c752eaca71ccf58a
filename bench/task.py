"""The CPU of one purchase in a task's own process, beside one POST by HttpOperator.

Airflow forks each task from a process that has Airflow loaded already. What is measured is the child's whole CPU after the fork:
the first imports, the connection, the ledger's database, the purchase with its evidence. A task that does nothing is measured
beside it and subtracted. The budget allows 0.65 times the CPU of HttpOperator, which does one POST and remembers nothing.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import measuring
from measuring import REQUESTS, SandboxProcess, Verdicts

measuring.private_airflow()

LIMIT = 0.65
CAPS = {"max_order_price": "50.00", "daily_limit": "9000000.00"}
PEER, NOTHING = "HttpOperator, one POST", "a task that does nothing"
#: What the process that forks tasks has loaded.
LOADED_BY_AIRFLOW = (
    "airflow.sdk",
    "airflow.sdk.execution_time.task_runner",
    "airflow.models",
    "alembic",
    "pendulum",
    "psycopg",
    "simplejson",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "tenacity",
)
_numbers = itertools.count(1)


def forked(work: Callable[[], object]) -> Callable[[], None]:
    """A call that does its work in a child of its own, as a task does."""

    def call() -> None:
        number = next(_numbers)
        child = os.fork()
        if child == 0:
            os.environ["BENCH_NUMBER"] = str(number)
            code = 1
            try:
                work()
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError("a task failed; its traceback stands above")

    return call


def cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def purchase(box: SandboxProcess, vendor: str, url: str) -> Callable[[], object]:
    connection = box.connection(vendor, **CAPS)

    def buy() -> None:
        os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = url
        os.environ[f"AIRFLOW_CONN_BENCH_{vendor.upper()}"] = connection
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        ProxyOrdersHook(f"bench_{vendor}").create_order(REQUESTS[vendor], order_key=f"{os.environ['BENCH_NUMBER']}-{vendor}")

    return buy


def rich_sandbox(stack: ExitStack) -> SandboxProcess:
    box = stack.enter_context(measuring.sandbox())
    box.control({"reset": True}, {"wallet": {"balance": "9000000"}})
    return box


def post(box: SandboxProcess) -> Callable[[], object]:
    """The same order at IPRoyal, by hand."""
    body = json.dumps({**REQUESTS["iproyal"], "auto_extend": False})
    headers = {"X-Access-Token": box.token("iproyal"), "Content-Type": "application/json"}
    os.environ["AIRFLOW_CONN_PLAIN"] = json.dumps({"conn_type": "http", "host": box.url("iproyal")})

    def send() -> None:
        from airflow.providers.http.operators.http import HttpOperator

        HttpOperator(
            task_id="plain", http_conn_id="plain", endpoint="/orders", method="POST", data=body, headers=headers
        ).execute({})

    return send


def main() -> int:
    options = measuring.options(__doc__ or "")
    rounds, calls = (9, 30) if options.full else (5, 10)
    print(f"{measuring.machine()}\n", flush=True)
    verdicts = Verdicts()
    with ExitStack() as stack, measuring.postgres() as database, tempfile.TemporaryDirectory() as folder:
        ledgers = {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}"}
        if database is not None:
            ledgers["PostgreSQL"] = database()
        contenders: dict[str, Any] = {NOTHING: forked(lambda: None)}
        try:
            importlib.import_module("airflow.providers.http")
            contenders[PEER] = forked(post(rich_sandbox(stack)))
        except ModuleNotFoundError:
            print("Without apache-airflow-providers-http there is nothing to compare with; see bench/requirements.txt.")
        for name, url in ledgers.items():  # each with wallets of its own: what others buy there is foreign money
            box = rich_sandbox(stack)
            for vendor in REQUESTS:
                contenders[f"**create_order at {vendor}, {name}**"] = call = forked(purchase(box, vendor, url))
                call()  # it makes the tables
        for module in LOADED_BY_AIRFLOW:
            importlib.import_module(module)
        gc.freeze()
        series = measuring.in_turns(contenders, rounds=rounds, calls=calls, clock=cpu_of_children)
    nothing = series[NOTHING].quick
    peer = series[PEER].quick - nothing if PEER in series else 0.0
    rows = []
    for name, taken in sorted(series.items(), key=lambda item: item[1].quick):
        share = (taken.quick - nothing) / peer if peer else 0.0
        rows.append([name, f"{taken.quick * 1e3:.0f}", f"{taken.median * 1e3:.0f}", f"{share:.2f}" if peer else "-"])
        if peer and name not in (NOTHING, PEER):
            by_round = [
                (own - nothing) / (theirs - nothing) for own, theirs in zip(taken.quicks(), series[PEER].quicks(), strict=True)
            ]
            verdicts.at_most(f"{name} ÷ {PEER}", share, LIMIT, "", by_round)
    print("\n" + measuring.table(["a task's process", "10 % CPU ms", "median CPU ms", f"less nothing, ÷ {PEER}"], rows))
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
