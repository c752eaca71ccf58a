"""The pretended ProxyScrape keeps what docs.proxyscrape.com/api/account/api-ordering says."""

from __future__ import annotations

import pytest

CREATE = "/v4/account/orders/create"
BALANCE = "/v4/account/orders/balance"
DATACENTER = {"type": "new_datacenter_shared", "country": "Netherlands", "days": 30, "proxies[us]": 40, "bandwidth": 0}
DAY = 86400


def create(ask, body=DATACENTER, **options):
    return ask("proxyscrape", "POST", CREATE, body, **options)


def status(ask, order_id, **options):
    return ask("proxyscrape", "GET", f"/v4/account/orders/{order_id}/status", **options)


def test_an_order_is_charged_then_processed_and_its_proxies_can_be_read(box, ask):
    answer = create(ask)
    assert answer.status == 200 and answer.data["success"] is True
    order_id = answer.data["data"]
    before = status(ask, order_id).data["data"]
    assert (before["status"], before["price"], before["currency"], before["subaccount"]) == ("paid", "2.00", "USD", None)
    assert ask("proxyscrape", "GET", BALANCE).data == {"success": True, "data": {"balance": 998, "currency": "USD"}}

    box.advance(1)
    after = status(ask, order_id).data["data"]
    assert after["status"] == "processed" and after["updated_at"] == before["created_at"] + 1
    account = after["subaccount"]
    assert set(account) == {"AccountID", "AccountType", "label", "time_added"}
    listed = ask("proxyscrape", "GET", "/v4/account/subaccounts").data["data"]["subaccounts"]
    assert listed == [{**account, "is_hidden": False}]

    path = f"/v4/account/{account['AccountID']}/datacenter_shared/proxy-list"
    lines = ask("proxyscrape", "GET", path)
    assert lines.headers["content-type"].startswith("text/plain")
    rows = [line.split(":") for line in lines.text.splitlines()]
    assert len(rows) == 40 and len({row[2] for row in rows}) == 40
    assert all(row[:2] == ["127.0.0.1", str(box.port)] and len(row) == 4 for row in rows)
    short = ask("proxyscrape", "GET", path, params={"format": "normal", "limit": "2"}).text
    assert short == f"127.0.0.1:{box.port}\n127.0.0.1:{box.port}"

    box.advance(30 * DAY)
    expired = ask("proxyscrape", "GET", path)
    assert (expired.status, expired.data) == (401, {"status": "unauthorized", "info": "Your subscription is expired."})

    (entry,) = box.book.charges("proxyscrape")
    assert (entry.kind, entry.amount, entry.order_id, entry.wallet) == ("create", "2.00", order_id, "main")
    assert entry.request == DATACENTER


@pytest.mark.parametrize(
    ("body", "price"),
    [
        ({"type": "new_datacenter_shared", "days": 90, "proxies[mixed]": 10}, "1.50"),
        ({"type": "new_residential", "bandwidth": 2.5}, "7.50"),
        ({"type": "new_residential", "bandwidth": 25, "duration": "30d"}, "75.00"),
        ({"type": "new_residential_unlimited", "duration": "60d", "location": "4"}, "240.00"),
        ({"type": "new_serp_api"}, "10.00"),
    ],
)
def test_everything_for_sale_has_its_price(box, ask, body, price):
    order_id = create(ask, body).data["data"]
    assert status(ask, order_id).data["data"]["price"] == price
    assert box.book.charges()[0].amount == price


@pytest.mark.parametrize(
    "change",
    [
        {"type": "new_mobile"},
        {"days": 31},
        {"days": "30"},
        {"days": None},
        {"proxies[us]": 0},
        {"proxies[us]": "40"},
        {"proxies[xx]": 5, "proxies[us]": 40},
        {"bandwidth": 10},
        {"type": "new_residential", "bandwidth": 0},
        {"type": "new_residential_unlimited"},
        {"type": "new_residential", "bandwidth": 5, "duration": "31d"},
    ],
)
def test_what_is_not_for_sale_is_refused_and_costs_nothing(box, ask, change):
    answer = create(ask, {**DATACENTER, **change})
    assert (answer.status, answer.data) == (400, {"success": False, "error": "Missing or invalid pricing configuration."})
    assert box.book.charges() == [] and box.state.vendors["proxyscrape"].wallet().balance == 1000


def test_too_little_money_is_refused_and_leaves_no_order(box, ask):
    box.control({"vendor": "proxyscrape", "wallet": {"balance": "1.99"}})
    answer = create(ask)
    assert (answer.status, answer.data) == (400, {"success": False, "error": "Insufficient wallet balance."})
    assert box.book.orders() == []
    box.control({"vendor": "proxyscrape", "wallet": {"balance": "2.00"}})
    assert create(ask).status == 200
    assert ask("proxyscrape", "GET", BALANCE).data["data"]["balance"] == 0


def test_both_headers_are_accepted_and_nothing_else(box, ask):
    token = box.token("proxyscrape")
    for headers in ({"api-token": token}, {"Authorization": f"Bearer {token}"}):
        assert ask("proxyscrape", "GET", BALANCE, headers=headers).status == 200
    for headers in ({}, {"api-token": "wrong"}, {"Authorization": f"Basic {token}"}):
        answer = ask("proxyscrape", "GET", BALANCE, headers=headers)
        assert answer.status == 401
        assert answer.data["error"] == "Could not determine account email from authenticated identity."


