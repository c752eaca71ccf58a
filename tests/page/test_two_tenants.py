"""Two teams of one Airflow on one PostgreSQL ledger: each tries to block, read, wake, flood and pay with the other one's things.

The page and its rights, the receiver, hooks, an operator and triggers are the real ones, all in this process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OrderNotFound
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Ledger, facts
from airflow_provider_proxyorders.ledger.alarms import Alarms
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger
from airflow_provider_proxyorders.triggers.wallet import WalletBalanceTrigger
from airflow_provider_proxyorders.webhooks.app import receiver
from airflow_provider_proxyorders.wire.signatures import Scheme
from tests.hooks.connections import REQUESTS, Shops
from tests.tasks.tasks import context

from .conftest import Visitor

#: The default key of the task in ``context()``.
KEY = "create:shop:buy:2026-03-01T00:00:00+00:00/2026-03-02T00:00:00+00:00"
READS = ("attention", "wallets", "purchases", "purchases.csv", "webhooks")


def buy_by_task(conn_id: str) -> dict[str, Any]:
    task = CreateProxyOrderOperator(task_id="buy", conn_id=conn_id, request=REQUESTS["voodoo"], deferrable=False)
    result: dict[str, Any] = task.execute(context())
    return result


def deliver(app: Any, conn_id: str, secret: str, order_id: str) -> Any:
    """One signed webhook, by hand."""
    body = json.dumps({"order_id": order_id, "status": "completed"}).encode()
    headers = [(name.encode(), value.encode()) for name, value in Scheme().sign(body, secret).items()]
    answers: list[int] = []

    async def send(message: Any) -> None:
        answers.append(message.get("status", 0))

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def call() -> int:
        await app({"type": "http", "method": "POST", "path": f"/{conn_id}", "headers": headers}, receive, send)
        return answers[0]

    return call()


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("attacker", "victim"), [("red", "blue"), ("blue", "red")])
def test_nothing_crosses(
    shops: Shops,
    ledger: Ledger,
    teams: None,
    log_in: Callable[[str], Visitor],
    monkeypatch: pytest.MonkeyPatch,
    attacker: str,
    victim: str,
) -> None:
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__WEBHOOK_RATE", "2")
    shops.box.state.vendors["voodoo"].open_wallet("second", balance="500")
    mine, theirs = f"voodoo_{attacker}", f"voodoo_{victim}"
    for conn_id, key in ((mine, "main"), (theirs, "second")):
        token = shops.box.token("voodoo", key)
        shops.connect("voodoo", conn_id, password=token, extra={"webhook_secret": f"secret-of-{conn_id}"})

    # 1. an intent under the predictable key of the other's task; then the other buys
    ProxyOrdersHook(mine).create_order(REQUESTS["voodoo"], order_key=KEY)
    result = buy_by_task(theirs)
    assert [entry.wallet for entry in shops.bought("voodoo")] == ["main", "second"]
    assert result["order_key"] != KEY and buy_by_task(theirs)["order_id"] == result["order_id"]

    # 2. events about the other's crossing and order
    alarms, level = Alarms(ledger.engine), WalletBalanceTrigger(conn_id=mine, low_balance="50", name="refill")
    for conn_id in (mine, theirs):
        crossing = alarms.observe(f"voodoo:{conn_id}", "refill", "low")
        assert crossing is not None
        alarms.confirm(crossing)
    forged = SimpleNamespace(extra={"payload": {"key": f"voodoo:{theirs}/refill#1", "conn_id": theirs}})
    assert level.verify_events([forged]) == []
    facts.event_turn(ledger, theirs, str(result["order_id"]), 1).decide_once("a 1")
    ended = SimpleNamespace(extra={"payload": {"order_id": result["order_id"], "conn_id": theirs}})
    assert OrderEventTrigger(conn_id=mine).verify_events([ended]) == []
    assert [each["conn_id"] for each in OrderEventTrigger(conn_id=theirs).verify_events([ended])] == [theirs]

    # 3. webhooks: the other's name, the other's order, and a flood
    async def webhooks() -> tuple[list[int], int, int]:
        app = receiver()
        forged = await deliver(app, theirs, f"secret-of-{mine}", "made-up")
        flood = [await deliver(app, mine, f"secret-of-{mine}", f"{result['order_id']}") for _ in range(12)]
        true = await deliver(app, theirs, f"secret-of-{theirs}", str(result["order_id"]))
        if app._writer is not None:
            await app._writer.close()
        return flood, forged, true

    flood, forged_status, true_status = asyncio.run(webhooks())
    assert (forged_status, true_status, flood[0], flood[-1]) == (401, 200, 200, 429)
    kept = {(hint.conn_id, hint.wallet) for hint in Inbox(ledger.engine).since(0)}
    assert kept == {(mine, f"voodoo:{mine}"), (theirs, f"voodoo:{theirs}")}

    # 4. the other's order, with a key of one's own
    with pytest.raises(OrderNotFound):
        ProxyOrdersHook(mine).get_order(str(result["order_id"]))

    # the page: what it shows, and what it decides
    ledger.freeze(f"voodoo:{theirs}", "a reason of theirs")
    visitor = log_in(f"{attacker}s")
    shown = "".join(visitor.get(path).text for path in READS) + visitor.get("purchase", order_key=KEY).text
    assert mine in shown and not [word for word in (theirs, result["order_key"], "a reason of theirs") if word in shown]
    assert visitor.get("purchase", order_key=result["order_key"]).status_code == 404
    assert visitor.get("purchases", text=KEY).json()["exact"][0]["conn_id"] == mine
    for path, body in (
        ("decision", {"order_key": result["order_key"], "word": "give up"}),
        ("unfreeze", {"wallet": f"voodoo:{theirs}"}),
        ("doctor", {"conn_id": theirs}),
    ):
        assert visitor.post(path, body).status_code == 404
    owner = log_in(f"{victim}s")
    assert owner.get("purchase", order_key=KEY).json()["order_key"] == result["order_key"], "under the key of their task"
    purchase = ledger.find(result["order_key"])
    assert purchase is not None and (purchase.step, purchase.wallet) == (Step.DELIVERED, f"voodoo:{theirs}")
    assert ledger.freeze_reason(f"voodoo:{theirs}") == "a reason of theirs"
    assert [entry.wallet for entry in shops.bought("voodoo")] == ["main", "second"]
