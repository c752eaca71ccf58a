"""Checks of request fields, so that bad input gets one clear error before money moves.

A vendor describes its documented fields as a table of :class:`Field`. A name that resembles a documented one is refused: a
misspelt ``quantity`` would buy another number. Other fields pass with a warning, since the documentation may be newer than this
package.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_proxyorders.domain.errors import InvalidRequest
from airflow_provider_proxyorders.domain.exact_json import exact
from airflow_provider_proxyorders.domain.inputs import is_given
from airflow_provider_proxyorders.domain.model import decimal

FieldKind = Literal["integer", "number", "text", "boolean", "id", "object", "list", "collection", "any"]


@dataclass(frozen=True)
class Field:
    """One documented field.

    :param kind: the JSON type; ``id`` is text or a whole number, kept as it is given; ``collection`` is an object or a list.
    :param rule: the documented rule in words, completing "request field 'x' ...".
    :param example: a valid value.
    :param above: numbers must be greater than this.
    :param least: smallest number allowed, or for text the smallest length.
    :param most: largest number allowed, or for text the greatest length.
    """

    kind: FieldKind
    rule: str
    example: Any = None
    required: bool = False
    choices: Sequence[Any] | None = None
    above: Decimal | int | None = None
    least: Decimal | int | None = None
    most: Decimal | int | None = None


def check(
    vendor: str,
    request: Mapping[str, Any],
    fields: Mapping[str, Field],
    *,
    accepts: Callable[[str], bool] = lambda name: False,
) -> tuple[dict[str, Any], list[str]]:
    """Check a request against its documented fields.

    Numbers and truth values may come as text, since templates render to text. A documented field that is not given by
    :func:`~airflow_provider_proxyorders.domain.inputs.is_given` is left out, also inside an object.

    :param accepts: whether another name is documented as well, beside the table.
    :returns: the body with proper types, and warnings about undocumented fields.
    :raises InvalidRequest: for the first field that breaks its rule.
    """
    if not isinstance(request, Mapping):
        raise InvalidRequest("request", "must be an object of the vendor's body fields", {"quantity": 1}, vendor=vendor)
    body: dict[str, Any] = {}
    for name, value in request.items():
        if not isinstance(name, str):
            raise InvalidRequest(str(name), "must be named by text", vendor=vendor)
        if not is_given(value) and (name in fields or accepts(name)):
            continue  # a template that rendered to nothing; a required field is missed below
        body[name] = convert(vendor, name, value, fields[name]) if name in fields else _plain(vendor, name, value)
    undocumented = [name for name in body if name not in fields and not accepts(name)]
    for name in undocumented:
        meant = _documented_name(name, fields, body)
        if meant is not None:
            unlike = f"is not documented (did you mean {meant!r}?)"
            raise InvalidRequest(name, unlike, fields[meant].example, vendor=vendor)
    for name, rule in fields.items():
        if rule.required and name not in body:
            raise InvalidRequest(name, f"is required: it {rule.rule}", rule.example, vendor=vendor)
    warnings = [
        f"{vendor}: request field {name!r} is not in the documentation this package was written from; sent as it is"
        for name in undocumented
    ]
    return body, warnings


def _documented_name(name: str, fields: Mapping[str, Field], body: Mapping[str, Any]) -> str | None:
    """The documented name that was probably meant: nearly the same letters, or a part or an abbreviation, such as ``qty``."""
    plain = _letters(name)
    by_letters = {_letters(documented): documented for documented in fields}
    near = difflib.get_close_matches(plain, by_letters, n=1, cutoff=0.77)
    if near:
        return by_letters[near[0]]
    for letters, documented in by_letters.items():
        words = [word for word in documented.split("_") if len(word) > 4]
        shortened = len(plain) > 2 and plain[0] == letters[0] and _abbreviates(plain, letters)
        if documented not in body and (shortened or difflib.get_close_matches(plain, words, n=1, cutoff=0.8)):
            return documented
    return None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _abbreviates(short: str, long: str) -> bool:
    """Whether a name is left of another one after some of its letters are taken out."""
    rest = iter(long)
    return all(letter in rest for letter in short)


def convert(vendor: str, name: str, value: Any, rule: Field) -> Any:
    """One value in the type and the bounds of its rule.

    :raises InvalidRequest: for any other value.
    """

    def wrong() -> InvalidRequest:
        return InvalidRequest(name, rule.rule, rule.example, got=value, vendor=vendor)

    try:
        converted = _CONVERT[rule.kind](value)
    except (ValueError, TypeError):
        raise wrong() from None
    if rule.choices is not None and converted not in rule.choices:
        raise wrong()
    size = len(converted) if isinstance(converted, str) else converted
    if isinstance(size, (int, Decimal)) and not isinstance(size, bool):
        too_small = (rule.least is not None and size < rule.least) or (rule.above is not None and size <= rule.above)
        if too_small or (rule.most is not None and size > rule.most):
            raise wrong()
    return converted


def query(name: str, value: Any) -> list[tuple[str, str]]:
    """A value of a body as query parameters, as PHP reads them: ``name[key]=``, ``name[]=``, and 1 or 0 for a truth value."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in query(f"{name}[{key}]", item)]
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(item, (Mapping, list, tuple)) for item in value)
        return [pair for number, item in enumerate(value) for pair in query(f"{name}[{number if nested else ''}]", item)]
    return [(name, str(int(value)) if isinstance(value, bool) else str(value))]


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    number = exact(value) if isinstance(value, float) else decimal(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _number(value: Any) -> Any:
    if isinstance(value, float):
        value = exact(value)
    return exact(decimal(value))


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError
    text = str(value)
    if not text.strip():
        raise ValueError
    return text


def _id(value: Any) -> str | int:
    return value if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError
    converted: dict[str, Any] = exact({name: item for name, item in value.items() if is_given(item)})
    return converted


def _list(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not all(is_given(item) for item in value):
        raise ValueError  # a list without the empty item could buy more: no proxies of an order means all of them
    converted: list[Any] = exact(value)
    return converted


def _collection(value: Any) -> Any:
    return _object(value) if isinstance(value, Mapping) else _list(value)


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "text": _text,
    "boolean": _boolean,
    "id": _id,
    "object": _object,
    "list": _list,
    "collection": _collection,
    "any": exact,
}


def _plain(vendor: str, name: str, value: Any) -> Any:
    try:
        return exact(value)
    except TypeError as error:
        raise InvalidRequest(name, f"must be something JSON can carry: {error}", got=value, vendor=vendor) from None
