"""Looks at unresolved purchases: append-only rows, judged in the transaction that appends them.

Two rules. A look is judged together with all looks at the same sending, under the lock of the wallet, and the steps that follow
are part of that transaction. So two workers cannot lose a look of each other. A look belongs to one sending: it proves nothing
about a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import counting, turns, writes
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.rows import StaleClaim
from airflow_provider_proxyorders.ledger.schema import looks, purchases, steps

_ALL_LOOKS = select(looks).where(looks.c.order_key == bindparam("_key")).order_by(looks.c.id)
#: The fence of the last sending of a purchase, as a look keeps it.
_LAST_SENDING = select(func.coalesce(func.max(steps.c.fence), 0)).where(
    steps.c.order_key == bindparam("_key"), steps.c.step == Step.SENT.value
)
_LOOKS_AT_LAST_SENDING = _ALL_LOOKS.where(looks.c.sending == _LAST_SENDING.scalar_subquery())
_APPEND_LOOK = looks.insert()
_IF_UNCHANGED = select(purchases.c.order_key).where(
    purchases.c.order_key == bindparam("_key"),
    purchases.c.step == bindparam("_step"),
    purchases.c.fence == bindparam("_fence"),
)


@dataclass(frozen=True)
class NotedLook:
    """One look as the ledger keeps it.

    :param at: the end of the look.
    :param verdict: the vendor's verdict; other code may have written any word.
    :param detail: one sentence for a person.
    :param order: the order, after the verdict "found"; it is kept with the purchase, and not with the look.
    """

    at: datetime
    verdict: str
    detail: str = ""
    order: VendorOrder | None = field(default=None, compare=False)


@dataclass(frozen=True)
class NextStep:
    """One step that follows from the looks at a purchase.

    :param maybe_sent: False with the proof that nothing was bought, which gives the reservation back.
    """

    step: Step
    why: str
    maybe_sent: bool = True


#: The steps that follow from all looks at one sending. The looks are in order, and the last one is new.
Judge = Callable[[Sequence[NotedLook]], Sequence[NextStep]]


class LedgerLooks(Database):
    """The part of a ledger about looks."""

    def looks(self, order_key: str) -> list[NotedLook]:
        """Every look at a purchase, at all its sendings, oldest first."""
        with self.autocommit() as connection:
            return _read(connection, _ALL_LOOKS, order_key)

    def looks_at_last_sending(self, order_key: str) -> list[NotedLook]:
        """The looks at the last sending of a purchase, oldest first. Only these prove anything."""
        with self.autocommit() as connection:
            return _read(connection, _LOOKS_AT_LAST_SENDING, order_key)

    def add_look(self, purchase: Purchase, look: NotedLook, judge: Judge, actor: Actor) -> tuple[Purchase, list[NotedLook]]:
        """Append a look, and take the purchase to the steps that follow from all looks at its sending: one commit.

        :param purchase: as it stood before the look.
        :returns: the purchase after these steps, and the looks that were judged.
        :raises StaleClaim: another worker has taken it further. The look was not kept, and nothing was changed.
        """
        now = self.clock()
        with self.transaction() as connection:
            purchase = turns.in_wallet(purchase, turns.lock(connection, purchase.wallet))
            unchanged = {"_key": purchase.order_key, "_step": purchase.step.value, "_fence": purchase.fence}
            if connection.execute(_IF_UNCHANGED, unchanged).first() is None:
                raise StaleClaim(f"another worker has taken {purchase.order_key!r} further during a look")
            before = _read(connection, _LOOKS_AT_LAST_SENDING, purchase.order_key)
            _append(connection, purchase.order_key, look)
            all_looks = [*before, look]
            for next_step in judge(all_looks):
                changes: dict[str, Any] = {"maybe_sent": next_step.maybe_sent}
                if not next_step.maybe_sent:
                    changes |= counting.count(connection, purchase, 0)
                purchase = writes.change(connection, purchase, next_step.step, next_step.why, actor, now, changes)
            return purchase, all_looks


def _append(connection: Connection, order_key: str, look: NotedLook) -> None:
    sending = connection.execute(_LAST_SENDING, {"_key": order_key}).scalar_one()
    row = {"order_key": order_key, "sending": sending, "at": stamp(look.at), "verdict": look.verdict, "detail": look.detail}
    connection.execute(_APPEND_LOOK, row)


def _read(connection: Connection, query: Select[Any], order_key: str) -> list[NotedLook]:
    rows = connection.execute(query, {"_key": order_key}).mappings()
    return [NotedLook(datetime.fromisoformat(row["at"]), row["verdict"], row["detail"]) for row in rows]
