"""What was spent, summed by day, month, wallet or DAG. It only reads.

One rule: the sums are of what the limits count, so open and unresolved purchases are in them, and a refund is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Engine, case, func, or_, select

from airflow_provider_proxyorders.domain.model import TAKEN
from airflow_provider_proxyorders.ledger.engine import autocommitting, translated_errors
from airflow_provider_proxyorders.ledger.schema import purchases
from airflow_provider_proxyorders.ledger.spending import MILLION

By = Literal["day", "month", "wallet", "dag"]
_TAKEN = [step.value for step in sorted(TAKEN)]
_GROUPS: dict[str, Any] = {
    "day": purchases.c.counted_on,
    "month": func.substr(purchases.c.counted_on, 1, 7),
    "wallet": purchases.c.wallet,
    "dag": purchases.c.dag_id,
}


@dataclass(frozen=True)
class Sum:
    """The spending of one group in one wallet and currency.

    :param name: the day, the month, the wallet or the DAG; ``None``: bought outside of a DAG.
    :param wallet: ``None`` for a sum over wallets.
    :param purchases: how many count.
    :param spent: charged, by the vendor's word or the quote.
    :param reserved: of purchases whose outcome or price is open.
    """

    name: str | None
    wallet: str | None
    currency: str | None
    purchases: int
    spent: Decimal
    reserved: Decimal


def sums(engine: Engine, by: By, *, since: date | None = None, until: date | None = None, wallet: str | None = None) -> list[Sum]:
    """The spending of each group, ascending.

    :param since: the first day, in the time zone of each wallet's connection.
    :param until: the last day.
    :raises LedgerError: the ledger cannot be read.
    """
    group, settled = _GROUPS[by], purchases.c.step.in_(_TAKEN)
    keys = [group, purchases.c.currency] if by in ("wallet", "dag") else [group, purchases.c.wallet, purchases.c.currency]
    counted = func.sum(case((settled, purchases.c.counted), else_=0)).label("spent")
    reserved = func.sum(case((settled, 0), else_=purchases.c.counted)).label("reserved")
    query = select(group.label("name"), *keys[1:], func.count().label("number"), counted, reserved)
    query = query.where(or_(purchases.c.counted > 0, settled))
    if since is not None:
        query = query.where(purchases.c.counted_on >= since.isoformat())
    if until is not None:
        query = query.where(purchases.c.counted_on <= until.isoformat())
    if wallet is not None:
        query = query.where(purchases.c.wallet == wallet)
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        rows = connection.execute(query.group_by(*keys)).mappings().all()
    totals = [
        Sum(row["name"], row.get("wallet"), row["currency"], row["number"], _amount(row["spent"]), _amount(row["reserved"]))
        for row in rows
    ]
    return sorted(totals, key=lambda each: (each.name or "", each.wallet or "", each.currency or ""))


def _amount(millionths: int | Decimal) -> Decimal:
    return Decimal(millionths) / MILLION
