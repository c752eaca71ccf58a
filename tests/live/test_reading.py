"""Real vendors, read-only: what their documentation does not say shows here first. Runs by ``make live`` only.

Keys come from the environment; a vendor without one is left out. Nothing here can spend: the transport has no permit, and no
test makes a flow that would need one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import AuthenticationFailed
from airflow_provider_proxyorders.domain.model import OrderStatus
from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors import vendor_class
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.vendors.iproyal import IPRoyal
from airflow_provider_proxyorders.wire.messages import Request
from tests.vendors import ROWS

#: where each vendor's key is looked for
KEYS = {name: row.live_key for name, row in ROWS.items()}


def vendor_of(name: str, secret: str | None = None) -> Vendor:
    """A vendor at its own address; skips the test where there is no key for it."""
    key = os.environ.get(KEYS[name], "").strip()
    if not key:
        pytest.skip(f"{KEYS[name]} is not set")
    kind = vendor_class(name)
    return kind(Account(name, f"{name}_live", f"{name}:live", kind.base_url, secret or key, requests_per_second=2.0))


@pytest.fixture(params=sorted(KEYS))
def vendor(request: pytest.FixtureRequest) -> Vendor:
    """Each vendor that has a key, in turn."""
    return vendor_of(request.param)


@pytest.fixture
def http(vendor: Vendor) -> Iterator[Http]:
    http = Http(vendor.account)
    yield http
    http.close()


@pytest.fixture
def iproyal() -> Iterator[tuple[IPRoyal, Http]]:
    vendor: Any = vendor_of("iproyal")
    http = Http(vendor.account)
    yield vendor, http
    http.close()


def test_balance(vendor: Vendor, http: Http) -> None:
    amount = http.run(vendor.balance()).available.amount
    assert isinstance(amount, Decimal) and amount >= 0


def test_the_triggerer_hears_the_same(vendor: Vendor, http: Http) -> None:
    async def balance() -> Any:
        client = AsyncHttp(vendor.account)
        try:
            return await client.arun(vendor.balance())
        finally:
            await client.aclose()

    assert asyncio.run(balance()) == http.run(vendor.balance())


def test_check_access(vendor: Vendor, http: Http) -> None:
    """A key without the ordering permission fails here, and the message says whom to ask for it."""
    said = http.run(vendor.check_access())
    assert said.startswith(f"{vendor.title}: key accepted")
    assert vendor.account.secret not in said


def test_a_wrong_key_is_refused(vendor: Vendor) -> None:
    wrong = vendor_of(vendor.name, secret="this-is-not-a-key")
    with pytest.raises(AuthenticationFailed):
        Http(wrong.account).run(wrong.balance())


def test_products_of_iproyal(iproyal: tuple[IPRoyal, Http]) -> None:
    vendor, http = iproyal
    products = http.run(vendor.products())
    assert products and all(isinstance(product.get("id"), int) and product.get("name") for product in products)


def test_first_page_of_orders_of_iproyal(iproyal: tuple[IPRoyal, Http]) -> None:
    """Every status is one that we know, and every order can be read one by one."""
    vendor, http = iproyal
    page = http.run(vendor.read(Request("GET", "/orders", "list orders", params=[("per_page", "5")])))
    rows = page["data"] if isinstance(page, dict) else page
    assert isinstance(rows, list) and len(rows) <= 5, "per_page counts"
    for row in islice(rows, 3):
        order = http.run(vendor.get(str(row["id"])))
        assert order.order_id == str(row["id"])
        assert order.status is not OrderStatus.UNKNOWN, f"IPRoyal says {order.vendor_status!r}, which no page names"
