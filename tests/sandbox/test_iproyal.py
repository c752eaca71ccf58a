"""The pretended IPRoyal keeps what docs.iproyal.com/proxies/isp/api says."""

from __future__ import annotations

import pytest

DAY = 86400
ONE = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2, "auto_extend": False}


def create(ask, body=ONE, **options):
    return ask("iproyal", "POST", "/orders", body, **options)


def read(ask, order_id, **options):
    return ask("iproyal", "GET", f"/orders/{order_id}", **options).data


def balance(ask):
    return ask("iproyal", "GET", "/balance").data


def seconds(order):
    from datetime import datetime, timezone

    return datetime.strptime(order["expire_date"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()


def delivered(box, ask, body=ONE):
    order = create(ask, body).data
    box.advance(1)
    return read(ask, order["id"])


def test_an_order_is_charged_then_confirmed_with_proxies(box, ask):
    answer = create(ask, {**ONE, "product_question_answers": {"5": "ref af-1"}})
    order = answer.data
    assert answer.status == 200
    assert (order["status"], order["expire_date"], order["proxy_data"]["proxies"]) == ("in-progress", None, [])
    assert order["questions_answers"] == [{"question": "Anything special?", "answer": "ref af-1"}]
    assert order["auto_extend_settings"] is None
    box.advance(1)
    after = read(ask, order["id"])
    assert (after["status"], after["product_name"], after["plan_name"], after["location"]) == (
        "confirmed",
        "ISP",
        "30 Days",
        "Netherlands",
    )
    assert after["proxy_data"]["ports"] == {"socks5": box.port, "http|https": box.port}
    proxies = after["proxy_data"]["proxies"]
    assert len({proxy["username"] for proxy in proxies}) == 2 and {proxy["ip"] for proxy in proxies} == {"127.0.0.1"}
    assert seconds(after) == int(box.clock.timestamp() + 30 * DAY)
    assert balance(ask) == 994
    (entry,) = box.book.charges()
    assert (entry.kind, entry.amount, entry.reference) == ("create", "6.00", "ref af-1")
    box.advance(30 * DAY)
    assert read(ask, order["id"])["status"] == "expired"


def test_several_locations_in_one_order_are_charged_together(box, ask):
    lines = [{"product_location_id": 77, "quantity": 30}, {"product_location_id": 78, "quantity": 20}]
    order = delivered(box, ask, {"product_id": 9, "product_plan_id": 22, "auto_extend": False, "selection": {"locations": lines}})
    assert (order["quantity"], order["locations"], len(order["proxy_data"]["proxies"])) == (50, "Netherlands, Germany", 50)
    assert box.book.charges()[0].amount == "142.50"  # 50 x 3.00, 5 % off


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"product_id": 1}, "product_id"),
        ({"product_plan_id": 1}, "product_plan_id"),
        ({"product_location_id": 1}, "product_location_id"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": "2"}, "quantity"),
        ({"quantity": 1001}, "quantity"),
        ({"auto_extend": "no"}, "auto_extend"),
        ({"card_id": 31}, "card_id"),
    ],
)
def test_bad_input_is_refused_and_costs_nothing(box, ask, change, field):
    answer = create(ask, {**ONE, **change})
    assert answer.status == 422 and list(answer.data["errors"]) == [field]
    assert box.book.charges() == []


def test_too_little_money_is_refused(box, ask):
    box.control({"vendor": "iproyal", "wallet": {"balance": "5.99"}})
    assert create(ask).status == 422
    assert box.book.charges() == [] and balance(ask) == 5.99


