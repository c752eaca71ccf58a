"""What a purchase counts for the limits of its wallet, on the day of its intent.

Rule: a purchase counts its reservation, then its charge, and nothing once it provably bought nothing. Open questions count, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, bindparam, select, update

from airflow_provider_proxyorders.domain.errors import CapExceeded
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.ledger import questions, spending, trips
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.rows import Intent, purchase_of
from airflow_provider_proxyorders.ledger.schema import purchases

_KEY = purchases.c.order_key == bindparam("_key")
_FIND_PURCHASE = select(purchases).where(_KEY)
_SET_COUNTED = update(purchases).where(_KEY)
#: Refusals that count for the limits.
_COUNTED_REFUSALS = select(purchases).where(
    purchases.c.wallet == bindparam("_wallet"),
    purchases.c.step == Step.REJECTED.value,
    purchases.c.updated_at < bindparam("_before"),
    purchases.c.counted > 0,
)


def count(connection: Connection, purchase: Purchase, counted: int) -> dict[str, int]:
    """Count a purchase for so many millionths on its wallet's day; returns the changed column.

    The order of each open question counts beside that, for as much as was reserved.
    """
    key = {"_key": purchase.order_key}
    (row,), open_questions = trips.together(connection, (_FIND_PURCHASE, key), questions.counting_open(purchase.order_key))
    counted += int(open_questions[0]["open"]) * spending.millionths(purchase.reserved.amount)
    spending.add(connection, row["wallet"], row["counted_on"], counted - row["counted"])
    return {"counted": counted}


def check_limits(connection: Connection, intent: Intent, day: str, amount: int, now: datetime) -> None:
    """:raises CapExceeded: see :func:`spending.check`. An uncertain refusal counts for its settle time only."""
    try:
        spending.check(connection, intent.wallet, day, amount, intent.caps)
    except CapExceeded:
        before = stamp(now - timedelta(seconds=intent.settle_time))
        refused = connection.execute(_COUNTED_REFUSALS, {"_wallet": intent.wallet, "_before": before}).mappings().all()
        for purchase in map(purchase_of, refused):
            connection.execute(_SET_COUNTED, {"_key": purchase.order_key, **count(connection, purchase, 0)})
        spending.check(connection, intent.wallet, day, amount, intent.caps)


def count_beside(connection: Connection, purchase: Purchase, amount: Decimal) -> None:
    """Count so much more for a purchase than so far, or less below zero."""
    row = connection.execute(_FIND_PURCHASE, {"_key": purchase.order_key}).mappings().one()
    more = spending.millionths(amount)
    spending.add(connection, row["wallet"], row["counted_on"], more)
    connection.execute(_SET_COUNTED, {"_key": purchase.order_key, "counted": row["counted"] + more})
