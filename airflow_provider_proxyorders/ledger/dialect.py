"""What SQLite and PostgreSQL need in common: insert-or-ignore, a moment as text, and a value that leads to no index.

One rule: a moment is ISO text in UTC with microseconds. It sorts as it reads, and both databases store it alike.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Table, func
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert


def insert_into(database: Connection | Engine | Dialect, table: Table) -> Any:
    """An INSERT in the database's own dialect, which also knows ``ON CONFLICT``."""
    dialect = database if isinstance(database, Dialect) else database.dialect
    return postgres_insert(table) if dialect.name == "postgresql" else sqlite_insert(table)


def insert_or_ignore(database: Connection | Engine, table: Table) -> Any:
    """An INSERT that leaves an existing row as it is."""
    return insert_into(database, table).on_conflict_do_nothing()


def stamp(moment: datetime) -> str:
    """The text that a column of moments stores."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def moment_of(text: str | None) -> datetime | None:
    """The inverse of :func:`stamp`."""
    return datetime.fromisoformat(text) if text else None


def unindexed(column: Any) -> Any:
    """The same value in a form without an index, so that another condition of the query chooses the index."""
    return func.coalesce(column, "")
