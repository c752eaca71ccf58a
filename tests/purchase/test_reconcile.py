"""Ledger against vendor: what is open is settled, what was not intended is found, and nothing is spent."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import CapExceeded, VendorError
from airflow_provider_proxyorders.domain.model import Actor, Money, Step
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wallet.reconcile import reconcile
from tests.counted import counted

from .conftest import VENDORS, Shop
from .test_never_twice import leave_behind


def buy_elsewhere(shop: Shop) -> str | None:
    """Somebody buys from the same wallet without our ledger."""
    account = Account(shop.name, "x", "x", shop.box.url(shop.name), shop.box.token(shop.name))
    vendor = VENDORS[shop.name](account)
    body = vendor.prepare_create(shop.request, "someone-elses").body
    return Http(account).run(vendor.create(body), lambda request: None).order_id


def test_agreement(shop: Shop) -> None:
    reconcile(shop.buyer())
    shop.delivered("k")
    report = reconcile(shop.buyer())
    assert report.clean and report.lines() == []
    assert report.unexplained == Money(Decimal(0), report.unexplained.currency if report.unexplained else None)


def test_an_order_that_moved_on_is_brought_up_to_date(shop: Shop) -> None:
    shop.buyer().place(shop.request, order_key="k")
    shop.box.control([{"advance": 60.0}])
    assert reconcile(shop.buyer()).updated == ["k"]
    purchase = shop.ledger.find("k")
    assert purchase is not None and purchase.step is Step.DELIVERED


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_strange_order_is_reported_once_and_freezes_the_wallet(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    reconcile(shop.buyer())
    buy_elsewhere(shop)
    shop.box.control([{"advance": 60.0}])
    report = reconcile(shop.buyer())
    assert len(report.foreign) == 1 and not report.clean
    assert report.unexplained is not None and report.unexplained.amount > 0
    with pytest.raises(CapExceeded, match="did not intend"):
        shop.buyer().place(shop.request, order_key="k")
    shop.ledger.freeze(f"{vendor}:main", None)
    assert reconcile(shop.buyer()).clean
    shop.delivered("k")


def test_without_a_list_a_strange_purchase_shows_in_the_balance(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("voodoo")
    reconcile(shop.buyer())
    shop.delivered("k")
    buy_elsewhere(shop)
    report = reconcile(shop.buyer())
    assert report.foreign == [] and report.unexplained == Money(Decimal(9), "USD")
    assert any("UNEXPLAINED: the balance fell by 9.00 USD" in line for line in report.lines())


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_what_a_killed_worker_left_is_settled(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    reconcile(shop.buyer())
    leave_behind(shop, "lost")
    report = reconcile(shop.buyer())
    assert [key.split(" ")[0] for key in report.settled] == ["lost"] and report.clean
    assert len(shop.bought()) == 1


def test_what_the_vendor_no_longer_lists_is_said(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    shop.delivered("k")
    shop.box.control([{"reset": True}])
    assert reconcile(shop.buyer()).missing == ["k"]


class TestWhileAnOrderIsBeingMade:
    """IPRoyal may take a day over an order; that must not hide what somebody else does to the wallet meanwhile."""

    def test_a_strange_order_shows_where_orders_are_known_by_their_ids(self, shop_of: Callable[[str], Shop]) -> None:
        shop = shop_of("iproyal")
        reconcile(shop.buyer())
        shop.box.control({"vendor": "iproyal", "processing": 86_400.0})
        assert shop.buyer().place(shop.request, order_key="slow").step is Step.PLACED
        strange = buy_elsewhere(shop)
        report = reconcile(shop.buyer())
        assert report.foreign == [strange] and not report.clean
        assert strange in (shop.ledger.freeze_reason("iproyal:main") or "")

    def test_what_may_be_ours_is_said_to_be_so(self, shop_of: Callable[[str], Shop]) -> None:
        """ProxyScrape's list tells sub-accounts, and which one an order opened shows only when it is finished."""
        shop = shop_of("proxyscrape")
        reconcile(shop.buyer())
        shop.box.control({"vendor": "proxyscrape", "processing": 86_400.0})
        shop.buyer().place(shop.request, order_key="slow")
        shop.box.control({"vendor": "proxyscrape", "processing": 0.2})
        buy_elsewhere(shop)
        shop.box.control([{"advance": 60.0}])
        first = reconcile(shop.buyer())
        assert first.foreign == [] and "did not intend" not in (shop.ledger.freeze_reason("proxyscrape:main") or "")
        assert [*first.maybe_ours.values()] == ["slow"]
        assert any("MAY BE OURS" in line and "slow" in line for line in first.lines())
        second = reconcile(shop.buyer())
        assert second.maybe_ours == first.maybe_ours and not second.clean, "it does not go away by itself"
        shop.box.control([{"advance": 90_000.0}])
        assert reconcile(shop.buyer()).foreign == [*first.maybe_ours]

    @pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
    def test_an_order_of_ours_is_no_alarm(self, shop_of: Callable[[str], Shop], vendor: str) -> None:
        shop = shop_of(vendor)
        reconcile(shop.buyer())
        shop.box.control({"vendor": vendor, "processing": 86_400.0})
        shop.buyer().place(shop.request, order_key="slow")
        report = reconcile(shop.buyer())
        assert report.clean and not report.maybe_ours


