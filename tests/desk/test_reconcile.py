"""Ledger against vendor: what is open is settled, what was not intended is found, and nothing is spent."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from airflow_provider_proxyorders.core.account import Account
from airflow_provider_proxyorders.core.errors import CapExceeded
from airflow_provider_proxyorders.core.model import Money, Step
from airflow_provider_proxyorders.core.reconcile import reconcile
from airflow_provider_proxyorders.core.transport import Http

from .conftest import VENDORS, Shop
from .test_never_twice import leave_behind


def buy_elsewhere(shop: Shop) -> str | None:
    """Somebody buys from the same wallet without our ledger."""
    account = Account(shop.name, "x", "x", shop.box.url(shop.name), shop.box.token(shop.name))
    vendor = VENDORS[shop.name](account)
    body = vendor.prepare_create(shop.request, "someone-elses").body
    return Http(account).run(vendor.create(body), lambda request: None).order_id


def test_agreement(shop: Shop) -> None:
    reconcile(shop.desk())
    shop.delivered("k")
    findings = reconcile(shop.desk())
    assert findings.clean and findings.lines() == []
    assert findings.unexplained == Money(Decimal(0), findings.unexplained.currency if findings.unexplained else None)


def test_an_order_that_moved_on_is_brought_up_to_date(shop: Shop) -> None:
    shop.desk().place(shop.request, order_key="k")
    shop.box.control([{"advance": 60.0}])
    assert reconcile(shop.desk()).updated == ["k"]
    found = shop.ledger.find("k")
    assert found is not None and found.step is Step.DELIVERED


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_strange_order_is_reported_once_and_freezes_the_wallet(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    reconcile(shop.desk())
    buy_elsewhere(shop)
    shop.box.control([{"advance": 60.0}])
    findings = reconcile(shop.desk())
    assert len(findings.strange) == 1 and not findings.clean
    assert findings.unexplained is not None and findings.unexplained.amount > 0
    with pytest.raises(CapExceeded, match="did not intend"):
        shop.desk().place(shop.request, order_key="k")
    shop.ledger.freeze(f"{vendor}:main", None)
    assert reconcile(shop.desk()).clean
    shop.delivered("k")


def test_without_a_list_a_strange_purchase_shows_in_the_balance(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("voodoo")
    reconcile(shop.desk())
    shop.delivered("k")
    buy_elsewhere(shop)
    findings = reconcile(shop.desk())
    assert findings.strange == [] and findings.unexplained == Money(Decimal(9), "USD")
    assert any("UNEXPLAINED: the balance fell by 9.00 USD" in line for line in findings.lines())


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_what_a_killed_worker_left_is_settled(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    reconcile(shop.desk())
    leave_behind(shop, "lost")
    findings = reconcile(shop.desk())
    assert [key.split(" ")[0] for key in findings.settled] == ["lost"] and findings.clean
    assert len(shop.bought()) == 1


def test_what_the_vendor_no_longer_lists_is_said(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    shop.delivered("k")
    shop.box.control([{"reset": True}])
    assert reconcile(shop.desk()).missing == ["k"]
