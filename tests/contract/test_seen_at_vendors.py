"""What was seen at real vendors, each with the value that is right. Kinds with many inputs have files of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidRequest, ProxyOrdersError, telling_of_the_wallet
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import OrderStatus
from airflow_provider_proxyorders.transport.retries import PASSING
from airflow_provider_proxyorders.vendors.iproyal.answers import read_delivery, read_order
from airflow_provider_proxyorders.vendors.proxies import proxy_from_line
from airflow_provider_proxyorders.wire.messages import Request, Response
from tests.contract.replay import VENDORS, exchanges, named, play, vendor_for
from tests.vendors import ROWS

ORDER = {"id": 7001, "status": "in-progress", "quantity": 2, "expire_date": None, "proxy_data": []}
READ = Request("GET", "/orders/7001", "read order")
LOGIN = {"ip": "203.0.113.21", "username": "u7001", "password": "s3cret"}


def test_the_answer_to_create_with_an_empty_map_of_php_names_the_order() -> None:
    order = play(named("iproyal/create.one_location"), [Response(200, {}, json.dumps(ORDER).encode())]).result
    assert (order.order_id, order.status, order.delivered) == ("7001", OrderStatus.PENDING, 0)


#: Fields of a Voodoo order that decide nothing, with values that were seen or may be.
ODD: dict[str, list[Any]] = {
    "refund_amount": [False, "N/A", None, {}, "1e999"],
    "quantity": ["N/A", None, [], 2**63],
    "delivered_quantity": [2**31, 2**63, -1, "many"],
    "created_at": ["now", "12:30", "9999-12-31 23:59:59", "2030-02-01T09:15-60", []],
    **dict.fromkeys(("error", "item_name", "error_message", "undocumented"), [{"password": "hunter2", "x": [[[]]]}]),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in ODD.items() for value in values])
def test_a_field_that_decides_nothing_stops_no_order(field: str, value: Any) -> None:
    exchange = next(_orders("voodoo"))
    answers = exchange.responses()
    changed = Response(200, {}, json.dumps({**json.loads(answers[-1].text), field: value}).encode())
    usual, odd = play(exchange).result, play(exchange, [*answers[:-1], changed]).result
    assert (odd.order_id, odd.status, odd.price) == (usual.order_id, usual.status, usual.price)
    assert "hunter2" not in repr(odd)


@pytest.mark.parametrize("value", [9_300_000_000_000, "N/A", {}, -1])
def test_a_charge_that_is_no_amount_keeps_the_order_and_is_told(value: Any) -> None:
    exchange = next(_orders("voodoo"))
    answers = exchange.responses()
    changed = Response(200, {}, json.dumps({**json.loads(answers[-1].text), "price": value}).encode())
    order = play(exchange, [*answers[:-1], changed]).result
    assert (order.price, order.unreadable_charge) == (None, "price")


@pytest.mark.parametrize("written", [{"a": 1}, ["7001"], "7001\n", "\x1b[2J7001", "{{ x }}", "x" * 201, 0.5, True, None, ""])
def test_what_is_no_id_is_no_order_and_shows_nothing(written: Any) -> None:
    with pytest.raises(UnreadableBody) as refused:
        read_order({**ORDER, "id": written}, "UTC")
    assert str(refused.value).isprintable() and "{{" not in str(refused.value)


@pytest.mark.parametrize("host", ["fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%25eth0]", "203.0.113.5%eth0", "a\u202eb.example"])
def test_an_address_with_a_zone_or_a_mark_is_no_proxy(host: str) -> None:
    assert proxy_from_line(f"{host}:8080:user:pass", scheme="http") is None
    data = {
        **ORDER,
        "status": "confirmed",
        "proxy_data": {"ports": {"http|https": 80}, "proxies": [{**LOGIN, "ip": host}, LOGIN]},
    }
    delivery = read_delivery(data, "7001", "UTC", "http")
    assert ([proxy.host for proxy in delivery.proxies], delivery.skipped) == (["203.0.113.21"], 1)


def test_a_busy_edge_and_a_timeout_are_asked_again() -> None:
    assert {408, *range(520, 531)} <= PASSING


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_web_page_is_told_as_a_web_page(vendor: str, status: int) -> None:
    page = Response(status, {"content-type": "text/html"}, b"<html>Just a moment...</html>")
    error = vendor_for(vendor).refusal(page, READ)
    assert error.passing and "a web page, not the vendor's API" in str(error)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("cout", "count"), ("perid", "period"), ("contry", "country"), ("versoin", "version"), ("auto_prolongg", "auto_prolong")],
)
def test_a_misspelt_field_of_proxy6_is_refused(name: str, meant: str) -> None:
    request = {field: value for field, value in ROWS["proxy6"].request.items() if field != meant}
    with pytest.raises(InvalidRequest, match=f"{name}.*did you mean '{meant}'.*Nothing was bought"), telling_of_the_wallet():
        vendor_for("proxy6").prepare_create({**request, name: 3}, "af-1")


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_error_shows_neither_key_nor_sign_of_control(vendor: str) -> None:
    """In whatever field of the refusal the vendor repeats them."""
    odd = "test-token \x1b[2J\u202e\r\n{{ conn.x.password }}"
    body = {"error": odd, "message": odd, "detail": odd, "code": odd, "errors": {odd: [odd]}, "info": odd, "status": "no"}
    error = vendor_for(vendor).refusal(Response(422, {}, json.dumps(body).encode()), READ)
    assert isinstance(error, ProxyOrdersError)
    assert str(error).isprintable() and "test-token" not in str(error) and "{{" not in str(error)


def _orders(vendor: str) -> Any:
    """Reads of one order that went well."""
    return (each for each in exchanges() if (each.vendor, each.operation) == (vendor, "get") and "returns" in each.data["expect"])
