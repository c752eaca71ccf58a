"""Signatures: known vectors, and every way to be wrong, for every scheme."""

from __future__ import annotations

import pytest

from airflow_provider_proxyorders.webhooks.senders import secrets_of
from airflow_provider_proxyorders.wire.signatures import BadSignature, OutsideTolerance, Scheme

from .conftest import webhook_body

#: Standard Webhooks as published.
STANDARD = Scheme("standard", header="webhook-signature", timestamp_header="webhook-timestamp", id_header="webhook-id")
SCHEMES = {
    "body": Scheme(),
    "body, base64": Scheme(prefix="", encoding="base64", header="X-Sig"),
    "timestamp": Scheme("timestamp", prefix="v1="),
    "stripe": Scheme("stripe", header="stripe-signature"),
    "standard": STANDARD,
}
NOW = 1_900_000_000.0
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


def headers_of(scheme: Scheme, body: bytes, secret: str = SECRET, now: float = NOW) -> dict[str, str]:
    return {name.lower(): value for name, value in scheme.sign(body, secret, now=now, message_id="msg_1").items()}


def test_the_vendors_form_matches_a_vector_computed_elsewhere() -> None:
    """shared facts: 376 bytes, secret and signature as in the vendor notes."""
    body = (
        b'{"codes":["EXAM-PLE1","EXAM-PLE2"],"completed_at":"2030-01-02T03:04:05Z","created_at":"2030-01-02T03:03:50Z",'
        b'"delivered_quantity":2,"error":"","error_message":"","fields":{},"item_id":5120,"item_name":"Example key 5 EUR",'
        b'"merchant_order_id":"af-7c1e9b02","order_id":"018f7a20-3c51-7d14-8b0e-5a1f6c2d9e77","quantity":3,"refund_amount":4.5,'
        b'"status":"partial","total_price":13.5}'
    )
    assert len(body) == 376
    assert Scheme().sign(body, "test-webhook-secret") == {
        "x-webhook-signature": "sha256=6f638145efa27c0c5d67c926d57d852a3a2716e0fdc0c4928f61cd7140d0b51b"
    }


@pytest.mark.parametrize("name", SCHEMES)
def test_what_is_signed_is_verified_and_nothing_else(name: str) -> None:
    scheme, body = SCHEMES[name], webhook_body()
    headers = headers_of(scheme, body)
    scheme.verify(body, headers, [SECRET], now=NOW)
    scheme.verify(body, headers, ["bmV3ZXItc2VjcmV0", SECRET], now=NOW)
    for wrong_body, wrong_headers, secrets in (
        (body[:-1] + b" ", headers, [SECRET]),
        (body + b"\n", headers, [SECRET]),
        (body, headers, ["b3RoZXI="]),
        (body, headers, []),
        (body, {}, [SECRET]),
        (body, dict.fromkeys(headers, ""), [SECRET]),
        (body, {key: value[:-2] for key, value in headers.items()}, [SECRET]),
        (body, {key: "\u20ac" + value for key, value in headers.items()}, [SECRET]),
    ):
        with pytest.raises(BadSignature):
            scheme.verify(wrong_body, wrong_headers, secrets, now=NOW)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("secret", ["", " ", "whsec_", " whsec_ ", "whsec_  "])
def test_an_empty_key_proves_nothing(name: str, secret: str) -> None:
    scheme, body = SCHEMES[name], webhook_body()
    with pytest.raises(BadSignature, match="no webhook secret"):
        scheme.verify(body, headers_of(scheme, body, secret), [secret], now=NOW)
    with pytest.raises(BadSignature, match="does not fit"):
        scheme.verify(body, headers_of(scheme, body, secret), [secret, SECRET], now=NOW)
    scheme.verify(body, headers_of(scheme, body), [secret, SECRET], now=NOW)
    assert secrets_of(secret) == [] and secrets_of([secret, SECRET]) == [SECRET]


@pytest.mark.parametrize("name", ["timestamp", "stripe", "standard"])
def test_timestamps_count_both_ways(name: str) -> None:
    scheme, body = SCHEMES[name], webhook_body()
    for age in (-300, 300):
        scheme.verify(body, headers_of(scheme, body, now=NOW - age), [SECRET], now=NOW)
    for age in (-301, 301):
        with pytest.raises(OutsideTolerance):
            scheme.verify(body, headers_of(scheme, body, now=NOW - age), [SECRET], now=NOW)


@pytest.mark.parametrize("name", ["timestamp", "stripe", "standard"])
def test_a_timestamp_cannot_be_changed(name: str) -> None:
    scheme, body = SCHEMES[name], webhook_body()
    headers = headers_of(scheme, body, now=NOW - 1000)
    fresh = {key: value.replace(str(int(NOW - 1000)), str(int(NOW))) for key, value in headers.items()}
    with pytest.raises(BadSignature, match="does not fit"):
        scheme.verify(body, fresh, [SECRET], now=NOW)


def test_several_signatures_in_one_header() -> None:
    scheme, body = Scheme("stripe", header="s"), webhook_body()
    first, second = scheme.sign(body, "a", now=NOW)["s"], scheme.sign(body, "b", now=NOW)["s"]
    both = {"s": f"{first},{second.partition(',')[2]}"}
    scheme.verify(body, both, ["a"], now=NOW)
    scheme.verify(body, both, ["b"], now=NOW)
