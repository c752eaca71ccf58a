"""P9: limits without a currency are compared as plain numbers, and that is said: in the task's log, and by the doctor."""

from __future__ import annotations

from decimal import Decimal

import pytest

from airflow_provider_proxyorders.doctor.checkup import Checkup
from airflow_provider_proxyorders.domain.account import Caps

from .conftest import Shop

NOTE = "names no currency, so these limits are compared with the vendor's amounts as plain numbers: "


@pytest.mark.parametrize("currency", [None, "USD"])
def test_it_is_said_once_a_task(shop: Shop, currency: str | None) -> None:
    shop.currency = currency
    shop.caps = Caps(max_order_price=Decimal("25.00"), daily_limit=Decimal("100"))
    shop.delivered("k")
    said = [line for line in shop.said if NOTE in line]
    assert len(said) == (currency is None)
    if said:
        assert "max_order_price 25.00, daily_limit 100" in said[0] and "'currency'" in said[0]


def test_the_cap_of_the_task_counts_as_well(shop: Shop) -> None:
    shop.currency, shop.caps = None, Caps()
    shop.buyer().place(shop.request, order_key="k", max_price=Decimal("25.00"))
    assert len([line for line in shop.said if f"{NOTE}max_price 25.00." in line]) == 1


@pytest.mark.parametrize("currency", [None, "USD"])
@pytest.mark.parametrize("limits", [{"max_order_price": Decimal(5)}, {"daily_limit": Decimal(5)}, {"min_balance": Decimal(5)}])
def test_the_doctor_says_so(shop: Shop, currency: str | None, limits: dict[str, Decimal]) -> None:
    shop.currency, shop.caps = currency, Caps(**limits)
    buyer = shop.buyer()
    [caps] = [check for check in Checkup(buyer.vendor, buyer.http).checks() if check.name == "caps"]
    assert ("names no currency" in caps.text) is (currency is None)
    assert caps.state == "note" and next(iter(limits)) in caps.text