class TestExtend:
    def test_the_same_order_lives_a_plan_longer_and_is_charged(self, box, ask):
        order = delivered(box, ask)
        longer = ask("iproyal", "POST", f"/orders/{order['id']}/extend", {"product_plan_id": 23})
        assert longer.status == 200 and longer.data["id"] == order["id"]
        assert seconds(longer.data) - seconds(order) == 60 * DAY
        assert len(longer.data["extended_history"]) == 1
        assert longer.data["proxy_data"] == order["proxy_data"]
        assert [(entry.kind, entry.amount) for entry in box.book.charges()] == [("create", "6.00"), ("extend", "11.00")]
        box.advance(89 * DAY)
        assert read(ask, order["id"])["status"] == "confirmed"
        box.advance(2 * DAY)
        assert read(ask, order["id"])["status"] == "expired"

    def test_twice_is_charged_twice(self, box, ask):
        order = delivered(box, ask)
        for _ in range(2):
            ask("iproyal", "POST", f"/orders/{order['id']}/extend", {"product_plan_id": 22})
        assert seconds(read(ask, order["id"])) - seconds(order) == 60 * DAY
        assert [entry.kind for entry in box.book.charges()] == ["create", "extend", "extend"]

    def test_neither_an_expired_nor_an_unfinished_order_can_be_extended(self, box, ask):
        early = create(ask).data
        path = f"/orders/{early['id']}/extend"
        assert ask("iproyal", "POST", path, {"product_plan_id": 22}).status == 422
        box.advance(31 * DAY)
        assert ask("iproyal", "POST", path, {"product_plan_id": 22}).status == 422
        assert len(box.book.charges()) == 1

    def test_the_new_date_can_show_later_than_the_charge(self, box, ask):
        order = delivered(box, ask)
        box.control({"extend_processing": 5})
        answer = ask("iproyal", "POST", f"/orders/{order['id']}/extend", {"product_plan_id": 22}).data
        assert answer["expire_date"] == order["expire_date"] and len(box.book.charges()) == 2
        box.advance(5)
        assert seconds(read(ask, order["id"])) - seconds(order) == 30 * DAY

    def test_unknown_orders_are_not_found(self, box, ask):
        box.control({"vendor": "iproyal", "token": {"name": "second", "token": "ip-second"}})
        order = delivered(box, ask)
        for path, wallet in ((f"/orders/{order['id']}/extend", "second"), ("/orders/1/extend", "main")):
            assert ask("iproyal", "POST", path, {"product_plan_id": 22}, wallet=wallet).status == 404


class TestAutoExtend:
    def test_it_is_on_unless_the_buyer_says_otherwise_and_renews_at_each_expiry(self, box, ask):
        body = {name: value for name, value in ONE.items() if name != "auto_extend"}
        order = delivered(box, ask, body)
        assert order["auto_extend_settings"] == {
            "order_id": order["id"],
            "is_enabled": True,
            "product_plan_id": 22,
            "payment_type": "balance",
            "card_id": None,
        }
        begin = box.clock.timestamp()
        box.advance(65 * DAY)
        after = read(ask, order["id"])
        assert after["status"] == "confirmed" and seconds(after) == int(begin + 90 * DAY)
        renewals = [entry for entry in box.book.charges() if entry.kind == "auto_extend"]
        assert len(renewals) == 2 and len(after["extended_history"]) == 2
        assert balance(ask) == 1000 - 3 * 6

    def test_without_money_the_order_expires(self, box, ask):
        order = delivered(box, ask, {**ONE, "auto_extend": True})
        box.control({"vendor": "iproyal", "wallet": {"balance": "5.99"}})
        box.advance(31 * DAY)
        assert read(ask, order["id"])["status"] == "expired" and balance(ask) == 5.99

    def test_it_can_be_switched(self, box, ask):
        order = delivered(box, ask)
        on = {"order_id": order["id"], "is_enabled": True, "product_plan_id": 23, "payment_type": "balance", "card_id": None}
        assert ask("iproyal", "POST", "/orders/toggle-auto-extend", on).data == on
        assert read(ask, order["id"])["auto_extend_settings"] == on
        off = ask("iproyal", "POST", "/orders/toggle-auto-extend", {"order_id": order["id"], "is_enabled": False})
        assert set(off.data) == set(on) and off.data["is_enabled"] is False
        assert read(ask, order["id"])["auto_extend_settings"] is None
        assert ask("iproyal", "POST", "/orders/toggle-auto-extend", {**on, "payment_type": "card"}).status == 422
        assert ask("iproyal", "POST", "/orders/toggle-auto-extend", {**on, "order_id": 1}).status == 404
        box.advance(31 * DAY)
        assert read(ask, order["id"])["status"] == "expired" and len(box.book.charges()) == 1


