"""Reads the fields of a vendor's answer, each with one rule for what it may be."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pendulum

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json
from airflow_provider_proxyorders.domain.model import decimal

#: No vendor documents how long its ids are; longer ones than this are not kept.
LONGEST_ID = 200


def pick(data: Any, *path: str) -> Any:
    """Walk into nested objects.

    :raises UnreadableBody: naming the first step that is missing or no object.
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
    """A text field that must be there; ids given as whole numbers become text.

    :raises UnreadableBody: when it is missing, empty or of another type.
    """
    value = pick(data, key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise UnreadableBody(f"{key} is {json_type_name(value)}, expected text")
    return value


def identifier(data: Any, key: str) -> str:
    """A vendor's id, which the ledger must be able to keep: text or a whole number, printable, at most :data:`LONGEST_ID` long.

    :raises UnreadableBody: when it is missing or something else.
    """
    value = text(data, key)
    if len(value) > LONGEST_ID or not value.isprintable():
        raise UnreadableBody(f"{key} is text that no id is")
    return value


def optional_text(data: Any, key: str) -> str | None:
    """A field that may be missing, null or of a surprising type; anything that is not empty comes back as text."""
    value = data.get(key) if isinstance(data, dict) else None
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else dump_json(value)


def number(data: Any, key: str) -> Decimal:
    """A number that must be there, given as number or as text.

    :raises UnreadableBody: when it is missing or no number.
    """
    return as_number(pick(data, key), key)


def optional_number(data: Any, key: str) -> Decimal | None:
    """A number that may be missing or null.

    :raises UnreadableBody: when something else is there.
    """
    value = data.get(key) if isinstance(data, dict) else None
    return None if value is None or value == "" else as_number(value, key)


def as_number(value: Any, name: str) -> Decimal:
    """One JSON value as an exact number; a number written as text counts.

    :raises UnreadableBody: for anything else.
    """
    try:
        return decimal(value)
    except ValueError:
        raise UnreadableBody(f"{name} is {json_type_name(value)}, expected a number") from None


def optional_count(data: Any, key: str) -> int | None:
    """A count that may be missing; a fraction or a word is None, since no decision hangs on it."""
    try:
        value = optional_number(data, key)
    except UnreadableBody:
        return None
    return int(value) if value is not None else None


def rows(data: Any, *path: str) -> list[Any]:
    """A list that must be there.

    :raises UnreadableBody: when something else is.
    """
    value = pick(data, *path) if path else data
    if not isinstance(value, list):
        raise UnreadableBody(f"{'.'.join(path) or 'the answer'} is {json_type_name(value)}, expected a list")
    return value


def when(value: Any, zone: str = "UTC") -> datetime | None:
    """A vendor's time as aware UTC: unix seconds, ISO with or without a zone, or ``YYYY-MM-DD HH:MM:SS``.

    :param zone: IANA zone assumed where the vendor gives none.
    :returns: None where there is none or where it cannot be read; the raw text stays in the answer.
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
    """A poller reads the same hundred times again and again."""
    try:
        parsed: Any = pendulum.parse(value, tz=zone)
    except (ValueError, OverflowError):
        return None
    if not isinstance(parsed, datetime):
        return None
    # an hour that comes twice is read as the first of the two: no order is thought to run for longer than it does
    return datetime.fromtimestamp(min(parsed.timestamp(), parsed.replace(fold=0).timestamp()), timezone.utc)


def json_type_name(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "true/false", str: "text", int: "a number", Decimal: "a number", list: "a list", dict: "an object"}.get(
        type(value), type(value).__name__
    )
