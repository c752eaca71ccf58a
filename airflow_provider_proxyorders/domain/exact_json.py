"""JSON without floats: what a vendor sends, what a user types and what the ledger keeps is read and written exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import simplejson


class UnreadableBody(ValueError):
    """A body that is not what was expected; says where and what was there instead."""


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
