"""The search at a vendor without a list: only orders that can be due are asked for, however long the ledger is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger.schema import purchases
from airflow_provider_proxyorders.renewal.results import ExpiringOrders, OrderFilter
from airflow_provider_proxyorders.renewal.search import MOST_NAMED, find_due
from airflow_provider_proxyorders.wallet.check import check_wallet
from airflow_provider_proxyorders.wallet.plan import plan_renewals
from tests.hooks.connections import REQUESTS, Shops

DAY = timedelta(days=1)
TERM = 30 * DAY


@pytest.fixture
def hook(shops: Shops) -> Iterator[ProxyOrdersHook]:
    """Its vendor dates no order."""
    shops.box.control({"vendor": "proxyscrape", "overview": False})
    yield shops.hook("proxyscrape")


def bought(hook: ProxyOrdersHook, now: datetime, *ages: float) -> list[str]:
    """Orders that were bought so many days ago."""
    order_ids: list[str] = []
    for age in ages:
        key = f"k{len(order_ids)}"
        order = hook.create_order(REQUESTS["proxyscrape"], order_key=key)
        order = hook.buyer().wait(order, deadline=datetime.now().astimezone() + timedelta(seconds=10), poll_interval=0.05)
        order_ids.append(str(order.order_id))
        change(hook, str(order.order_id), sent_at=(now - age * DAY).isoformat(timespec="microseconds"))
    return order_ids


def change(hook: ProxyOrdersHook, order_id: str, /, **columns: Any) -> None:
    with hook.ledger.engine.begin() as connection:
        connection.execute(update(purchases).where(purchases.c.order_id == order_id).values(**columns))


def copies(hook: ProxyOrdersHook, order_id: str, many: int, **columns: Any) -> None:
    """More purchases like that of an order, under ids that the vendor does not know."""
    with hook.ledger.engine.begin() as connection:
        row = dict(connection.execute(select(purchases).where(purchases.c.order_id == order_id)).mappings().one())
        rows = [{**row, **columns, "order_key": f"copy-{n}", "order_id": f"{order_id}-{n}"} for n in range(many)]
        connection.execute(insert(purchases), rows)


def find(hook: ProxyOrdersHook, now: datetime, **options: Any) -> ExpiringOrders:
    return find_due(hook.buyer(), as_of=now, within=3 * DAY, **options)


def reasons(orders: ExpiringOrders) -> dict[str, str]:
    return {left.order_id: left.reason for left in orders.left_out}


def test_only_orders_that_can_be_due_are_asked_for(shops: Shops, hook: ProxyOrdersHook, now: datetime) -> None:
    old, over, near, young = bought(hook, now, 90, 31, 28, 5)
    copies(hook, old, 500)
    asked = shops.box.book.count("proxyscrape", "get")
    orders = find(hook, now, term=TERM)
    assert [each.order_id for each in orders.due] == [near]
    assert reasons(orders) == {over: "expired"} and "by the ledger it ended" in orders.left_out[0].why
    assert shops.box.book.count("proxyscrape", "get") == asked + 1


def test_an_order_that_renews_itself_is_asked_for_after_its_term(shops: Shops, hook: ProxyOrdersHook, now: datetime) -> None:
    (over,) = bought(hook, now, 31)
    change(hook, over, request=json.dumps({**REQUESTS["proxyscrape"], "is_subscription": True}))
    asked = shops.box.book.count("proxyscrape", "get")
    assert reasons(find(hook, now, term=TERM)) == {over: "expired"}
    assert shops.box.book.count("proxyscrape", "get") == asked + 1


def test_named_orders_are_explained_wherever_they_end(shops: Shops, hook: ProxyOrdersHook, now: datetime) -> None:
    old, near, young = bought(hook, now, 90, 28, 5)
    asked = shops.box.book.count("proxyscrape", "get")
    orders = find(hook, now, term=TERM, only=OrderFilter(order_ids=[old, young, near, "nobody"]))
    assert [each.order_id for each in orders.due] == [near]
    assert reasons(orders) == {old: "expired", young: "later", "nobody": "unknown"}
    assert shops.box.book.count("proxyscrape", "get") == asked + 1


def test_a_calendar_term_finds_its_orders(shops: Shops, hook: ProxyOrdersHook) -> None:
    """A month before the first of March has 28 days, and one before the first of January 31."""
    from airflow_provider_proxyorders.domain.dates import duration

    for end, begin in (("2027-03-01", "2027-02-01"), ("2027-01-01", "2026-12-01"), ("2027-03-31", "2027-02-28")):
        moment = datetime.fromisoformat(f"{begin}T12:00:00+00:00")
        order_id = bought(hook, moment, 0)[0] if not hook.ledger.purchases() else hook.ledger.purchases()[0].order_id
        change(hook, str(order_id), sent_at=moment.isoformat(timespec="microseconds"))
        as_of = datetime.fromisoformat(f"{end}T11:00:00+00:00") - (3 * DAY if end == "2027-03-31" else timedelta())
        assert [each.order_id for each in find(hook, as_of, term=duration("term", "P1M")).due] == [order_id], end


def test_without_a_term_all_are_counted_and_the_first_are_named(hook: ProxyOrdersHook, now: datetime) -> None:
    (order_id,) = bought(hook, now, 2)
    copies(hook, order_id, MOST_NAMED + 49)
    orders = find(hook, now)
    assert (orders.due, len(orders.left_out), orders.left_out_count) == ((), MOST_NAMED, MOST_NAMED + 50)
    assert orders.looked_at == MOST_NAMED + 50
    assert orders.lines(most=7)[-1] == f"left out (no_expiry): and {MOST_NAMED + 43} more"
    assert plan_renewals(hook.buyer(), orders.due, None).report(orders, [])["left_out_count"] == MOST_NAMED + 50
    facts = check_wallet(hook.buyer(), horizon=3 * DAY).facts()
    assert facts["orders_without_end"] == MOST_NAMED + 50


def test_orders_known_by_their_sub_account_are_read_in_one_list(shops: Shops, hook: ProxyOrdersHook, now: datetime) -> None:
    """Their own ids were lost with the answers to their purchases."""
    order_ids = bought(hook, now, 28, 28.5, 29)
    for order_id in order_ids:
        handle = hook.get_order(order_id).handle
        change(hook, order_id, order_id=f"subaccount:{handle}")
    asked = shops.box.book.count("proxyscrape", "subaccounts")
    assert len(find(hook, now, term=TERM).due) == 3
    assert shops.box.book.count("proxyscrape", "subaccounts") == asked + 1
