"""Moments and durations of a user, read in the time zone of the connection.

Four rules:

- A moment without a zone is in the connection's zone. The result is always UTC.
- A bare date means the end of that day in the zone.
- A calendar duration (``P1M``, ``P2D``) counts months and days in the calendar of the zone. Seconds and a timedelta have an exact
  length, even when clocks change.
- A duration has a unit: ``3`` may mean seconds or days. A number alone counts only where Airflow itself reads seconds, such as
  the pause between two looks and the timeout of a task.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pendulum

from airflow_provider_proxyorders.domain.errors import InvalidParameter

#: The longest duration: ten years.
LONGEST = timedelta(days=3660)
_FORMS = "a number with a unit (s, min, h, d, w), a timedelta or ISO text"
#: A bare date names its day. ``2026-12`` names a month, so it is refused.
_DAY = re.compile(r"\d{4}-?\d\d-?\d\d")

#: Units by their short names and by their words, as in ``36h`` and ``3 days``.
_UNITS = {
    **dict.fromkeys(("s", "second", "seconds"), timedelta(seconds=1)),
    **dict.fromkeys(("min", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("d", "day", "days"), timedelta(days=1)),
    **dict.fromkeys(("w", "week", "weeks"), timedelta(weeks=1)),
}
_WITH_UNIT = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})", re.IGNORECASE)


def moment(name: str, value: object, zone: str, *, bare_day: bool = True) -> datetime:
    """A moment as aware UTC.

    :param name: the parameter's name, for the message.
    :param value: a datetime, or its ISO text. A bare date (``2026-12-31``, also as a date or as the int ``20261231``) is the
        end of that day.
    :param zone: IANA zone of a moment without one. When clocks go back, an ambiguous time means the later one, so an order
        is paid for at least as long as you ask.
    :param bare_day: whether a bare date is accepted.
    :raises InvalidParameter: for anything else. Nothing was sent.
    """
    try:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return _utc(value)
        text = value.isoformat() if isinstance(value, date) else str(value).strip()
        if not text[:1].isdigit():  # pendulum also reads words such as "now"
            raise ValueError(text)
        parsed: Any = pendulum.parse(text, tz=zone, exact=True)
        if isinstance(parsed, datetime):
            return _utc(parsed)
        if bare_day and isinstance(parsed, date) and _DAY.fullmatch(text):
            return _utc(pendulum.datetime(parsed.year, parsed.month, parsed.day, tz=zone).add(days=1))
    except (ValueError, OverflowError, TypeError):
        pass
    rule = "must be a datetime, or ISO text such as a template gives it"
    raise InvalidParameter(name, rule, "2026-12-31T12:00:00+00:00", got=value)


def duration(name: str, value: object, *, least: timedelta | None = None, bare_seconds: bool = False) -> timedelta:
    """A length of time: a timedelta, a number with a unit (``36h``, ``3 days``), or ISO text (``P3D``, ``PT36H``, ``P1M``).

    Units are seconds, minutes, hours, days and weeks; each has an exact length.

    :param least: the shortest accepted length; ``None`` accepts all above 0.
    :param bare_seconds: whether a number alone means seconds, as in Airflow's own parameters.
    :returns: a timedelta, or pendulum's Duration for days and months of the calendar.
    :raises InvalidParameter: for anything else, and for more than ten years. Nothing was sent.
    """
    number = _bare_number(value)
    if number is not None and not bare_seconds:
        raise InvalidParameter(name, f"needs a unit: it must be {_FORMS}", "3 days", got=value)
    try:
        length = timedelta(seconds=number) if number is not None else _length(value)
    except (ValueError, OverflowError, TypeError):
        length = None
    if length is None or length > LONGEST or (length <= timedelta(0) if least is None else length < least):
        bound = "above 0" if least is None else f"at least {least.total_seconds():g} seconds"
        forms = f"seconds, {_FORMS}" if bare_seconds else _FORMS
        raise InvalidParameter(name, f"must be {forms}, {bound} and up to ten years", "3 days", got=value)
    return length


def _bare_number(value: object) -> float | None:
    """A number without a unit, or its text; ``None`` for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _length(value: object) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        return None
    text = value.strip()
    if text.upper().startswith("P"):
        parsed: Any = pendulum.parse(text.upper())
        return parsed if isinstance(parsed, pendulum.Duration) else None
    if number := _WITH_UNIT.fullmatch(text):
        return float(number[1]) * _UNITS[number[2].lower()]
    return None


def later(start: datetime, by: timedelta, zone: str) -> datetime:
    """The moment after a duration, in UTC. ``zone`` holds the calendar of a calendar duration."""
    return _utc(pendulum.instance(start).in_timezone(zone) + by)


def earlier(end: datetime, by: timedelta, zone: str) -> datetime:
    """The moment before a duration, in UTC. Months differ in length, so ``later`` leads from there to about the end."""
    return _utc(pendulum.instance(end).in_timezone(zone) - by)


def _utc(aware: datetime) -> datetime:
    return datetime.fromtimestamp(aware.timestamp(), timezone.utc)
