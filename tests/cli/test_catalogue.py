"""``proxyorders catalogue``: the values that a request takes, from the vendor's own list."""

from __future__ import annotations

import json

from tests.hooks.connections import Shops

from .conftest import Command


def test_what_it_lists_can_be_bought(shops: Shops, command: Command) -> None:
    said = command("catalogue", shops.connect("iproyal"), "-o", "plain")
    head, *lines = [line.split() for line in said.out.splitlines()]
    assert said.status == 0 and head == ["product", "field", "value", "name", "price"]
    values = {(word, line[at + 1]) for line in lines for at, word in enumerate(line) if word.startswith("product_")}
    assert {("product_id", "9"), ("product_plan_id", "22"), ("product_location_id", "77")} <= values
    assert shops.bought("iproyal") == []


def test_prices_of_a_flat_list(shops: Shops, command: Command) -> None:
    lines = [line.split() for line in command("catalogue", shops.connect("proxy6"), "-o", "plain").out.splitlines()]
    assert {line[1] for line in lines[1:]} == {"version", "period"}


def test_programs_get_the_vendors_own_form(shops: Shops, command: Command) -> None:
    products = json.loads(command("catalogue", shops.connect("iproyal"), "-o", "json").out)
    assert products[0]["id"] == 9 and products[0]["plans"][0]["id"] == 22


def test_a_catalogue_that_is_a_file(shops: Shops, command: Command) -> None:
    said = command("catalogue", shops.connect("voodoo"), "-o", "plain")
    assert said.status == 0 and "item_id" in said.out and "5120" in said.out


def test_a_vendor_without_a_catalogue(shops: Shops, command: Command) -> None:
    said = command("catalogue", shops.connect("proxyscrape"))
    assert (said.status, said.out) == (1, "") and "listing products" in said.err
