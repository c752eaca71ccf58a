"""The one reading of what users and templates pass to operators, sensors, triggers and hooks.

Two rules. ``None``, ``"None"``, ``"null"``, ``""`` and blanks mean *not given*, for every parameter. A value without a
reading is refused in one sentence, before anything is sent.

A template renders to text, or with ``render_template_as_native_obj=True`` to the Python literal in that text: a key of
digits becomes an int, a list becomes a list. Both forms mean the same here. A float is refused as a key or an id: its text
is lost (``12e4567`` became ``inf``), and two keys could become one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar, overload
from uuid import UUID

from airflow_provider_proxyorders.domain.dates import duration, moment
from airflow_provider_proxyorders.domain.errors import InvalidParameter
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody, exact, load_own_json
from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.domain.names import KEY_EXAMPLE, LONGEST_CONN_ID, LONGEST_ID, check_name, order_id_in

#: Texts that a template makes of nothing.
NOTHING = frozenset({"", "None", "null"})
#: An amount above it is a mistake, and the ledger counts in millionths that must fit into 64 bits.
LARGEST_AMOUNT = Decimal(10) ** 12
#: Neither a database nor a vendor can take such text.
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_WHOLE_TEXT = "must be text without NUL and without half a character"
#: Bounds of a body: levels, values, and the power of ten of a number.
_DEEPEST, _MOST_VALUES, _LARGEST_POWER = 50, 100_000, 30
_WORDS_FOR_FLAGS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}

T = TypeVar("T")


def is_given(value: object) -> bool:
    """Whether a parameter has a value; see the first rule above."""
    return value is not None and not (isinstance(value, str) and value.strip() in NOTHING)


def is_template(value: object) -> bool:
    """Whether a value is known only once it is rendered, so it cannot be checked when the DAG file is read."""
    return (isinstance(value, str) and ("{{" in value or "{%" in value)) or hasattr(value, "resolve")


# -- text ----------------------------------------------------------------------------------------------------------


def text_of(name: str, value: object) -> str | None:
    """A text without surrounding blanks; None where it is not given.

    An int, a Decimal, a datetime, a date or a UUID becomes its text, as a template would render it.

    :raises InvalidParameter: for every other type, and for text that a database or the vendor cannot take: with NUL, with half
        a character (a lone surrogate), or a number of thousands of digits.
    """
    if not is_given(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal, date, UUID)):
        raise InvalidParameter(name, "must be text", "fresh-proxies", got=value)
    text = _as_text(value)
    if text is None:
        raise InvalidParameter(name, _WHOLE_TEXT, "fresh-proxies", got=value)
    return text


def required_text(name: str, value: object, example: object) -> str:
    """The same for a parameter without a default.

    :raises InvalidParameter: also where it is not given.
    """
    text = text_of(name, value)
    if text is None:
        raise InvalidParameter(name, "is needed and empty", example, got=value)
    return text


def order_key_of(value: object) -> str | None:
    """The identity of a purchase; None where it is not given, and then the default key counts.

    :raises InvalidParameter: for a key that cannot be a name in the ledger; see :func:`name_rule`.

    >>> order_key_of(20261231), order_key_of("None")
    ('20261231', None)
    """
    text = text_of("order_key", value)
    return None if text is None else check_name("order_key", text, KEY_EXAMPLE)


def required_order_key(value: object) -> str:
    """The same where there is no default key.

    :raises InvalidParameter: also where it is not given.
    """
    return check_name("order_key", required_text("order_key", value, KEY_EXAMPLE), KEY_EXAMPLE)


def order_id_of(value: object, name: str = "order_id") -> str:
    """The vendor's id of an order; see :func:`~airflow_provider_proxyorders.domain.names.order_id_in`.

    :raises InvalidParameter: where it is not given, is neither text nor a whole number, or cannot be a name in the ledger.
    """
    return check_name(name, required_text(name, order_id_in(name, value), "7001"), "7001", LONGEST_ID)


def conn_id_of(value: object, name: str = "conn_id") -> str:
    """The name of an Airflow connection.

    :raises InvalidParameter: where it is not given, or cannot be a name in the ledger.
    """
    return check_name(name, required_text(name, value, "voodoo_default"), "voodoo_default", LONGEST_CONN_ID)


def one_of(name: str, value: object, allowed: Sequence[str]) -> Any:
    """One of a few words; the first is the default.

    :raises InvalidParameter: for another word.
    """
    if not is_given(value):
        return allowed[0]
    word = value.strip() if isinstance(value, str) else value
    if word not in allowed:
        raise InvalidParameter(name, f"must be one of {', '.join(allowed)}", got=value)
    return word


def flag_of(name: str, value: object, default: bool) -> bool:
    """Yes or no: a bool, or ``true`` or ``false`` as text.

    :raises InvalidParameter: for anything else.
    """
    if not is_given(value):
        return default
    text = _as_text(value) if isinstance(value, (str, int, Decimal)) else None
    flag = _WORDS_FOR_FLAGS.get((text or "").lower())
    if flag is None:
        raise InvalidParameter(name, "must be true or false", True, got=value)
    return flag


def required_flag(name: str, value: object) -> bool:
    """The same for a parameter without a default.

    :raises InvalidParameter: also where it is not given.
    """
    if not is_given(value):
        raise InvalidParameter(name, "is needed and empty", True, got=value)
    return flag_of(name, value, default=False)


def _as_text(value: object) -> str | None:
    """The text of a value without surrounding blanks; None where it cannot be written."""
    try:
        text = str(value).strip()
    except ValueError:  # an int of thousands of digits
        return None
    return None if _UNWRITABLE.search(text) else text


# -- numbers and money ---------------------------------------------------------------------------------------------


def amount_of(name: str, value: object) -> Decimal | None:
    """An exact amount in major currency units; None where it is not given.

    A float that a user wrote means the digits in the DAG file.

    :raises InvalidParameter: for anything but a finite decimal number.
    """
    if not is_given(value):
        return None
    number = _exact_number(value)
    if number is None:
        raise InvalidParameter(name, "must be an amount as text or Decimal", "50.00", got=value)
    return number


def required_amount(name: str, value: object) -> Decimal:
    """The same for a parameter without a default.

    :raises InvalidParameter: also where it is not given.
    """
    number = amount_of(name, value)
    if number is None:
        raise InvalidParameter(name, "is needed and empty", "50.00", got=value)
    return number


def price_cap(value: object, *, was_set: bool = False, name: str = "max_price") -> Decimal | None:
    """The most one purchase may cost; None where the author of the DAG set no cap, so the connection's cap counts.

    :param was_set: whether the author passed anything but None. Keep this from ``__init__``, since a template can render to
        None.
    :raises InvalidParameter: for a cap that was set and rendered to nothing, and for anything but a positive number.
    """
    if value is None and not was_set:
        return None
    if not is_given(value):
        raise InvalidParameter(name, "was given but rendered to nothing", "12.50", got=value)
    cap = _exact_number(value)
    if cap is None or not 0 < cap <= LARGEST_AMOUNT:
        raise InvalidParameter(name, "must be a positive amount as text or Decimal", "12.50", got=value)
    return cap


def _exact_number(value: object) -> Decimal | None:
    try:
        return decimal(exact(value) if isinstance(value, float) else value)
    except (ValueError, TypeError):
        return None


@overload
def count_of(name: str, value: object) -> int | None: ...
@overload
def count_of(name: str, value: object, default: int) -> int: ...


def count_of(name: str, value: object, default: int | None = None) -> int | None:
    """A whole number >= 1, or its text.

    :param default: the number where it is not given.
    :raises InvalidParameter: for anything else.
    """
    if not is_given(value):
        return default
    text = (_as_text(value) or "") if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < 1:
        raise InvalidParameter(name, "must be a whole number >= 1 of at most 18 digits", 100, got=value)
    return int(text)


# -- time ----------------------------------------------------------------------------------------------------------


def duration_of(name: str, value: object, *, least: timedelta | None = None) -> timedelta | None:
    """How long: a timedelta, a number with a unit (``36h``, ``3 days``), or ISO text (``P3D``).

    :param least: the shortest that is accepted; None = anything above 0.
    :returns: None where it is not given; pendulum's Duration where days and months are the calendar's.
    :raises InvalidParameter: for anything else, a number without a unit included, and for more than ten years.
    """
    return duration(name, value, least=least) if is_given(value) else None


@overload
def seconds_of(name: str, value: object, *, least: float | None = ...) -> float | None: ...
@overload
def seconds_of(name: str, value: object, default: float, *, least: float | None = ...) -> float: ...


def seconds_of(name: str, value: object, default: float | None = None, *, least: float | None = None) -> float | None:
    """The same in seconds, which a number alone means here, as in Airflow's own parameters. A month has 30 days.

    :param default: the seconds where it is not given.
    """
    if not is_given(value):
        return default
    shortest = None if least is None else timedelta(seconds=least)
    return duration(name, value, least=shortest, bare_seconds=True).total_seconds()


def required_duration(name: str, value: object) -> timedelta:
    """How long, for a parameter without a default.

    :raises InvalidParameter: also where it is not given.
    """
    length = duration_of(name, value)
    if length is None:
        raise InvalidParameter(name, "is needed and empty", "3 days", got=value)
    return length


def moment_of(name: str, value: object, zone: str, *, bare_day: bool = True) -> datetime | None:
    """A moment as aware UTC; None where it is not given. See :func:`~airflow_provider_proxyorders.domain.dates.moment`."""
    return moment(name, value, zone, bare_day=bare_day) if is_given(value) else None


def required_moment(name: str, value: object, zone: str) -> datetime:
    """The same for a parameter without a default.

    :raises InvalidParameter: also where it is not given.
    """
    parsed = moment_of(name, value, zone)
    if parsed is None:
        raise InvalidParameter(name, "is needed and empty", "2026-12-31T12:00:00+00:00", got=value)
    return parsed


def require_rendered(name: str, value: object, was_template: bool) -> None:
    """Refuse a condition whose template rendered to nothing: without the condition the task would spend more often.

    :param was_template: whether the DAG's author wrote a template, see :func:`is_template`.
    :raises InvalidParameter: nothing was bought.
    """
    if was_template and not is_given(value):
        raise InvalidParameter(
            name, "was set to a template and rendered to nothing; correct the template or leave it out", got=value
        )


# -- objects and lists ---------------------------------------------------------------------------------------------


def body_of(value: object, name: str = "request") -> Mapping[str, Any]:
    """The vendor's body fields as an object, or their JSON as text.

    :raises InvalidParameter: where it is not given, or is something else.
    """
    body = optional_body_of(value, name)
    if body is None:
        raise InvalidParameter(
            name, "is needed and empty: it must be an object of the vendor's body fields", {"quantity": 1}, got=value
        )
    return body


def optional_body_of(value: object, name: str = "request") -> Mapping[str, Any] | None:
    """The same; None where it is not given."""
    if not is_given(value):
        return None
    body: Any = value
    if isinstance(value, str):
        try:
            body = load_own_json(value)
        except UnreadableBody as error:
            raise InvalidParameter(name, f"is text, but {error}; in a template use the filter `tojson`") from None
    if not isinstance(body, Mapping):
        raise InvalidParameter(name, "must be an object of the vendor's body fields", {"quantity": 1}, got=body)
    check_values(name, body)
    return body


def check_values(name: str, body: Mapping[str, Any]) -> None:
    """Walk a body, up to its bounds.

    :raises InvalidParameter: a text or a number in it cannot be sent, or it has no end.
    """
    waiting: list[tuple[Any, int]] = [(body, 1)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_VALUES:
            rule = f"must have at most {_DEEPEST} levels and {_MOST_VALUES:,} values, and cannot contain itself"
            raise InvalidParameter(name, rule, {"quantity": 1})
        if isinstance(value, Mapping):
            waiting += [(key, depth) for key in value if isinstance(key, (str, int))]
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, str):
            if _UNWRITABLE.search(value):
                raise InvalidParameter(name, "can hold text only without NUL and without half a character", {"note": "fresh"})
        elif isinstance(value, (int, float, Decimal)) and not _is_real(value):
            rule = f"can hold finite numbers only, between 1E-{_LARGEST_POWER} and 1E+{_LARGEST_POWER}"
            raise InvalidParameter(name, rule, {"quantity": 1}, got=value)


def _is_real(number: float | Decimal) -> bool:
    digits = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    return digits.is_finite() and abs(digits.adjusted()) <= _LARGEST_POWER


def ids_of(name: str, value: object) -> list[str] | None:
    """Ids: a list, its JSON as text, or texts with commas between them. One id alone is a list of one.

    :returns: None where it is not given.
    :raises InvalidParameter: for anything else.
    """
    if not is_given(value):
        return None
    items: Any = value
    if isinstance(value, str):
        text = value.strip()
        try:
            items = load_own_json(text) if text.startswith("[") else [part for part in text.split(",") if part.strip()]
        except UnreadableBody:
            raise InvalidParameter(name, "must be a list, or its JSON as text", ["7001"], got=value) from None
    elif isinstance(value, int) and not isinstance(value, bool):
        items = [value]
    if isinstance(items, (bytes, Mapping)) or not isinstance(items, Iterable):
        raise InvalidParameter(name, "must be a list, or its JSON as text", ["7001"], got=value)
    ids = list(items)
    if not all(isinstance(item, (str, int)) and not isinstance(item, bool) and is_given(item) for item in ids):
        raise InvalidParameter(name, "must be a list of texts or whole numbers", ["7001"], got=value)
    return [order_id_of(each, name) for each in ids]
