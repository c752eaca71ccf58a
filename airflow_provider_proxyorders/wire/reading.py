"""Reads the fields of a vendor's answer, each by one rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pendulum

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, dump_json
from airflow_provider_proxyorders.domain.inputs import LARGEST_AMOUNT
from airflow_provider_proxyorders.domain.model import OrderStatus, decimal
from airflow_provider_proxyorders.wire.gate import ALTERED, plain
from airflow_provider_proxyorders.wire.quoting import without_addresses

#: The farthest moment that a vendor's time can mean. A year of room stays for sums and for every time zone.
FARTHEST = datetime(9999, 1, 1, tzinfo=timezone.utc)
#: The greatest count that every database of a ledger can hold.
LARGEST_COUNT = 2**31 - 1
#: How a date with or without a time of day begins.
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}(?!\d)")
#: Unix seconds as text.
_SECONDS = re.compile(r"\d{9,12}", re.ASCII)
#: The longest id of the ledger; the vendors leave the length of their ids undocumented.
LONGEST_ID = 200
#: Characters of a vendor's text that are kept: of a name or an explanation, of a word for a status, and of a currency.
LONGEST_NOTE, LONGEST_WORD, LONGEST_CURRENCY = 500, 100, 12


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
    altered = ALTERED in value or "***" in value or plain(value) != value  # the gate changed it, or would have
    if len(value) > LONGEST_ID or altered or not value.isprintable():
        raise UnreadableBody(f"{key} must be an id: printable text of at most {LONGEST_ID} characters")
    return value


def optional_text(data: Any, key: str) -> str | None:
    """An optional text of at most :data:`LONGEST_NOTE` characters; numbers become text, and a list of texts one text.

    :returns: ``None`` for a missing, null or empty field, and for an object: it may hold anything, secrets too.
    """
    value = data.get(key) if isinstance(data, dict) else None
    if isinstance(value, list):
        value = ", ".join(item for item in value if isinstance(item, str))
    if value is None or value == "" or isinstance(value, dict):
        return None
    return (value if isinstance(value, str) else dump_json(value))[:LONGEST_NOTE]


def explanation_in(data: Any, key: str) -> str:
    """The vendor's words about an order, "" without any; addresses of proxies are left out."""
    return without_addresses(optional_text(data, key) or "")


def status_word(data: Any) -> str:
    """The vendor's word for the state of an order, at most :data:`LONGEST_WORD` characters of it.

    :raises UnreadableBody: when it is missing or no text.
    """
    return text(data, "status")[:LONGEST_WORD]


def currency_in(data: Any, key: str = "currency") -> str | None:
    """The currency of an amount, ``None`` if the answer names none; what is no code stays as a word that equals no code."""
    value = data.get(key) if isinstance(data, dict) else None
    if value is None or value == "":
        return None
    return value[:LONGEST_CURRENCY] if isinstance(value, str) else "?"


def number(data: Any, key: str) -> Decimal:
    """A required number, as a JSON number or as text.

    :raises UnreadableBody: for a missing field and for everything else.
    """
    return as_number(pick(data, key), key)


def optional_number(data: Any, key: str) -> Decimal | None:
    """An optional number; ``None`` for a missing one and for anything but a number, since the order counts without it."""
    try:
        return as_number(data.get(key), key) if isinstance(data, dict) else None
    except UnreadableBody:
        return None


def optional_amount(data: Any, key: str) -> Decimal | None:
    """An optional amount of money, as large as the ledger can hold; ``None`` for a missing and for an unreadable one."""
    value = optional_number(data, key)
    return value if value is not None and value >= 0 else None


def unreadable_amount(data: Any, key: str) -> str:
    """The name of a field that says something about money and holds no amount, else "". Null and ``false`` say nothing."""
    value = data.get(key) if isinstance(data, dict) else None
    return key if value not in (None, False, "") and optional_amount(data, key) is None else ""


def as_number(value: Any, name: str) -> Decimal:
    """One JSON value as an exact number; a number as text counts.

    :raises UnreadableBody: for anything else, and beyond what sums of money can hold.
    """
    try:
        number = decimal(value)
    except ValueError:
        raise UnreadableBody(f"{name} is {json_type_name(value)}, expected a number") from None
    if abs(number) > LARGEST_AMOUNT:
        raise UnreadableBody(f"{name} is a number beyond {LARGEST_AMOUNT:f}")
    return number


def optional_count(data: Any, key: str) -> int | None:
    """An optional count; ``None`` for an unreadable one too, since all decisions work without it."""
    value = optional_number(data, key)
    return int(value) if value is not None and 0 <= value <= LARGEST_COUNT else None


def rows(data: Any, *path: str) -> list[Any]:
    """A required list. PHP writes a list with a gap as an object with numbers for names: its values count.

    :raises UnreadableBody: for everything else.
    """
    value = pick(data, *path) if path else data
    if isinstance(value, dict) and all(name.isascii() and name.isdigit() for name in value):
        return [value[name] for name in sorted(value, key=int)]
    if not isinstance(value, list):
        raise UnreadableBody(f"{'.'.join(path) or 'the answer'} is {json_type_name(value)}, expected a list")
    return value


def when(value: Any, zone: str = "UTC") -> datetime | None:
    """A vendor's time as aware UTC: unix seconds, ISO with or without a zone, or ``YYYY-MM-DD HH:MM:SS``.

    :returns: ``None`` for a missing or unreadable time; the raw text stays in the answer. :data:`FARTHEST` for a later time.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    if isinstance(value, str) and not _SECONDS.fullmatch(value):
        return _written_time(value.strip(), zone) if len(value) <= LONGEST_TIME else None
    try:
        return min(datetime.fromtimestamp(int(value), timezone.utc), FARTHEST)
    except (ValueError, OverflowError, OSError):
        return None


#: Characters of a written time. A longer text is none, and the cache stays small.
LONGEST_TIME = 64


@lru_cache(maxsize=4096)
def _written_time(value: str, zone: str) -> datetime | None:
    """Cached, since a poller reads the same hundred times repeatedly."""
    if not _DATE.match(value):  # the parser would also take "now", and a time of day for one of today
        return None
    try:
        parsed: Any = pendulum.parse(value, tz=zone)
        # an hour that comes twice means the earlier one, so an order never seems to run longer than it does
        seconds = min(parsed.timestamp(), parsed.replace(fold=0).timestamp())
        return min(datetime.fromtimestamp(seconds, timezone.utc), FARTHEST)
    except (ValueError, OverflowError, TypeError, AttributeError):  # also what the parser makes of a zone such as -60
        return FARTHEST if value.startswith("9999") else None


def status_in(words: Mapping[str, OrderStatus], word: str) -> OrderStatus:
    """Our reading of a vendor's word for a status, whatever its capitals; UNKNOWN for an unfamiliar one."""
    return words.get(word) or words.get(word.strip().casefold(), OrderStatus.UNKNOWN)


def json_type_name(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "true/false", str: "text", int: "a number", Decimal: "a number", list: "a list", dict: "an object"}.get(
        type(value), type(value).__name__
    )
