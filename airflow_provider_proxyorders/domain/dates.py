"""Moments and durations as a user writes them, read in the time zone of his connection.

Three rules: a moment without a zone is in the connection's zone, and what comes out is UTC; a bare date means until the
end of that day there; and a calendar duration (``P1M``, ``P2D``) counts months and days as the calendar of that zone has
them, while a plain number of seconds or a timedelta is exactly as long as it says, whatever the clocks do meanwhile.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pendulum

from airflow_provider_proxyorders.domain.errors import InvalidRequest

#: No horizon is further away than ten years.
LONGEST = timedelta(days=3660)
#: A bare date names its day: the first of ``2026-12`` is not what anybody means by that month.
_DAY = re.compile(r"\d{4}-?\d\d-?\d\d")


def moment(name: str, value: datetime | str, zone: str, *, bare_day: bool = True) -> datetime:
    """A moment as aware UTC.

    :param name: the parameter's name, for the message.
    :param value: a datetime, or its ISO text; a bare date (``2026-12-31``) is the end of that day.
    :param zone: IANA zone of what has none. Of an hour that comes twice there the second is meant: who asks for an order to be
        paid through it gets no less.
    :param bare_day: whether a bare date is taken.
    :raises InvalidRequest: when it is none. Nothing was sent.
    """
    try:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return _utc(value)
        text = value.isoformat() if isinstance(value, datetime) else value.strip()
        given: Any = pendulum.parse(text, tz=zone, exact=True)
        if isinstance(given, datetime):
            return _utc(given)
        if bare_day and isinstance(given, date) and _DAY.fullmatch(text):
            return _utc(pendulum.datetime(given.year, given.month, given.day, tz=zone).add(days=1))
    except (ValueError, OverflowError, TypeError, AttributeError):
        pass
    raise InvalidRequest(
        name, "must be a datetime, or ISO text such as a template gives it", "2026-12-31T12:00:00+00:00", got=value
    )


def duration(name: str, value: timedelta | float | str) -> timedelta:
    """How long: a timedelta, seconds, or ISO text such as ``P3D``, ``PT36H`` or ``P1M``.

    :returns: a timedelta, or pendulum's Duration where the calendar is to count.
    :raises InvalidRequest: when it is none, not positive, or longer than ten years. Nothing was sent.
    """
    found: timedelta | None = None
    try:
        if isinstance(value, timedelta):
            found = value
        elif isinstance(value, str) and value.strip().upper().startswith("P"):
            parsed: Any = pendulum.parse(value.strip().upper())
            found = parsed if isinstance(parsed, pendulum.Duration) else None
        elif not isinstance(value, bool) and math.isfinite(float(value)):
            found = timedelta(seconds=float(value))
    except (ValueError, OverflowError, TypeError):
        found = None
    if found is None or not timedelta(0) < found <= LONGEST:
        raise InvalidRequest(name, "must be a timedelta, seconds or ISO text, above 0 and up to ten years", "P3D", got=value)
    return found


def later(start: datetime, by: timedelta, zone: str) -> datetime:
    """A moment that much later, in UTC; a calendar duration is counted in ``zone``."""
    return _utc(pendulum.instance(start).in_timezone(zone) + by)


def _utc(aware: datetime) -> datetime:
    return datetime.fromtimestamp(aware.timestamp(), timezone.utc)
