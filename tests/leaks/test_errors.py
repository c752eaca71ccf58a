"""P8 where a delivery goes wrong: whatever the vendor answers, no goods and no key in log, output, error or ledger."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator
from tests.hooks import connections
from tests.hooks.connections import REQUESTS, VENDORS, Shops
from tests.vendors import ROWS

from .scan import Canary, Scanner

KEY = "key-+/=&%\"'-4d1f0a8871c2"
#: the request that brings the goods, as the sandbox calls it
READS = {name: row.delivery_call for name, row in ROWS.items()}


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    yield from connections.shops(tmp_path, monkeypatch)


def key_of(vendor: str) -> str:
    """A key of hard signs; one that goes into a path cannot hold a slash."""
    return KEY.replace("/", "~") if ROWS[vendor].key_in_path else KEY


def answers(goods: str, key: str = "") -> dict[str, dict[str, Any]]:
    """What a vendor may answer instead of the goods, some of it with the goods or the key in it."""
    return {
        "truncated": {"action": "truncate", "when": "after"},
        "cut JSON": {"action": "body", "body": json.dumps({"proxies": [goods], "codes": [goods]})[:-3]},
        "other JSON": {
            "action": "body",
            "body": json.dumps({"data": {"proxies": goods, "codes": {"a": goods}, "password": goods}}),
        },
        "a list": {"action": "body", "body": json.dumps([goods, [goods], {"code": goods}])},
        "other text": {"action": "body", "body": f"1.2.3:{goods}\nuser={goods}\n"},
        "refused with the goods": {"action": "body", "status": 400, "body": f"10.1.2.3:8000:somebody:{goods}\n"},
        "HTML": {"action": "body", "body": f"<html><body>for {key}</body></html>"},
        "refused with the key": {"action": "body", "status": 400, "body": json.dumps({"error": f"{key} may not", "detail": key})},
        "not allowed": {"action": "status", "status": 403, "body": f"no: {key}"},
    }


@pytest.mark.parametrize("case", answers(""))
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_delivery_that_cannot_be_read(
    shops: Shops,
    vendor: str,
    case: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    key = key_of(vendor)
    shops.box.control({"vendor": vendor, "token": {"name": "main", "token": key}})
    hook = shops.hook(vendor)
    order = hook.create_order(REQUESTS[vendor], order_key="some-key")
    assert order.order_id is not None
    secrets = sorted(set(hook.get_delivery(order.order_id).secrets()))[:5]
    shops.box.fault(vendor, READS[vendor], **answers(secrets[0], key)[case])
    operator = DeliverProxiesOperator(
        task_id="d", conn_id=f"{vendor}_default", order_id=order.order_id, path=str(tmp_path / "goods" / "file")
    )
    with pytest.raises(ProxyOrdersError) as error:
        operator.execute({"outlet_events": OutletEventAccessors()})  # type: ignore[arg-type,typeddict-item]
    assert not (tmp_path / "goods").exists()
    assert main(["ledger", "list"]) == main(["ledger", "show", "some-key"]) == 0
    said = capfd.readouterr()
    assert order.order_id in said.out

    canaries = [Canary("API key", key), *(Canary("goods", secret) for secret in secrets)]
    canaries += [Canary("JWT", token) for token in shops.box.state.vendors["voodoo"].issued]  # type: ignore[attr-defined]
    scanner = Scanner(canaries)
    scanner.text("logging", caplog.text)
    scanner.text("output", said.out + said.err)
    scanner.text("traceback", "".join(traceback.format_exception(error.value)))
    scanner.text("error", f"{error.value!r} {vars(error.value)} {error.value.__cause__!r} {error.value.args}")
    scanner.folder(tmp_path)
    assert scanner.hits == set()
    assert scanner.places > 8  # the ledger and its tables are among them
