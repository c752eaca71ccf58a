"""P8 and P13 at a hostile vendor, without an Airflow: bought, read, listed, compared and shown, with zero hits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from tests.hooks import connections
from tests.hooks.connections import REQUESTS, VENDORS, Shops
from tests.vendors import EXTENSIONS

from .hostile import DIVIDED, RENDERED, Hostile
from .scan import Canary, Scanner
from .test_errors import key_of


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    yield from connections.shops(tmp_path, monkeypatch)


def said_by(call: Callable[[], Any]) -> str:
    """What a call returns, or its error."""
    try:
        return repr(call())
    except ProxyOrdersError as error:
        return f"{error} {vars(error)}"


@pytest.mark.parametrize("vendor", VENDORS)
def test_no_key_and_no_template_comes_back(
    shops: Shops, vendor: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = {name: key_of(name) for name in VENDORS}
    shops.box.control([{"vendor": name, "token": {"name": "main", "token": key}} for name, key in keys.items()])
    with Hostile.before(shops.box, keys) as hostile:
        hook = shops.hook(vendor, host=hostile.url(vendor))
        order = hook.create_order(REQUESTS[vendor], order_key="some-key")
        assert order.order_id is not None
        hostile.strange = True
        calls: list[Callable[[], Any]] = [
            hook.get_balance,
            hook.get_products,
            hook.list_orders,
            hook.test_connection,
            lambda: hook.get_order(order.order_id),
            lambda: hook.get_raw_order(order.order_id),
            lambda: hook.get_order("7999"),
            lambda: hook.quote(REQUESTS[vendor]),
            lambda: hook.extend_order(order.order_id, EXTENSIONS[vendor].body, order_key="e") if vendor in EXTENSIONS else "",
        ]
        said = [said_by(call) for call in calls]
        conn_id = f"{vendor}_default"
        for words in (["doctor", conn_id], ["ledger", "reconcile", conn_id], ["ledger", "list"], ["ledger", "show", "some-key"]):
            main(words)
        delivery = hook.get_delivery(order.order_id)
    output = capfd.readouterr()
    assert hostile.spoilt[vendor] > 10
    assert delivery.count > 0 and len(shops.bought(vendor)) == 1 + (vendor in EXTENSIONS)
    assert order.order_id in output.out
    assert all(sign.isprintable() or sign == "\n" for sign in output.out + output.err)

    scanner = Scanner([Canary("API key", keys[vendor]), Canary("rendered template", RENDERED)])
    for place, text in {"results": "\n".join(said), "output": output.out + output.err, "logging": caplog.text}.items():
        scanner.text(place, text)
        assert "{{" not in text and "{%" not in text, place
    scanner.folder(tmp_path)
    assert scanner.hits == set()
    assert DIVIDED in "\n".join(said) or vendor in ("voodoo", "proxyscrape"), "a template came as far as it may"
