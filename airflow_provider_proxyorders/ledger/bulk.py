"""Purchases of many orders at once, for lists of thousands.

One rule: a query asks for a few hundred ids and for the needed columns only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import RowMapping, func, or_, select

from airflow_provider_proxyorders.domain.exact_json import load_json
from airflow_provider_proxyorders.domain.model import TAKEN, Money, Step
from airflow_provider_proxyorders.ledger.ledger import Ledger
from airflow_provider_proxyorders.ledger.rows import price_of
from airflow_provider_proxyorders.ledger.schema import purchases

#: Ids in one query. Both databases take many more.
IDS_A_QUERY = 500
_COLUMNS = (
    purchases.c.order_key,
    purchases.c.kind,
    purchases.c.step,
    purchases.c.order_id,
    purchases.c.price,
    purchases.c.currency,
    purchases.c.expires_at,
    purchases.c.sent_at,
    purchases.c.created_at,
)
_TAKEN_STEPS = [step.value for step in sorted(TAKEN)]


@dataclass(frozen=True)
class PurchaseSummary:
    """The part of a purchase that renewals need.

    :param began: the moment of its last sending.
    """

    order_key: str
    kind: str
    step: Step
    order_id: str
    price: Money | None
    expires_at: datetime | None
    began: datetime


def purchases_by_order(ledger: Ledger, wallet: str, order_ids: Iterable[str]) -> dict[str, list[PurchaseSummary]]:
    """The purchases (creation and extensions) of each order, the latest first. Orders outside of the ledger are left out."""
    by_order: dict[str, list[PurchaseSummary]] = {}
    for ids in _batches(order_ids):
        for summary in _summaries(ledger, wallet, [purchases.c.order_id.in_(ids), purchases.c.step.in_(_TAKEN_STEPS)]):
            by_order.setdefault(summary.order_id, []).append(summary)
    for summaries in by_order.values():
        summaries.sort(key=lambda summary: summary.began, reverse=True)
    return by_order


def creations(ledger: Ledger, wallet: str, steps: Sequence[Step]) -> list[PurchaseSummary]:
    """The creations of a wallet at one of these steps, the oldest first."""
    conditions = [
        purchases.c.step.in_([step.value for step in steps]),
        purchases.c.kind == "create",
        purchases.c.order_id.is_not(None),
    ]
    return sorted(_summaries(ledger, wallet, conditions), key=lambda summary: summary.began)


def named_in_bodies(ledger: Ledger, vendor: str, field: str) -> set[str]:
    """What the create bodies of a vendor's purchases name in one field, as text."""
    query = select(purchases.c.request).distinct().where(purchases.c.vendor == vendor, purchases.c.kind == "create")
    with ledger.autocommit() as connection:
        bodies = [load_json(text) for text in connection.execute(query).scalars()]
    return {str(body[field]) for body in bodies if isinstance(body, dict) and body.get(field) is not None}


def taken_keys(ledger: Ledger, wallet: str, order_keys: Iterable[str]) -> dict[str, tuple[str, Step]]:
    """Order id and step of each of these keys of tasks with a purchase of the wallet that the vendor took."""
    key = func.coalesce(purchases.c.task_key, purchases.c.order_key).label("key")
    by_key: dict[str, tuple[str, Step]] = {}
    for keys in _batches(order_keys):
        query = select(key, purchases.c.order_id, purchases.c.step).where(
            or_(purchases.c.order_key.in_(keys), purchases.c.task_key.in_(keys)),
            purchases.c.wallet == wallet,
            purchases.c.step.in_(_TAKEN_STEPS),
            purchases.c.order_id.is_not(None),
        )
        with ledger.autocommit() as connection:
            by_key |= {row.key: (row.order_id, Step(row.step)) for row in connection.execute(query)}
    return by_key


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Distinct texts, as many at a time as one query takes."""
    distinct = iter(dict.fromkeys(texts))
    while batch := list(islice(distinct, IDS_A_QUERY)):
        yield batch


def _summaries(ledger: Ledger, wallet: str, conditions: Sequence[Any]) -> list[PurchaseSummary]:
    query = select(*_COLUMNS).where(purchases.c.wallet == wallet, *conditions)
    with ledger.autocommit() as connection:
        return [_summary(row) for row in connection.execute(query).mappings()]


def _summary(row: RowMapping) -> PurchaseSummary:
    return PurchaseSummary(
        order_key=row["order_key"],
        kind=row["kind"],
        step=Step(row["step"]),
        order_id=row["order_id"],
        price=price_of(row),
        expires_at=datetime.fromisoformat(row["expires_at"]) if row["expires_at"] else None,
        began=datetime.fromisoformat(row["sent_at"] or row["created_at"]),
    )
