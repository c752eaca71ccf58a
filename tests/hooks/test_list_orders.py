"""Lists of orders cost as many calls as they need: one page alone, or as many orders as asked for."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidParameter, InvalidRequest, RequestRefused
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

from .connections import Shops

MANY = 250


@pytest.fixture
def hook(shops: Shops) -> ProxyOrdersHook:
    order = {"status": "confirmed", "expire_date": "2030-02-01 09:15:00"}
    shops.box.control([{"vendor": "iproyal", "order": {"id": 7001 + number, **order}} for number in range(MANY)])
    return shops.hook("iproyal")


@pytest.mark.parametrize(
    ("filters", "first", "count", "calls"),
    [
        ({}, "7250", 250, 3),
        ({"page": 2}, "7150", 100, 1),
        ({"page": 2, "per_page": 20, "sort_by": "id", "order": "asc"}, "7021", 20, 1),
        ({"page": 9}, None, 0, 1),
        ({"limit": 1}, "7250", 1, 1),
        ({"limit": 1, "sort_by": "id", "order": "asc"}, "7001", 1, 1),
        ({"limit": 150}, "7250", 150, 2),
        ({"limit": "120"}, "7250", 120, 2),
        ({"limit": 10, "per_page": 4}, "7250", 10, 3),
        ({"limit": 1000}, "7250", 250, 3),
        ({"limit": 2, "order_ids": ["7001", "7002", "7003"]}, "7003", 2, 1),
    ],
)
def test_a_list_costs_the_calls_it_needs(
    shops: Shops, hook: ProxyOrdersHook, filters: dict[str, Any], first: str | None, count: int, calls: int
) -> None:
    orders = hook.list_orders(**filters)
    assert len(orders) == count and (orders[0].order_id if orders else None) == first
    assert shops.box.book.count("iproyal", "list") == calls


@pytest.mark.parametrize("limit", [0, -1, "many", 1.5, True])
def test_a_wrong_limit_is_refused(hook: ProxyOrdersHook, limit: Any) -> None:
    with pytest.raises(InvalidParameter, match="limit"):
        hook.list_orders(limit=limit)


def test_a_wrong_page_is_refused(hook: ProxyOrdersHook) -> None:
    with pytest.raises(InvalidRequest, match="page"):
        hook.list_orders(page=0)
    with pytest.raises(RequestRefused):
        hook.list_orders(sort_by="nonsense", order="asc")


def test_a_list_works_without_a_ledger(hook: ProxyOrdersHook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", "sqlite:////nowhere/at/all.db")
    assert len(hook.list_orders()) == MANY
