"""Open questions: orders of answers that came too late to be recorded. Each waits for a decision.

Two rules. A purchase with an open question keeps a reservation for that order beside its own amount. Its key cannot be sent
again, and its wallet stays frozen, until the question is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, func, select, update

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.ledger import freezes, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.schema import questions
from airflow_provider_proxyorders.ledger.trips import Read

_OPEN = questions.c.answered_at.is_(None)
_OF_KEY = questions.c.order_key == bindparam("_key")
_LATE_ORDERS = select(questions.c.order_id).where(_OF_KEY)
_COUNT = select(func.count().label("open")).select_from(questions).where(_OF_KEY, _OPEN)
_FIND = select(questions).where(_OF_KEY, questions.c.order_id == bindparam("_order"), _OPEN)
_FIRST = select(questions).where(_OF_KEY, _OPEN).order_by(questions.c.at).limit(1)
_ANSWER = (
    update(questions)
    .where(_OF_KEY, questions.c.order_id == bindparam("_order"), _OPEN)
    .values(answer=bindparam("_answer"), answered_at=bindparam("_at"))
)


@dataclass(frozen=True)
class Question:
    """An order of the vendor's that a late answer named for a purchase.

    :param order_id: as the late answer named it.
    :param why: one sentence for a person.
    """

    order_key: str
    order_id: str
    wallet: str
    why: str
    at: datetime


class LedgerQuestions(Database):
    """The part of a ledger that lists open questions."""

    def questions(self, *, wallet: str | None = None, order_key: str | None = None) -> list[Question]:
        """Open questions, the oldest first; of one wallet or of one purchase."""
        query = select(questions).where(_OPEN).order_by(questions.c.at, questions.c.order_id)
        if wallet is not None:
            query = query.where(questions.c.wallet == wallet)
        if order_key is not None:
            query = query.where(questions.c.order_key == order_key)
        with self.autocommit() as connection:
            return [_question_of(row) for row in connection.execute(query).mappings()]

    def late_orders(self, order_key: str) -> frozenset[str]:
        """The orders of late answers about which a person has to decide, or has decided."""
        with self.autocommit() as connection:
            return frozenset(connection.execute(_LATE_ORDERS, {"_key": order_key}).scalars())


# -- inside a transaction --------------------------------------------------------------------------------------------


def counting_open(order_key: str) -> Read:
    """The read of how many questions about a purchase are open, as ``open``."""
    return _COUNT, {"_key": order_key}


def refuse_open(connection: Connection, purchase: Purchase) -> None:
    """:raises OutcomeUnknown: a question about the purchase is open. Nothing was sent."""
    row = connection.execute(_FIRST, {"_key": purchase.order_key}).mappings().first()
    if row is not None:
        key = purchase.order_key
        raise OutcomeUnknown(
            f"{row['why']}. Nothing is sent under this key until that is decided: proxyorders ledger resolve {key!r} --adopt "
            f"{row['order_id']} if the order is this purchase, else --foreign {row['order_id']}.",
            order_key=key,
            retry="never",
        )


def put(connection: Connection, purchase: Purchase, order_id: str, why: str, now: datetime) -> bool:
    """Keep a question, and freeze the locked wallet unless it is frozen already; returns whether the question is new."""
    values = {"order_key": purchase.order_key, "order_id": order_id, "wallet": purchase.wallet, "why": why, "at": stamp(now)}
    insert = insert_or_ignore(connection, questions).values(**values).returning(questions.c.order_id)
    new = connection.execute(insert).first() is not None
    wallet = turns.read(connection, purchase.wallet)
    if wallet is None or not wallet["frozen"]:
        freezes.set_frozen(connection, purchase.wallet, why, now)
    return new


def close(connection: Connection, purchase: Purchase, order_id: str, answer: str, now: datetime) -> str | None:
    """Answer a question; returns its sentence, ``None`` without an open question about this order."""
    values = {"_key": purchase.order_key, "_order": order_id}
    row = connection.execute(_FIND, values).mappings().first()
    if row is None:
        return None
    connection.execute(_ANSWER, {**values, "_answer": answer, "_at": stamp(now)})
    return str(row["why"])


def _question_of(row: RowMapping) -> Question:
    moment = datetime.fromisoformat(row["at"])
    return Question(row["order_key"], row["order_id"], row["wallet"], row["why"], moment)
