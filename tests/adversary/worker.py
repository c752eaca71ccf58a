"""What the processes of a run do: a try of a task, Reconcile, and a person.

Two rules: a try does what an operator does, with the package's own hook, buyer and retry policy, and keeps nothing of an earlier
try; and what it says at its end is all that the oracle knows of it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ..crash.forks import Say
from . import engines, shims
from .guards import GUARDS
from .plan import PACE, SETTLE, TIMEOUT, Plan, Task, Wallet

#: ``retries=2``, as the operators have it by default.
MAX_TRIES = 2
#: Seconds a try waits for its order.
WAIT = 3.0 * PACE


@dataclass(frozen=True)
class World:
    """Where a run is played."""

    plan: Plan
    ledger_url: str
    port: int


def buy(world: World, task: Task, number: int, run: str, say: Say) -> None:
    """One try of a task.

    :param number: of the try, from 1.
    :param run: which run of the task it is, for the dice.
    """
    shims.mark(task.key)
    shims.slow_connects(world.plan, task.key, run, number)
    shims.stop_after_claim(world.plan, task.key, run, number)
    if world.plan.without:
        GUARDS[world.plan.without](setattr)
    story: list[str] = []
    engines.adopt(world.plan.database, world.ledger_url)
    skew = _skew(world.plan, task.key, run, number)
    said = attempt(world, task, number, story, skew)
    say({**said, "key": task.key, "pid": os.getpid(), "run": run, "try": number, "story": story})


def attempt(world: World, task: Task, number: int, story: list[str], skew: float = 0.0) -> dict[str, Any]:
    """Buy as an operator does.

    :param skew: seconds by which this host's clock is ahead.
    """

    def work() -> dict[str, Any]:
        buyer = _buyer(world, task.conn_id, story, skew)
        if task.kind == "extend":
            purchase = buyer.extend(task.target, task.body, order_key=task.key)
        else:
            purchase = buyer.place(task.body, order_key=task.key)
        deadline = datetime.now(timezone.utc) + timedelta(seconds=WAIT)
        purchase = buyer.wait(purchase, deadline=deadline, poll_interval=0.1)
        buyer.require_usable(purchase)
        return {"order_id": purchase.order_id}

    return _outcome(work, number)


def reconcile(world: World, conn_id: str, say: Say) -> None:
    """Compare a wallet with the vendor."""
    shims.mark("reconcile")
    story: list[str] = []
    engines.adopt(world.plan.database, world.ledger_url)
    said = comparison(world, conn_id, story)
    say({**said, "key": "", "pid": os.getpid(), "run": f"reconcile {conn_id}", "try": 1, "story": story})


def comparison(world: World, conn_id: str, story: list[str]) -> dict[str, Any]:
    """Compare as the operator does."""
    from airflow_provider_proxyorders.wallet.reconcile import reconcile as compare

    def work() -> dict[str, Any]:
        buyer = _buyer(world, conn_id, story)
        report = compare(buyer)
        frozen = buyer.ledger.freeze_reason(buyer.account.wallet)
        return {"lines": report.lines(), "frozen": frozen, "wallet": buyer.account.wallet}

    return _outcome(work, MAX_TRIES)


def unfreeze(world: World, conn_id: str, say: Say) -> None:
    """A person lifts the freeze of a wallet, as the command does, without deciding anything else."""
    shims.mark("person")
    from airflow_provider_proxyorders.purchase import resolving

    story: list[str] = []
    engines.adopt(world.plan.database, world.ledger_url)

    def work() -> dict[str, Any]:
        buyer = _buyer(world, conn_id, story)
        wallet = buyer.account.wallet
        why = buyer.ledger.freeze_reason(wallet)
        if why is not None:
            resolving.unfreeze(buyer.ledger, wallet)
        return {"unfrozen": why}

    say({**_outcome(work, MAX_TRIES), "key": "", "pid": os.getpid(), "run": f"person {conn_id}", "try": 1, "story": story})


def _outcome(work: Callable[[], Mapping[str, Any]], number: int) -> dict[str, Any]:
    """What a try ends with, as Airflow's task runner and our retry policy see it."""
    from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
    from airflow_provider_proxyorders.tasks.retry_policy import OrderRetryPolicy

    try:
        result = {"result": dict(work())}
    except Exception as error:
        decision = OrderRetryPolicy().evaluate(error, number, MAX_TRIES, None)
        delay = decision.retry_delay.total_seconds() if decision.retry_delay else 20.0
        result = {
            "error": type(error).__name__,
            "text": str(error),
            "money": getattr(error, "money", ""),
            "final": decision.action.value == "fail",
            "delay": delay,
            "wait": getattr(error, "retry_after", None),
            "ours": isinstance(error, ProxyOrdersError),
        }
        if not result["ours"]:
            result["traceback"] = traceback.format_exc()
    return {**result, "at": time.monotonic()}