class TestList:
    @pytest.fixture
    def orders(self, box, ask):
        kinds = [("confirmed", "Netherlands"), ("confirmed", "Germany"), ("expired", "Germany"), ("refunded", "Netherlands")]
        for n, (status, place) in enumerate(kinds * 6):
            fields = {"id": 100 + n, "status": status, "location": place, "note": f"batch {n % 2}"}
            box.control({"vendor": "iproyal", "order": fields})
        box.control({"vendor": "iproyal", "token": {"name": "second", "token": "ip-second"}})

    def ids(self, ask, *params, **options):
        answer = ask("iproyal", "GET", "/orders", params=params, **options)
        assert answer.status == 200
        return [order["id"] for order in answer.data["data"]]

    def test_pages_hold_every_order_once(self, box, ask, orders):
        seen, number = [], 1
        while True:
            answer = ask("iproyal", "GET", "/orders", params={"page": number, "per_page": 10}).data
            seen += [order["id"] for order in answer["data"]]
            if answer["meta"]["current_page"] >= answer["meta"]["last_page"]:
                break
            number += 1
        assert sorted(seen) == list(range(100, 124))
        assert answer["meta"] == {
            "current_page": 3,
            "from": 21,
            "last_page": 3,
            "path": f"{box.url('iproyal')}/orders",
            "per_page": 10,
            "to": 24,
            "total": 24,
        }
        beyond = ask("iproyal", "GET", "/orders", params={"page": 9}).data
        assert beyond["data"] == [] and beyond["meta"]["from"] is None and beyond["meta"]["to"] is None

    def test_filters(self, ask, orders):
        every = ("per_page", "100")
        assert len(self.ids(ask, every)) == 24
        assert len(self.ids(ask, every, ("product_id", "9"))) == 24 and self.ids(ask, ("product_id", "8")) == []
        assert len(self.ids(ask, every, ("location_id", "78"))) == 12
        assert len(self.ids(ask, every, ("status", "confirmed"))) == 12
        assert len(self.ids(ask, every, ("statuses[]", "expired"), ("statuses[]", "refunded"))) == 12
        assert len(self.ids(ask, every, ("note_search", "Batch 1"))) == 12
        assert len(self.ids(ask, every, ("order_billing_type", "regular"))) == 24
        assert self.ids(ask, ("order_billing_type", "subscription")) == []
        assert self.ids(ask, every, wallet="second") == []

    def test_ids_in_both_forms_and_sorting(self, ask, orders):
        up = (("sort_by", "id"), ("order", "asc"))
        assert self.ids(ask, ("order_ids[]", "105"), ("order_ids[]", "101"), ("order_ids[]", "9"), *up) == [101, 105]
        assert self.ids(ask, ("order_ids[]", "105,101"), *up) == [101, 105]
        assert self.ids(ask, ("order_ids", "101,105"), ("sort_by", "id"), ("order", "desc")) == [105, 101]
        assert self.ids(ask, ("order_ids[]", "101"), wallet="second") == []

    def test_expiring_soon(self, box, ask, orders):
        box.control({"vendor": "iproyal", "order": {"id": 500}})
        box.advance(28 * DAY)
        box.control({"vendor": "iproyal", "order": {"id": 501}})
        soon = self.ids(ask, ("status_is_expiring_soon", "true"), ("per_page", "100"))
        assert 500 in soon and 501 not in soon

    @pytest.mark.parametrize(
        "params", [{"sort_by": "id"}, {"order": "asc"}, {"sort_by": "x", "order": "asc"}, {"page": "0"}, {"per_page": "all"}]
    )
    def test_bad_parameters_are_refused(self, ask, params):
        assert ask("iproyal", "GET", "/orders", params=params).status == 422


