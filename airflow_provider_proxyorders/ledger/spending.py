"""Limits of a wallet, checked and counted in the transaction of the intent.

An intent adds its amount to the wallet's day. The real price corrects it, and the proof that nothing was bought takes it back.
Days are calendar days in the account's time zone.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Dialect, Engine, bindparam, case, func, select

from airflow_provider_proxyorders.domain import text
from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded
from airflow_provider_proxyorders.ledger import trips
from airflow_provider_proxyorders.ledger.dialect import insert_into
from airflow_provider_proxyorders.ledger.engine import autocommitting, translated_errors
from airflow_provider_proxyorders.ledger.schema import spending

#: The amount of a day, and of its month.
_USED_OF_DAY_AND_MONTH = select(
    func.coalesce(func.sum(case((spending.c.day == bindparam("_day"), spending.c.counted))), 0),
    func.coalesce(func.sum(spending.c.counted), 0),
).where(spending.c.wallet == bindparam("_wallet"), spending.c.day >= bindparam("_first"), spending.c.day <= bindparam("_last"))

_BY_DAY = select(spending.c.day, spending.c.counted).where(
    spending.c.wallet == bindparam("_wallet"), spending.c.day >= bindparam("_first")
)
_FIRST_DAY = select(func.min(spending.c.day)).where(spending.c.wallet == bindparam("_wallet"), spending.c.counted > 0)

MILLION = Decimal(1_000_000)


def millionths(amount: Decimal) -> int:
    """The amount in whole millionths, rounded up, so that even a fraction counts against a limit."""
    return int((amount * MILLION).to_integral_value(rounding=ROUND_CEILING))


def amount_of(counted: int) -> Decimal:
    """The inverse of :func:`millionths`, without trailing zeros."""
    amount = Decimal(counted) / MILLION
    return amount.quantize(Decimal("0.01")) if amount == amount.quantize(Decimal("0.01")) else amount.normalize()


def day_of(moment: datetime, zone: str) -> str:
    """The calendar day in the zone, ``YYYY-MM-DD``."""
    return moment.astimezone(ZoneInfo(zone)).date().isoformat()


def check(connection: Connection, wallet: str, day: str, amount: int, caps: Caps) -> None:
    """Refuse a purchase above the day's or the month's limit. The caller holds the wallet's lock.

    :raises CapExceeded: with the figures. Nothing was sent.
    """
    if caps.daily_limit is None and caps.monthly_limit is None:
        return
    month = day[:7]
    days = {"_wallet": wallet, "_day": day, "_first": f"{month}-01", "_last": f"{month}-31"}
    today, this_month = connection.execute(_USED_OF_DAY_AND_MONTH, days).one()
    for limit, name, counted, when in (
        (caps.daily_limit, "daily_limit", today, f"on {day}"),
        (caps.monthly_limit, "monthly_limit", this_month, f"in {month}"),
    ):
        used = int(counted)
        if limit is not None and used + amount > millionths(limit):
            raise CapExceeded(
                f"{name} {text.amount(limit)} of wallet {wallet!r} would be passed: "
                f"{text.amount(amount_of(used))} is spent or reserved {when}, this purchase may cost "
                f"{text.amount(amount_of(amount))}. Nothing was bought. Raise {name!r} in the connection, or wait."
            )


def add(connection: Connection, wallet: str, day: str, delta: int) -> None:
    """Change the amount of a wallet's day. The caller holds the wallet's lock."""
    if not delta:
        return
    trips.write_later(connection, _adding_to_day(connection.dialect), {"wallet": wallet, "day": day, "counted": delta})


@cache
def _adding_to_day(dialect: Dialect) -> Any:
    insert = insert_into(dialect, spending)
    more = {"counted": spending.c.counted + insert.excluded.counted}
    return insert.on_conflict_do_update(index_elements=["wallet", "day"], set_=more)


def by_day(engine: Engine, wallet: str, first: str) -> dict[str, Decimal]:
    """The amount of each of a wallet's days from ``first`` (``YYYY-MM-DD``) on. A day without purchases is left out."""
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        rows = connection.execute(_BY_DAY, {"_wallet": wallet, "_first": first})
        return {row.day: amount_of(int(row.counted)) for row in rows}


def first_day(engine: Engine, wallet: str) -> str | None:
    """A wallet's first day with an amount above zero, ``None`` for an unused wallet."""
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        return connection.execute(_FIRST_DAY, {"_wallet": wallet}).scalar()