def _skew(plan: Plan, *what: object) -> float:
    if plan.database == "sqlite":
        return 0.0  # one host, one clock
    return plan.dice("clock", *what).uniform(-1, 1) * plan.storm.clock_skew


def _buyer(world: World, conn_id: str, story: list[str], skew: float = 0.0) -> Any:
    """The buyer of a connection, as an operator gets it."""
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    wallet = next(each for each in world.plan.wallets if conn_id in [name for name, _ in each.conns])
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(_connection(world, wallet, dict(wallet.conns)[conn_id]))
    os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = world.ledger_url
    begin = time.monotonic()
    if skew:
        shims.clock(skew)
    hook = ProxyOrdersHook(conn_id)
    buyer = hook.buyer(None, lambda text: story.append(f"{time.monotonic() - begin:.2f} {text}"))
    for waiting in (buyer.settling, buyer.turns):
        if hasattr(waiting, "patience"):
            waiting.patience = shims.PATIENCE
    return buyer


def _connection(world: World, wallet: Wallet, named: str) -> dict[str, Any]:
    limits = {
        "max_order_price": wallet.max_order_price,
        "daily_limit": wallet.daily_limit,
        "min_balance": wallet.min_balance,
    }
    extra = {
        "currency": "USD",
        "timeout": TIMEOUT,
        "settle": SETTLE,
        **{name: f"{limit:f}" for name, limit in limits.items() if limit is not None},
        **({"wallet": named} if named else {}),
        **({"requests_per_second": 50} if wallet.vendor == "proxy6" else {}),  # by default it keeps a slow pace
    }
    host = f"http://127.0.0.1:{world.port}/{wallet.vendor}"
    return {"conn_type": wallet.vendor, "host": host, "password": wallet.secret, "extra": json.dumps(extra)}


# ---------------------------------------------------------------------------------------------- the database


def prepare(ledger_url: str, say: Say) -> None:
    """Bring a ledger's database to its version; runs get copies of it."""
    from airflow_provider_proxyorders.ledger import open_ledger
    from airflow_provider_proxyorders.ledger.engine import close

    ledger = open_ledger(ledger_url)
    if ledger_url.startswith("sqlite"):
        with ledger.autocommit() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    close()
    say({})


def command(server_url: str, sql: str, say: Say) -> None:
    """Run one command at the PostgreSQL server."""
    import psycopg

    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql)
    say({})


def disturb(world: World, say: Say) -> None:
    """Trouble with the database, at the plan's moments: connections are ended, or the file is locked for a while."""
    begin = time.monotonic()
    for at, seconds in sorted(world.plan.storm.database):
        time.sleep(max(0.0, begin + at - time.monotonic()))
        if world.ledger_url.startswith("sqlite"):
            _lock_file(world.ledger_url.removeprefix("sqlite:///"), seconds)
        else:
            _end_connections(world.ledger_url)
    say({"disturbed": len(world.plan.storm.database)})


def _lock_file(path: str, seconds: float) -> None:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        pass  # somebody else holds it for as long, which is as good
    finally:
        connection.close()


def _end_connections(url: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
