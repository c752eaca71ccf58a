"""Reads the fields of a vendor's answer, each by one rule."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pendulum

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json
from airflow_provider_proxyorders.domain.model import decimal

#: The longest id of the ledger; the vendors leave the length of their ids undocumented.
LONGEST_ID = 200


def pick(data: Any, *path: str) -> Any:
    """Walk into nested objects.

    :raises UnreadableBody: with the first missing step, or the first without an object.
    """
    for depth, key in enumerate(path):
        if not isinstance(data, dict):
            where = ".".join(path[:depth]) or "the answer"
            raise UnreadableBody(f"{where} is {json_type_name(data)}, expected an object with {key!r}")
        if key not in data:
            raise UnreadableBody(f"{'.'.join(path[: depth + 1])} is missing")
        data = data[key]
    return data


def text(data: Any, key: str) -> str:
    """A required text field; a whole number becomes text.

    :raises UnreadableBody: when it is missing, empty or of another type.
    """
    value = pick(data, key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise UnreadableBody(f"{key} is {json_type_name(value)}, expected text")
    return value


def identifier(data: Any, key: str) -> str:
    """A vendor's id for the ledger: text or a whole number, printable, at most :data:`LONGEST_ID` long.

    :raises UnreadableBody: for a missing field and for everything else.
    """
    value = text(data, key)
    if len(value) > LONGEST_ID or not value.isprintable():
        raise UnreadableBody(f"{key} must be an id: printable text of at most {LONGEST_ID} characters")
    return value


def optional_text(data: Any, key: str) -> str | None:
    """An optional field as text, whatever its type; ``None`` for a missing, null or empty one."""
    value = data.get(key) if isinstance(data, dict) else None
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else dump_json(value)


def number(data: Any, key: str) -> Decimal:
    """A required number, as a JSON number or as text.

    :raises UnreadableBody: for a missing field and for everything else.
    """
    return as_number(pick(data, key), key)


def optional_number(data: Any, key: str) -> Decimal | None:
    """An optional number; ``None`` for a missing, null or empty one.

    :raises UnreadableBody: for everything else.
    """
    value = data.get(key) if isinstance(data, dict) else None
    return None if value is None or value == "" else as_number(value, key)


def as_number(value: Any, name: str) -> Decimal:
    """One JSON value as an exact number; a number as text counts.

    :raises UnreadableBody: for anything else.
    """
    try:
        return decimal(value)
    except ValueError:
        raise UnreadableBody(f"{name} is {json_type_name(value)}, expected a number") from None


def optional_count(data: Any, key: str) -> int | None:
    """An optional count; ``None`` for an unreadable one too, since all decisions work without it."""
    try:
        value = optional_number(data, key)
    except UnreadableBody:
        return None
    return int(value) if value is not None else None


def rows(data: Any, *path: str) -> list[Any]:
    """A required list.

    :raises UnreadableBody: for everything else.
    """
    value = pick(data, *path) if path else data
    if not isinstance(value, list):
        raise UnreadableBody(f"{'.'.join(path) or 'the answer'} is {json_type_name(value)}, expected a list")
    return value


def when(value: Any, zone: str = "UTC") -> datetime | None:
    """A vendor's time as aware UTC: unix seconds, ISO with or without a zone, or ``YYYY-MM-DD HH:MM:SS``.

    :param zone: IANA zone of a time without one.
    :returns: ``None`` for a missing or unreadable time; the raw text stays in the answer.
    """
    if value is None or value == "" or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _written_time(value, zone)
    try:
        return datetime.fromtimestamp(int(value), timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=4096)
def _written_time(value: str, zone: str) -> datetime | None:
    """Cached, since a poller reads the same hundred times repeatedly."""
    try:
        parsed: Any = pendulum.parse(value, tz=zone)
    except (ValueError, OverflowError):
        return None
    if not isinstance(parsed, datetime):
        return None
    # an hour that comes twice means the earlier one, so an order never seems to run longer than it does
    return datetime.fromtimestamp(min(parsed.timestamp(), parsed.replace(fold=0).timestamp()), timezone.utc)


def json_type_name(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "true/false", str: "text", int: "a number", Decimal: "a number", list: "a list", dict: "an object"}.get(
        type(value), type(value).__name__
    )
