"""An order told by its sub-account has no price. Equal purchases tell it, so that its money is explained to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, Quarantined, RequestRefused
from airflow_provider_proxyorders.domain.model import TAKEN, Balance, Money, Step
from airflow_provider_proxyorders.ledger.evidence import SentPurchase
from airflow_provider_proxyorders.purchase.balance_marks import priced_as_equals
from airflow_provider_proxyorders.vendors.evidence import missing_money

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
    told = [each for each in [sent(1, None), *others] if each.price is None and each.step is Step.DELIVERED]
    expected = (Decimal(price) * len(told), Decimal(10) * len(told)) if price else (Decimal(0), Decimal(0))
    assert priced_as_equals([sent(1, None), *others]) == expected


@pytest.mark.parametrize(
    "step", [Step.PLACED, Step.UNKNOWN, Step.SENT, Step.QUARANTINED, Step.REFUNDED, Step.FAILED, Step.REJECTED]
)
def test_an_order_that_nobody_has_read_keeps_its_reservation(step: Step) -> None:
    """A placed order is read by a look, and may cost something else."""
    assert priced_as_equals([sent(1, None, step), sent(2, "5.00")]) == (0, 0)


@pytest.mark.parametrize(
    ("now", "maybe", "explained"),
    [
        ("985.00", "10.00", True),  # charged 10, and 5 at the price of equal orders
        ("986.00", "10.00", False),  # it cost something else
        ("980.00", "10.00", False),
        ("985.00", "16.00", False),  # another purchase may have taken it as well
    ],
)
def test_such_a_price_explains_all_of_the_money_or_nothing(now: str, maybe: str, explained: bool) -> None:
    expected = {
        "balance": "1000.00",
        "currency": "USD",
        "charged": "10.00",
        "maybe": maybe,
        "as_equals": "5.00",
        "at_most": "10.00",
    }
    evidence = {"balance": "1000.00", "currency": "USD", "expected": expected}
    missing = missing_money(evidence, Balance(Money(Decimal(now), "USD")))
    plain = missing_money(
        {**evidence, "expected": {**expected, "as_equals": "0", "at_most": "0"}}, Balance(Money(Decimal(now), "USD"))
    )
    assert missing.explained is explained and (explained or missing == plain) and not plain.explained


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
