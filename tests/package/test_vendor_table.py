"""Every registered vendor is in the table that the suites read."""

from __future__ import annotations

import pytest

from airflow_provider_proxyorders.sandbox.state import VENDORS as SANDBOX_VENDORS
from airflow_provider_proxyorders.testing import exchanges
from airflow_provider_proxyorders.vendors import vendor_class, vendor_names
from tests.vendors import ROWS


@pytest.mark.parametrize("name", vendor_names())
def test_a_registered_vendor_has_a_row(name: str) -> None:
    assert name in ROWS, (
        f"vendor {name!r} is registered, but no suite tries it: add its row to ROWS in tests/vendors.py, its sandbox class to "
        f"VENDORS in sandbox/state.py and its exchanges to sandbox/exchanges/{name}/"
    )
    assert ROWS[name].vendor is vendor_class(name)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_its_sandbox_and_its_exchanges(name: str) -> None:
    assert name in {vendor.name for vendor in SANDBOX_VENDORS}, (
        f"add the sandbox class of {name!r} to VENDORS in sandbox/state.py"
    )
    recorded = {exchange.name for exchange in exchanges() if exchange.vendor == name}
    assert ROWS[name].golden_purchase in recorded, f"record the exchanges of {name!r} in sandbox/exchanges/{name}/"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_the_vendor_declares(name: str) -> None:
    row = ROWS[name]
    assert len(row.goods) >= 2, "the simulation needs two different bodies"
    assert (row.extension is not None) is row.vendor.capabilities.extend
    assert bool(row.key_header) is not bool(row.login_path)
    assert bool(row.login_path) is row.vendor.renews_login
