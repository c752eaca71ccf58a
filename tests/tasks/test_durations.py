"""Durations and moments mean the same in every parameter that takes one."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidParameter
from airflow_provider_proxyorders.domain.inputs import duration_of, moment_of, seconds_of

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "value", [HOUR, 3600, 3600.0, Decimal(3600), "3600", " 3600 ", "PT1H", "pt1h", "1h", "1 H", "60min", "3600s"]
)
def test_an_hour(value: Any) -> None:
    assert duration_of("within", value) == HOUR
    assert seconds_of("timeout", value) == 3600.0


@pytest.mark.parametrize(("value", "days"), [("P3D", 3), ("3d", 3), ("1w", 7), ("1.5d", 1.5)])
def test_days(value: str, days: float) -> None:
    assert duration_of("term", value) == timedelta(days=days)


@pytest.mark.parametrize(
    "value", [0, -1, "0", "-5", True, "soon", "6m", "P", "nan", float("inf"), [1], {"h": 1}, "P11Y", object()]
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="^horizon must be a timedelta.*'P3D'. Nothing was bought"):
        duration_of("horizon", value)


def test_a_bound_of_the_parameter_counts() -> None:
    assert duration_of("only_within", 0, least=timedelta(0)) == timedelta(0)
    with pytest.raises(InvalidParameter, match="at least 0.05 seconds"):
        seconds_of("poll_interval", 0.01, least=0.05)


@pytest.mark.parametrize("value", ["2026-12-31", 20261231, date(2026, 12, 31), "20261231"])
def test_a_day_is_its_end(value: Any) -> None:
    assert moment_of("paid_through", value, "UTC") == datetime(2027, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("value", [2026, "2026", "2026-12", 1.5, True, [1], "soon", timedelta(hours=1)])
def test_what_names_no_moment_is_refused(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="^paid_through must be a datetime"):
        moment_of("paid_through", value, "UTC")
