"""What the ledger knows about many orders at once, for lists of thousands.

One rule: never one query for an order; ids are asked for a few hundred at a time, and only the columns that are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import RowMapping, select

from airflow_provider_proxyorders.domain.model import TAKEN, Money, Step
from airflow_provider_proxyorders.ledger.ledger import Ledger
from airflow_provider_proxyorders.ledger.rows import price_of
from airflow_provider_proxyorders.ledger.schema import purchases

#: Ids in one query; both databases take many more.
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
_TAKEN = [step.value for step in sorted(TAKEN)]


@dataclass(frozen=True)
class PurchaseSummary:
    """One purchase that the vendor took, as far as a renewal asks for it.

    :param began: when it was sent.
    """

    order_key: str
    kind: str
    step: Step
    order_id: str
    price: Money | None
    expires_at: datetime | None
    began: datetime


def bought(ledger: Ledger, wallet: str, order_ids: Iterable[str]) -> dict[str, list[PurchaseSummary]]:
    """The purchases (creation and extensions) of each order, the latest first; what the ledger does not know is missing."""
    found: dict[str, list[PurchaseSummary]] = {}
    wanted = iter(dict.fromkeys(order_ids))
    while some := list(islice(wanted, IDS_A_QUERY)):
        for one in _rows(ledger, wallet, [purchases.c.order_id.in_(some), purchases.c.step.in_(_TAKEN)]):
            found.setdefault(one.order_id, []).append(one)
    for known in found.values():
        known.sort(key=lambda one: one.began, reverse=True)
    return found


def creations(ledger: Ledger, wallet: str, steps: Sequence[Step]) -> list[PurchaseSummary]:
    """Every order of a wallet that was created through the ledger and stands at one of these steps, the oldest first."""
    conditions = [
        purchases.c.step.in_([step.value for step in steps]),
        purchases.c.kind == "create",
        purchases.c.order_id.is_not(None),
    ]
    return sorted(_rows(ledger, wallet, conditions), key=lambda one: one.began)


def taken_keys(ledger: Ledger, order_keys: Iterable[str]) -> dict[str, tuple[str, Step]]:
    """Which of these order keys stand for a purchase that the vendor took, its order id, and what became of it."""
    found: dict[str, tuple[str, Step]] = {}
    wanted = iter(dict.fromkeys(order_keys))
    while some := list(islice(wanted, IDS_A_QUERY)):
        query = select(purchases.c.order_key, purchases.c.order_id, purchases.c.step).where(
            purchases.c.order_key.in_(some), purchases.c.step.in_(_TAKEN), purchases.c.order_id.is_not(None)
        )
        with ledger.autocommit() as connection:
            found |= {row.order_key: (row.order_id, Step(row.step)) for row in connection.execute(query)}
    return found


def _rows(ledger: Ledger, wallet: str, conditions: Sequence[Any]) -> list[PurchaseSummary]:
    query = select(*_COLUMNS).where(purchases.c.wallet == wallet, *conditions)
    with ledger.autocommit() as connection:
        return [_bought(row) for row in connection.execute(query).mappings()]


def _bought(row: RowMapping) -> PurchaseSummary:
    return PurchaseSummary(
        order_key=row["order_key"],
        kind=row["kind"],
        step=Step(row["step"]),
        order_id=row["order_id"],
        price=price_of(row),
        expires_at=datetime.fromisoformat(row["expires_at"]) if row["expires_at"] else None,
        began=datetime.fromisoformat(row["sent_at"] or row["created_at"]),
    )
