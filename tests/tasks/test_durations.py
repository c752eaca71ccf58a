"""Durations and moments mean the same in every parameter that takes one."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidParameter, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import duration_of, moment_of, seconds_of
from airflow_provider_proxyorders.operators.orders import (
    CreateProxyOrderOperator,
    ExtendProxyOrderOperator,
    FindExpiringOrdersOperator,
)
from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator
from tests.hooks.connections import Shops

from .tasks import context

HOUR = timedelta(hours=1)


NUMBERS = [3600, 3600.0, Decimal(3600), "3600", " 3600 "]


@pytest.mark.parametrize("value", [HOUR, "PT1H", "pt1h", "1h", "1 H", "1 hour", "60min", "60 minutes", "3600s", "3600 seconds"])
def test_an_hour(value: Any) -> None:
    assert duration_of("within", value) == HOUR
    assert seconds_of("timeout", value) == 3600.0


@pytest.mark.parametrize("value", NUMBERS)
def test_a_number_alone_is_seconds_as_in_airflow(value: Any) -> None:
    assert seconds_of("timeout", value) == 3600.0


@pytest.mark.parametrize("value", [*NUMBERS, 3, "3", 0, -1])
def test_a_number_alone_is_no_duration(value: Any) -> None:
    """Three seconds are a green task that finds no order while all of them lapse."""
    with pytest.raises(InvalidParameter, match="^within needs a unit: .*got .*For example: '3 days'") as error:
        duration_of("within", value)
    assert error.value.field == "within" and error.value.retry == "never"


@pytest.mark.parametrize(
    "make",
    [
        lambda: FindExpiringOrdersOperator(task_id="t", conn_id="c", within=3).execute(context()),
        lambda: FindExpiringOrdersOperator(task_id="t", conn_id="c", within="3d", term="30").execute(context()),
        lambda: CheckWalletOperator(task_id="t", conn_ids="c", horizon="7").execute(context()),
        lambda: CheckWalletOperator(task_id="t", conn_ids="c", low_balance="5", term="30").execute(context()),
        lambda: ExtendProxyOrderOperator(
            task_id="t", conn_id="c", order_id="1", request={}, only_within="3", max_price="5"
        ).execute(context()),
        lambda: CreateProxyOrderOperator(task_id="t", conn_id="c", request={}, response_timeout="3"),
    ],
)
def test_every_operator_refuses_it(make: Any, shops: Shops) -> None:
    shops.connect("iproyal", conn_id="c")
    with pytest.raises(ProxyOrdersError, match="needs a unit") as error:
        make()
    assert error.value.retry == "never"
    assert shops.bought("iproyal") == []


@pytest.mark.parametrize(("value", "days"), [("P3D", 3), ("3d", 3), ("3 days", 3), ("1 day", 1), ("1w", 7), ("1.5d", 1.5)])
def test_days(value: str, days: float) -> None:
    assert duration_of("term", value) == timedelta(days=days)


@pytest.mark.parametrize(
    "value", ["0s", "-5d", True, "soon", "6m", "P", "nan", float("inf"), [1], {"h": 1}, "P11Y", "3 months", object()]
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="^horizon must be a number with a unit.*'3 days'"):
        duration_of("horizon", value)


def test_a_bound_of_the_parameter_counts() -> None:
    assert duration_of("only_within", "0h", least=timedelta(0)) == timedelta(0)
    with pytest.raises(InvalidParameter, match="at least 0.05 seconds"):
        seconds_of("poll_interval", 0.01, least=0.05)


@pytest.mark.parametrize("value", ["2026-12-31", 20261231, date(2026, 12, 31), "20261231"])
def test_a_day_is_its_end(value: Any) -> None:
    assert moment_of("paid_through", value, "UTC") == datetime(2027, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("value", [2026, "2026", "2026-12", 1.5, True, [1], "soon", timedelta(hours=1)])
def test_what_names_no_moment_is_refused(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="^paid_through must be a datetime"):
        moment_of("paid_through", value, "UTC")
