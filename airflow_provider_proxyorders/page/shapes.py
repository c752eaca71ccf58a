"""Rows of the ledger as JSON for the page.

Two rules. Text of a vendor passes the gate once more: an older ledger may hold a character that steers a terminal or turns a line
around. A delivery is a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase
from airflow_provider_proxyorders.ledger.attention import OrderEnd, ReceivedWebhook
from airflow_provider_proxyorders.ledger.listing import ListedPurchase
from airflow_provider_proxyorders.ledger.rows import History
from airflow_provider_proxyorders.wire.gate import ALTERED, plain


def clean(text: str | None) -> str | None:
    """Text as people may see it."""
    return plain(text, ALTERED) if text is not None else None


def moment(value: datetime | None) -> str | None:
    """ISO text in UTC, to the second."""
    return value.isoformat(timespec="seconds") if value is not None else None


def money(value: Money | None) -> str | None:
    """``12.50 USD``."""
    return clean(str(value)) if value is not None else None


def task(actor: Actor) -> dict[str, Any] | None:
    """The task instance of an actor."""
    if not actor.task_id:
        return None
    return {"dag_id": actor.dag_id, "run_id": actor.run_id, "task_id": actor.task_id, "map_index": actor.map_index}


def first_task(entries: Iterable[History]) -> dict[str, Any] | None:
    """The task instance that began a purchase."""
    return next((shown for entry in entries if (shown := task(entry.actor))), None)


def _facts(row: ListedPurchase | Purchase) -> dict[str, Any]:
    """What a line and the whole purchase show alike."""
    return {
        "order_key": row.order_key,
        "kind": row.kind,
        "vendor": row.vendor,
        "conn_id": row.conn_id,
        "wallet": row.wallet,
        "step": row.step.value,
        "unresolved": row.unresolved,
        "order_id": clean(row.order_id),
        "target": clean(row.target),
        "vendor_status": clean(row.vendor_status),
        "price": money(row.price),
        "reserved": money(row.reserved),
        "expires_at": moment(row.expires_at),
        "delivered": row.delivered,
        "reason": clean(row.reason),
        "sent_at": moment(row.sent_at),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def line(row: ListedPurchase) -> dict[str, Any]:
    """A line of a list."""
    return {**_facts(row), "task": task(row.task)}


def purchase(row: Purchase) -> dict[str, Any]:
    """A whole purchase without its history."""
    return {**_facts(row), "request": clean(_json(row.request)), "evidence": clean(_json(row.evidence))}


def history(entry: History) -> dict[str, Any]:
    """A step of a purchase."""
    return {
        "step": entry.step.value,
        "at": moment(entry.at),
        "why": clean(entry.why),
        "who": clean(str(entry.actor)),
        "task": task(entry.actor),
    }


def end(row: OrderEnd) -> dict[str, Any]:
    """The end of an order."""
    return {
        "order_key": row.order_key,
        "order_id": clean(row.order_id),
        "vendor": row.vendor,
        "conn_id": row.conn_id,
        "wallet": row.wallet,
        "at": moment(row.at),
        "price": money(row.price),
        "extended": row.extended,
    }


def webhook(row: ReceivedWebhook) -> dict[str, Any]:
    """A webhook of the inbox."""
    return {
        "number": row.number,
        "conn_id": row.conn_id,
        "wallet": row.wallet,
        "order_id": clean(row.order_id),
        "status": clean(row.status),
        "received_at": moment(row.received_at),
        "last_at": moment(row.last_at),
        "times": row.times,
        "matched": row.matched,
    }


def _json(value: Mapping[str, Any]) -> str:
    return dump_json(value) if value else ""
