"""A refund that a vendor names is kept, handed on and subtracted from the spending: one rule for all vendors, in one place."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from airflow_provider_proxyorders.domain.errors import OrderNotUsable
from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger
from airflow_provider_proxyorders.ledger.spending import by_day
from airflow_provider_proxyorders.purchase.outcome import result_of
from airflow_provider_proxyorders.sandbox import Sandbox
from tests.vendors import NAMES

from .conftest import Shop

WHO = Actor("d", "r", "t")


@pytest.fixture
def ledger(url: str) -> Ledger:
    """On both databases."""
    return open_ledger(url)


def spent(ledger: Ledger, wallet: str) -> Decimal:
    return sum(by_day(ledger.engine, wallet, "2000-01-01").values(), Decimal(0))


@pytest.mark.parametrize(("outcome", "refund", "left"), [("partial", "4.50", "4.50"), ("failed", "9.00", "0")])
def test_what_a_vendor_pays_back_is_handed_on_and_not_spent(
    ledger: Ledger, box: Sandbox, outcome: str, refund: str, left: str
) -> None:
    """Voodoo documents the amount: ``refund_amount``."""
    shop = Shop("voodoo", box, ledger)
    box.control({"vendor": "voodoo", "next_outcome": outcome})
    buyer = shop.buyer()
    purchase = buyer.place(shop.request, order_key="k")
    purchase = buyer.wait(purchase, deadline=datetime.now(timezone.utc) + timedelta(seconds=30), poll_interval=0.2)
    assert purchase.step is Step(outcome)
    result = result_of(purchase, "voodoo")
    assert (Decimal(str(result["price"])), Decimal(str(result["refund"]))) == (Decimal(9), Decimal(refund))
    assert ledger.find("k") == purchase
    assert spent(ledger, "voodoo:main") == Decimal(left)
    with pytest.raises(OrderNotUsable, match=rf"{Decimal(refund):.2f}\d* USD was paid back"):
        buyer.require_usable(purchase)


@pytest.mark.parametrize("vendor", NAMES)
@pytest.mark.parametrize(
    ("reads", "refund", "left"),
    [
        ([None], None, "9.00"),  # "refunded" without an amount: how much came back, and where to, is not documented
        (["4.50"], "4.50", "4.50"),
        (["9.00"], "9.00", "0"),
        (["4.50", None], "4.50", "4.50"),  # a later read without the field takes no refund back
        (["4.50", "9.00"], "9.00", "0"),
        (["12.00"], "12.00", "0"),  # it is no income
    ],
)
def test_one_rule_for_all_vendors(ledger: Ledger, vendor: str, reads: list[str | None], refund: str | None, left: str) -> None:
    wallet = f"{vendor}:main"
    intent = Intent("k", "create", vendor, "c", wallet, "a" * 64, {}, Money(Decimal(10), "USD"))
    purchase = ledger.claim(ledger.intend(intent, WHO), WHO, evidence={}, sent_seconds=60)
    price = Money(Decimal(9), "USD")
    purchase = ledger.record(purchase, Step.PLACED, "", WHO, vendor_order=VendorOrder("7", OrderStatus.PENDING, "w", price=price))
    for amount in reads:
        paid_back = Money(Decimal(amount), "USD") if amount else None
        order = VendorOrder("7", OrderStatus.REFUNDED, "refunded", price=price, refund=paid_back)
        purchase = ledger.record(purchase, Step.REFUNDED, "", WHO, vendor_order=order)
    assert purchase == ledger.find("k")
    assert (purchase.price, purchase.refund) == (price, Money(Decimal(refund), "USD") if refund else None)
    assert result_of(purchase, vendor)["refund"] == refund
    assert spent(ledger, wallet) == Decimal(left)
