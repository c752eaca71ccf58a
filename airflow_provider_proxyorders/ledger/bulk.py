"""Purchases of many orders at once, for lists of thousands.

One rule: a query asks for a few hundred ids and for the needed columns only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import RowMapping, func, or_, select

from airflow_provider_proxyorders.domain.exact_json import load_json
from airflow_provider_proxyorders.domain.model import TAKEN, UNRESOLVED, Money, Purchase, Step
from airflow_provider_proxyorders.ledger.dialect import stamp, unindexed
from airflow_provider_proxyorders.ledger.ledger import Ledger
from airflow_provider_proxyorders.ledger.rows import price_of, purchase_of
from airflow_provider_proxyorders.ledger.schema import owned_ids, purchases

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


@dataclass(frozen=True)
class PricedPurchase:
    """The part of a purchase that tells what the next one of its order costs.

    :param body: its request as the ledger keeps it, JSON.
    """

    kind: str
    price: Money
    body: str

    @property
    def request(self) -> Mapping[str, Any]:
        """Its request, with secrets masked."""
        body: Mapping[str, Any] = load_json(self.body)
        return body


def priced_purchases(ledger: Ledger, wallet: str, order_ids: Iterable[str]) -> dict[str, list[PricedPurchase]]:
    """The purchases of each order with a price: extensions first, the latest first of each kind."""
    by_order: dict[str, list[PricedPurchase]] = {}
    columns = (purchases.c.order_id, purchases.c.kind, purchases.c.price, purchases.c.currency, purchases.c.request)
    for ids in batches(order_ids):
        query = select(*columns, purchases.c.updated_at).where(purchases.c.wallet == wallet, purchases.c.order_id.in_(ids))
        with ledger.autocommit() as connection:
            rows = connection.execute(query).mappings().all()
        for row in sorted(rows, key=lambda row: (row["kind"] == "extend", row["updated_at"]), reverse=True):
            if (price := price_of(row)) is not None:
                by_order.setdefault(row["order_id"], []).append(PricedPurchase(row["kind"], price, row["request"]))
    return by_order


def purchases_by_order(ledger: Ledger, wallet: str, order_ids: Iterable[str]) -> dict[str, list[PurchaseSummary]]:
    """The purchases (creation and extensions) of each order, the latest first. Orders outside of the ledger are left out."""
    by_order: dict[str, list[PurchaseSummary]] = {}
    for ids in batches(order_ids):
        for summary in _summaries(ledger, wallet, [purchases.c.order_id.in_(ids), purchases.c.step.in_(_TAKEN_STEPS)]):
            by_order.setdefault(summary.order_id, []).append(summary)
    for summaries in by_order.values():
        summaries.sort(key=lambda summary: summary.began, reverse=True)
    return by_order


def named_in_bodies(ledger: Ledger, vendor: str, field: str) -> set[str]:
    """What the create bodies of a vendor's purchases name in one field, as text."""
    query = select(purchases.c.request).distinct().where(purchases.c.vendor == vendor, purchases.c.kind == "create")
    with ledger.autocommit() as connection:
        bodies = [load_json(text) for text in connection.execute(query).scalars()]
    return {str(body[field]) for body in bodies if isinstance(body, dict) and body.get(field) is not None}


def owned_among(ledger: Ledger, wallet: str, vendor_ids: Iterable[str]) -> set[str]:
    """Those of the vendor's ids that belong to a creation of the wallet, in lower case."""
    own: set[str] = set()
    for ids in batches(vendor_id.lower() for vendor_id in vendor_ids):
        query = select(owned_ids.c.vendor_id).where(owned_ids.c.wallet == wallet, owned_ids.c.vendor_id.in_(ids))
        with ledger.autocommit() as connection:
            own.update(connection.execute(query).scalars())
    return own


def unresolved_keys(ledger: Ledger, wallet: str) -> list[str]:
    """The order keys of all unresolved purchases of a wallet, the most recently changed first."""
    key, at = purchases.c.order_key, purchases.c.updated_at
    unresolved = [step.value for step in sorted(UNRESOLVED)]
    queries = (
        select(key, at).where(purchases.c.wallet == wallet, purchases.c.step.in_(unresolved)),
        select(key, at).where(
            unindexed(purchases.c.wallet) == wallet,
            purchases.c.step.in_([Step.INTENDED.value, Step.REJECTED.value]),
            purchases.c.maybe_sent,
        ),
    )
    with ledger.autocommit() as connection:
        rows = [row for query in queries for row in connection.execute(query)]
    return [row.order_key for row in sorted(rows, key=lambda row: row.updated_at, reverse=True)]


def keys_at(ledger: Ledger, wallet: str, step: Step, since: datetime | None = None) -> list[str]:
    """The order keys of all purchases of a wallet at a step, the most recently changed first.

    :param since: only purchases that changed since then.
    """
    query = select(purchases.c.order_key).where(purchases.c.wallet == wallet, purchases.c.step == step.value)
    if since is not None:
        query = query.where(purchases.c.updated_at >= stamp(since))
    with ledger.autocommit() as connection:
        return list(connection.execute(query.order_by(purchases.c.updated_at.desc())).scalars())


def purchases_of(ledger: Ledger, order_keys: Iterable[str]) -> Iterator[list[Purchase]]:
    """The purchases of these keys as they stand, some hundred at a time."""
    for keys in batches(order_keys):
        with ledger.autocommit() as connection:
            rows = connection.execute(select(purchases).where(purchases.c.order_key.in_(keys))).mappings()
            by_key = {row["order_key"]: purchase_of(row) for row in rows}
        yield [by_key[key] for key in keys if key in by_key]


def requests_of(ledger: Ledger, order_keys: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The request of each of these purchases, with secrets masked."""
    bodies: dict[str, Mapping[str, Any]] = {}
    for keys in batches(order_keys):
        query = select(purchases.c.order_key, purchases.c.request).where(purchases.c.order_key.in_(keys))
        with ledger.autocommit() as connection:
            bodies |= {row.order_key: load_json(row.request) for row in connection.execute(query)}
    return bodies


def taken_keys(ledger: Ledger, wallet: str, order_keys: Iterable[str]) -> dict[str, tuple[str, Step]]:
    """Order id and step of each of these keys of tasks with a purchase of the wallet that the vendor took."""
    key = func.coalesce(purchases.c.task_key, purchases.c.order_key).label("key")
    by_key: dict[str, tuple[str, Step]] = {}
    for keys in batches(order_keys):
        query = select(key, purchases.c.order_id, purchases.c.step).where(
            or_(purchases.c.order_key.in_(keys), purchases.c.task_key.in_(keys)),
            purchases.c.wallet == wallet,
            purchases.c.step.in_(_TAKEN_STEPS),
            purchases.c.order_id.is_not(None),
        )
        with ledger.autocommit() as connection:
            by_key |= {row.key: (row.order_id, Step(row.step)) for row in connection.execute(query)}
    return by_key


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Distinct texts in their order, as many at a time as one query takes."""
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
