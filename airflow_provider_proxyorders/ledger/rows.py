"""Rows of the ledger and the values that callers hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import RowMapping

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import LedgerError, MoneyState
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger.dialect import moment_of, stamp

_BEGINNING = datetime.min.replace(tzinfo=timezone.utc)


class StaleClaim(LedgerError):
    """Another worker has taken the purchase further. This worker may write nothing about it."""

    money: ClassVar[MoneyState] = "unknown"


@dataclass(frozen=True)
class Intent:
    """A purchase that is about to be made.

    :param fingerprint: SHA-256 of the canonical request; the same key with another fingerprint is a conflict.
    :param request: the request with secrets masked, for people and for comparison.
    :param amount: counts for the limits until the price is known.
    :param takes_turn: whether it must be the only purchase under way on its wallet.
    """

    order_key: str
    kind: str
    vendor: str
    conn_id: str
    wallet: str
    fingerprint: str
    request: Mapping[str, Any]
    amount: Money
    target: str | None = None
    caps: Caps = field(default_factory=Caps)
    zone: str = "UTC"
    takes_turn: bool = True


@dataclass(frozen=True)
class History:
    """One row of a purchase's history."""

    step: Step
    fence: int
    at: datetime
    why: str
    actor: Actor


def purchase_of(row: RowMapping) -> Purchase:
    """The purchase in a row of ``proxyorders_purchases``."""
    return Purchase(
        order_key=row["order_key"],
        kind=row["kind"],
        vendor=row["vendor"],
        conn_id=row["conn_id"],
        wallet=row["wallet"],
        step=Step(row["step"]),
        fingerprint=row["fingerprint"],
        request=load_json(row["request"]),
        target=row["target"],
        order_id=row["order_id"],
        vendor_status=row["vendor_status"],
        reserved=Money(Decimal(row["reserved"]), row["currency"]),
        price=price_of(row),
        expires_at=moment_of(row["expires_at"]),
        delivered=row["delivered"],
        reason=row["reason"],
        evidence=load_json(row["evidence"]),
        maybe_sent=bool(row["maybe_sent"]),
        fence=row["fence"],
        sent_at=moment_of(row["sent_at"]),
        sent_until=moment_of(row["sent_until"]),
        created_at=moment_of(row["created_at"]) or _BEGINNING,
        updated_at=moment_of(row["updated_at"]) or _BEGINNING,
    )


def price_of(row: RowMapping) -> Money | None:
    """The price in a row, ``None`` while it is open."""
    return Money(Decimal(row["price"]), row["currency"]) if row["price"] is not None else None


def history_of(row: RowMapping) -> History:
    """The entry in a row of ``proxyorders_steps``."""
    return History(
        step=Step(row["step"]),
        fence=row["fence"],
        at=datetime.fromisoformat(row["at"]),
        why=row["why"],
        actor=Actor(row["dag_id"], row["run_id"], row["task_id"], row["map_index"], row["try_number"], row["host"]),
    )


def columns_of_intent(intent: Intent) -> dict[str, Any]:
    """The columns that an intent fills."""
    return {
        "kind": intent.kind,
        "vendor": intent.vendor,
        "conn_id": intent.conn_id,
        "wallet": intent.wallet,
        "fingerprint": intent.fingerprint,
        "request": dump_json(intent.request),
        "target": intent.target,
        "currency": intent.amount.currency,
        "reserved": f"{intent.amount.amount:f}",
    }


def columns_of_vendor_order(purchase: Purchase, vendor_order: VendorOrder) -> dict[str, Any]:
    """The columns that a reading of the vendor's order changes. The first order id stays for ever."""
    changes: dict[str, Any] = {"vendor_status": vendor_order.vendor_status, "reason": vendor_order.reason}
    if vendor_order.order_id and not purchase.order_id:
        changes["order_id"] = vendor_order.order_id
    if vendor_order.handle is not None:
        changes["handle"] = vendor_order.handle
    if vendor_order.expires_at is not None:
        changes["expires_at"] = stamp(vendor_order.expires_at)
    if vendor_order.delivered is not None:
        changes["delivered"] = vendor_order.delivered
    return changes


def conflict_text(purchase: Purchase, intent: Intent) -> str:
    """The message for a key of another request: every changed field, old and new."""
    lines = []
    for name, old, new in (
        ("vendor", purchase.vendor, intent.vendor),
        ("wallet", purchase.wallet, intent.wallet),
        ("kind", purchase.kind, intent.kind),
        ("order", purchase.target, intent.target),
    ):
        if old != new:
            lines.append(f"{name}: {old} -> {new}")
    for name in sorted({*purchase.request, *intent.request}):
        old, new = purchase.request.get(name, "(absent)"), intent.request.get(name, "(absent)")
        if dump_json(old) != dump_json(new):
            lines.append(f"{name}: {old!r} -> {new!r}")
    differences = "; ".join(lines) or "a field whose value is masked"
    return (
        f"order key {purchase.order_key!r} already stands for another purchase ({purchase.step.value}"
        f"{', order ' + purchase.order_id if purchase.order_id else ''}); different now: {differences}. Nothing was sent. "
        "To buy again on purpose, give the task another order_key."
    )
