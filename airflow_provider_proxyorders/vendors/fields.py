"""Checks of request fields, so that bad input gets one clear error before money moves.

A vendor describes its documented fields as a table of :class:`Field`. Other fields pass with a warning: the documentation may be
newer than this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_proxyorders.domain.errors import InvalidRequest
from airflow_provider_proxyorders.domain.exact_json import exact
from airflow_provider_proxyorders.domain.inputs import is_given
from airflow_provider_proxyorders.domain.model import decimal

FieldKind = Literal["integer", "number", "text", "boolean", "id", "object", "list", "any"]


@dataclass(frozen=True)
class Field:
    """One documented field.

    :param kind: the JSON type; ``id`` is text or a whole number, kept as it is given.
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
    for name, rule in fields.items():
        if rule.required and name not in body:
            raise InvalidRequest(name, f"is required: it {rule.rule}", rule.example, vendor=vendor)
    undocumented = [name for name in body if name not in fields and not accepts(name)]
    warnings = [
        f"{vendor}: request field {name!r} is not in the documentation this package was written from; sent as it is"
        for name in undocumented
    ]
    return body, warnings


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


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "text": _text,
    "boolean": _boolean,
    "id": _id,
    "object": _object,
    "list": _list,
    "any": exact,
}


def _plain(vendor: str, name: str, value: Any) -> Any:
    try:
        return exact(value)
    except TypeError as error:
        raise InvalidRequest(name, f"must be something JSON can carry: {error}", got=value, vendor=vendor) from None
