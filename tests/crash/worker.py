"""What the processes of a cell do: a sandbox, a worker that executes or resumes the task, a triggerer, and an auditor.

Two rules: a worker runs the operators as Airflow's task runner calls them (``execute``, ``resume_execution``), with a
connection and the ledger's address in its environment and nothing kept from an earlier try; and what one process hands to
the next goes through JSON, as it goes through Airflow's database.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.vendors import EXTENSIONS, ROWS, VENDORS

from .cells import OPERATIONS, Cell
from .forks import Say
from .killpoints import arm

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    operation: ROWS[vendor].request if kind == "create" else EXTENSIONS[vendor].body
    for operation, (vendor, kind) in OPERATIONS.items()
}
#: Where a lost purchase shows only when the vendor has worked on it, so that the settle time must be longer than that.
SHOWS_WHEN_DONE = [name for name, (vendor, kind) in OPERATIONS.items() if kind == "extend" or ROWS[vendor].traces_come_late]
#: Time limit of a call, in seconds. A worker that is held up for longer sends nothing, so a busy machine needs a longer one.
TIMEOUT = 2.0
#: ``retries=2``, as the operators have it by default.
MAX_TRIES = 2
WEBHOOK_SECRET = "matrix-webhook-8d41"


@dataclass(frozen=True)
class Place:
    """Where a cell is played.

    :param token: file that the process makes which is killed or frozen.
    :param order_id: the order to extend.
    """

    cell: Cell
    ledger_url: str
    token: Path
    vendor_url: str = ""
    order_id: str | None = None


def wallet(cell: Cell) -> str:
    """The wallet of a cell in the ledger, its own."""
    return f"{cell.vendor}:{cell}"


def connection_id(cell: Cell) -> str:
    """The connection of a cell: its own, since cells share a ledger, and one connection is one account there."""
    return f"shop_{sha256(str(cell).encode()).hexdigest()[:12]}"


def secret(cell: Cell) -> str:
    """The key of a cell: its own, since one key is one wallet."""
    return f"matrix-token-{connection_id(cell)}"


def processing(cell: Cell) -> float:
    """Seconds until an order is usable, or an extension shows; a deferrable task looks before it defers, and must miss it."""
    if cell.wait == "worker":
        return 0.1
    return 2.5 if ROWS[cell.vendor].vendor.capabilities.polling.first <= 1 else 3.2


def settle(cell: Cell) -> float:
    """The connection's settle time in seconds: longer than what is bought takes to show up, which is what it means."""
    usual = processing(cell) + 0.5 if cell.operation in SHOWS_WHEN_DONE and cell.wait == "deferrable" else 0.4
    return usual if cell.reads == "current" else max(2.0, 2 * usual)


# ---------------------------------------------------------------------------------------------- the vendor


def sandbox(cell: Cell, webhook_port: int | None, say: Say) -> None:
    """Serve the vendors with the cell's fault until SIGTERM, then hand over the book.

    :param webhook_port: where the cell takes webhooks, if it does.
    """
    from airflow_provider_proxyorders.sandbox import Sandbox

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before the sandbox's thread begins, which keeps it blocked
    parent = os.getppid()
    with Sandbox.start(port=0, processing=processing(cell)) as box:
        order_id = None
        commands: list[dict[str, Any]] = [{"vendor": cell.vendor, "token": {"name": "main", "token": secret(cell)}}]
        if webhook_port is not None:
            receiver = {"url": f"http://127.0.0.1:{webhook_port}/{connection_id(cell)}", "secret": WEBHOOK_SECRET, "gap": 1}
            commands.append({"vendor": cell.vendor, "webhook": receiver})
        if cell.kind == "extend":
            expiry = datetime.now(timezone.utc) + timedelta(days=10)
            commands += EXTENSIONS[cell.vendor].seed(expiry, processing(cell))
        order_id = box.control(commands)[-1]
        if cell.fault is not None:
            box.fault(**_with_foreign_order(cell, box, cell.fault))
        if cell.reads == "lagging":
            box.fault(cell.vendor, action="lag", seconds=0.5 * settle(cell))
        say({"url": box.url(cell.vendor), "order_id": order_id})
        while signal.sigtimedwait({signal.SIGTERM}, 1.0) is None:
            if os.getppid() != parent:
                return
        charges = [entry.as_dict() for entry in box.book.charges(cell.vendor) if entry.kind != "refund"]
        opened = box.state.vendors[cell.vendor].handles()  # which order each came from is the vendor's own knowledge
        say({"charges": charges, "subaccounts": dict(opened), "faults": sum(rule.hits for rule in box.faults())})


def _with_foreign_order(cell: Cell, box: Any, fault: dict[str, Any]) -> dict[str, Any]:
    """The fault with a foreign order from before, where no list would tell a younger one from ours (see *What is left*)."""
    if fault.get("order") != "foreign" or VENDORS[cell.vendor].capabilities.list_orders:
        return fault
    return {**fault, "order": str(box.control([{"vendor": cell.vendor, "order": {}}])[-1])}


def receive(place: Place, say: Say) -> None:
    """Take the vendor's webhooks, as ``proxyorders webhooks serve`` does, until killed."""
    import uvicorn

    from airflow_provider_proxyorders.webhooks.app import receiver

    _environment(place)
    listening = socket.create_server(("127.0.0.1", 0))
    say({"port": listening.getsockname()[1]})
    server = uvicorn.Server(uvicorn.Config(receiver(), log_level="warning", access_log=False))
    server.run(sockets=[listening])


# ---------------------------------------------------------------------------------------------- the worker


def execute(place: Place, number: int, say: Say) -> None:
    """One try of the task.

    :param number: of the try, from 1.
    """
    _environment(place)
    _arm(place)
    operator, context = _operator(place), _context(place.cell, number)
    _run(say, operator, context, lambda: operator.execute(context))


