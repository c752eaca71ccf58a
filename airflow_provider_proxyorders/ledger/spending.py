"""Limits of a wallet, kept in the same transaction as the intent that uses them.

What a purchase counts for is added to its wallet's day when it is intended, corrected when the price is known, and
taken back when it is proven that nothing was bought. Days are calendar days of the account's time zone.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, bindparam, case, func, select, update

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded
from airflow_provider_proxyorders.ledger.engine import autocommitting, translated_errors
from airflow_provider_proxyorders.ledger.schema import spending

#: What counts on a day, and in its month.
_USED = select(
    func.coalesce(func.sum(case((spending.c.day == bindparam("_day"), spending.c.counted))), 0),
    func.coalesce(func.sum(spending.c.counted), 0),
).where(spending.c.wallet == bindparam("_wallet"), spending.c.day >= bindparam("_first"), spending.c.day <= bindparam("_last"))
#: What a wallet's purchases count for over all days.
TOTAL = select(func.coalesce(func.sum(spending.c.counted), 0)).where(spending.c.wallet == bindparam("_wallet"))
_ADD = (
    update(spending)
    .where(spending.c.wallet == bindparam("_wallet"), spending.c.day == bindparam("_day"))
    .values(counted=spending.c.counted + bindparam("_delta"))
)
_FIRST = spending.insert()

_BY_DAY = select(spending.c.day, spending.c.counted).where(
    spending.c.wallet == bindparam("_wallet"), spending.c.day >= bindparam("_first")
)
_FIRST_DAY = select(func.min(spending.c.day)).where(spending.c.wallet == bindparam("_wallet"), spending.c.counted > 0)

MILLION = Decimal(1_000_000)


def millionths(amount: Decimal) -> int:
    """The amount in whole millionths, rounded up so that a limit is never passed by a fraction."""
    return int((amount * MILLION).to_integral_value(rounding=ROUND_CEILING))


def amount_of(counted: int) -> Decimal:
    """The inverse of :func:`millionths`, without trailing zeros."""
    amount = Decimal(counted) / MILLION
    return amount.quantize(Decimal("0.01")) if amount == amount.quantize(Decimal("0.01")) else amount.normalize()


def day_of(moment: datetime, zone: str) -> str:
    """The calendar day in the zone, ``YYYY-MM-DD``."""
    return moment.astimezone(ZoneInfo(zone)).date().isoformat()


def check(connection: Connection, wallet: str, day: str, amount: int, caps: Caps) -> None:
    """Refuse a purchase that would pass the day's or the month's limit. The caller holds the wallet's lock.

    :raises CapExceeded: with the figures; nothing was sent.
    """
    if caps.daily_limit is None and caps.monthly_limit is None:
        return
    month = day[:7]
    days = {"_wallet": wallet, "_day": day, "_first": f"{month}-01", "_last": f"{month}-31"}
    today, this_month = connection.execute(_USED, days).one()
    for limit, name, counted, when in (
        (caps.daily_limit, "daily_limit", today, f"on {day}"),
        (caps.monthly_limit, "monthly_limit", this_month, f"in {month}"),
    ):
        used = int(counted)
        if limit is not None and used + amount > millionths(limit):
            raise CapExceeded(
                f"{name} {limit:f} of wallet {wallet!r} would be passed: {amount_of(used)} is spent or reserved"
                f" {when}, this purchase may cost {amount_of(amount)}. "
                f"Nothing was bought. Raise {name!r} in the connection, or wait."
            )


def add(connection: Connection, wallet: str, day: str, delta: int) -> None:
    """Change what counts for a wallet's day. The caller holds the wallet's lock."""
    if not delta:
        return
    changed: Any = connection.execute(_ADD, {"_wallet": wallet, "_day": day, "_delta": delta})
    if not changed.rowcount:
        connection.execute(_FIRST, {"wallet": wallet, "day": day, "counted": delta})


def by_day(engine: Engine, wallet: str, first: str) -> dict[str, Decimal]:
    """What counts for each of a wallet's days from ``first`` (``YYYY-MM-DD``) on; a day without purchases is missing."""
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        rows = connection.execute(_BY_DAY, {"_wallet": wallet, "_first": first})
        return {row.day: amount_of(int(row.counted)) for row in rows}


def first_day(engine: Engine, wallet: str) -> str | None:
    """The first day on which a wallet's purchases counted for something."""
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        return connection.execute(_FIRST_DAY, {"_wallet": wallet}).scalar()
