"""In what condition a ledger is, without making, upgrading or changing it.

One rule: what has to be tried to be known (writing) is taken back.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import schema
from airflow_provider_proxyorders.ledger.engine import engine_for, translated_errors
from airflow_provider_proxyorders.ledger.schema import HEAD, KNOWN, VERSION_TABLE

Age = Literal["none", "empty", "older", "current", "newer"]


@dataclass(frozen=True)
class Condition:
    """What was found at a ledger's address.

    :param place: the address without its password.
    :param age: ``none``: there is no such file yet; ``empty``: a database without our tables; else how its version compares
        with ours.
    :param version: of its schema, None without our tables.
    """

    place: str
    age: Age
    version: str | None = None
    needed: str = HEAD


def examine(url: str) -> Condition:
    """Reach a ledger, read its version, and try to write to it.

    :raises LedgerError: when it cannot be reached or written; the text says which, and how to mend it.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        engine_for(url)  # says it in our words
        raise
    place = address.render_as_string(hide_password=True)
    if address.get_backend_name() == "sqlite" and not _there(address.database or "", dict(address.query)):
        return Condition(place, "none")
    engine = engine_for(url)
    with translated_errors(engine.url), engine.connect() as connection:
        version = schema.version_of(connection)
        _try_to_write(connection, version)
    if version is None:
        return Condition(place, "empty")
    age: Age = "current" if version == HEAD else "older" if version in KNOWN else "newer"
    return Condition(place, age, version)


def _there(path: str, query: dict[str, Any]) -> bool:
    """Whether a SQLite file is there.

    :raises LedgerError: when it is not, and could not be made.
    """
    if query.get("uri"):
        path = path.removeprefix("file:").partition("?")[0]
    if not path or os.path.exists(path):
        return True
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise LedgerError(f"the ledger {path} is not there yet, and cannot be made: no folder {folder} that may be written to")
    return False


def _try_to_write(connection: Connection, version: str | None) -> None:
    """:raises SQLAlchemyError: when it may not be written."""
    try:
        if version is None:
            connection.execute(text("CREATE TABLE proxyorders_tried (a INTEGER)"))
        else:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = version_num"))
    finally:
        connection.rollback()


__all__ = ["Condition", "examine"]
