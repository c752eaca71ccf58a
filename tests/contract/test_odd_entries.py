"""One odd entry of a list is left out and named. It stops none of the others; only "absent" becomes "not visible"."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.testing.replay import Played
from tests.contract.replay import Exchange, drive, exchanges, named, play, vendor_for

#: The end of the path of each vendor's list.
LISTS: Mapping[str, str] = {"iproyal": "/orders", "proxyscrape": "/subaccounts"}
#: No entry, or one without an id: as an object, as anything else.
NAMELESS: list[Any] = [{}, None, "x", 7, [], {"id": {}, "AccountID": {}}, {"id": None, "AccountID": "a\x1bb"}]


def with_entry(name: str, entry: Any, **evidence: Any) -> Played:
    """Play an exchange whose list has one more entry, the first one."""
    exchange = named(name)
    data = deepcopy(exchange.data)
    path = LISTS[exchange.vendor]
    for step in data["steps"]:
        if step["request"]["path"].endswith(path):
            listed = step["response"]["json"]["data"]
            (listed if isinstance(listed, list) else listed["subaccounts"]).insert(0, entry)
    data["call"].get("kwargs", {}).get("evidence", {}).update(evidence)
    return play(Exchange(exchange.path, data))


@pytest.mark.parametrize("entry", NAMELESS, ids=repr)
@pytest.mark.parametrize("vendor", LISTS)
def test_with_an_entry_without_an_id_nothing_is_absent(vendor: str, entry: Any) -> None:
    assert play(named(f"{vendor}/resolve.absent")).result.verdict == "absent"
    look = with_entry(f"{vendor}/resolve.absent", entry).result
    assert look.verdict == "not visible" and not look.has_trace
    assert "cannot be read" in look.detail


@pytest.mark.parametrize("entry", NAMELESS, ids=repr)
@pytest.mark.parametrize("vendor", LISTS)
def test_it_hides_no_order_that_is_there(vendor: str, entry: Any) -> None:
    look = with_entry(f"{vendor}/resolve.found", entry).result
    assert look.verdict == "found"
    assert look.order == play(named(f"{vendor}/resolve.found")).result.order


@pytest.mark.parametrize("vendor", LISTS)
def test_what_had_no_id_before_the_purchase_may_be_what_has_one_now(vendor: str) -> None:
    """So a new order may be an old one, and a person decides."""
    snapshot = {"iproyal": "create", "proxyscrape": "full"}[vendor]
    evidence = with_entry(f"{vendor}/snapshot.{snapshot}", {}).result
    assert evidence == {**play(named(f"{vendor}/snapshot.{snapshot}")).result, "nameless": 1}
    assert with_entry(f"{vendor}/resolve.found", {}, nameless=1).result.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("number", "verdict"), [(7001, "not visible"), (7000, "absent"), (6999, "absent")], ids=["above", "newest", "below"]
)
def test_only_an_odd_order_above_the_newest_known_one_can_be_the_purchase(number: int, verdict: str) -> None:
    look = with_entry("iproyal/resolve.absent", {"id": number, "status": {"word": "confirmed"}}).result
    assert look.verdict == verdict


def test_an_odd_order_that_the_ledger_owns_is_not_the_purchase() -> None:
    exchange = named("iproyal/resolve.absent")
    data = deepcopy(exchange.data)
    data["steps"][0]["response"]["json"]["data"].insert(0, {"id": 7001, "status": None})
    data["call"]["kwargs"]["owned"] = ["7001"]
    assert play(Exchange(exchange.path, data)).result.verdict == "absent"


@pytest.mark.parametrize("entry", NAMELESS, ids=repr)
@pytest.mark.parametrize("vendor", LISTS)
def test_an_inventory_names_it_beside_the_others(vendor: str, entry: Any) -> None:
    """For reconcile, which compares the rest."""
    name = {"iproyal": "list.all", "proxyscrape": "subaccounts.listed"}[vendor]
    step = deepcopy(named(f"{vendor}/{name}").data["steps"][0])
    listed = step["response"]["json"]["data"]
    (listed if isinstance(listed, list) else listed["subaccounts"]).append(entry)
    exchange = named(f"{vendor}/{name}")
    played, body = Played(vendor_for(vendor).account), dump_json(step["response"]["json"]).encode()
    drive(vendor_for(vendor).inventory(), [replace(exchange.responses()[0], body=body)], played)
    inventory = played.result
    odd = [order for order in inventory if order.unreadable]
    assert len(odd) == 1 and "cannot be read" in odd[0].unreadable and odd[0].order_id.startswith("entry ")
    assert len(inventory) > 1 and not any(order.unreadable for order in inventory if order is not odd[0])


def test_the_exchanges_know_it() -> None:
    assert {"proxyscrape/subaccounts.entry_without_id", "iproyal/list.entry_unreadable"} <= {each.name for each in exchanges()}
