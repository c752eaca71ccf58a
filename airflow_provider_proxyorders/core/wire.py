"""What a vendor says and hears, without any I/O: requests, responses, and how to read a body with care.

Two rules: a vendor operation is a generator that yields :class:`Request` and is sent :class:`Response`, so login,
paging and retries of reading are ``yield``s in one function and the sync and async drivers share every line; and
JSON numbers become :class:`~decimal.Decimal`, never floats.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import simplejson

T = TypeVar("T")

#: A vendor operation: yields requests, is sent responses, returns its result.
Flow = Generator["Request", "Response", T]

#: A pause longer than a week is a mistake, and could be more than a date can hold; in seconds.
LONGEST_ASKED = 7 * 86400.0


class UnreadableBody(ValueError):
    """A body that is not what was expected; says where and what was there instead."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, relative to the account's base URL.

    :param name: what it does, in two words, for logs and fault rules, e.g. ``create order``.
    :param params: query parameters in order; a name may repeat.
    :param json: the body, Decimals allowed; None sends no body. Not shown, since a login carries the key in it.
    :param spends: whether it moves money. It is the last request of its flow and is sent at most once by whoever runs it.
    """

    method: str
    path: str
    name: str = ""
    params: Sequence[tuple[str, str]] = ()
    json: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    spends: bool = False

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        return Request(
            self.method, self.path, self.name, self.params, self.json, {**self.headers, **headers}, self.spends
        )  # not replace(), which takes three times as long

    @cached_property
    def body(self) -> bytes | None:
        """The exact bytes to send."""
        return None if self.json is None else dump_json(self.json).encode()


@dataclass(frozen=True)
class Response:
    """One HTTP answer, read to its end.

    :param headers: names in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def data(self) -> Any:
        """The body read as JSON, numbers as Decimal or int.

        :raises UnreadableBody: when it is empty, HTML, truncated or otherwise no JSON.
        """
        return load_json(self.body)

    def data_or_none(self) -> Any:
        """Like :meth:`data`, None where the body is no JSON: for error answers, where the status already decides."""
        try:
            return self.data()
        except UnreadableBody:
            return None

    @property
    def retry_after(self) -> float | None:
        """Seconds asked for by ``Retry-After``, in either of its forms, at most :data:`LONGEST_ASKED`.

        None without it or where it is unreadable.
        """
        raw = self.headers.get("retry-after", "").strip()
        if raw.isascii() and raw.isdigit():
            return min(float(raw), LONGEST_ASKED)
        from email.utils import parsedate_to_datetime

        try:
            until = parsedate_to_datetime(raw)
        except (TypeError, ValueError):
            return None
        if until.tzinfo is None:
            until = until.replace(tzinfo=timezone.utc)
        return min(max(0.0, (until - datetime.now(timezone.utc)).total_seconds()), LONGEST_ASKED)


# ---------------------------------------------------------------------------------------------- JSON


def load_json(body: bytes | str) -> Any:
    """Parse JSON exactly: fractions as Decimal, NaN, infinities and absurd exponents refused.

    :raises UnreadableBody: saying what kind of thing was there; it may hold goods or a token, so nothing of it is shown.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass") if isinstance(body, bytes) else body
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise UnreadableBody(f"not JSON: {_kind_of_text(body)}") from None


def dump_json(value: Any) -> str:
    """Compact JSON with sorted keys; Decimals are written as exact numbers, so equal values give equal text."""
    return simplejson.dumps(
        exact(value), sort_keys=True, separators=(",", ":"), use_decimal=True, ensure_ascii=False, allow_nan=False
    )


def exact(value: Any) -> Any:
    """A copy in which every number has one form: whole numbers are ints, others Decimals without trailing zeros.

    A float a user wrote (``12.5`` in a DAG file) means the digits that he sees, so it is read by its ``repr``.

    :raises TypeError: for values that JSON has no form for.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError(f"{value} is not a number that JSON can carry")
        return int(value) if value == value.to_integral_value() else value.normalize()
    if isinstance(value, Mapping):
        return {str(key): exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _fraction(digits: str) -> Decimal:
    number = Decimal(digits)
    if abs(number.adjusted()) > 400:  # beyond any double; written out it would fill the memory
        raise ValueError("not a number of a sensible size")
    return number


#: Made once: a poller reads thousands of answers, and to make one takes as long as to read one.
_DECODER = json.JSONDecoder(parse_float=_fraction, parse_constant=_refuse_constant)


def _kind_of_text(body: bytes | str) -> str:
    text = (body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body).lstrip()
    if not text:
        return "the body is empty"
    kind = "HTML" if text[0] == "<" else "broken JSON or plain text"
    return f"{len(body)} {'bytes' if isinstance(body, bytes) else 'characters'} of {kind}"


# ---------------------------------------------------------------------------------------------- careful reading

#: No vendor documents how long its ids are; longer ones than this are not kept.
LONGEST_ID = 200


def pick(data: Any, *path: str) -> Any:
    """Walk into nested objects.

    :raises UnreadableBody: naming the first step that is missing or no object.
    """
    for depth, key in enumerate(path):
        if not isinstance(data, dict):
            where = ".".join(path[:depth]) or "the answer"
            raise UnreadableBody(f"{where} is {_kind(data)}, expected an object with {key!r}")
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
        raise UnreadableBody(f"{key} is {_kind(value)}, expected text")
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
    from airflow_provider_proxyorders.core.model import decimal

    try:
        return decimal(value)
    except ValueError:
        raise UnreadableBody(f"{name} is {_kind(value)}, expected a number") from None


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
        raise UnreadableBody(f"{'.'.join(path) or 'the answer'} is {_kind(value)}, expected a list")
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
    import pendulum

    try:
        parsed: Any = pendulum.parse(value, tz=zone)
    except (ValueError, OverflowError):
        return None
    if not isinstance(parsed, datetime):
        return None
    # an hour that comes twice is read as the first of the two: no order is thought to run for longer than it does
    return datetime.fromtimestamp(min(parsed.timestamp(), parsed.replace(fold=0).timestamp()), timezone.utc)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "true/false", str: "text", int: "a number", Decimal: "a number", list: "a list", dict: "an object"}.get(
        type(value), type(value).__name__
    )