class TestQuote:
    def test_it_is_what_a_purchase_costs(self, box, ask):
        fields = {name: value for name, value in ONE.items() if name != "auto_extend"}
        quote = ask("iproyal", "GET", "/orders/calculate-pricing", params={**fields, "quantity": 60}).data
        assert (quote["pre_discount_price"], quote["price"], quote["price_with_vat"], quote["vat"]) == (180, 171, 171, None)
        assert (quote["price_per_item"], quote["quantity_discount_percent"]) == (2.85, 5)
        assert quote["quantity_required_for_next_discount"] is None
        create(ask, {**ONE, "quantity": 60})
        assert box.book.charges()[0].amount == "171.00"
        small = ask("iproyal", "GET", "/orders/calculate-pricing", params=fields).data
        assert small["quantity_required_for_next_discount"] == {"quantity": 50, "discount": 5}

    def test_with_an_order_it_is_what_an_extension_costs(self, box, ask):
        order = delivered(box, ask)
        quote = ask("iproyal", "GET", "/orders/calculate-pricing", params={"order_id": order["id"], "product_plan_id": 23}).data
        assert quote["price"] == 11
        ask("iproyal", "POST", f"/orders/{order['id']}/extend", {"product_plan_id": 23})
        assert box.book.charges()[1].amount == "11.00"

    def test_it_names_what_is_missing(self, ask):
        answer = ask("iproyal", "GET", "/orders/calculate-pricing", params={"product_id": 9})
        assert answer.status == 422 and "product_plan_id" in answer.data["errors"]


def test_products_cards_and_balance(box, ask):
    (product,) = ask("iproyal", "GET", "/products").data["data"]
    assert [(plan["id"], plan["price"]) for plan in product["plans"]] == [(22, 3), (23, 5.5)]
    assert product["quantity_discounts"] == [{"quantity_from": 50, "discount_percent": 5}]
    assert ask("iproyal", "GET", "/cards").data == {"data": []}
    assert balance(ask) == 1000
    box.control({"card": {"id": 31}})
    assert create(ask, {**ONE, "card_id": 31}).status == 200
    assert balance(ask) == 1000 and box.book.charges()[0].paid_by == "card"


def test_orders_end_as_told(box, ask):
    words = ["refunded", "expired", "unpaid", "partial", "in-review"]
    box.control([{"vendor": "iproyal", "next_outcome": word} for word in words])
    ids = [create(ask).data["id"] for _ in words]
    box.advance(1)
    ends = [read(ask, order_id) for order_id in ids]
    assert [end["status"] for end in ends] == ["refunded", "expired", "unpaid", "confirmed", "in-review"]
    assert [len(end["proxy_data"]["proxies"]) for end in ends] == [0, 0, 0, 1, 0]
    assert [(entry.kind, entry.order_id) for entry in box.book.charges()][5:] == [("refund", str(ids[0]))]


def test_tokens_and_permissions(box, ask):
    assert ask("iproyal", "GET", "/balance", headers={}).status == 401
    assert ask("iproyal", "GET", "/balance", headers={"X-Access-Token": "wrong"}).status == 401
    box.control({"vendor": "iproyal", "permission": "read"})
    assert create(ask).status == 403 and balance(ask) == 1000
    box.control({"vendor": "iproyal", "permission": "none"})
    assert ask("iproyal", "GET", "/balance").status == 403


def test_a_seeded_order_is_answered_as_given(box, ask):
    given = {
        "id": 7300,
        "status": "confirmed",
        "quantity": 2,
        "expire_date": "2090-02-01 09:15:00",
        "proxy_data": {
            "ports": {"socks5": 12324, "http|https": 12323},
            "proxies": ["203.0.113.21:12323:u:p", {"ip": "203.0.113.22"}],
        },
        "is_test": True,
    }
    box.control({"vendor": "iproyal", "order": given})
    order = read(ask, 7300)
    assert {name: order[name] for name in given} == given
    assert create(ask).data["id"] == 7301
