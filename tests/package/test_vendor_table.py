"""Every registered vendor is in the table that the suites read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from airflow_provider_proxyorders.sandbox.state import VENDORS as SANDBOX_VENDORS
from airflow_provider_proxyorders.testing import exchanges
from airflow_provider_proxyorders.vendors import vendor_class, vendor_names
from tests.vendors import ROWS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = {name: f"{row.vendor.__module__}:{row.vendor.__qualname__}" for name, row in ROWS.items()}


def declared(pyproject: str) -> dict[str, str]:
    """The vendors of a pyproject.toml by name; the installed package may be older than it."""
    points = tomllib.loads(pyproject)["project"]["entry-points"]
    return dict(points["airflow_provider_proxyorders.vendors"])


@pytest.mark.parametrize("name", vendor_names())
def test_a_registered_vendor_has_a_row(name: str) -> None:
    assert name in ROWS, (
        f"vendor {name!r} is registered, but no suite tries it: add its row to ROWS in tests/vendors.py, its sandbox class to "
        f"VENDORS in sandbox/state.py and its exchanges to sandbox/exchanges/{name}/"
    )
    assert ROWS[name].vendor is vendor_class(name)


def test_a_vendor_of_pyproject_has_a_row(project: Path) -> None:
    assert declared((project / "pyproject.toml").read_text(encoding="utf-8")) == TABLE


def test_a_vendor_in_pyproject_alone_is_found(project: Path) -> None:
    pyproject = (project / "pyproject.toml").read_text(encoding="utf-8")
    line = 'voodoo = "airflow_provider_proxyorders.vendors.voodoo:Voodoo"\n'
    assert line in pyproject
    assert declared(pyproject.replace(line, f'{line}acme = "airflow_provider_proxyorders.vendors.acme:Acme"\n')) != TABLE
    assert declared(pyproject.replace(line, "")) != TABLE


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
    assert (row.grow_dear is None) is row.vendor.capabilities.quote_create
    assert [bool(row.key_header), bool(row.login_path), row.key_in_path].count(True) == 1
    assert bool(row.login_path) is row.vendor.renews_login
