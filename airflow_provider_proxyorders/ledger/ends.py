"""Orders of a wallet by their end, in a ledger of a million purchases.

One rule: each query reads a range of an index. What ended long ago costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, exists, func, select

from airflow_provider_proxyorders.domain.model import TAKEN, Purchase, Step
from airflow_provider_proxyorders.ledger.dialect import stamp, unindexed
from airflow_provider_proxyorders.ledger.ledger import Ledger
from airflow_provider_proxyorders.ledger.rows import purchase_of
from airflow_provider_proxyorders.ledger.schema import purchases

#: An order at one of these steps may be renewed.
RUNNING = (Step.PLACED, Step.DELIVERED, Step.PARTIAL)
_TAKEN = [step.value for step in sorted(TAKEN)]
_WALLET: Any = bindparam("_wallet")
_FIRST: Any = bindparam("_first")
_LAST: Any = bindparam("_last")
_STEP: Any = bindparam("_step")
_COLUMNS = purchases.c

#: Only the range of ends chooses the index. Another index of the wallet would lead through all its purchases.
_IN_RANGE = (unindexed(_COLUMNS.wallet) == _WALLET, _COLUMNS.expires_at >= _FIRST, _COLUMNS.expires_at <= _LAST)
_ENDING = select(_COLUMNS.order_id).distinct().where(*_IN_RANGE, unindexed(_COLUMNS.step).in_(_TAKEN))
_AT_STEP = (_COLUMNS.expires_at.is_(None), _COLUMNS.wallet == _WALLET, _COLUMNS.step == _STEP)
_UNDATED = (*_AT_STEP, _COLUMNS.kind == "create")
_BEGUN = select(_COLUMNS.order_id).where(*_UNDATED, _COLUMNS.sent_at >= _FIRST, _COLUMNS.sent_at <= _LAST)
#: A purchase that this ledger has not sent, for example of an older version.
_UNSENT = select(_COLUMNS.order_id).where(
    *_UNDATED, _COLUMNS.sent_at.is_(None), unindexed(_COLUMNS.created_at) >= _FIRST, unindexed(_COLUMNS.created_at) <= _LAST
)


_ORDER = select(_COLUMNS.order_id, _COLUMNS.order_key).where(unindexed(_COLUMNS.updated_at) <= _FIRST)
_EXPECTED = (
    _ORDER.where(_COLUMNS.wallet == _WALLET, _COLUMNS.step == Step.PLACED.value),
    _ORDER.where(
        unindexed(_COLUMNS.wallet) == _WALLET,
        unindexed(_COLUMNS.step) == Step.DELIVERED.value,
        _COLUMNS.expires_at > _FIRST,
    ),
    _ORDER.where(
        _COLUMNS.expires_at.is_(None),
        _COLUMNS.wallet == _WALLET,
        _COLUMNS.kind.in_(["create", "extend"]),
        _COLUMNS.step == Step.DELIVERED.value,
    ),
)


def ending(ledger: Ledger, wallet: str, first: datetime, last: datetime) -> set[str]:
    """Orders of which a purchase ends in a range, both ends included. A later extension may end beyond it."""
    values = {"_wallet": wallet, "_first": stamp(first), "_last": stamp(last)}
    with ledger.autocommit() as connection:
        return {order_id for order_id in connection.execute(_ENDING, values).scalars() if order_id}


def begun(ledger: Ledger, wallet: str, first: datetime, last: datetime) -> set[str]:
    """Running orders that were bought in a range, and whose creation has no known end. An extension may have one."""
    values = {"_wallet": wallet, "_first": stamp(first), "_last": stamp(last)}
    order_ids: set[str] = set()
    with ledger.autocommit() as connection:
        for step in RUNNING:
            for query in (_BEGUN, _UNSENT):
                order_ids.update(filter(None, connection.execute(query, {**values, "_step": step.value}).scalars()))
    return order_ids


def extensions_at(ledger: Ledger, wallet: str, steps: Sequence[Step]) -> list[Purchase]:
    """The extensions of a wallet at these steps, the most recently changed first."""
    query = select(purchases).where(
        _COLUMNS.wallet == _WALLET, _COLUMNS.step.in_([step.value for step in steps]), _COLUMNS.kind == "extend"
    )
    with ledger.autocommit() as connection:
        extensions = [purchase_of(row) for row in connection.execute(query, {"_wallet": wallet}).mappings()]
    return sorted(extensions, key=lambda extension: extension.updated_at, reverse=True)


class Expected(NamedTuple):
    """A purchase with an order that the vendor should list."""

    order_id: str
    order_key: str


def expected(ledger: Ledger, wallet: str, at: datetime) -> Iterator[Expected]:
    """The purchases with an order that ran at a moment: taken before, with an end after it or without a known one."""
    values = {"_wallet": wallet, "_first": stamp(at)}
    with ledger.autocommit() as connection:
        for query in _EXPECTED:
            for rows in connection.execute(query, values).partitions(1_000):
                yield from (Expected(row.order_id, row.order_key) for row in rows if row.order_id)


class Undated(NamedTuple):
    """Running orders without a known end.

    :param first: the ids of the oldest of each step, a few only.
    """

    total: int
    first: tuple[str, ...]


def undated(ledger: Ledger, wallet: str, *, most: int, extended: bool) -> Undated:
    """The running orders of a wallet without a known end.

    :param most: names at most so many.
    :param extended: leave out orders with the end of an extension; without extensions the ledger need not look for them.
    """
    later = purchases.alias()
    of_order = (later.c.wallet == _COLUMNS.wallet, later.c.order_id == _COLUMNS.order_id)
    conditions = (*_UNDATED, *([~exists().where(*of_order, later.c.expires_at.is_not(None))] if extended else []))
    count, first = 0, list[str]()
    with ledger.autocommit() as connection:
        for step in RUNNING:
            values = {"_wallet": wallet, "_step": step.value}
            count += connection.execute(select(func.count()).where(*conditions), values).scalar_one()
            names = select(_COLUMNS.order_id).where(*conditions).order_by(_COLUMNS.sent_at).limit(most - len(first))
            first += filter(None, connection.execute(names, values).scalars())
    return Undated(count, tuple(first))
