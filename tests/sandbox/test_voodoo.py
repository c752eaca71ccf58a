"""The pretended Voodoo Center keeps what docs.voodoo.center says."""

from __future__ import annotations

import base64
import json

import pytest

ORDERS = "/api/v1/orders"
TOKEN = "/api/v1/auth/token/client"
BALANCE = "/api/v1/account/balance"
KEYS = {"item_id": 5120, "quantity": 3, "merchant_order_id": "af-1"}
TOP_UP = {"item_id": 6001, "quantity": 12.5, "merchant_order_id": "af-2", "fields": {"player_id": "A-1029", "region": 4}}
SERVICE = {"item_id": 7007, "fields": {"account": "someone@example.org"}}


def create(ask, body, **options):
    return ask("voodoo", "POST", ORDERS, body, **options)


def read(ask, order_id, **options):
    return ask("voodoo", "GET", f"{ORDERS}/{order_id}", **options).data


def test_an_order_goes_from_pending_over_processing_to_completed(box, ask):
    answer = create(ask, KEYS)
    assert answer.status == 201
    order = answer.data
    assert (order["status"], order["price"], order["source"], order["codes"]) == ("pending", 13.5, "api", [])
    assert read(ask, order["id"]) == order
    box.advance(0.5)
    assert read(ask, order["id"])["status"] == "processing"
    box.advance(0.5)
    after = read(ask, order["id"])
    assert (after["status"], after["delivered_quantity"], after["refund_amount"]) == ("completed", 3, 0)
    assert len(set(after["codes"])) == 3 and after["completed_at"] > after["created_at"]
    assert ask("voodoo", "GET", BALANCE).data == {"balance": 986.5}
    (entry,) = box.book.charges("voodoo")
    assert (entry.kind, entry.amount, entry.reference) == ("create", "13.50", "af-1")


def test_choices_come_back_by_name_and_a_service_needs_no_quantity(ask):
    top_up, service = create(ask, TOP_UP).data, create(ask, SERVICE).data
    assert top_up["fields"] == {"player_id": "A-1029", "region": "Asia"}
    assert (top_up["quantity"], top_up["price"]) == (12.5, 12.5)
    assert (service["quantity"], service["price"], service["merchant_order_id"]) == (1, 9, "")


@pytest.mark.parametrize(
    "body",
    [
        {"item_id": 1},
        {"item_id": "5120"},
        {**KEYS, "quantity": 1.5},
        {**KEYS, "quantity": 0},
        {**KEYS, "quantity": 101},
        {**KEYS, "fields": {"player_id": "x"}},
        {**KEYS, "merchant_order_id": "x" * 101},
        {**TOP_UP, "quantity": None},
        {**TOP_UP, "quantity": 500.5},
        {**TOP_UP, "fields": {"player_id": "A-1029", "region": "Asia"}},
        {**TOP_UP, "fields": {"player_id": "A-1029", "region": 6}},
        {**TOP_UP, "fields": {"region": 4}},
        {**SERVICE, "quantity": 2},
        {"item_id": 7007},
    ],
)
def test_bad_input_is_a_validation_error_and_costs_nothing(box, ask, body):
    answer = create(ask, body)
    assert (answer.status, answer.data["code"]) == (400, "validation_error")
    assert box.book.charges() == []


def test_a_reference_buys_once_per_account(box, ask):
    box.control({"vendor": "voodoo", "token": {"name": "second", "token": "ak_second"}})
    first = create(ask, KEYS)
    again = create(ask, KEYS)
    assert (again.status, again.data["code"]) == (400, "validation_error")
    assert first.data["id"] not in again.text
    assert create(ask, KEYS, wallet="second").status == 201
    assert [(entry.wallet, entry.reference) for entry in box.book.orders()] == [("main", "af-1"), ("second", "af-1")]


def test_too_little_money_takes_neither_order_nor_reference(box, ask):
    box.control({"vendor": "voodoo", "wallet": {"balance": "13.49"}})
    refused = create(ask, KEYS)
    assert (refused.status, refused.data) == (400, {"detail": "Insufficient balance", "code": "insufficient_balance"})
    box.control({"vendor": "voodoo", "wallet": {"balance": "13.50"}})
    assert create(ask, KEYS).status == 201
    assert ask("voodoo", "GET", BALANCE).data == {"balance": 0}


