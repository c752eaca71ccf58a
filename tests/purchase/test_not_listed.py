"""P3: where the balance cannot tell two purchases apart, a list without one of them decides after several settle times."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, Quarantined, VendorError
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from tests.vendors import ROWS

from .conftest import Shop


@pytest.fixture
def ledger(url: str) -> Ledger:
    """Both databases: what others took is reckoned there."""
    return open_ledger(url)


def settled(shop: Shop, key: str) -> Purchase:
    """The purchase after as many tries as it takes."""
    for _ in range(8):
        try:
            return shop.buyer(timeout=1.5).place(shop.request, order_key=key)
        except (OutcomeUnknown, VendorError) as error:
            assert not isinstance(error, Quarantined), f"a person is asked: {error}"
    raise AssertionError("it is never settled")


def refused(shop: Shop, key: str) -> None:
    """A purchase that was refused, while reads may lag: it may have been taken for all that its ledger knows."""
    status, body = ROWS["proxyscrape"].refusals[0]
    rule = shop.box.fault(
        vendor="proxyscrape", operation="create", when="before", action="status", status=status, body=body.decode()
    )
    with pytest.raises(VendorError):
        shop.buyer(timeout=1.5).place(shop.request, order_key=key)
    shop.box.clear_faults()
    assert rule.hits == 1


def test_a_refused_purchase_beside_a_landed_one_of_the_same_is_sent_again(shop_of: Callable[[str], Shop]) -> None:
    """The landed one is told by its sub-account, so its price stays unknown, and the missing money may be of either."""
    shop = shop_of("proxyscrape")
    shop.buyer().place(shop.request, order_key="before")
    refused(shop, "refused")
    shop.box.fault(vendor="proxyscrape", operation="create", when="after", action="reset", times=1)
    assert settled(shop, "lost").step in (Step.PLACED, Step.DELIVERED)
    assert settled(shop, "refused").step in (Step.PLACED, Step.DELIVERED)
    assert len(shop.bought()) == 3
    why = [entry.why for entry in shop.ledger.history("refused")]
    assert any("0 new sub-accounts" in each for each in why), why


def test_a_purchase_that_a_list_shows_late_is_found_meanwhile(shop_of: Callable[[str], Shop]) -> None:
    """The guard of the long wait: the order shows after two settle times, and is not bought again."""
    shop = shop_of("proxyscrape")
    shop.buyer().place(shop.request, order_key="before")
    refused(shop, "other")
    shop.box.fault(vendor="proxyscrape", operation="create", when="after", action="reset", times=1)
    shop.box.control([{"vendor": "proxyscrape", "processing": 0.9}])
    assert settled(shop, "lost").step in (Step.PLACED, Step.DELIVERED)
    assert len(shop.bought()) == 2