def resume(place: Place, number: int, method: str, kwargs: Mapping[str, Any], say: Say) -> None:
    """The same try after the triggerer's event."""
    _environment(place)
    _arm(place)
    operator, context = _operator(place), _context(place.cell, number)
    _run(say, operator, context, lambda: operator.resume_execution(method, dict(kwargs), context))


def _run(say: Say, operator: Any, context: Any, run: Any) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    try:
        result = run()
    except TaskDeferred as deferral:
        path, kwargs = deferral.trigger.serialize()
        say({"deferred": {"trigger": path, "kwargs": kwargs}, "method": deferral.method_name, "next": deferral.kwargs or {}})
    except Exception as error:
        number = context["ti"].try_number
        decision = operator.retry_policy.evaluate(error, number, MAX_TRIES, context)
        failure = {"error": type(error).__name__, "text": str(error), "money": getattr(error, "money", None)}
        print(f"{failure['error']}: {failure['text']}", file=sys.stderr)
        delay = decision.retry_delay or operator.retry_delay
        say({**failure, "action": decision.action.value, "delay": delay.total_seconds()})
    else:
        say({"result": result})


def trigger(place: Place, path: str, kwargs: Mapping[str, Any], say: Say) -> None:
    """The triggerer: run a trigger to its first event."""
    _environment(place)
    _arm(place)
    module, _, name = path.rpartition(".")
    made = getattr(importlib.import_module(module), name)(**kwargs)

    async def first() -> Any:
        async for event in made.run():
            return event.payload
        raise AssertionError("the trigger ended without an event")

    say({"event": asyncio.run(first())})


def _arm(place: Place) -> None:
    arm(place.cell.point, place.token, signal.SIGSTOP if place.cell.mode == "frozen" else signal.SIGKILL)


def _environment(place: Place) -> None:
    cell = place.cell
    extra = {
        "max_order_price": "25.00",
        "currency": "USD",
        "timeout": TIMEOUT,
        "settle": settle(cell),
        "wallet": str(cell),
        **({"webhook_secret": WEBHOOK_SECRET} if cell.webhook else {}),
    }
    connection = {"conn_type": cell.vendor, "host": place.vendor_url, "password": secret(cell), "extra": json.dumps(extra)}
    os.environ[f"AIRFLOW_CONN_{connection_id(cell).upper()}"] = json.dumps(connection)
    os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = place.ledger_url


def _operator(place: Place) -> Any:
    from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator

    cell = place.cell
    options: dict[str, Any] = {
        "task_id": "order",
        "conn_id": connection_id(cell),
        "request": dict(REQUESTS[cell.operation]),
        "deferrable": cell.wait == "deferrable",
        "poll_interval": 0.1,
        "timeout": 60,
    }
    if cell.kind == "extend":
        return ExtendProxyOrderOperator(order_id=str(place.order_id), **options)
    return CreateProxyOrderOperator(**options)


def _context(cell: Cell, number: int) -> Any:
    run_id = f"manual__{cell}"
    instance = SimpleNamespace(
        dag_id="matrix", task_id="order", run_id=run_id, map_index=-1, try_number=number, xcom_push=lambda **_: None
    )
    return {"ti": instance, "dag_run": SimpleNamespace(run_id=run_id, data_interval_start=None, data_interval_end=None)}


# ---------------------------------------------------------------------------------------------- the auditor


def prepare(ledger_url: str, say: Say) -> None:
    """Bring the ledger's database to its version, once for all."""
    from airflow_provider_proxyorders.ledger import open_ledger

    open_ledger(ledger_url)
    say({})


def audit(place: Place, say: Say) -> None:
    """What the ledger says about the cell's wallet."""
    from airflow_provider_proxyorders.ledger import open_ledger

    ledger = open_ledger(place.ledger_url)
    purchases = []
    for order in ledger.purchases(wallet=wallet(place.cell)):
        history = ledger.history(order.order_key)
        for row in history:
            print(f"{row.at:%H:%M:%S.%f} {row.step.value} fence {row.fence}: {row.why} [{row.actor}]")
        purchases.append(
            {
                "key": order.order_key,
                "step": order.step.value,
                "maybe_sent": order.maybe_sent,
                "order_id": order.order_id,
                "price": f"{order.price.amount:f}" if order.price else None,
                "why": history[-1].why if history else "",
            }
        )
    say({"purchases": purchases, "frozen": ledger.freeze_reason(wallet(place.cell))})


def warm() -> None:
    """Import everything that the children would import, and nothing that opens anything."""
    for name in (
        "aiohttp",
        "airflow.sdk.exceptions",
        "alembic.command",
        "requests",
        "sqlalchemy.dialects.postgresql.psycopg",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "tenacity",
        "uvicorn",
        "zoneinfo",
        "airflow_provider_proxyorders.purchase.buyer",
        "airflow_provider_proxyorders.ledger",
        "airflow_provider_proxyorders.transport.endpoint",
        "airflow_provider_proxyorders.hooks.connection",
        "airflow_provider_proxyorders.hooks.proxyorders",
        "airflow_provider_proxyorders.hooks.settings",
        "airflow_provider_proxyorders.operators.orders",
        "airflow_provider_proxyorders.sandbox",
        "airflow_provider_proxyorders.tasks.retry_policy",
        "airflow_provider_proxyorders.triggers.orders",
        "airflow_provider_proxyorders.vendors.registry",
        "airflow_provider_proxyorders.webhooks.app",
    ):
        importlib.import_module(name)
    from airflow_provider_proxyorders.vendors import vendor_class, vendor_names

    for name in vendor_names():
        vendor_class(name)
