"""What IPRoyal documents beside orders: answers of every kind, cards, logins, what a quote says, and a short delivery."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidRequest, OrderNotUsable, RequestRefused
from airflow_provider_proxyorders.domain.model import OrderStatus, Step
from airflow_provider_proxyorders.hooks.proxyorders import IPRoyalHook

from .connections import REQUESTS, Shops

PLACES = {"locations": [{"product_location_id": 77, "quantity": 1}, {"product_location_id": 78, "quantity": 1}]}
KINDS = {"5": {"type": "boolean"}}
OPTIONS = {"5": {"type": "select", "options": [{"value": "a"}, {"value": "b"}]}}


def hook_of(shops: Shops, **extra: Any) -> IPRoyalHook:
    return IPRoyalHook(shops.connect("iproyal", extra=extra))


@pytest.mark.parametrize(
    ("kinds", "answers"),
    [(KINDS, {"5": True}), (KINDS, {"5": False}), (KINDS, [True]), (OPTIONS, {"5": "b"}), ({}, {"5": ["x", "y"]})],
)
def test_answers_of_every_kind_are_quoted_and_bought(shops: Shops, kinds: Any, answers: Any) -> None:
    shops.box.control({"vendor": "iproyal", "product": {"id": 9, "kinds": kinds}})
    request = {**REQUESTS["iproyal"], "product_question_answers": answers}
    assert hook_of(shops).create_order(request, order_key="k").order_id
    assert len(shops.bought("iproyal")) == 1


def test_a_wrong_answer_is_refused_with_the_quote(shops: Shops) -> None:
    shops.box.control({"vendor": "iproyal", "product": {"id": 9, "kinds": OPTIONS}})
    with pytest.raises(RequestRefused, match="must be of type select"):
        hook_of(shops).create_order({**REQUESTS["iproyal"], "product_question_answers": {"5": "c"}}, order_key="k")
    assert shops.bought("iproyal") == []


def test_several_locations_are_bought_without_a_plan(shops: Shops) -> None:
    order = hook_of(shops).create_order({"product_id": 9, "selection": PLACES}, order_key="k")
    assert order.order_id and [entry.amount for entry in shops.bought("iproyal")] == ["6.00"]


def test_the_log_tells_what_the_quote_says(shops: Shops) -> None:
    said: list[str] = []
    hook_of(shops).buyer(say=said.append).place(REQUESTS["iproyal"], order_key="k")
    assert "IPRoyal's quote, next discount: 5 % from a quantity of 50 on" in said


def test_an_extension_is_quoted_by_the_hook(shops: Shops) -> None:
    order = {"id": 7001, "quantity": 2, "expire_date": "2030-02-01 09:15:00"}
    shops.box.control({"vendor": "iproyal", "order": order})
    assert str(hook_of(shops).quote_extension("7001", {"product_plan_id": 23}).price) == "11.00 USD"
    assert str(hook_of(shops).quote_extension("7001", {"product_plan_id": 23, "proxies": ["203.0.113.21"]}).price) == "5.50 USD"


def test_cards_are_listed_without_the_addresses_that_change_them(shops: Shops) -> None:
    shops.box.control({"vendor": "iproyal", "card": {"id": 31, "update_url": "https://pay.example.org/secret"}})
    (card,) = hook_of(shops).get_cards()
    assert card["id"] == 31 and "update_url" not in card


def test_the_proxies_get_another_login(shops: Shops) -> None:
    shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "quantity": 2, "expire_date": "2030-02-01 09:15:00"}})
    hook = hook_of(shops)
    hook.change_credentials("7001", username="crawler", password="another-word")
    assert {(proxy.username, proxy.password) for proxy in hook.get_delivery("7001").proxies} == {("crawler", "another-word")}
    with pytest.raises(InvalidRequest, match=r"password.*is needed"):
        hook.change_credentials("7001", proxies=["203.0.113.21"])
    with pytest.raises(InvalidRequest, match="did you mean 'password'"):
        hook.change_credentials("7001", pasword="another-word")


def test_an_echo_of_the_new_password_stays_out_of_the_error(shops: Shops) -> None:
    body = '{"message": "another-word is too weak"}'
    shops.box.fault("iproyal", "change_credentials", action="status", status=422, body=body)
    with pytest.raises(RequestRefused) as error:
        hook_of(shops).change_credentials("7001", password="another-word")
    assert "too weak" in str(error.value) and "another-word" not in str(error.value)


@pytest.mark.parametrize(("setting", "status"), [("wait", OrderStatus.PENDING), ("accept", OrderStatus.PARTIAL)])
def test_confirmed_with_fewer_proxies_means_what_the_connection_says(shops: Shops, setting: str, status: OrderStatus) -> None:
    order = {"id": 7001, "quantity": 5, "status": "confirmed", "proxies": [], "expire_date": "2030-02-01 09:15:00"}
    shops.box.control({"vendor": "iproyal", "order": order})
    assert hook_of(shops, short_delivery=setting).get_order("7001").status is status


def test_an_accepted_short_delivery_ends_the_wait(shops: Shops) -> None:
    shops.box.control({"vendor": "iproyal", "next_outcome": "partial", "details": {"delivered": 1}})
    buyer = hook_of(shops, short_delivery="accept").buyer()
    order = buyer.place(REQUESTS["iproyal"], order_key="k")
    order = buyer.wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=5), poll_interval=0.05)
    assert (order.step, order.delivered) == (Step.PARTIAL, 1)
    with pytest.raises(OrderNotUsable):
        buyer.require_usable(order)
    assert buyer.require_usable(order, on_partial="accept").delivered == 1