def test_partial_and_failed_orders_give_money_back(box, ask):
    box.control(
        [
            {"vendor": "voodoo", "next_outcome": "partial", "details": {"delivered": 2}},
            {"vendor": "voodoo", "next_outcome": "failed", "details": {"error": "OUT_OF_STOCK", "error_message": "none left"}},
            {"vendor": "voodoo", "next_outcome": "reviewing"},
        ]
    )
    ids = [create(ask, {**KEYS, "merchant_order_id": f"r{n}"}).data["id"] for n in range(3)]
    box.advance(1)
    partial, failed, odd = (read(ask, order_id) for order_id in ids)
    assert (partial["status"], partial["delivered_quantity"], partial["refund_amount"]) == ("partial", 2, 4.5)
    assert len(partial["codes"]) == 2
    assert (failed["status"], failed["refund_amount"], failed["codes"]) == ("failed", 13.5, [])
    assert (failed["error"], failed["error_message"]) == ("OUT_OF_STOCK", "none left")
    assert (odd["status"], odd["completed_at"]) == ("reviewing", None)
    refunds = [(entry.order_id, entry.amount, entry.reference) for entry in box.book.charges() if entry.kind == "refund"]
    assert refunds == [(ids[0], "4.50", "r0"), (ids[1], "13.50", "r1")]
    assert ask("voodoo", "GET", BALANCE).data == {"balance": 1000 - 3 * 13.5 + 18}
    # a reference stays taken, also by an order that failed
    assert create(ask, {**KEYS, "merchant_order_id": "r1"}).status == 400


def test_every_final_state_is_reported_once_and_at_its_time(box, ask):
    reported = []
    shop = box.state.vendors["voodoo"]
    shop.webhook_sender.order_ended = lambda order: reported.append((order["id"], order["status"], box.clock.timestamp()))
    begin = box.clock.timestamp()
    order_id = create(ask, KEYS).data["id"]
    box.advance(10)
    box.control({"vendor": "voodoo", "set_status": {"order_id": order_id, "status": "failed"}})
    assert reported == [(order_id, "completed", begin + 1)]
    other = create(ask, SERVICE).data["id"]
    box.control({"vendor": "voodoo", "set_status": {"order_id": other, "status": "failed"}})
    box.advance(10)
    assert reported[1:] == [(other, "failed", begin + 10)]


class TestTokens:
    def test_a_token_looks_like_a_jwt_and_lives_two_hours(self, box, ask):
        answer = ask("voodoo", "POST", TOKEN, {"api_key": box.token("voodoo")}, headers={})
        assert answer.status == 200 and set(answer.data) == {"access_token", "token_type"}
        head, claims, _ = answer.data["access_token"].split(".")
        assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "EdDSA"
        assert json.loads(base64.urlsafe_b64decode(claims + "=="))["exp"] == int(box.clock.timestamp() + 7200)
        headers = {"Authorization": f"Bearer {answer.data['access_token']}"}
        box.advance(7199)
        assert ask("voodoo", "GET", BALANCE, headers=headers).status == 200
        box.advance(1)
        expired = ask("voodoo", "GET", BALANCE, headers=headers)
        assert (expired.status, expired.data) == (
            401,
            {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"},
        )

    def test_revoked_tokens_end_while_the_key_stays_good(self, box, ask):
        headers = ask.auth("voodoo")
        box.control({"vendor": "voodoo", "revoke_jwt": True})
        assert ask("voodoo", "GET", BALANCE, headers=headers).status == 401
        assert ask("voodoo", "POST", TOKEN, {"api_key": box.token("voodoo")}, headers={}).status == 200

    def test_a_replaced_key_is_refused_while_its_tokens_live_on(self, box, ask):
        headers = ask.auth("voodoo")
        box.control({"vendor": "voodoo", "token": {"name": "main", "token": "ak_new"}})
        refused = ask("voodoo", "POST", TOKEN, {"api_key": "ak_test_token"}, headers={})
        assert (refused.status, refused.data) == (401, {"error": "Invalid credentials"})
        assert ask("voodoo", "GET", BALANCE, headers=headers).status == 200

    def test_key_login_can_be_off(self, box, ask):
        box.control({"vendor": "voodoo", "permission": "none"})
        refused = ask("voodoo", "POST", TOKEN, {"api_key": box.token("voodoo")}, headers={})
        assert refused.status == 403 and list(refused.data) == ["error"]


def test_an_unknown_order_and_one_of_another_account_are_not_found(box, ask):
    box.control({"vendor": "voodoo", "token": {"name": "second", "token": "ak_second"}})
    order_id = create(ask, KEYS).data["id"]
    assert read(ask, order_id, wallet="second") == {"detail": "Not found.", "code": "not_found"}
    assert read(ask, "nothing") == {"detail": "Not found.", "code": "not_found"}


def test_orders_can_be_seeded(box, ask):
    seeded = {"id": "v-1", "status": "partial", "quantity": 3, "delivered_quantity": 2, "refund_amount": 4.5, "codes": ["A", "B"]}
    box.control([{"vendor": "voodoo", "order": seeded}, {"vendor": "voodoo", "order": {"id": "v-2", "merchant_order_id": "r"}}])
    order = read(ask, "v-1")
    assert {name: order[name] for name in seeded} == seeded and order["price"] == 13.5
    assert create(ask, {**KEYS, "merchant_order_id": "r"}).status == 400
    assert box.book.charges() == []
