"""Rows of the ledger and the values that callers hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import LedgerError, MoneyState
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger.dialect import moment_of, stamp
from airflow_provider_proxyorders.ledger.trips import Row

_BEGINNING = datetime.min.replace(tzinfo=timezone.utc)


class StaleClaim(LedgerError):
    """Another worker has taken the purchase further. This worker may write nothing about it."""

    money: MoneyState = "unknown"


class OutdatedEvidence(StaleClaim):
    """Something happened on the wallet since the evidence was read, so it must be read anew. Nothing was sent."""


class KeyTaken(LedgerError):
    """An order key came into use while a purchase was prepared. Nothing was bought.

    :ivar unsent: the purchase that stands in the way, and was never sent: the same buyer intended it from another wallet.
    """

    def __init__(self, message: str, unsent: Purchase | None = None):
        self.unsent = unsent
        super().__init__(message)


class OwnedElsewhere(LedgerError):
    """An order belongs to another creation of the wallet. Nothing was recorded; the purchase may have landed as another order.

    :ivar vendor_id: the id with an owner.
    :ivar owner: the order key of that creation.
    """

    money: MoneyState = "unknown"

    def __init__(self, vendor_id: str, owner: str):
        self.vendor_id, self.owner = vendor_id, owner
        super().__init__(f"order {vendor_id} belongs to order key {owner!r} already", retry="never")


@dataclass(frozen=True)
class Intent:
    """A purchase that is about to be made.

    :param fingerprint: SHA-256 of the canonical request. The ledger keeps it keyed; the same key with another one is a conflict.
    :param request: the request with secrets masked, for people and for comparison.
    :param amount: counts for the limits until the price is known.
    :param takes_turn: whether it must be the only purchase under way on its wallet.
    :param settle_time: seconds for which an uncertain refusal counts for the limits.
    :param task_key: the key as the task gave it, ``None`` for the order key.
    :param refused: fence of the refused purchase that was looked for once more; 0: none. A refusal of another sending comes back
        as it stands. ``None``: every refused purchase is intended anew.
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
    refused: int | None = None
    settle_time: float = 0.0
    task_key: str | None = None


@dataclass(frozen=True)
class History:
    """One row of a purchase's history."""

    step: Step
    fence: int
    at: datetime
    why: str
    actor: Actor


def purchase_of(row: Row) -> Purchase:
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
        confirmed=bool(row["confirmed"]),
        handle=row["handle"],
        refund=Money(Decimal(row["refund"]), row["currency"]) if row["refund"] is not None else None,
        task_key=row["task_key"],
    )


def price_of(row: Row) -> Money | None:
    """The price in a row, ``None`` while it is open."""
    return Money(Decimal(row["price"]), row["currency"]) if row["price"] is not None else None


def history_of(row: Row) -> History:
    """The entry in a row of ``proxyorders_steps``."""
    return History(
        step=Step(row["step"]),
        fence=row["fence"],
        at=datetime.fromisoformat(row["at"]),
        why=row["why"],
        actor=Actor(row["dag_id"], row["run_id"], row["task_id"], row["map_index"], row["try_number"], row["host"]),
    )


def columns_of_intent(intent: Intent) -> dict[str, Any]:
    """The columns that an intent fills, beside its keyed fingerprint."""
    return {
        "kind": intent.kind,
        "vendor": intent.vendor,
        "conn_id": intent.conn_id,
        "wallet": intent.wallet,
        "request": dump_json(intent.request),
        "target": intent.target,
        "currency": intent.amount.currency,
        "reserved": f"{intent.amount.amount:f}",
    }


def columns_of_task(actor: Actor) -> dict[str, Any]:
    """The columns that name the task of an intent; a person's intent leaves them."""
    if actor.task_id is None:
        return {}
    return {"dag_id": actor.dag_id, "run_id": actor.run_id, "task_id": actor.task_id, "map_index": actor.map_index}


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


def differences(purchase: Purchase, intent: Intent) -> str:
    """Every field of another request, old and new; secrets are masked."""
    lines = []
    for name, old, new in (
        ("vendor", purchase.vendor, intent.vendor),
        ("kind", purchase.kind, intent.kind),
        ("order", purchase.target, intent.target),
    ):
        if old != new:
            lines.append(f"{name}: {old} -> {new}")
    for name in sorted({*purchase.request, *intent.request}):
        old, new = purchase.request.get(name, "(absent)"), intent.request.get(name, "(absent)")
        if dump_json(old) != dump_json(new):
            lines.append(f"{name}: {old!r} -> {new!r}")
    return "; ".join(lines) or "a field whose value is masked"


def conflict_text(purchase: Purchase, intent: Intent) -> str:
    """The message for a key of another request of the same connection."""
    order = f", order {purchase.order_id}" if purchase.order_id else ""
    return (
        f"order key {purchase.order_key!r} already stands for another purchase ({purchase.step.value}{order}); "
        f"different now: {differences(purchase, intent)}. Nothing was sent. "
        "To buy again on purpose, give the task another order_key."
    )
