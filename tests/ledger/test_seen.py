"""Ids that reads saw at a vendor: each is kept once, a purchase keeps a mark, and what was seen later is not in it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from airflow_provider_proxyorders.domain.model import Actor
from airflow_provider_proxyorders.ledger import Ledger, open_ledger, schema
from airflow_provider_proxyorders.ledger.engine import engine_for
from airflow_provider_proxyorders.ledger.schema import HEAD

from .test_accounts import intent, resolve


def up_to(ledger: Ledger, mark: dict[str, int], wallet: str = "w", vendor: str = "proxyscrape") -> set[str]:
    return set(ledger.seen_up_to(wallet, vendor, mark["up_to"]))


def test_a_mark_holds_what_was_seen_by_then(ledger: Ledger) -> None:
    first = ledger.see("w", "proxyscrape", ["b", "a"])
    second = ledger.see("w", "proxyscrape", ["a", "b", "c"])
    assert up_to(ledger, first) == {"a", "b"} and up_to(ledger, second) == {"a", "b", "c"}


def test_what_was_seen_once_counts_for_good(ledger: Ledger) -> None:
    ledger.see("w", "proxyscrape", ["a"])
    assert up_to(ledger, ledger.see("w", "proxyscrape", [])) == {"a"}


def test_wallets_and_vendors_are_apart(ledger: Ledger) -> None:
    ledger.see("w", "proxyscrape", ["a"])
    assert up_to(ledger, ledger.see("w", "another", ["b"]), vendor="another") == {"b"}
    assert up_to(ledger, ledger.see("v", "proxyscrape", []), "v") == set()


def test_readers_at_once_keep_each_id_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        marks = list(pool.map(lambda number: ledger.see("w", "proxyscrape", ["a", "b", str(number)]), range(12)))
    assert all({"a", "b", str(number)} <= up_to(ledger, mark) for number, mark in enumerate(marks))
    with ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM proxyorders_seen_ids")).scalar_one() == 14


@pytest.mark.parametrize("first", ["a", "b"])
def test_joined_wallets_saw_what_both_saw(ledger: Ledger, first: str) -> None:
    """Each id keeps its name and number, so the marks of purchases before the join lose nothing."""
    for name, key in (("a", "key-1"), ("b", "key-2")):
        resolve(ledger, name, key)
    names = {"a": ["iproyal:a", "iproyal:b"], "b": ["iproyal:b", "iproyal:a"]}[first]
    early = ledger.see(names[0], "proxyscrape", ["both", "early"])
    late = ledger.see(names[1], "proxyscrape", ["both", "late"])
    for name, key in (("a", "key-1"), ("b", "key-2")):
        resolve(ledger, name, key, named="a")
    for name in names:
        assert up_to(ledger, early, name) == {"both", "early"}
        assert up_to(ledger, late, name) == {"both", "early", "late"}
    with ledger.transaction() as connection:  # a reader that looked its wallet up right before the join
        row = {"wallet": "iproyal:b", "vendor": "proxyscrape", "vendor_id": "beside"}
        connection.execute(schema.seen_ids.insert(), row)
    assert up_to(ledger, ledger.see("iproyal:b", "proxyscrape", ["new"]), "iproyal:a") == {
        "both",
        "early",
        "late",
        "beside",
        "new",
    }


def test_a_purchase_reads_its_mark_and_an_older_one_its_ids(ledger: Ledger) -> None:
    purchase = ledger.intend(intent("w", "k"), Actor())
    purchase = replace(purchase, vendor="proxyscrape")
    for evidence in ({"ids": ledger.see("w", "proxyscrape", ["a"])}, {"ids": ["a"]}):
        ledger.see("w", "proxyscrape", ["later"])
        ids = ledger.with_seen(purchase, evidence, "ids")["ids"]
        assert "a" in ids and "later" not in ids
    for untouched in ({"ids": None}, {}):
        assert ledger.with_seen(purchase, untouched, "ids") == untouched
    assert ledger.with_seen(purchase, {"ids": {"up_to": 1}}, None) == {"ids": {"up_to": 1}}


def test_the_upgrade_moves_the_lists_of_all_names_of_a_wallet(empty_url: str) -> None:
    engine = engine_for(empty_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "HEAD", "0008")
        schema.ensure(engine)
    rows: list[dict[str, Any]] = [
        {"name": "seen by w at proxyscrape", "value": json.dumps({"subaccounts": ["a", "b"]})},
        {"name": "seen by former at proxyscrape", "value": json.dumps({"subaccounts": ["b", "c"]})},
        {"name": "seen by other at proxyscrape", "value": json.dumps({})},
        {"name": "seen by w at iproyal", "value": json.dumps({"newest": 7001})},
    ]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO proxyorders_facts (name, value, at) VALUES (:name, :value, 'now')"), rows)
        wallets = [{"wallet": "w", "joined": None}, {"wallet": "former", "joined": "w"}]
        connection.execute(text("INSERT INTO proxyorders_wallets (wallet, joined) VALUES (:wallet, :joined)"), wallets)
    ledger = open_ledger(empty_url)
    with engine.connect() as connection:
        assert schema.version_of(connection) == HEAD
        assert connection.execute(text("SELECT name FROM proxyorders_facts")).scalars().all() == ["seen by w at iproyal"]
    assert up_to(ledger, ledger.see("w", "proxyscrape", [])) == {"a", "b", "c"}
