"""A masked field cannot be guessed back from the fingerprint of its request, and older fingerprints still count."""

from __future__ import annotations

import queue
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from airflow_provider_proxyorders.domain.errors import OrderKeyConflict
from airflow_provider_proxyorders.domain.model import Actor, Money, Step
from airflow_provider_proxyorders.domain.secrets import masked
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger
from airflow_provider_proxyorders.ledger.schema import facts, purchases
from airflow_provider_proxyorders.purchase.attempt import fingerprint
from airflow_provider_proxyorders.sandbox import Sandbox
from tests.ledgers import sqlite_ledger

from .conftest import Shop

WALLET = "voodoo:main"


@pytest.fixture
def ledger(url: str) -> Ledger:
    """On both databases."""
    return open_ledger(url)


def body(pin: object) -> dict[str, Any]:
    return {"item_id": 6001, "quantity": 5, "fields": {"player_id": "A-1", "pin": pin}}


def plain(pin: object) -> str:
    return fingerprint("create", WALLET, "voodoo", None, body(pin))


def intend(ledger: Ledger, pin: object) -> str:
    """Intend a purchase with a PIN; returns the fingerprint in its row."""
    names = {"order_key": "k", "kind": "create", "vendor": "voodoo", "conn_id": "c", "wallet": WALLET}
    amount = Money(Decimal(5), "USD")
    ledger.intend(Intent(**names, fingerprint=plain(pin), request=masked(body(pin)), amount=amount), Actor())
    return str(stored(ledger)["fingerprint"])


def stored(ledger: Ledger) -> Any:
    with ledger.engine.connect() as connection:
        return connection.execute(select(purchases)).mappings().one()


def test_no_pin_has_the_fingerprint_in_the_ledger(ledger: Ledger) -> None:
    written = intend(ledger, "4711")
    row = stored(ledger)
    assert row["request"] == '{"fields":{"pin":"***","player_id":"A-1"},"item_id":6001,"quantity":5}'
    assert "4711" not in str(dict(row))
    every_pin = {plain(f"{pin:04}") for pin in range(10_000)}
    assert plain("4711") in every_pin and written not in every_pin


def test_two_ledgers_key_one_request_differently(ledger: Ledger, tmp_path: Any) -> None:
    other = open_ledger(f"sqlite:///{tmp_path / 'other.db'}")
    assert intend(ledger, "4711") != intend(other, "4711")
    again = Ledger(ledger.engine)
    assert again.salt == ledger.salt != other.salt
    with ledger.engine.connect() as connection:
        assert list(connection.execute(select(facts.c.value)).scalars()) == [ledger.salt]


def test_a_ledger_that_is_held_up_holds_up_no_other(tmp_path: Path) -> None:
    slow, other = (open_ledger(sqlite_ledger(tmp_path, name)) for name in ("slow.db", "other.db"))
    with slow.engine.connect() as connection:
        connection.execute(select(facts))  # a transaction of ours begins by taking the lock, so nobody else can write the salt
        waiting = threading.Thread(target=lambda: slow.salt)
        waiting.start()
        time.sleep(0.2)
        assert waiting.is_alive()
        answers = queue.Queue[str]()
        threading.Thread(target=lambda: answers.put(other.salt), daemon=True).start()
        assert answers.get(timeout=3)
        assert waiting.is_alive()
        connection.rollback()
    waiting.join(60)
    assert not waiting.is_alive() and slow.salt != other.salt


@pytest.mark.parametrize("old", [False, True], ids=["keyed", "of an older ledger"])
def test_the_same_pin_is_the_same_purchase_and_another_one_is_not(ledger: Ledger, old: bool) -> None:
    intend(ledger, "4711")
    if old:
        write_as_before(ledger, plain("4711"))
    intend(ledger, "4711")
    purchase = ledger.find("k")
    assert purchase is not None and ledger.history("k")[-1].why == "intended anew"
    ledger.claim(purchase, Actor(), evidence={}, sent_seconds=60)
    with pytest.raises(OrderKeyConflict, match="a field whose value is masked. Nothing was sent"):
        intend(ledger, "4712")


def test_an_order_of_an_older_ledger_is_bought_once(ledger: Ledger, box: Sandbox) -> None:
    shop = Shop("voodoo", box, ledger)
    first = shop.delivered("k")
    request = shop.buyer().vendor.prepare_create(shop.request, shop.buyer().reference("k"))
    write_as_before(ledger, fingerprint("create", WALLET, "voodoo", None, request.body))
    again = shop.buyer().place(shop.request, order_key="k")
    assert (again.order_id, again.step) == (first.order_id, Step.DELIVERED)
    with pytest.raises(OrderKeyConflict, match="quantity: 2 -> 3"):
        shop.buyer().place({**shop.request, "quantity": 3}, order_key="k")
    assert len(shop.bought()) == 1


def write_as_before(ledger: Ledger, fingerprint: str) -> None:
    """Give the row the plain fingerprint that older code wrote."""
    with ledger.engine.begin() as connection:
        connection.execute(update(purchases).values(fingerprint=fingerprint))
