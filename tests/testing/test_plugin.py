"""The pytest plugin for tests of one's own DAGs: found by its entry point, light to load, and a whole shop for a test."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest

from airflow_provider_proxyorders.hooks import ProxyOrdersHook
from airflow_provider_proxyorders.sandbox import Sandbox
from tests.vendors import NAMES, PRICES, REQUESTS


@pytest.mark.parametrize("vendor", NAMES)
def test_each_vendor_sells_through_its_connection(proxyorders_sandbox: Sandbox, vendor: str) -> None:
    before = proxyorders_sandbox.balance(vendor)
    hook = ProxyOrdersHook(f"{vendor}_default")
    order = hook.wait_for_order(hook.create_order(REQUESTS[vendor], order_key="k"))
    assert hook.get_delivery(order).count >= 2
    assert before - proxyorders_sandbox.balance(vendor) == PRICES[vendor]
    assert [entry.order_id for entry in proxyorders_sandbox.book.orders(vendor)] == [order.order_id]


def test_each_test_has_a_ledger_of_its_own(proxyorders_sandbox: Sandbox) -> None:
    """The key of the test above is new here."""
    ProxyOrdersHook("iproyal_default").create_order(REQUESTS["iproyal"], order_key="k")
    assert len(proxyorders_sandbox.book.orders()) == 1


def test_faults_and_the_clock(proxyorders_sandbox: Sandbox) -> None:
    hook = ProxyOrdersHook("iproyal_default")
    proxyorders_sandbox.fault("iproyal", "create", when="after", action="reset", times=1)
    order = hook.create_order(REQUESTS["iproyal"], order_key="k")  # the answer is lost, and the order is found
    proxyorders_sandbox.control({"vendor": "iproyal", "wallet": {"balance": "1.00"}})
    proxyorders_sandbox.advance(60 * 86_400)
    assert [entry.order_id for entry in proxyorders_sandbox.book.orders("iproyal")] == [order.order_id]
    assert proxyorders_sandbox.balance("iproyal") == Decimal(1) == hook.get_balance().available.amount


def test_a_project_that_asks_for_nothing_pays_nothing() -> None:
    script = """
import sys
from importlib.metadata import entry_points
(plugin,) = [entry for entry in entry_points(group="pytest11") if entry.name == "proxyorders"]
plugin.load()
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"airflow", "aiohttp", "requests", "sqlalchemy", "alembic"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"
