"""Purchases as CSV.

One rule: no cell is a formula. A spreadsheet would run one, and order keys, reasons and statuses are texts from elsewhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.text import no_formula
from airflow_provider_proxyorders.ledger.listing import ListedPurchase
from airflow_provider_proxyorders.page import shapes

COLUMNS = (
    "updated_at", "created_at", "sent_at", "step", "unresolved", "vendor", "conn_id", "wallet", "kind", "order_id", "target",
    "vendor_status", "price", "reserved", "currency", "expires_at", "delivered", "dag_id", "run_id", "task_id", "map_index",
    "order_key", "reason",
)  # fmt: skip
CUT = "The list ends here: the ledger went out of reach."


def cell(value: Any) -> str:
    """A value as text; one that a spreadsheet would run gets an apostrophe."""
    if isinstance(value, int):  # a number of ours
        return str(value)
    return "" if value is None else no_formula(str(value))


def as_csv(rows: Iterable[ListedPurchase]) -> Iterator[str]:
    """The lines of a CSV file, the names of the columns first; a last line tells of a ledger that went away."""
    yield _line(COLUMNS)
    rows = iter(rows)
    while True:
        try:
            row = next(rows, None)
        except LedgerError:
            yield _line([CUT])
            return
        if row is None:
            return
        shown = {**shapes.line(row), **(shapes.task(row.task) or {})}
        shown["price"] = f"{row.price.amount:f}" if row.price is not None else None
        shown["reserved"] = f"{row.reserved.amount:f}"
        shown["currency"] = shapes.clean((row.price or row.reserved).currency)
        yield _line(cell(shown.get(name)) for name in COLUMNS)


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerow(cells)
    return buffer.getvalue()
