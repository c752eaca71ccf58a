"""A sample of the odd answers over real HTTP: a body of 20 MB, a nest, signs that steer a terminal. Bought once, read or told."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import TAKEN, Step
from tests.contract.odd import FORBIDDEN
from tests.vendors import NAMES, VENDORS

from .conftest import Shop

LONG = "x" * 20_000_000
BODIES = {
    "20 MB of text": json.dumps({"id": 7, "success": True, "message": LONG}),
    "20 MB that are no JSON": LONG,
    "a nest": '{"id":' + "[" * 600 + "]" * 600 + ',"success":true}',
    "signs": json.dumps(
        {"error": "\x1b[2J{{ conn.x.password }}\u202e\n", "status": "\x1b[31m", "id": "{{ x }}", "success": True}
    ),
}


def tries(shop: Shop, key: str) -> list[ProxyOrdersError]:
    """Place an order as a task with retries does; returns the errors before it was taken."""
    errors: list[ProxyOrdersError] = []
    for _ in range(4):
        try:
            assert shop.buyer(timeout=20).place(shop.request, order_key=key).step in TAKEN
            return errors
        except ProxyOrdersError as error:
            errors.append(error)
    return errors


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("vendor", NAMES)
def test_a_purchase_with_such_an_answer_is_found_or_told(shop_of: Callable[[str], Shop], vendor: str, case: str) -> None:
    shop = shop_of(vendor)
    shop.box.fault(vendor, "create", action="body", body=BODIES[case], when="after", times=1)
    errors = tries(shop, "k")
    assert len(shop.bought()) == 1
    purchase = shop.ledger.find("k")
    asked = VENDORS[vendor].capabilities.repeats_safely("create")  # its repeat was refused, and only a person can name the order
    assert purchase is not None
    assert purchase.step in TAKEN or (asked and purchase.step is Step.QUARANTINED), [str(error) for error in errors]
    told = [*map(str, errors), *shop.said, *(row.why for row in shop.ledger.history("k"))]
    assert all(len(text) < 5_000 and not FORBIDDEN.search(text) for text in told)
    assert all(isinstance(error, OutcomeUnknown) for error in errors)


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("vendor", NAMES)
def test_such_a_read_of_an_order_is_told_in_one_sentence(shop_of: Callable[[str], Shop], vendor: str, case: str) -> None:
    shop = shop_of(vendor)
    purchase = shop.buyer().place(shop.request, order_key="k")
    shop.box.fault(vendor, "get", action="body", body=BODIES[case])
    with pytest.raises(ProxyOrdersError) as error:
        shop.buyer(timeout=20, sleep=lambda seconds: None).refresh(purchase)
    assert len(str(error.value)) < 1_500 and not FORBIDDEN.search(str(error.value))
    assert shop.ledger.find("k") == purchase
