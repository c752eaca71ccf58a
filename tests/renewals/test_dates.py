"""Moments as users write them, and vendor times without a zone: three zones, month ends, leap days, clock changes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.dates import duration, later, moment
from airflow_provider_proxyorders.domain.errors import InvalidRequest
from airflow_provider_proxyorders.wire.reading import when

BERLIN, NEW_YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


class TestMoment:
    @pytest.mark.parametrize(
        "zone, expected",
        [("UTC", "2026-12-31T12:00"), (NEW_YORK, "2026-12-31T17:00"), (KOLKATA, "2026-12-31T06:30")],
    )
    @pytest.mark.parametrize("value", ["2026-12-31 12:00:00", "2026-12-31T12:00", datetime.fromisoformat("2026-12-31T12:00")])
    def test_without_a_zone_it_is_the_connections(self, zone: str, expected: str, value: Any) -> None:
        assert moment("paid_through", value, zone) == utc(expected)

    @pytest.mark.parametrize("zone", ["UTC", NEW_YORK, KOLKATA])
    @pytest.mark.parametrize(
        "value", ["2026-12-31T12:00:00+02:00", "2026-12-31 10:00:00+00:00", "2026-12-31T10:00:00Z", utc("2026-12-31T10:00")]
    )
    def test_its_own_zone_counts(self, zone: str, value: Any) -> None:
        assert moment("paid_through", value, zone) == utc("2026-12-31T10:00")

    @pytest.mark.parametrize(
        "day, zone, expected",
        [
            ("2026-12-31", "UTC", "2027-01-01T00:00"),
            ("2026-12-31", NEW_YORK, "2027-01-01T05:00"),
            ("2026-12-31", KOLKATA, "2026-12-31T18:30"),
            ("2028-02-28", "UTC", "2028-02-29T00:00"),
            ("2028-02-29", "UTC", "2028-03-01T00:00"),
            ("2027-02-28", "UTC", "2027-03-01T00:00"),
            ("2026-03-28", BERLIN, "2026-03-28T23:00"),
            ("2026-03-29", BERLIN, "2026-03-29T22:00"),  # a day of 23 hours
            ("2026-10-25", BERLIN, "2026-10-25T23:00"),  # a day of 25
        ],
    )
    def test_a_day_is_meant_to_its_end(self, day: str, zone: str, expected: str) -> None:
        assert moment("paid_through", day, zone) == utc(expected)

    @pytest.mark.parametrize("value", ["2026-10-25 02:30:00", datetime.fromisoformat("2026-10-25T02:30")])
    def test_of_an_hour_that_comes_twice_the_second_is_meant(self, value: Any) -> None:
        assert moment("paid_through", value, BERLIN) == utc("2026-10-25T01:30")

    @pytest.mark.parametrize("value", ["2026-03-29 02:30:00", datetime.fromisoformat("2026-03-29T02:30")])
    def test_an_hour_that_does_not_come(self, value: Any) -> None:
        assert moment("paid_through", value, BERLIN) == utc("2026-03-29T01:30")

    @pytest.mark.parametrize(
        "value",
        ["soon", "12:30", "2026", "2026-12", "2026-W48", "2026-13-01", "2027-02-29", "P3D", 5, True, ["2026-12-31"], "  "],
    )
    def test_what_is_none(self, value: Any) -> None:
        with pytest.raises(InvalidRequest, match=r"paid_through.*ISO text"):
            moment("paid_through", value, "UTC")


class TestDuration:
    @pytest.mark.parametrize(
        "value, seconds",
        [
            (timedelta(days=2), 172800),
            ("90s", 90),
            ("1.5 h", 5400),
            ("2 days", 172800),
            ("PT36H", 129600),
            ("p2d", 172800),
            ("P1W", 604800),
        ],
    )
    def test_forms(self, value: Any, seconds: float) -> None:
        assert duration("within", value).total_seconds() == seconds

    @pytest.mark.parametrize("value", ["0s", "-5s", "nan", "inf", "soon", "P", "P11Y", True, timedelta(0), [1], "2026-12-31"])
    def test_what_is_none(self, value: Any) -> None:
        with pytest.raises(InvalidRequest, match="within.*ten years"):
            duration("within", value)

    @pytest.mark.parametrize(
        "start, by, expected",
        [
            ("2026-01-31T12:00", "P1M", "2026-02-28T12:00"),
            ("2028-01-31T12:00", "P1M", "2028-02-29T12:00"),
            ("2026-03-31T12:00", "P1M", "2026-04-30T12:00"),
            ("2026-12-31T12:00", "P1M", "2027-01-31T12:00"),
            ("2028-02-29T12:00", "P1Y", "2029-02-28T12:00"),
            ("2028-02-28T12:00", "P1D", "2028-02-29T12:00"),
            ("2027-02-28T12:00", "P1D", "2027-03-01T12:00"),
        ],
    )
    def test_months_and_leap_days(self, start: str, by: str, expected: str) -> None:
        assert later(utc(start), duration("within", by), "UTC") == utc(expected)

    def test_a_month_ends_where_the_zone_says(self) -> None:
        """It is the 31st in Kolkata already, and the 30th still in UTC."""
        start = utc("2026-01-30T20:00")
        assert later(start, duration("within", "P1M"), KOLKATA) == utc("2026-02-27T20:00")
        assert later(start, duration("within", "P1M"), "UTC") == utc("2026-02-28T20:00")

    @pytest.mark.parametrize(
        "start, by, hours",
        [
            ("2026-03-28T12:00", "P1D", 23),
            ("2026-03-28T12:00", "PT24H", 24),
            ("2026-03-28T12:00", "24h", 24),
            ("2026-10-24T12:00", "P1D", 25),
            ("2026-10-24T12:00", timedelta(days=1), 24),
        ],
    )
    def test_a_day_of_the_calendar_and_a_day_of_24_hours(self, start: str, by: Any, hours: int) -> None:
        assert later(utc(start), duration("within", by), BERLIN) - utc(start) == timedelta(hours=hours)


class TestVendorTime:
    @pytest.mark.parametrize(
        "zone, expected",
        [("UTC", "2028-02-29T23:30"), (NEW_YORK, "2028-03-01T04:30"), (KOLKATA, "2028-02-29T18:00")],
    )
    def test_without_a_zone(self, zone: str, expected: str) -> None:
        assert when("2028-02-29 23:30:00", zone) == utc(expected)

    def test_an_hour_that_comes_twice_is_read_as_the_first(self) -> None:
        """No order is thought to run for longer than it does."""
        assert when("2026-10-25 02:30:00", BERLIN) == utc("2026-10-25T00:30")
        assert when("2026-10-25 03:30:00", BERLIN) == utc("2026-10-25T02:30")
        assert when("2026-11-01 01:30:00", NEW_YORK) == utc("2026-11-01T05:30")

    def test_with_a_zone_of_its_own_it_is_what_it_says(self) -> None:
        assert when("2026-10-25T02:30:00+01:00", BERLIN) == utc("2026-10-25T01:30")

    def test_an_hour_that_does_not_come(self) -> None:
        assert when("2026-03-29 02:30:00", BERLIN) == utc("2026-03-29T01:30")
