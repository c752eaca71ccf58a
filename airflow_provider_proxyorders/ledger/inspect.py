"""Examines a ledger and leaves it as it is: the doctor's look.

One rule: a test write is rolled back.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Engine, text

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import schema
from airflow_provider_proxyorders.ledger.address import file_of, read_address, without_password
from airflow_provider_proxyorders.ledger.engine import engine_for, translated_errors
from airflow_provider_proxyorders.ledger.schema import HEAD, VERSION_TABLE, VERSIONS

Age = Literal["none", "empty", "older", "current", "newer"]


@dataclass(frozen=True)
class Condition:
    """The condition of a ledger.

    :param place: its address without the password.
    :param age: ``none``: the SQLite file is missing; ``empty``: a database without our tables; ``older``, ``current`` or
        ``newer``: its version beside ours.
    :param version: of its schema, ``None`` without our tables.
    :param needed: the version of this code.
    """

    place: str
    age: Age
    version: str | None = None
    needed: str = HEAD


def examine(url: str) -> Condition:
    """Reach a ledger, read its version, and try a write.

    :raises LedgerError: reaching or writing failed, with advice.
    """
    address = read_address(url)
    place = without_password(address)
    if not _file_exists(file_of(address)):
        return Condition(place, "none")
    engine = engine_for(url)
    with translated_errors(engine.url), engine.connect() as connection:
        version = schema.version_of(connection)
        _try_to_write(connection, version)
    if version is None:
        return Condition(place, "empty")
    age: Age = "current" if version == HEAD else "older" if version in VERSIONS else "newer"
    return Condition(place, age, version)


def existing_engine(url: str) -> Engine | None:
    """The engine of a ledger of this code's version; ``None`` for a ledger that is missing, unused, older or newer.

    :raises LedgerError: it cannot be reached.
    """
    engine = engine_for(url)
    path = file_of(engine.url)
    if path and not os.path.exists(path):
        return None  # opening it would make the file
    with translated_errors(engine.url), engine.connect() as connection:
        return engine if schema.version_of(connection) == HEAD else None


def version_at(engine: Engine) -> str | None:
    """The version of a ledger as it stands, ``None`` without our tables. It makes and upgrades nothing.

    :raises LedgerError: it cannot be reached.
    """
    with translated_errors(engine.url), engine.connect() as connection:
        return schema.version_of(connection)


def mode_for_others(url: str) -> str:
    """The mode of a SQLite file that others on this machine may read or write, such as ``0644``; else ""."""
    path = file_of(read_address(url))
    mode = os.stat(path).st_mode & 0o777 if path and os.path.exists(path) else 0
    return f"{mode:04o}" if mode & 0o077 else ""


def _file_exists(path: str) -> bool:
    """Whether a SQLite file exists; true for a database in memory or on a server.

    :raises LedgerError: it is missing, and its folder is missing or read-only.
    """
    if not path or os.path.exists(path):
        return True
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise LedgerError(f"the ledger {path} is missing, and creating it needs a folder {folder} with the right to write")
    return False


def _try_to_write(connection: Connection, version: str | None) -> None:
    """:raises SQLAlchemyError: the database refuses the write."""
    try:
        if version is None:
            connection.execute(text("CREATE TABLE proxyorders_write_test (a INTEGER)"))
        else:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = version_num"))
    finally:
        connection.rollback()


__all__ = ["Condition", "examine"]
