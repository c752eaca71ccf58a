"""What came back is said: a page of a firewall, a redirect, the vendor's own words, a wallet that holds too little."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InsufficientFunds, OutcomeUnknown, RequestRefused, VendorUnavailable
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.wire.messages import Request, Response
from tests.contract.replay import VENDORS, named, play, vendor_for
from tests.vendors import ROWS

PAGE = b"<!DOCTYPE html><title>Just a moment...</title>"
READ = Request("GET", "/balance", "read balance")
BUY = Request("POST", "/orders", "create order", spends=True)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503, 520])
@pytest.mark.parametrize("content_type", ["text/html; charset=UTF-8", ""])
def test_a_web_page_is_none_of_the_vendors_answers(vendor: str, status: int, content_type: str) -> None:
    """It says nothing about the key or the order, so the next try asks again."""
    error = vendor_for(vendor).refusal(Response(status, {"content-type": content_type}, PAGE), READ)
    assert isinstance(error, VendorUnavailable) or status == 429
    assert error.passing
    assert "a web page" in str(error)
    if status != 429:
        assert "not the vendor's API: a firewall or a bot check in front of it; the key was probably not looked at" in str(error)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_names_its_target_and_the_remedy(vendor: str, status: int) -> None:
    response = Response(status, {"location": "https://api2.vendor.example/v2"}, b"")
    error = vendor_for(vendor).refusal(response, READ)
    assert "redirects to https://api2.vendor.example/v2" in str(error)
    assert f"put that address into the host of connection '{vendor}_default'" in str(error)
    assert error.passing


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_redirect_carries_no_secret_and_no_escape(vendor: str) -> None:
    response = Response(302, {"location": "https://x.example/?key=test-token\x1b[31m"}, b"")
    assert "test-token" not in str(vendor_for(vendor).refusal(response, READ))
    assert "\x1b" not in str(vendor_for(vendor).refusal(response, READ))


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("status", [302, 403, 503])
def test_such_an_answer_to_a_purchase_proves_nothing(vendor: str, status: int) -> None:
    exchange = named(ROWS[vendor].golden_purchase)
    played = play(exchange, [Response(status, {"content-type": "text/html", "location": "https://login.example/"}, PAGE)])
    assert isinstance(played.error, OutcomeUnknown)
    assert ("redirects to https://login.example/" if status == 302 else "a web page") in str(played.error)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_success_without_an_order_is_told_in_the_vendors_words(vendor: str) -> None:
    answer = {"success": True, "error": "", "message": "We are sold out of this item."}
    played = play(named(ROWS[vendor].golden_purchase), [Response(200, {}, dump_json(answer).encode())])
    assert isinstance(played.error, OutcomeUnknown)
    assert "We are sold out of this item." in str(played.error)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"message": "The given data was invalid.", "errors": {"quantity": ["must be at least 1.", "must be a number."]}},
         "The given data was invalid.; quantity: must be at least 1.; quantity: must be a number."),
        ({"errors": ["first", "second"]}, "first; second"),
        ({"errors": {"selection": {"locations": ["is empty"]}}}, "selection: locations: is empty"),
        ({"message": "Insufficient balance.", "errors": {"balance": ["Insufficient balance."]}}, "Insufficient balance."),
        ({"error": {"code": 7}}, "7"),
        ({"message": {"codes": ["GIFT-1"], "proxies": [{"ip": "192.0.2.1", "password": "s3cret"}]}}, ""),
        ({"error": "order {}", "codes": ["GIFT-1"]}, "order {}"),
        ({"errors": {"password": ["s3cret is too short"], "pin": 4711, "note": [{"password": "s3cret"}, "is long"]}},
         "note: is long; password: ***; pin: ***"),
        ({"message": "taken: 192.0.2.1:8080:user:s3cret"}, "text that holds addresses"),
        ({"detail": {"fields": {"player_id": ["required"]}}}, "player_id: required"),
        ({"errors": [{"message": "no", "password": "s3cret"}, *[str(number) for number in range(20)]]},
         "no; 0; 1; 2; 3; 4; 5; 6; 7; 8"),
    ],
)  # fmt: skip
def test_the_messages_of_each_field_are_said(answer: dict[str, Any], said: str) -> None:
    error = vendor_for("iproyal").refusal(Response(422, {}, dump_json(answer).encode()), BUY)
    assert error.vendor_text == said


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (402, "", InsufficientFunds),
        (422, "Insufficient balance.", InsufficientFunds),
        (400, "You have not enough funds for this order", InsufficientFunds),
        (400, "Your balance is too low", InsufficientFunds),
        (422, "The quantity is insufficient.", RequestRefused),
        (422, "Not enough proxies in stock", RequestRefused),
    ],
)
def test_an_empty_wallet_gets_the_same_advice_everywhere(status: int, said: str, kind: type[Exception]) -> None:
    error = vendor_for("iproyal").refusal(Response(status, {}, dump_json({"message": said}).encode()), BUY)
    assert type(error) is kind
    assert ("Top the wallet up, then clear the task." in str(error)) is (kind is InsufficientFunds)
