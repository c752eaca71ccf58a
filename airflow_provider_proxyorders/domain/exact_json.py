"""JSON without floats and without guesses: exact numbers from vendors, from users and in the ledger.

Two rules. An object with one key twice: with different values the key counts as missing, since either value may be the right one.
A copy of the same value does no harm. And what is no number in the place of a number spoils that one field only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import simplejson

#: Stands for NaN, infinities and numbers of absurd size. No field takes it for a value: it is no number and no id.
NO_NUMBER = "no number \ufffd"
#: Digits of a number, or its exponent, beyond any real one.
_MOST_DIGITS = 400


class UnreadableBody(ValueError):
    """An unexpected body. The message names the place and the kind of content there."""


def load_json(body: bytes | str) -> Any:
    """Parse JSON exactly: fractions as Decimal; NaN, infinities and absurd numbers as :data:`NO_NUMBER`.

    An object leaves out a key that comes twice with different values, at any depth. Bytes that are no text become U+FFFD.

    :raises UnreadableBody: with the kind of content only, since the body may hold proxies or a token.
    """
    return _load(body, _DECODER)


def load_own_json(text: str) -> Any:
    """Parse JSON of a user, such as a request. A key twice with different values, and NaN and its like, are mistakes there.

    :raises UnreadableBody: as :func:`load_json`, and for such a key or number.
    """
    return _load(text, _OWN_DECODER)


def _load(body: bytes | str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(_decoded(body) if isinstance(body, bytes) else body)
    except UnreadableBody:
        raise
    except (ValueError, RecursionError):
        raise UnreadableBody(f"not JSON: {_kind_of_text(body)}") from None


def _decoded(body: bytes) -> str:
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        return body.decode(encoding, "replace")


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


def _own_fraction(digits: str) -> Decimal:
    number = _fraction(digits)
    if isinstance(number, str):
        raise ValueError("the number is too large or too small to be real")
    return number


def _no_number(name: str) -> str:
    return NO_NUMBER


def _fraction(digits: str) -> Decimal | str:
    if len(digits) > _MOST_DIGITS:
        return NO_NUMBER
    number = Decimal(digits)
    return NO_NUMBER if abs(number.adjusted()) > _MOST_DIGITS else number  # written out it would fill the memory


def _whole(digits: str) -> int | str:
    return NO_NUMBER if len(digits) > _MOST_DIGITS else int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        for key in _contradicted_keys(pairs):
            del data[key]
    return data


def _own_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs) and (keys := _contradicted_keys(pairs)):
        raise UnreadableBody(f"its key {min(keys)[:100]!r} comes twice with different values")
    return data


def _contradicted_keys(pairs: list[tuple[str, Any]]) -> set[str]:
    first: dict[str, Any] = {}
    return {key for key, value in pairs if not _is_same(first.setdefault(key, value), value)}


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values mean the same in JSON, where ``true`` and ``1`` differ."""
    if value is other or value != other:  # quick, and true of nearly all
        return value is other
    return dump_json(value) == dump_json(other)


#: Made once: a poller reads thousands of answers, and making a decoder takes as long as reading an answer.
_DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_fraction, parse_constant=_no_number, object_pairs_hook=_object)
_OWN_DECODER = json.JSONDecoder(parse_float=_own_fraction, parse_constant=_refuse_constant, object_pairs_hook=_own_object)


def _kind_of_text(body: bytes | str) -> str:
    text = (body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body).lstrip()
    if not text:
        return "the body is empty"
    kind = "HTML" if text[0] == "<" else "broken JSON or plain text"
    return f"{len(body)} {'bytes' if isinstance(body, bytes) else 'characters'} of {kind}"
