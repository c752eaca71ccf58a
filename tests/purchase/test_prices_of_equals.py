"""An order told by its sub-account has no price. Equal purchases tell it, so that its money is explained to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, Quarantined, RequestRefused
from airflow_provider_proxyorders.domain.model import TAKEN, Money, Step
from airflow_provider_proxyorders.ledger.evidence import SentPurchase
from airflow_provider_proxyorders.purchase.balance_marks import priced_as_equals

from .conftest import Shop

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


def sent(number: int, price: str | None, step: Step = Step.DELIVERED, **request: Any) -> SentPurchase:
    money = None if price is None else Money(Decimal(price), "USD")
    most = (Money(Decimal(10), "USD"), Decimal(0), False)
    return SentPurchase(str(number), "create", "v", step, request, None, str(number), money, *most, START, START, number)


@pytest.mark.parametrize(
    ("others", "price"),
    [
        ([sent(2, "5.00")], "5.00"),
        ([sent(2, "5.00"), sent(3, "5.00")], "5.00"),
        ([sent(2, "5.00"), sent(3, "6.00")], None),  # the price has changed
        ([sent(2, "5.00", quantity=2)], None),  # it asked for something else
        ([sent(2, "5.00", Step.UNKNOWN)], None),  # whether it was taken is open
        ([sent(2, None)], None),
        ([], None),
    ],
)
def test_an_equal_order_tells_the_price(others: list[SentPurchase], price: str | None) -> None:
    priced = priced_as_equals([sent(1, None), *others])
    assert priced[0].price == (None if price is None else Money(Decimal(price), "USD")) and priced[1:] == others


@pytest.mark.parametrize("step", [Step.UNKNOWN, Step.SENT, Step.QUARANTINED, Step.REFUNDED, Step.FAILED, Step.REJECTED])
def test_an_outcome_that_is_open_or_bad_keeps_its_reservation(step: Step) -> None:
    assert priced_as_equals([sent(1, None, step), sent(2, "5.00")])[0].price is None


def test_the_price_of_an_equal_order_settles_a_refused_purchase(shop_of: Callable[[str], Shop]) -> None:
    """Two equal purchases are refused, and the vendor took a copy of the second one. It is told by its sub-account, without a
    price. A third one shows the price, and so the first one's money is explained: it was not taken, and is sent."""
    shop, ahead = shop_of("proxyscrape"), [0.0]
    shop.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=ahead[0])
    shop.box.control([{"processing": 0.0, "vendor": "proxyscrape"}])

    def sleep(seconds: float) -> None:
        ahead[0] += seconds

    def place(key: str) -> Step:
        for _ in range(6):
            try:
                return shop.buyer(settle=30, sleep=sleep).place(shop.request, order_key=key).step
            except RequestRefused:
                ahead[0] += 1
            except OutcomeUnknown as error:
                assert not isinstance(error, Quarantined), f"a person is asked: {error}"
                ahead[0] += 35
        raise AssertionError(f"{key} is never settled")

    refuse = {"vendor": "proxyscrape", "operation": "create", "action": "refuse", "reason": "invalid", "times": 1}
    shop.box.fault(**refuse, when="before")
    with pytest.raises(RequestRefused):
        shop.buyer(settle=30).place(shop.request, order_key="first")
    shop.box.fault(**refuse, when="after")
    assert place("second") in TAKEN and len(shop.bought()) == 1
    told = shop.ledger.find("second")
    assert told is not None and told.price is None and str(told.order_id).startswith("subaccount:")
    assert place("third") in TAKEN and place("first") in TAKEN
    assert len(shop.bought()) == 3
