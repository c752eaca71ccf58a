"""Before money moves: what each vendor's order form takes, completes, warns about and refuses.

A refusal names the field, the documented rule and a value that would pass, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidRequest, UnsupportedOperation, telling_of_the_wallet
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.purchase.attempt import fingerprint
from airflow_provider_proxyorders.vendors import voodoo
from airflow_provider_proxyorders.vendors.base import Filters, Prepared
from airflow_provider_proxyorders.vendors.fields import Field
from airflow_provider_proxyorders.vendors.iproyal import requests as iproyal
from airflow_provider_proxyorders.vendors.proxyscrape import requests as proxyscrape
from tests.contract.replay import exchanges, vendor_for

REFERENCE = "af-7c1e9b02"

DATACENTER = {"type": "new_datacenter_shared", "country": "Netherlands", "days": 30, "proxies[us]": 500, "bandwidth": 0}
RESIDENTIAL = {"type": "new_residential", "country": "Netherlands", "bandwidth": 25, "duration": "30d"}
UNLIMITED = {"type": "new_residential_unlimited", "country": "Netherlands", "duration": "60d", "location": "42"}
SERP = {"type": "new_serp_api", "country": "Netherlands", "duration": "90d"}
ONE = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2}
PLACES = [{"product_location_id": 77, "quantity": 2}, {"product_location_id": 78, "quantity": 1}]
SEVERAL = {"product_id": 9, "product_plan_id": 22, "selection": {"locations": PLACES}}
KEY = {"item_id": 5120, "quantity": 3}
TOPUP = {"item_id": 6001, "quantity": 12.5, "fields": {"player_id": "A-1029", "region": 4}}
SERVICE = {"item_id": 7007, "fields": {"account": "someone@example.org"}}


def prepare(vendor: str, request: Any, reference: str = REFERENCE) -> Prepared:
    return vendor_for(vendor).prepare_create(request, reference)


def but(request: Mapping[str, Any], *without: str, **other: Any) -> dict[str, Any]:
    return {name: value for name, value in {**request, **other}.items() if name not in without}


GOOD: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # vendor, request, what is added to it
    ("proxyscrape", DATACENTER, {"is_subscription": False}),
    ("proxyscrape", RESIDENTIAL, {"is_subscription": False}),
    ("proxyscrape", but(RESIDENTIAL, "duration"), {"is_subscription": False}),
    ("proxyscrape", UNLIMITED, {"is_subscription": False}),
    ("proxyscrape", but(UNLIMITED, location=42), {"is_subscription": False}),
    ("proxyscrape", SERP, {"is_subscription": False}),
    ("proxyscrape", but(DATACENTER, "bandwidth", coupon_code="WELCOME5", email="me@example.org"), {"is_subscription": False}),
    ("voodoo", KEY, {"merchant_order_id": REFERENCE}),
    ("voodoo", {"item_id": 5120}, {"merchant_order_id": REFERENCE}),
    ("voodoo", TOPUP, {"merchant_order_id": REFERENCE}),
    ("voodoo", SERVICE, {"merchant_order_id": REFERENCE}),
    ("voodoo", but(KEY, merchant_order_id="mine-1"), {}),
    ("iproyal", ONE, {"auto_extend": False}),
    ("iproyal", but(ONE, product_question_answers={"5": "ref"}, card_id=31, coupon_code="X"), {"auto_extend": False}),
    ("iproyal", SEVERAL, {"auto_extend": False}),
]


@pytest.mark.parametrize(("vendor", "request_", "added"), GOOD)
def test_a_documented_request_passes_as_it_is(vendor: str, request_: dict[str, Any], added: dict[str, Any]) -> None:
    prepared = prepare(vendor, request_)
    assert prepared.body == {**request_, **added}
    assert prepared.warnings == []


@pytest.mark.parametrize(("vendor", "request_", "added"), GOOD)
def test_numbers_that_a_template_made_text_are_numbers_again(
    vendor: str, request_: dict[str, Any], added: dict[str, Any]
) -> None:
    rendered = {name: str(value) if isinstance(value, (int, float)) else value for name, value in request_.items()}
    if "location" in request_:  # the type of this id is not documented, so it stays what it was
        rendered["location"] = request_["location"]
    assert dump_json(prepare(vendor, rendered).body) == dump_json(prepare(vendor, request_).body)


#: Each vendor's documented fields, with a body that its order form takes.
TABLES: list[tuple[str, str, Mapping[str, Field], dict[str, Any]]] = [
    ("proxyscrape", "create", proxyscrape.FIELDS, DATACENTER),
    ("voodoo", "create", voodoo.FIELDS, KEY),
    ("iproyal", "create", iproyal.CREATE, ONE),
    ("iproyal", "extend", iproyal.EXTEND, {"product_plan_id": 22}),
]
FORMS = [
    pytest.param(vendor, kind, name, request_, id=f"{vendor}-{kind}-{name}")
    for vendor, kind, table, request_ in TABLES
    for name in table
]


def outcome(vendor: str, kind: str, request: Mapping[str, Any]) -> str:
    """The identity of the purchase, or the refusal."""
    shop = vendor_for(vendor)
    try:
        prepared = shop.prepare_create(request, REFERENCE) if kind == "create" else shop.prepare_extend("7001", request)
    except InvalidRequest as refusal:
        return str(refusal)
    return fingerprint(kind, shop.account.wallet, vendor, None, prepared.body)


@pytest.mark.parametrize("empty", [None, "None", "null", "", "  ", " None "])
@pytest.mark.parametrize(("vendor", "kind", "name", "request_"), FORMS)
def test_an_empty_field_is_a_field_that_is_left_out(
    vendor: str, kind: str, name: str, request_: dict[str, Any], empty: str | None
) -> None:
    assert outcome(vendor, kind, {**request_, name: empty}) == outcome(vendor, kind, but(request_, name))


@pytest.mark.parametrize(("vendor", "kind", "table", "request_"), TABLES)
def test_a_required_field_that_is_empty_is_refused(
    vendor: str, kind: str, table: Mapping[str, Field], request_: dict[str, Any]
) -> None:
    for name in (name for name, rule in table.items() if rule.required):
        assert "is required" in outcome(vendor, kind, {**request_, name: "None"})


@pytest.mark.parametrize(("vendor", "kind", "name", "request_"), FORMS)
def test_a_rendered_field_and_a_native_one_are_the_same_purchase(
    vendor: str, kind: str, name: str, request_: dict[str, Any]
) -> None:
    """Each documented field with its example, once as it is and once as its text."""
    (table,) = (table for row, form, table, _ in TABLES if (row, form) == (vendor, kind))
    value = request_.get(name, table[name].example)
    if table[name].kind in ("id", "object", "list") or value is None:
        value = {"id": "42", "object": {"5": "A-1"}, "list": ["203.0.113.21"], "text": "WELCOME5"}[table[name].kind]
    rendered = value if isinstance(value, (dict, list)) else str(value)
    assert outcome(vendor, kind, {**request_, name: value}) == outcome(vendor, kind, {**request_, name: rendered})


@pytest.mark.parametrize("empty", [None, "None", "null", "", "  "])
def test_an_empty_part_of_an_object_is_left_out_and_of_a_list_is_refused(empty: str | None) -> None:
    """Without its empty item a list could buy more: an extension without proxies extends all of them."""
    fields = {**TOPUP["fields"], "note": empty}
    assert prepare("voodoo", but(TOPUP, fields=fields)).body["fields"] == TOPUP["fields"]
    answers = prepare("iproyal", but(ONE, product_question_answers={"5": "ref", "6": empty}))
    assert answers.body["product_question_answers"] == {"5": "ref"}
    with pytest.raises(InvalidRequest, match="proxies"):
        vendor_for("iproyal").prepare_extend("7001", {"product_plan_id": 22, "proxies": ["203.0.113.21", empty]})
    with pytest.raises(InvalidRequest, match="quantity"):
        places = [{"product_location_id": 77, "quantity": empty}]
        prepare("iproyal", but(SEVERAL, selection={"locations": places}))


@pytest.mark.parametrize("empty", [None, "None", "null", ""])
def test_an_empty_reference_is_ours_and_an_empty_pool_is_left_out(empty: str | None) -> None:
    assert prepare("voodoo", but(KEY, merchant_order_id=empty)).body["merchant_order_id"] == REFERENCE
    assert "proxies[de]" not in prepare("proxyscrape", but(DATACENTER, **{"proxies[de]": empty})).body


REFUSED: list[tuple[str, Any, str, str]] = [
    # vendor, request, the field that is named, a part of what is said
    ("proxyscrape", {}, "type", "must be the word of a product, such as new_datacenter_shared"),
    ("proxyscrape", but(DATACENTER, type="new_datacenter_share"), "type", "did you mean 'new_datacenter_shared'"),
    ("proxyscrape", but(DATACENTER, country="NL"), "country", "full name of a country, not an ISO code"),
    ("proxyscrape", but(DATACENTER, country="NL"), "country", "For example: 'Belgium'"),
    ("proxyscrape", but(DATACENTER, country="NLD"), "country", "not an ISO code"),
    ("proxyscrape", but(DATACENTER, country=31), "country", "full name"),
    ("proxyscrape", but(DATACENTER, **{"proxies[xx]": 5}), "proxies[xx]", "mixed, us, gb, de, fr, ca, es, it, br, th"),
    ("proxyscrape", but(DATACENTER, **{"proxies[US]": 5}), "proxies[US]", "{'proxies[us]': 500}"),
    ("proxyscrape", but(DATACENTER, "proxies[us]", proxies={"us": 500}), "proxies", "flat key with its brackets"),
    ("proxyscrape", but(DATACENTER, "proxies[us]", proxies={"us": 500}), "proxies", "{'proxies[us]': 500}"),
    ("proxyscrape", but(DATACENTER, "proxies[us]", proxies_us=500), "proxies_us", "flat key"),
    ("proxyscrape", but(DATACENTER, **{"proxies[us][de]": 5}), "proxies[us][de]", "flat key"),
    ("proxyscrape", but(DATACENTER, "proxies[us]"), "proxies[<location>]", "is needed for new_datacenter_shared"),
    ("proxyscrape", but(DATACENTER, **{"proxies[us]": 0}), "proxies[us]", "size of the IP pool"),
    ("proxyscrape", but(DATACENTER, **{"proxies[us]": 2.5}), "proxies[us]", "size of the IP pool"),
    ("proxyscrape", but(DATACENTER, **{"proxies[us]": True}), "proxies[us]", "size of the IP pool"),
    ("proxyscrape", but(DATACENTER, **{"proxies[us]": "None"}), "proxies[<location>]", "size of the IP pool"),
    ("proxyscrape", but(RESIDENTIAL, **{"proxies[us]": 5}), "proxies[us]", "only for new_datacenter_shared"),
    ("proxyscrape", but(DATACENTER, location=42), "location", "only for new_residential_unlimited"),
    ("proxyscrape", but(UNLIMITED, location={"id": 42}), "location", "id of a server location"),
    ("proxyscrape", but(DATACENTER, pay_with_credit=1), "pay_with_credit", "set by ProxyScrape itself"),
    ("proxyscrape", but(DATACENTER, no_redirect=1), "no_redirect", "set by ProxyScrape itself"),
    ("proxyscrape", but(RESIDENTIAL, duration="30"), "duration", "30d, 60d or 90d"),
    ("proxyscrape", but(RESIDENTIAL, duration="120d"), "duration", "30d, 60d or 90d"),
    ("proxyscrape", but(RESIDENTIAL, bandwidth="many"), "bandwidth", "must be a number"),
    ("proxyscrape", but(RESIDENTIAL, bandwidth=-1), "bandwidth", "must be a number"),
    ("proxyscrape", but(RESIDENTIAL, bandwidth="1e999999999"), "bandwidth", "must be a number"),
    ("proxyscrape", but(DATACENTER, days=0), "days", "whole number of days"),
    ("proxyscrape", but(DATACENTER, is_subscription="yes"), "is_subscription", "true or false"),
    ("proxyscrape", [("type", "new_serp_api")], "request", "must be an object"),
    ("proxyscrape", but(SERP, requests={1, 2}), "requests", "JSON"),
    ("voodoo", {}, "item_id", "whole number of an item"),
    ("voodoo", {"item_id": "key"}, "item_id", "whole number of an item"),
    ("voodoo", {"item_id": 5120.5}, "item_id", "whole number of an item"),
    ("voodoo", {"item_id": True}, "item_id", "whole number of an item"),
    ("voodoo", but(KEY, quantity=0), "quantity", "positive number"),
    ("voodoo", but(KEY, quantity=-3), "quantity", "positive number"),
    ("voodoo", but(KEY, quantity="a few"), "quantity", "positive number"),
    ("voodoo", but(KEY, quantity=float("nan")), "quantity", "positive number"),
    ("voodoo", but(KEY, merchant_order_id="x" * 101), "merchant_order_id", "at most 100 characters"),
    ("voodoo", but(TOPUP, fields=[1]), "fields", "must be an object"),
    ("iproyal", but(ONE, "product_id"), "product_id", "is required"),
    ("iproyal", but(ONE, "product_plan_id"), "product_plan_id", "is needed without selection"),
    ("iproyal", but(ONE, "product_location_id"), "product_location_id", "is needed without selection"),
    ("iproyal", but(ONE, "quantity"), "quantity", "is needed without selection"),
    ("iproyal", but(ONE, quantity=0), "quantity", "number of proxies"),
    ("iproyal", but(ONE, quantity="2.5"), "quantity", "number of proxies"),
    ("iproyal", but(ONE, product_id="ISP"), "product_id", "whole number of a product"),
    ("iproyal", but(SEVERAL, quantity=3), "quantity", "must be left out beside selection"),
    ("iproyal", but(SEVERAL, product_location_id=77), "product_location_id", "must be left out beside selection"),
    ("iproyal", but(SEVERAL, selection={"locations": []}), "selection", "list locations"),
    ("iproyal", but(SEVERAL, selection=PLACES), "selection", "list locations"),
    ("iproyal", but(SEVERAL, selection={"locations": [{"product_location_id": 77}]}), "selection.locations", "quantity"),
    ("iproyal", but(SEVERAL, selection={"locations": [77]}), "selection.locations", "product_location_id and quantity"),
    (
        *("iproyal", but(SEVERAL, selection={"locations": [{"product_location_id": 77, "quantity": 0}]})),
        *("selection.locations.quantity", "number of proxies"),
    ),
    ("iproyal", but(ONE, product_question_answers="ref"), "product_question_answers", "map question ids"),
    ("iproyal", but(ONE, product_question_answers=["ref", ""]), "product_question_answers", "map question ids"),
    ("iproyal", but(ONE, auto_extend="sometimes"), "auto_extend", "true or false"),
    ("iproyal", but(ONE, card_id="ops card"), "card_id", "stored card"),
]


@pytest.mark.parametrize(("vendor", "request_", "field", "says"), REFUSED)
def test_a_broken_rule_is_refused_before_anything_is_sent(vendor: str, request_: Any, field: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused, telling_of_the_wallet():
        prepare(vendor, request_)
    assert refused.value.field == field
    assert says in str(refused.value)
    assert "Nothing was bought" in str(refused.value)


WARNED: list[tuple[str, dict[str, Any], str]] = [
    ("proxyscrape", but(DATACENTER, is_subscription=True), "charge the wallet again and again"),
    ("proxyscrape", but(DATACENTER, is_subscription="true"), "charge the wallet again and again"),
    ("proxyscrape", but(DATACENTER, **{"proxies[de]": 100}), "whether several locations can be combined is not documented"),
    ("proxyscrape", but(DATACENTER, "country"), "it decides the VAT"),
    ("proxyscrape", but(RESIDENTIAL, days=30), "'days' is documented for new_datacenter_shared, not for new_residential"),
    ("proxyscrape", but(SERP, bandwidth=5), "'bandwidth' is documented for new_datacenter_shared, new_residential"),
    ("proxyscrape", but(DATACENTER, duration="30d"), "'duration' is documented for"),
    ("proxyscrape", but(SERP, requests=10000), "'requests' is not in the documentation"),
    ("voodoo", but(KEY, gift_note="hello"), "'gift_note' is not in the documentation"),
    ("iproyal", but(ONE, auto_extend=True), "renew and charge this order by itself"),
    ("iproyal", but(ONE, note="crawler"), "'note' is not in the documentation"),
]


@pytest.mark.parametrize(("vendor", "request_", "says"), WARNED)
def test_what_is_open_or_dangerous_passes_with_one_warning(vendor: str, request_: dict[str, Any], says: str) -> None:
    prepared = prepare(vendor, request_)
    (warning,) = prepared.warnings
    assert says in warning
    assert set(request_) <= set(prepared.body)


@pytest.mark.parametrize(("vendor", "field"), [("proxyscrape", "is_subscription"), ("iproyal", "auto_extend")])
def test_recurring_charges_are_off_unless_asked_for(vendor: str, field: str) -> None:
    request = DATACENTER if vendor == "proxyscrape" else ONE
    assert prepare(vendor, request).body[field] is False
    assert prepare(vendor, {**request, field: "false"}).body[field] is False
    assert prepare(vendor, {**request, field: None}).body[field] is False
    assert prepare(vendor, {**request, field: True}).body[field] is True


def test_the_same_request_gives_the_same_body_bytes_whatever_its_order_and_number_forms() -> None:
    one = prepare("voodoo", {"item_id": 6001, "quantity": 12.5, "fields": {"region": 4, "player_id": "A"}})
    other = prepare("voodoo", {"fields": {"player_id": "A", "region": 4}, "quantity": Decimal("12.50"), "item_id": "6001"})
    assert dump_json(one.body) == dump_json(other.body)
    assert '"quantity":12.5' in dump_json(one.body)


def test_the_reference_is_ours_unless_the_user_has_one() -> None:
    assert prepare("voodoo", KEY, "r" * 100).body["merchant_order_id"] == "r" * 100
    with pytest.raises(InvalidRequest):
        prepare("voodoo", KEY, "r" * 101)
    for vendor, request in (("proxyscrape", DATACENTER), ("iproyal", ONE)):
        assert REFERENCE not in dump_json(prepare(vendor, request).body)


def test_preparing_twice_changes_nothing_and_leaves_the_request_alone() -> None:
    for vendor, request, _ in GOOD:
        before = dump_json(request)
        once = prepare(vendor, request).body
        assert prepare(vendor, once).body == once
        assert dump_json(request) == before


@pytest.mark.parametrize("vendor", ["proxyscrape", "voodoo", "iproyal"])
def test_every_body_of_a_golden_purchase_is_one_that_passes(vendor: str) -> None:
    """Bodies that only an error answer is about may be off, but they keep to the documented fields as well."""
    for exchange in exchanges():
        if (exchange.vendor, exchange.operation) == (vendor, "create"):
            (body,) = exchange.data["call"]["args"]
            assert load_json(dump_json(prepare(vendor, body).body)) == load_json(dump_json(body)), exchange.name


# -- extensions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["proxyscrape", "voodoo"])
def test_who_cannot_extend_says_so(vendor: str) -> None:
    one = vendor_for(vendor)
    for refused in (
        lambda: one.prepare_extend("7001", {}),
        lambda: one.extend("7001", {}),
        lambda: one.set_auto_extend("7001", True),
        lambda: one.quote({}),
        lambda: one.quote_extension("7001", {}),
        lambda: one.list(Filters()),
        lambda: one.products(),
    ):
        with pytest.raises(UnsupportedOperation, match="Nothing was sent"):
            refused()


@pytest.mark.parametrize("answers", [{"5": "x"}, {"5": True}, {"5": ["x", "y"]}, ["x", False], []])
def test_question_answers_come_as_an_object_or_a_list(answers: Any) -> None:
    assert prepare("iproyal", {**ONE, "product_question_answers": answers}).body["product_question_answers"] == answers


def test_several_locations_need_no_plan() -> None:
    prepared = prepare("iproyal", but(SEVERAL, "product_plan_id"))
    assert "product_plan_id" not in prepared.body and "a person decides about a lost answer" in prepared.warnings[0]


def test_an_extension_of_a_part_is_named_by_its_proxies() -> None:
    shop = vendor_for("iproyal")
    assert [shop.part_of({"proxies": part}) for part in (None, [], ["b", "a", "b"])] == ["", "", "a+b"]
    many = [shop.part_of({"proxies": [f"203.0.113.{last}" for last in range(first, 100)]}) for first in (1, 2)]
    assert many[0] != many[1] and all(part.startswith("sha256=") and len(part) < 80 for part in many)


def test_an_extension_takes_a_plan() -> None:
    shop = vendor_for("iproyal")
    assert shop.prepare_extend("7001", {"product_plan_id": "22"}) == Prepared({"product_plan_id": 22}, [])
    assert shop.prepare_extend("7001", {"product_plan_id": 22, "card_id": 31}).warnings == []
    (warning,) = shop.prepare_extend("7001", {"product_plan_id": 22, "proxies": ["203.0.113.21"]}).warnings
    assert "only the vendor's answer tells" in warning
    for order_id, request in (("7001", {}), ("7001", {"product_plan_id": "30 Days"}), ("", {"product_plan_id": 22})):
        with pytest.raises(InvalidRequest):
            shop.prepare_extend(order_id, request)
    for order_id in ("70/01", "../balance", "subaccount:1", "7001 ", "٧٠٠١", "-1"):
        with pytest.raises(InvalidRequest, match="order_id"):
            shop.prepare_extend(order_id, {"product_plan_id": 22})


def test_renewal_is_not_switched_on_without_saying_who_pays() -> None:
    shop = vendor_for("iproyal")
    for options in (None, {}, {"product_plan_id": 22}):
        with pytest.raises(InvalidRequest, match="payment_type"):
            next(shop.set_auto_extend("7001", True, options))
    with pytest.raises(InvalidRequest, match="card_id"):
        next(shop.set_auto_extend("7001", True, {"payment_type": "card"}))
    assert next(shop.set_auto_extend("7001", False)).json == {"order_id": 7001, "is_enabled": False}


# -- lists and ids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"extra": {"page": 0}}, "page"),
        ({"extra": {"colour": "red"}}, "colour"),
        ({"extra": {"status": "alive"}}, "status"),
        ({"extra": {"statuses": ["confirmed", "alive"]}}, "statuses"),
        ({"extra": {"statuses": "confirmed"}}, "statuses"),
        ({"extra": {"sort_by": "id"}}, "sort_by"),
        ({"extra": {"order": "desc"}}, "sort_by"),
        ({"extra": {"sort_by": "id", "order": "down"}}, "order"),
        ({"extra": {"order_billing_type": "weekly"}}, "order_billing_type"),
        ({"extra": {"order_ids[]": "7001"}}, "order_ids"),
        ({"order_ids": ["7001"], "extra": {"order_ids": [7002]}}, "order_ids"),
        ({"order_ids": ["7001", "x"]}, "order_id"),
    ],
)
def test_a_list_refuses_what_it_cannot_filter_by(filters: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        next(vendor_for("iproyal").list(Filters(**filters)))
    assert refused.value.field == field


@pytest.mark.parametrize("vendor", ["proxyscrape", "voodoo"])
def test_an_odd_order_id_stays_one_part_of_the_path(vendor: str) -> None:
    one = vendor_for(vendor, session={"token": "jwt", "token_until": 4102444800})
    assert next(one.get("a/../b?c#d e")).path.count("a%2F..%2Fb%3Fc%23d%20e") == 1
    for order_id in ("", " ", ".", ".."):
        with pytest.raises(InvalidRequest, match="order_id"):
            next(one.get(order_id))
