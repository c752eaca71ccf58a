"""The database's own plans of the statements of a block, for tests that a query reads through an index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, insert, select, text

from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.schema import purchases


@contextmanager
def plans_of(ledger: Ledger) -> Iterator[list[str]]:
    """The index of each query on purchases inside the block: its name without the prefix, or the words of a whole read.

    PostgreSQL rightly reads a small table as a whole: fill it first.
    """
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        for part in statement.split(";"):  # PostgreSQL takes several in one trip
            if part.lstrip().startswith("SELECT") and "proxyorders_purchases" in part:
                asked.append((part, values))

    plans: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(ledger.engine, "before_cursor_execute", note)
    lite = ledger.engine.dialect.name == "sqlite"
    with ledger.engine.connect() as connection:
        for statement, values in asked:
            rows = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if lite else '(COSTS OFF) '}{statement}", values)
            lines = [str(row[3] if lite else row[0]) for row in rows]
            plans += [
                _name_in(line)
                for line in lines
                if re.search(
                    r"(SCAN|SEARCH) proxyorders_purchases|(Seq|Index|Only) Scan .*on proxyorders_purchases\b|Bitmap Index Scan",
                    line,
                )
            ]
        connection.rollback()


def fill(ledger: Ledger, like: str, many: int = 3_000, **columns: Any) -> None:
    """Put many purchases beside one, and let the database count them, as it does by itself from time to time."""
    with ledger.engine.begin() as connection:
        row = dict(connection.execute(select(purchases).where(purchases.c.order_key == like)).mappings().one())
        rows = [{**row, **columns, "order_key": f"filled-{number}", "order_id": f"filled-{number}"} for number in range(many)]
        connection.execute(insert(purchases), rows)
    if ledger.engine.dialect.name == "postgresql":
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


def _name_in(line: str) -> str:
    """The index of a line of a plan; the whole line if there is none."""
    name = re.search(r"(?:INDEX|using|on) proxyorders_purchases_(\w+)", line)
    return name[1] if name else line.strip()