def test_permissions_are_switched_one_by_one(box, ask):
    order_id = create(ask).data["data"]
    box.control({"vendor": "proxyscrape", "permission": "read"})
    refused = create(ask)
    assert (refused.status, refused.data["error"]) == (
        403,
        "API ordering is not enabled for this account. Contact support to request access.",
    )
    assert status(ask, order_id).status == 200
    box.control({"vendor": "proxyscrape", "permission": "none"})
    refused = status(ask, order_id)
    assert (refused.status, refused.data["error"]) == (
        403,
        "Reading order status via the API-ordering endpoint is not enabled for this account. Contact support to request access.",
    )
    assert ask("proxyscrape", "GET", BALANCE).status == 403
    assert ask("proxyscrape", "GET", "/v4/account/subaccounts").status == 200  # another permission
    box.control({"vendor": "proxyscrape", "permission": "write"})
    assert create(ask).status == 200 and status(ask, order_id).status == 200
    assert len(box.book.orders()) == 2


def test_an_order_of_another_wallet_is_not_found(box, ask):
    box.control({"vendor": "proxyscrape", "token": {"name": "second", "token": "ps-second", "balance": "5"}})
    order_id = create(ask).data["data"]
    for found in (status(ask, order_id, wallet="second"), status(ask, "0" * 8)):
        assert (found.status, found.data) == (404, {"success": False, "error": "Order not found."})
    assert create(ask, wallet="second").status == 200
    assert [entry.wallet for entry in box.book.orders()] == ["main", "second"]


def test_orders_end_as_told(box, ask):
    box.control(
        [
            {"vendor": "proxyscrape", "next_outcome": "blocked", "details": {"block_reason": "price guard"}},
            {"vendor": "proxyscrape", "next_outcome": "failed"},
            {"vendor": "proxyscrape", "next_outcome": "refunded"},
            {"vendor": "proxyscrape", "next_outcome": "on_hold"},
        ]
    )
    ids = [create(ask).data["data"] for _ in range(5)]
    assert [status(ask, order_id).data["data"]["status"] for order_id in ids] == ["paid"] * 5
    box.advance(1)
    ends = [status(ask, order_id).data["data"] for order_id in ids]
    assert [end["status"] for end in ends] == ["blocked", "failed", "refunded", "on_hold", "processed"]
    assert ends[0]["block_reason"] == "price guard" and "block_reason" not in ends[1]
    assert [end["subaccount"] is None for end in ends] == [True, True, True, True, False]
    assert [(entry.kind, entry.order_id) for entry in box.book.charges()][5:] == [("refund", ids[2])]


def test_a_later_refund_takes_the_goods_back_and_pays_once(box, ask):
    order_id = create(ask).data["data"]
    box.advance(1)
    account = status(ask, order_id).data["data"]["subaccount"]["AccountID"]
    refund = {"vendor": "proxyscrape", "set_status": {"order_id": order_id, "status": "refunded"}}
    box.control([refund, refund])
    assert status(ask, order_id).data["data"]["status"] == "refunded"
    assert ask("proxyscrape", "GET", "/v4/account/subaccounts").data["data"]["subaccounts"] == []
    assert ask("proxyscrape", "GET", f"/v4/account/{account}/datacenter_shared/proxy-list").status == 401
    assert [entry.kind for entry in box.book.charges()] == ["create", "refund"]
    assert ask("proxyscrape", "GET", BALANCE).data["data"]["balance"] == 1000


def test_orders_and_accounts_can_be_seeded(box, ask):
    account = {"AccountID": "acc-1", "AccountType": "datacenter_shared", "label": "Account 3 (Premium)", "time_added": 1735690107}
    seeded = {
        "order_id": "o-1",
        "status": "processed",
        "price": "31.75",
        "created_at": 1735690100,
        "updated_at": 1735690107,
        "subaccount": account,
        "something_new": 1,
    }
    done = box.control(
        [
            {"vendor": "proxyscrape", "order": seeded},
            {"vendor": "proxyscrape", "order": {"id": "o-2", "status": "paid"}},
            {"vendor": "proxyscrape", "order": {"id": "o-3", "status": "processed", "subaccount": None}},
            {"subaccount": {"AccountID": "acc-2", "proxies": ["198.51.100.7:6060:user1:secret1"]}},
        ]
    )
    assert done == ["o-1", "o-2", "o-3", "acc-2"]
    one = status(ask, "o-1").data["data"]
    assert one == {**seeded, "type": "new_datacenter_shared", "currency": "USD", "paid_with_credit": True}
    assert status(ask, "o-2").data["data"]["status"] == "paid"
    assert status(ask, "o-3").data["data"]["subaccount"] is None
    lines = ask("proxyscrape", "GET", "/v4/account/acc-2/datacenter_shared/proxy-list").text
    assert lines == "198.51.100.7:6060:user1:secret1"
    assert box.book.charges() == []
