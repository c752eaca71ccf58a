"""The different values of an indexed column, found by one jump in the index for each value."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Engine, Integer, bindparam, func, select

from airflow_provider_proxyorders.ledger.engine import autocommitting, translated_errors

#: Values at most.
MOST = 500


def values(engine: Engine, column: ColumnElement[str], most: int = MOST) -> list[str]:
    """The values in order, without NULL.

    :raises LedgerError: the ledger cannot be read.
    """
    query = _jumps(column)
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        return list(connection.execute(query, {"_most": most}).scalars())


@cache
def _jumps(column: ColumnElement[str]) -> Any:
    first = select(func.min(column).label("value")).cte("jumps", recursive=True)
    after = select(func.min(column)).where(column > first.c.value).scalar_subquery()
    jumps = first.union_all(select(after).where(first.c.value.is_not(None)))
    return select(jumps.c.value).where(jumps.c.value.is_not(None)).limit(bindparam("_most", type_=Integer))
