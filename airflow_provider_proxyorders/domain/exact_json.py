"""JSON without floats: exact numbers from vendors, from users and in the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import simplejson


class UnreadableBody(ValueError):
    """An unexpected body. The message names the place and the kind of content there."""


def load_json(body: bytes | str) -> Any:
    """Parse JSON exactly: fractions as Decimal, NaN, infinities and absurd exponents refused.

    :raises UnreadableBody: with the kind of content only, since the body may hold proxies or a token.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass") if isinstance(body, bytes) else body
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise UnreadableBody(f"not JSON: {_kind_of_text(body)}") from None


def dump_json(value: Any) -> str:
    """Compact JSON with sorted keys and exact numbers, so equal values give equal text."""
    return simplejson.dumps(
        exact(value), sort_keys=True, separators=(",", ":"), use_decimal=True, ensure_ascii=False, allow_nan=False
    )


def exact(value: Any) -> Any:
    """A copy with one form of each number: ints for whole numbers, else Decimals without trailing zeros.

    A float of a DAG file (``12.5``) means the digits in the file, so its ``repr`` counts.

    :raises TypeError: for values outside of JSON.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError(f"JSON lacks a form for the number {value}")
        return int(value) if value == value.to_integral_value() else value.normalize()
    if isinstance(value, Mapping):
        return {str(key): exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    raise TypeError(f"JSON lacks a form for a {type(value).__name__}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _fraction(digits: str) -> Decimal:
    number = Decimal(digits)
    if abs(number.adjusted()) > 400:  # beyond any double; written out it would fill the memory
        raise ValueError("the number is too large or too small to be real")
    return number


#: Made once: a poller reads thousands of answers, and making a decoder takes as long as reading an answer.
_DECODER = json.JSONDecoder(parse_float=_fraction, parse_constant=_refuse_constant)


def _kind_of_text(body: bytes | str) -> str:
    text = (body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body).lstrip()
    if not text:
        return "the body is empty"
    kind = "HTML" if text[0] == "<" else "broken JSON or plain text"
    return f"{len(body)} {'bytes' if isinstance(body, bytes) else 'characters'} of {kind}"
