"""Signatures: known vectors, and every way to be wrong, for every scheme."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from standardwebhooks import Webhook

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


class TestStandardWebhooks:
    """Against the published library, both ways."""

    BYTES = bytes(range(230, 262 - 8)) + b"\xfb\xff"  # in base64 with + and /, and with padding

    @pytest.fixture(
        params=["whsec_, padded", "whsec_, without padding", "whsec_, url-safe", "bare", "url-safe", "with a line break"]
    )
    def secret(self, request: pytest.FixtureRequest) -> str:
        padded = base64.b64encode(self.BYTES).decode()
        assert {"+", "/", "="} <= set(padded)
        url_safe = base64.urlsafe_b64encode(self.BYTES).decode()
        return {
            "whsec_, padded": f"whsec_{padded}",
            "whsec_, without padding": f"whsec_{padded.rstrip('=')}",
            "whsec_, url-safe": f"whsec_{url_safe}",
            "bare": padded,
            "url-safe": url_safe,
            "with a line break": f"whsec_{padded}\n",
        }[request.param]

    def test_its_deliveries_are_verified(self, secret: str) -> None:
        body, now = webhook_body(), datetime.now(timezone.utc)
        signature = Webhook(self.BYTES).sign("msg_1", now, body.decode())
        headers = {"webhook-id": "msg_1", "webhook-timestamp": f"{int(now.timestamp())}", "webhook-signature": signature}
        scheme = Scheme().changed({"kind": "standard"})
        scheme.verify(body, headers, secrets_of(secret), now=now.timestamp())
        for several in (f"v1,AAAA {signature}", f"v1a,AAAA {signature} v1,BBBB", f"v1,AAAA,{signature}", f"v1,AAAA, {signature}"):
            scheme.verify(body, {**headers, "webhook-signature": several}, secrets_of(secret), now=now.timestamp())

    def test_it_verifies_ours(self) -> None:
        secret = f"whsec_{base64.b64encode(self.BYTES).decode()}"
        headers = Scheme().changed({"kind": "standard"}).sign(webhook_body(), secret, now=time.time(), message_id="msg_1")
        assert Webhook(secret).verify(webhook_body(), headers) == json.loads(webhook_body())


@pytest.mark.parametrize("secret", ["whsec_=", "whsec_AA==", "AAAA", "\0", "whsec_\0", "=="])
def test_a_key_of_zero_bytes_is_an_empty_one(secret: str) -> None:
    assert secrets_of(secret) == []


@pytest.mark.parametrize("name", ["body", "timestamp", "stripe"])
def test_hex_counts_in_either_case(name: str) -> None:
    scheme, body = SCHEMES[name], webhook_body()
    headers = headers_of(scheme, body)
    code = scheme.sign(body, SECRET, now=NOW)[scheme.header].rpartition("=")[2]
    upper = {key: value.replace(code, code.upper()) for key, value in headers.items()}
    assert upper != headers
    scheme.verify(body, upper, [SECRET], now=NOW)


WRONG = [
    ("text", "must be an object"),
    (["kind"], "must be an object"),
    ({"kid": "body"}, "unknown field 'kid'"),
    ({"kind": "hmac"}, "kind of body, timestamp, stripe, standard"),
    ({"kind": ["body"]}, "kind of"),
    ({"encoding": "Base64"}, "encoding of hex, base64"),
    ({"prefix": 1}, "text without commas in prefix"),
    ({"prefix": "a\nb"}, "text without commas in prefix"),
    ({"header": ""}, "header in header"),
    ({"header": "X Sig"}, "header in header"),
    ({"timestamp_header": 5}, "header in timestamp_header"),
    *[({"tolerance": value}, "seconds in tolerance") for value in (0, -1, "soon", True, "nan", "inf", 1e9, [300], {})],
]


@pytest.mark.parametrize(("changes", "rule"), WRONG, ids=str)
def test_a_change_that_can_never_verify_is_refused(changes: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Scheme().changed(changes)


@pytest.mark.parametrize(
    "changes", [{"tolerance": "120"}, {"tolerance": 120}, {"tolerance": 120.0, "prefix": None, "kind": None}]
)
def test_a_number_may_be_text_and_null_changes_nothing(changes: Any) -> None:
    assert Scheme().changed(changes) == replace(Scheme(), tolerance=120.0)
