"""The vendor's own JSON about an order, without secrets and without the delivery."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_proxyorders.domain.errors import OrderNotFound
from airflow_provider_proxyorders.domain.secrets import masked_answer

from .connections import REQUESTS, VENDORS, Shops


@pytest.mark.parametrize("vendor", VENDORS)
def test_it_holds_the_vendors_fields_and_no_secret(shops: Shops, vendor: str) -> None:
    hook = shops.hook(vendor)
    buyer = hook.buyer()
    order = buyer.place(REQUESTS[vendor], order_key="k")
    order = buyer.wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=5), poll_interval=0.05)
    assert order.order_id is not None
    raw = json.dumps(hook.get_raw_order(order.order_id), default=str)
    assert order.order_id in raw and str(order.vendor_status) in raw
    delivery = hook.get_delivery(order.order_id)
    for secret in (*(str(proxy.password) for proxy in delivery.proxies), *delivery.codes, shops.box.token(vendor)):
        assert secret not in raw


def test_fields_that_an_order_leaves_out_are_there(shops: Shops) -> None:
    order = {"id": 7001, "expire_date": "2030-02-01 09:15:00", "quantity": 2, "extended_history": [{"plan_name": "30 Days"}]}
    shops.box.control({"vendor": "iproyal", "order": {**order, "note": "team a", "colour": "red"}})
    raw = shops.hook("iproyal").get_raw_order("7001")
    assert (raw["note"], raw["colour"], raw["extended_history"]) == ("team a", "red", [{"plan_name": "30 Days"}])
    assert raw["proxy_data"]["proxies"] == "*** (2)"


def test_an_unknown_order_is_not_found(shops: Shops) -> None:
    with pytest.raises(OrderNotFound):
        shops.hook("iproyal").get_raw_order("4242")


def test_logins_are_replaced_wherever_they_stand() -> None:
    answer = {
        "note": "203.0.113.21:12323:u7001:s3cret",
        "link": "http://u7001:s3cret@203.0.113.21:12323",
        "login": {"api_token": "s3cret", "pin": 1234, "cookie": ""},
        "codes": ["s3cret"],
        "proxies": {"0": "s3cret"},
        "more": [{"password": "s3cret"}, "12:30:00"],
        "empty": {"codes": [], "proxies": None},
    }
    assert masked_answer(answer) == {
        "note": "***",
        "link": "***",
        "login": {"api_token": "***", "pin": "***", "cookie": ""},
        "codes": "*** (1)",
        "proxies": "*** (1)",
        "more": [{"password": "***"}, "12:30:00"],
        "empty": {"codes": [], "proxies": None},
    }
