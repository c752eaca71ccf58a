"""A field that decides nothing makes no order unreadable; a time, a count and an amount are read or count as not known."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import OrderStatus
from airflow_provider_proxyorders.vendors.iproyal.answers import read_delivery, read_order
from airflow_provider_proxyorders.wire.reading import FARTHEST, optional_amount, optional_count, rows, unreadable_amount, when

ORDER = {"id": 7001, "status": "in-progress", "quantity": 2, "expire_date": None, "proxy_data": []}
LOGIN = {"ip": "203.0.113.21", "username": "u7001", "password": "s3cret"}


def test_an_empty_map_of_php_is_an_empty_delivery() -> None:
    order = read_order(ORDER, "UTC")
    assert (order.order_id, order.status, order.delivered) == ("7001", OrderStatus.PENDING, 0)


def test_a_list_of_php_with_a_gap_is_a_list() -> None:
    data = {"ports": {"http|https": 12323}, "proxies": {"2": {**LOGIN, "ip": "203.0.113.22"}, "0": LOGIN}}
    delivery = read_delivery({**ORDER, "status": "confirmed", "proxy_data": data}, "7001", "UTC", "http")
    assert [proxy.host for proxy in delivery.proxies] == ["203.0.113.21", "203.0.113.22"]
    assert rows({}, *()) == []
    with pytest.raises(UnreadableBody, match="an object, expected a list"):
        rows({"0": 1, "next": 2})


@pytest.mark.parametrize("word", ["Confirmed", "CONFIRMED", " confirmed "])
def test_a_status_is_read_whatever_its_capitals(word: str) -> None:
    data = {"ports": {}, "proxies": [LOGIN, LOGIN]}
    order = read_order({**ORDER, "status": word, "proxy_data": data}, "UTC")
    assert (order.status, order.vendor_status) == (OrderStatus.DELIVERED, word)


@pytest.mark.parametrize(
    "written",
    [
        "now",
        "today",
        "12:30",
        "2030-02-01T09:15-60",
        "2030-02-30",
        "P1D",
        "2030-W05",
        "2030-02-01 25:00",
        "x" * 10_000,
        "0000-00-00",
    ],
)
def test_a_time_that_is_none_is_not_known(written: str) -> None:
    assert when(written, "America/New_York") is None


@pytest.mark.parametrize("value", [True, [], {}, 10**20, -(10**20), Decimal("1e300"), "99999999999999999999"])
def test_a_value_that_is_no_time_is_not_known(value: Any) -> None:
    assert when(value) is None


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Pacific/Kiritimati"])
@pytest.mark.parametrize("written", ["9999-12-31 23:59:59", "9999-06-01", "9999-12-31T23:59:59Z"])
def test_the_farthest_time_leaves_room_for_sums(written: str, zone: str) -> None:
    assert when(written, zone) == FARTHEST
    assert FARTHEST + timedelta(days=300) > FARTHEST


@pytest.mark.parametrize(
    "value", [1893456000, "1893456000", Decimal("1893456000.9"), "2030-01-01", "20300101", "2030-01-01 00:00:00"]
)
def test_a_time_is_read_in_each_of_its_forms(value: Any) -> None:
    assert when(value) == datetime(2030, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("value", [2**31, 2**63, -1, "N/A", False, None, {}, Decimal("1e30")])
def test_a_count_beyond_the_ledger_is_not_known(value: Any) -> None:
    assert optional_count({"n": value}, "n") is None


@pytest.mark.parametrize(
    ("value", "unreadable"), [(None, ""), (False, ""), ("", ""), ("N/A", "p"), (-1, "p"), (9_300_000_000_000, "p"), ({}, "p")]
)
def test_an_amount_that_is_none_is_not_known_and_a_strange_one_is_said(value: Any, unreadable: str) -> None:
    assert optional_amount({"p": value}, "p") is None
    assert unreadable_amount({"p": value}, "p") == unreadable