def test_an_order_that_the_vendor_does_not_know_any_more_hides_no_other(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    reconcile(shop.buyer())
    shop.box.control({"vendor": "iproyal", "processing": 86_400.0})
    gone = shop.buyer().place(shop.request, order_key="gone").order_id
    shop.buyer().place(shop.request, order_key="other")
    shop.box.fault(vendor="iproyal", operation="list", times=1, action="unseen")  # so each order is read alone, the newest first
    shop.box.fault(vendor="iproyal", operation="get", nth=2, action="status", status=404)
    strange = buy_elsewhere(shop)
    report = reconcile(shop.buyer())
    assert [*report.unresolved] == ["gone"] and f"order {gone} was taken" in report.unresolved["gone"]
    assert report.foreign == [strange]


def test_a_vendor_that_is_away_is_no_finding(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    shop.buyer().place(shop.request, order_key="k")
    for operation in ("get", "list", "balance"):
        shop.box.fault(vendor="iproyal", operation=operation, action="status", status=500)
    buyer = shop.buyer()
    buyer.http._sleep = lambda seconds: None
    with pytest.raises(VendorError):
        reconcile(buyer)


class TestWhatStandsToBeSentAgain:
    """P2: after a lost answer, and its own task may never come back."""

    @pytest.fixture
    def left(self, shop_of: Callable[[str], Shop]) -> Shop:
        shop = shop_of("voodoo")
        leave_behind(shop, "k")
        order = shop.ledger.find("k")
        assert order is not None
        unknown = shop.ledger.record(order, Step.UNKNOWN, "its worker is gone", Actor())
        shop.ledger.record(unknown, Step.INTENDED, "sent again with the same reference", Actor())
        return shop

    def test_its_own_task_may_be_about_to_send_it(self, left: Shop) -> None:
        before = left.ledger.find("k")
        report = reconcile(left.buyer())
        assert [*report.unresolved] == ["k"] and not report.clean
        assert "may have been taken" in report.unresolved["k"]
        assert left.ledger.find("k") == before

    def test_it_is_looked_into_when_no_task_comes_back(self, left: Shop) -> None:
        left.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(hours=1)
        report = reconcile(left.buyer())
        assert [*report.unresolved] == ["k"]
        purchase = left.ledger.find("k")
        assert purchase is not None and purchase.step is Step.UNKNOWN
        assert counted(left.buyer().ledger, "voodoo:main") == Decimal("25.00"), "it counts as spent"

    def test_its_webhook_settles_it(self, left: Shop) -> None:
        left.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(hours=1)
        purchase, bought = left.ledger.find("k"), left.bought()[0]
        assert purchase is not None
        reference = left.buyer().vendor.reference_in(purchase.request)
        hint = Hint("d" * 64, "voodoo_default", "voodoo:main", bought.order_id, reference, "completed")
        Inbox(left.ledger.engine).keep([hint])
        report = reconcile(left.buyer())
        assert [key.split(" ")[0] for key in report.settled] == ["k"] and not report.unresolved
        assert [order.order_key for order in left.ledger.by_order_id("voodoo:main", bought.order_id)] == ["k"]


def test_an_odd_entry_of_the_list_is_named_and_stops_nothing(shop_of: Callable[[str], Shop]) -> None:
    """It is not foreign, and an order of the ledger with an odd entry is not missing."""
    shop = shop_of("iproyal")
    reconcile(shop.buyer())
    mine = shop.delivered("k")
    meta = {"current_page": 1, "last_page": 1}
    body = json.dumps({"data": [7, {"id": int(mine.order_id or 0), "status": []}], "meta": meta})
    shop.box.fault("iproyal", "list", action="body", status=200, body=body)
    report = reconcile(shop.buyer())
    assert sorted(report.unreadable) == sorted(["entry 1 of the list", str(mine.order_id)])
    assert report.clean and (report.foreign, report.missing) == ([], [])
