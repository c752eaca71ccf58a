"""Names in the ledger: a key, an id or a wallet that a database cannot take, or that nobody can see, is refused beforehand."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter
from airflow_provider_proxyorders.domain.inputs import order_id_of, order_key_of
from airflow_provider_proxyorders.domain.names import name_rule
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor
from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger
from tests.hooks.connections import REQUESTS, Shops

from .tasks import context

BODY = REQUESTS["iproyal"]
#: half a character, NUL, a bell, a line break inside, an escape sequence, signs that nobody sees, and one that turns the text
BAD = ["k\ud800", "k\0k", "k\ak", "k\nk", "k\x1b[2Jk", "k\u200bk", "k\ufeffk", "k\u00adk", "k\u202ek", "k\u2028k", "\udcffk"]
GOOD = ["k", "create:dag:task[3]:2026", "Bestellung für März", "заказ №7", "注文 7", "می\u200cخواهم", "a b", "🛒", "a/b?c=d&e"]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_of_any_script_is_taken(name: str) -> None:
    assert name_rule(name) == "" and order_key_of(name) == name == order_id_of(name)


@given(st.text(max_size=600))
@settings(deadline=None)
@example("\ud800")
def test_what_is_taken_can_be_stored_and_seen(text: str) -> None:
    if name_rule(text, 500):
        return
    assert len(text) <= 500 and text.encode().decode() == text and "\0" not in text
    assert not [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")]


ASKED: dict[str, Callable[[Shops, str], Any]] = {
    "create": lambda shops, bad: CreateProxyOrderOperator(
        task_id="t", conn_id=shops.connect("iproyal"), request=BODY, order_key=bad
    ).execute(context()),
    "extend": lambda shops, bad: ExtendProxyOrderOperator(
        task_id="t", conn_id=shops.connect("iproyal"), order_id="7001", request={"product_plan_id": 22}, order_key=bad
    ).execute(context()),
    "extend an order": lambda shops, bad: ExtendProxyOrderOperator(
        task_id="t", conn_id=shops.connect("iproyal"), order_id=bad, request={"product_plan_id": 22}
    ).execute(context()),
    "wait for an order": lambda shops, bad: ProxyOrderSensor(
        task_id="t", conn_id=shops.connect("iproyal"), order_id=bad, deferrable=False
    ).execute(context()),
    "a trigger": lambda shops, bad: ProxyOrderTrigger(conn_id="c", order_id=bad, deadline="2026-03-01T00:00:00+00:00"),
    "a connection": lambda shops, bad: CreateProxyOrderOperator(task_id="t", conn_id=bad, request=BODY).execute(context()),
    "hook: create": lambda shops, bad: shops.hook("iproyal").create_order(BODY, order_key=bad),
    "hook: extend": lambda shops, bad: shops.hook("iproyal").extend_order("7001", {"product_plan_id": 22}, order_key=bad),
    "hook: list": lambda shops, bad: shops.hook("iproyal").list_orders(order_ids=[bad]),
    "buyer": lambda shops, bad: shops.hook("iproyal").buyer().place(BODY, order_key=bad),
    "buyer: extend": lambda shops, bad: shops.hook("iproyal").buyer().extend(bad, {"product_plan_id": 22}, order_key="k"),
    "buyer: a request": lambda shops, bad: (
        shops.hook("voodoo").buyer().place({**REQUESTS["voodoo"], "note": {"a": [bad.replace("k", "")]}}, order_key="k")
    ),
}
#: of them, what cannot buy
READERS = {"wait for an order", "a trigger", "hook: list"}


@pytest.mark.parametrize("bad", BAD, ids=ascii)
@pytest.mark.parametrize("ask", ASKED)
def test_it_is_refused_in_one_sentence_before_anything(shops: Shops, ask: str, bad: str) -> None:
    if ask == "buyer: a request" and bad not in ("k\ud800", "k\0k", "\udcffk"):
        pytest.skip("a text of a request may have lines and hidden signs; only what cannot be sent is refused")
    with pytest.raises(InvalidParameter) as error:
        ASKED[ask](shops, bad)
    text = str(error.value)
    assert "For example: " in text and text.isprintable()
    if not ask.startswith("buyer"):
        assert text.endswith("Nothing was bought.") == (ask not in READERS), text
    assert shops.box.book.count("iproyal") + shops.box.book.count("voodoo") == 0


@pytest.mark.parametrize(("ask", "longest"), [("extend an order", 200), ("wait for an order", 200), ("a connection", 250)])
def test_a_name_that_is_longer_than_its_column(shops: Shops, ask: str, longest: int) -> None:
    with pytest.raises(InvalidParameter, match=f"at most {longest} characters"):
        ASKED[ask](shops, "7" * (longest + 1))


@pytest.mark.parametrize("key", GOOD)
def test_a_good_key_is_kept_on_both_databases(shops: Shops, postgres_url: str, key: str) -> None:
    hook = shops.hook("iproyal")
    for url in (postgres_url, None):
        ledger = open_ledger(url) if url else hook.ledger
        buyer = Buyer(hook.vendor, hook.http, ledger)
        placed = buyer.place(BODY, order_key=key)
        assert ledger.find(key) == placed and placed.order_key == key


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad.isascii() or max(bad) < "\ud800"], ids=ascii)
def test_a_wallet_is_a_name(shops: Shops, bad: str) -> None:
    with pytest.raises(ConfigError, match=r"(wallet must be text of visible signs|the extra must be JSON).*Nothing was sent"):
        shops.hook("iproyal", extra={"wallet": bad}).create_order(BODY, order_key="k")
