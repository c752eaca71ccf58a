"""The ledger: one object that finds, lists and writes purchases.

One rule: each list has an index in its order, so a ledger of a million purchases answers as fast as a small one (see
``tests/ledger/test_lists.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Integer, Select, bindparam, select, union_all

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step
from airflow_provider_proxyorders.ledger import ownership, schema, turns
from airflow_provider_proxyorders.ledger.corrections import LedgerCorrections
from airflow_provider_proxyorders.ledger.dialect import unindexed
from airflow_provider_proxyorders.ledger.engine import engine_for, translated_errors
from airflow_provider_proxyorders.ledger.evidence import LedgerEvidence
from airflow_provider_proxyorders.ledger.facts import FactStore
from airflow_provider_proxyorders.ledger.freezes import LedgerFreezes
from airflow_provider_proxyorders.ledger.keys import LedgerKeys
from airflow_provider_proxyorders.ledger.leases import LedgerLeases
from airflow_provider_proxyorders.ledger.line import LedgerLine
from airflow_provider_proxyorders.ledger.looks import LedgerLooks
from airflow_provider_proxyorders.ledger.questions import LedgerQuestions
from airflow_provider_proxyorders.ledger.rows import (
    History,
    Intent,
    KeyTaken,
    OutdatedEvidence,
    OwnedElsewhere,
    StaleClaim,
    history_of,
    purchase_of,
)
from airflow_provider_proxyorders.ledger.schema import purchases, steps
from airflow_provider_proxyorders.ledger.seen import LedgerSeenIds
from airflow_provider_proxyorders.ledger.writes import LedgerWrites

__all__ = ["History", "Intent", "KeyTaken", "Ledger", "OutdatedEvidence", "OwnedElsewhere", "StaleClaim", "open_ledger"]

_FIND_PURCHASE = select(purchases).where(purchases.c.order_key == bindparam("_key"))
_STEPS_OF_PURCHASE = select(steps).where(steps.c.order_key == bindparam("_key")).order_by(steps.c.id)

#: A step, and whether only purchases at it that may have been sent count.
_Condition = tuple[Step | None, bool]
_EVERY: _Condition = (None, False)


@cache
def _newest_of(conditions: tuple[_Condition, ...], of_wallet: bool) -> Select[Any]:
    """Purchases that meet one of the conditions. Each is a query of its own, because each step has its place in an index.

    Made once for each set of conditions, since it takes longer to make than to execute.
    """
    query = select(purchases).order_by(purchases.c.updated_at.desc()).limit(bindparam("_limit", type_=Integer))
    parts = []
    for step, maybe_sent in conditions:
        part = query if step is None else query.where(purchases.c.step == step.value)
        if of_wallet:  # an index holds only what may have been sent, by step: the wallet's own index holds every refusal
            wallet = unindexed(purchases.c.wallet) if maybe_sent else purchases.c.wallet
            part = part.where(wallet == bindparam("_wallet"))
        parts.append(part.where(purchases.c.maybe_sent) if maybe_sent else part)
    if len(parts) == 1:
        return parts[0]
    merged = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(merged).order_by(merged.c.updated_at.desc()).limit(bindparam("_limit", type_=Integer))


def open_ledger(url: str, clock: Callable[[], datetime] | None = None) -> Ledger:
    """The ledger at a database address, upgraded to the version of this code.

    :raises LedgerError: it cannot be opened or upgraded, or it is newer than this code. Nothing was bought.
    """
    try:
        ledger = Ledger(engine_for(url), clock)
        with translated_errors(ledger.engine.url):
            schema.ensure(ledger.engine)
    except LedgerError as error:
        error.tell("This try bought nothing.")
        raise
    return ledger


class Ledger(
    LedgerWrites,
    LedgerKeys,
    LedgerCorrections,
    LedgerLooks,
    LedgerLeases,
    LedgerLine,
    LedgerQuestions,
    LedgerEvidence,
    LedgerSeenIds,
    LedgerFreezes,
    FactStore,
):
    """The record of purchases in one database."""

    def find(self, order_key: str) -> Purchase | None:
        """The purchase with this very order key in the ledger, ``None`` for an unused one; see also :meth:`under_key`."""
        with self.autocommit() as connection:
            row = connection.execute(_FIND_PURCHASE, {"_key": order_key}).mappings().first()
            return purchase_of(row) if row is not None else None

    def history(self, order_key: str) -> list[History]:
        """Every step and look of a purchase, oldest first."""
        with self.autocommit() as connection:
            return [history_of(row) for row in connection.execute(_STEPS_OF_PURCHASE, {"_key": order_key}).mappings()]

    def purchases(self, *, wallet: str | None = None, in_steps: Sequence[Step] | None = None, limit: int = 100) -> list[Purchase]:
        """Purchases, the most recently changed first."""
        if in_steps is None:
            return self._newest(wallet, [_EVERY], limit)
        return self._newest(wallet, [(step, False) for step in sorted(set(in_steps))], limit)

    def unresolved(self, *, wallet: str | None = None, limit: int = 100) -> list[Purchase]:
        """Unresolved purchases, the most recently changed first."""
        maybe_sent = [(step, True) for step in (Step.INTENDED, Step.REJECTED)]
        return self._newest(wallet, [*((step, False) for step in sorted(UNRESOLVED)), *maybe_sent], limit)

    def _newest(self, wallet: str | None, conditions: Sequence[_Condition], limit: int) -> list[Purchase]:
        if not conditions:
            return []
        query = _newest_of(tuple(conditions), wallet is not None)
        with self.autocommit() as connection:
            return [purchase_of(row) for row in connection.execute(query, {"_wallet": wallet, "_limit": limit}).mappings()]

    def by_order_id(self, wallet: str, order_id: str) -> list[Purchase]:
        """The purchases (one creation, any number of extensions) of one vendor order, the most recently changed first."""
        query = select(purchases).where(purchases.c.wallet == wallet, purchases.c.order_id == order_id)
        with self.autocommit() as connection:  # sorted here, or SQLite would choose an index in this order, of the whole wallet
            purchases_of_order = [purchase_of(row) for row in connection.execute(query).mappings()]
        return sorted(purchases_of_order, key=lambda purchase: purchase.updated_at, reverse=True)

    def owner_of(self, wallet: str, vendor_id: str) -> str | None:
        """The order key of the creation that owns an id of the vendor's, ``None`` for a free id."""
        with self.autocommit() as connection:
            return ownership.owner_of(connection, wallet, vendor_id)

    def freeze_reason(self, wallet: str) -> str | None:
        """Why a wallet is frozen, ``None`` for a wallet that may buy."""
        with self.autocommit() as connection:
            row = turns.read(connection, wallet)
            return row["frozen"] if row is not None else None
