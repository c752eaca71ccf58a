"""Voodoo's login: one exchange for 110 minutes, one renewal for a reading call, none behind the back of a purchase."""

from __future__ import annotations

import pytest

from airflow_provider_proxyorders.domain.errors import AuthenticationFailed
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.vendors import voodoo
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.wire.messages import Response
from tests.contract.replay import vendor_for

BODY = {"item_id": 5120, "merchant_order_id": "af-1"}
REFUSED = Response(401, {}, dump_json({"detail": "no", "code": "not_authenticated"}).encode())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_900_000_000.0]
    monkeypatch.setattr(voodoo, "now", lambda: now[0])
    return now


@pytest.fixture
def shop() -> Vendor:
    return vendor_for("voodoo")


def token(name: str) -> Response:
    return Response(200, {}, dump_json({"access_token": name, "token_type": "Bearer"}).encode())


def log_in(shop: Vendor, name: str) -> None:
    flow = shop.login()
    assert next(flow).path == "/api/v1/auth/token/client"
    with pytest.raises(StopIteration):
        flow.send(token(name))


def test_a_token_serves_for_110_minutes(shop: Vendor, clock: list[float]) -> None:
    log_in(shop, "one")
    clock[0] += 110 * 60 - 1
    asked = next(shop.balance())
    assert asked.path == "/api/v1/account/balance"
    assert asked.headers["Authorization"] == "Bearer one"
    clock[0] += 1
    assert next(shop.balance()).path == "/api/v1/auth/token/client"


def test_its_age_counts_from_the_asking(shop: Vendor, clock: list[float]) -> None:
    flow = shop.login()
    next(flow)
    clock[0] += 600  # a very slow answer
    with pytest.raises(StopIteration):
        flow.send(token("one"))
    clock[0] += 110 * 60 - 600
    assert next(shop.balance()).path == "/api/v1/auth/token/client"


def test_every_call_of_an_account_shares_the_token(shop: Vendor, clock: list[float]) -> None:
    log_in(shop, "one")
    other = voodoo.Voodoo(shop.account)
    assert next(other.create(BODY)).spends


def test_a_reading_call_is_repeated_once_with_a_new_token(shop: Vendor, clock: list[float]) -> None:
    log_in(shop, "one")
    flow = shop.balance()
    next(flow)
    assert flow.send(REFUSED).path == "/api/v1/auth/token/client"
    again = flow.send(token("two"))
    assert (again.path, again.headers["Authorization"]) == ("/api/v1/account/balance", "Bearer two")
    with pytest.raises(AuthenticationFailed):
        flow.send(REFUSED)


def test_a_purchase_is_not_repeated_but_the_next_one_logs_in_anew(shop: Vendor, clock: list[float]) -> None:
    log_in(shop, "one")
    flow = shop.create(BODY)
    assert next(flow).spends
    with pytest.raises(AuthenticationFailed):
        flow.send(REFUSED)
    again = shop.create(BODY)
    assert next(again).path == "/api/v1/auth/token/client"
    asked = again.send(token("two"))
    assert asked.spends
    assert asked.headers["Authorization"] == "Bearer two"
    assert asked.json == BODY


def test_a_refused_login_ends_the_flow_before_the_purchase(shop: Vendor, clock: list[float]) -> None:
    flow = shop.create(BODY)
    next(flow)
    with pytest.raises(AuthenticationFailed):
        flow.send(Response(401, {}, b'{"error": "Invalid credentials"}'))
    with pytest.raises(StopIteration):
        next(flow)


def test_a_token_that_is_given_up_is_still_kept_out_of_messages(shop: Vendor, clock: list[float]) -> None:
    log_in(shop, "jwt-one-secret")
    flow = shop.create(BODY)
    next(flow)
    echo = Response(401, {}, b'{"detail": "jwt-one-secret has expired", "code": "not_authenticated"}')
    with pytest.raises(AuthenticationFailed) as refused:
        flow.send(echo)
    assert "jwt-one-secret" not in str(refused.value) + refused.value.vendor_text
