"""The parent of all processes: it has done everything once, so a forked child pays for its own work only.

Two rules: the parent keeps what no run changes, as there are imports, compiled statements and checks of types; and at a fork it
holds no open connection and no time of any database, so a child starts like a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from ..crash.forks import Child
from . import engines, shims, vendor, worker
from .plan import BODIES, CALM, EXTENSIONS, Plan, Task, Wallet, secret

_MODULES = (
    "requests",
    "tenacity",
    "alembic.command",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "zoneinfo",
    "airflow_provider_proxyorders.hooks.connection",
    "airflow_provider_proxyorders.hooks.proxyorders",
    "airflow_provider_proxyorders.hooks.settings",
    "airflow_provider_proxyorders.hooks.wallets",
    "airflow_provider_proxyorders.ledger",
    "airflow_provider_proxyorders.ledger.accounts",
    "airflow_provider_proxyorders.ledger.joining",
    "airflow_provider_proxyorders.purchase.buyer",
    "airflow_provider_proxyorders.purchase.resolving",
    "airflow_provider_proxyorders.tasks.retry_policy",
    "airflow_provider_proxyorders.transport.endpoint",
    "airflow_provider_proxyorders.transport.worker",
    "airflow_provider_proxyorders.wallet.reconcile",
)


def load() -> None:
    """Import everything that the children would import, and nothing that opens anything."""
    for name in _MODULES:
        importlib.import_module(name)
    from airflow_provider_proxyorders import _compat
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.vendors import vendor_class, vendor_names

    _compat.context_or_none()  # Airflow imports half of itself on the first question for it, and for a connection
    for number in range(3):  # Airflow makes one pattern of all secrets that it masks
        connection = {"conn_type": "voodoo", "host": "http://127.0.0.1:9", "password": secret(number)}
        os.environ["AIRFLOW_CONN_WARM"] = json.dumps(connection)
        assert ProxyOrdersHook("warm").http.session
    for name in vendor_names():
        vendor_class(name)
    shims.hurry()


def practise(urls: Mapping[str, str], vendors: Iterable[str], folder: Path) -> None:
    """Buy once from each vendor in each database, so that every statement is compiled and every type is known.

    :param urls: of a ledger in each database, by the word for it in a plan.
    """
    shims.mark("warm")
    plans = [_plan(kind, name) for kind in urls for name in vendors]
    for plan in plans:
        child = Child(partial(vendor.serve, plan, folder / "warm.book"), folder / "warm.log")
        opened = asyncio.run(child.says(60.0))
        assert opened is not None, "the vendor did not start"
        try:
            world = worker.World(plan, urls[plan.database], opened["port"])
            for task in plan.tasks:
                worker.attempt(world, task, 1, [])
            worker.comparison(world, "warm", [])
        finally:
            child.end(signal.SIGTERM)
            os.waitpid(child.pid, 0)
    engines.keep(urls)
    gc.collect()
    gc.freeze()  # so that a child's first collection does not copy the parent's memory


def _plan(kind: str, name: str) -> Plan:
    """A purchase and an extension in good weather."""
    targets = ("7001",) if name in EXTENSIONS else ()
    wallet = Wallet(name, secret(0), Decimal(1000), (("warm", ""),), Decimal(25), Decimal(100), Decimal(10), targets)
    body, price = BODIES[name][0]
    create = Task("a", 0, "warm", "create", body, price, (0.0,))
    tasks = [create, replace(create, key="b")]
    tasks += [Task("c", 0, "warm", "extend", *EXTENSIONS[name], (0.0,), target) for target in targets]
    return Plan(0, kind, 1, (wallet,), tuple(tasks), CALM)
