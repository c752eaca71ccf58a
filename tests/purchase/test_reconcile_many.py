"""Comparisons of large ledgers and large accounts: everything is looked at, the first hundred are named, all are counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.schema import owned_ids, purchases
from airflow_provider_proxyorders.wallet.findings import MOST_NAMED, ReconcileReport
from airflow_provider_proxyorders.wallet.reconcile import MOST_REFUSED, reconcile

from .conftest import Shop

DAY = timedelta(days=1)


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def copies(ledger: Ledger, key: str, order_ids: list[str], **columns: Any) -> None:
    """More purchases like one, with these orders."""
    with ledger.engine.begin() as connection:
        row = dict(connection.execute(select(purchases).where(purchases.c.order_key == key)).mappings().one())
        rows = [{**row, **columns, "order_key": f"copy-{each}", "order_id": each} for each in order_ids]
        connection.execute(insert(purchases), rows)
        owned = [{"wallet": row["wallet"], "vendor_id": each, "order_key": f"copy-{each}"} for each in order_ids]
        connection.execute(insert(owned_ids), owned)


def change(ledger: Ledger, key: str, **columns: Any) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(update(purchases).where(purchases.c.order_key == key).values(**columns))


def at_iproyal(shop: Shop, *numbers: int, status: str = "confirmed") -> list[str]:
    """Orders at the vendor with these ids."""
    ends = f"{datetime.now(timezone.utc) + 20 * DAY:%Y-%m-%d %H:%M:%S}"
    orders = [{"id": number, "status": status, "expire_date": ends} for number in numbers]
    shop.box.control([{"vendor": "iproyal", "order": order} for order in orders])
    return [str(number) for number in numbers]


def test_every_placed_order_is_read_a_hundred_a_call(shop_of: Callable[[str], Shop]) -> None:
    """A thousand were, and nobody was told of the others."""
    shop = shop_of("iproyal")
    reconcile(shop.buyer())
    shop.delivered("k")
    copies(shop.ledger, "k", at_iproyal(shop, *range(20_001, 21_151)), step="placed", vendor_status="in-progress")
    asked = shop.box.book.count("iproyal", "list")
    report = reconcile(shop.buyer())
    assert report.counts["updated"] == 1150 and len(report.updated) == MOST_NAMED
    assert report.lines()[-1] == "moved on: and 1050 more"
    assert shop.ledger.purchases(wallet="iproyal:main", in_steps=[Step.PLACED]) == []
    assert shop.box.book.count("iproyal", "list") - asked == 12 + 12, "the placed ones, and the list of all"
    assert shop.box.book.count("iproyal", "get") <= 2


def test_orders_that_no_reads_find_are_all_counted(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    reconcile(shop.buyer())
    shop.delivered("k")
    copies(shop.ledger, "k", [str(number) for number in range(30_001, 30_131)])
    report = reconcile(shop.buyer())
    assert report.counts["missing"] == 130 and len(report.missing) == MOST_NAMED and not report.clean
    assert "NO LONGER LISTED by the vendor: and 30 more" in report.lines()
    short = report.lines(most=7)
    assert sum(line.startswith("NO LONGER LISTED") for line in short) == 8 and short[-1].endswith("and 123 more")


def test_an_order_may_be_gone_after_its_term(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    reconcile(shop.buyer())
    shop.delivered("k")
    now = datetime.now(timezone.utc)
    copies(shop.ledger, "k", ["30001"], expires_at=stamp(now - DAY))
    copies(shop.ledger, "k", ["30002"], expires_at=None)
    copies(shop.ledger, "k", ["30003"], updated_at=stamp(now + DAY))
    copies(shop.ledger, "k", ["30004"], expires_at=stamp(now + DAY))
    report = reconcile(shop.buyer())
    assert sorted(report.missing) == ["copy-30002", "copy-30004"], "one ended, and one was bought after the list was read"


def test_a_foreign_order_among_many_pages(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    at_iproyal(shop, *range(40_001, 40_251))
    assert reconcile(shop.buyer()).clean
    at_iproyal(shop, 40_301, 40_302)
    report = reconcile(shop.buyer())
    assert sorted(report.foreign) == ["40301", "40302"]
    reason = shop.ledger.freeze_reason("iproyal:main")
    assert reason is not None and "the vendor holds 40302, 40301, which this ledger did not intend" in reason
    assert reconcile(shop.buyer()).foreign == []


def test_many_foreign_orders_are_all_reported_once(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    reconcile(shop.buyer())
    at_iproyal(shop, *range(40_001, 40_161))
    report = reconcile(shop.buyer())
    assert report.counts["foreign"] == 160 and len(report.foreign) == MOST_NAMED
    assert "there are 60 more such orders" in (shop.ledger.freeze_reason("iproyal:main") or "")
    assert reconcile(shop.buyer()).counts["foreign"] == 0


def test_refusals_beyond_a_bound_are_said(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    reconcile(shop.buyer())
    shop.delivered("k")
    now = datetime.now(timezone.utc)
    young, old = stamp(now - timedelta(minutes=10)), stamp(now - 9 * DAY)
    refused = {"step": "rejected", "maybe_sent": False, "sent_at": young, "updated_at": young}
    copies(shop.ledger, "k", [str(number) for number in range(MOST_REFUSED + 7)], **refused)
    copies(shop.ledger, "k", ["old"], **{**refused, "sent_at": old, "updated_at": old})
    report = reconcile(shop.buyer())
    assert report.not_looked_for == 7 and report.counts["not_looked_for"] == 7
    assert any("NOT LOOKED FOR once more: 7 older refused purchases" in line for line in report.lines())


class TestReport:
    def test_the_first_hundred_are_named_and_all_are_counted(self) -> None:
        report = ReconcileReport()
        for number in range(250):
            report.add("unresolved", f"k{number}", "so it is")
            report.add("settled", f"s{number}")
        report.add("unresolved", "k7", "another reason")
        assert {kind: many for kind, many in report.counts.items() if many} == {"settled": 250, "unresolved": 250}
        assert report.unresolved["k7"] == "another reason" and len(report.lines()) == 202
        assert report.lines(most=1) == [
            "settled: s0",
            "settled: and 249 more",
            "UNRESOLVED: k0: so it is",
            "UNRESOLVED: and 249 more",
        ]
