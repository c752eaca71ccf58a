"""The clock, the book and the control commands, from Python and over HTTP."""

from __future__ import annotations

import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.sandbox.clock import Clock
from tests.vendors import ROWS

ORDER = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 1, "auto_extend": False}


class TestClock:
    def test_everything_happens_in_the_order_of_time_and_sees_its_own_time(self):
        clock = Clock(speed=0)
        begin, seen = clock.timestamp(), []

        def again():
            seen.append(("again", clock.timestamp() - begin))
            if len(seen) < 5:
                clock.after(10, again)

        clock.after(25, lambda: seen.append(("once", clock.timestamp() - begin)))
        clock.after(10, again)
        clock.advance(35)
        assert seen == [("again", 10), ("again", 20), ("once", 25), ("again", 30)]
        assert clock.timestamp() - begin == 35

    def test_it_can_run_faster_and_stand_still(self):
        still, fast = Clock(speed=0), Clock(speed=1000)
        stood, ran = still.timestamp(), fast.timestamp()
        time.sleep(0.02)
        assert still.timestamp() == stood and fast.timestamp() - ran >= 20
        fast.after(100, lambda: None)
        assert 0 <= fast.next_in() <= 0.1 and still.next_in() is None

    def test_it_never_goes_back(self):
        with pytest.raises(ValueError):
            Clock().advance(-1)


def test_things_happen_at_their_time_while_nobody_asks(buyer):
    with Sandbox.start(processing=0.1) as box:
        finals = []
        box.state.vendors["voodoo"].webhook_sender.order_ended = finals.append
        buyer(box)("voodoo", "POST", "/api/v1/orders", {"item_id": 5120})
        end = time.monotonic() + 20
        while not finals and time.monotonic() < end:
            time.sleep(0.01)
        assert [order["status"] for order in finals] == ["completed"]


def test_the_same_seed_gives_the_same_ids(buyer):
    ids = []
    for _ in range(2):
        with Sandbox.start(seed=3) as box:
            ids.append(buyer(box)("voodoo", "POST", "/api/v1/orders", {"item_id": 5120}).data["id"])
    assert ids[0] == ids[1]


def test_a_month_passes_in_a_moment(buyer):
    with Sandbox.start(processing=60, speed=86400 * 30) as box:
        ask = buyer(box)
        order = ask("iproyal", "POST", "/orders", ORDER).data
        end = time.monotonic() + 20
        while ask("iproyal", "GET", f"/orders/{order['id']}").data["status"] != "expired":
            assert time.monotonic() < end


class TestBook:
    def test_parallel_orders_are_each_charged_once(self, box, ask):
        auth = ask.auth("iproyal")
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: ask("iproyal", "POST", "/orders", ORDER, headers=auth), range(200)))
        ids = {answer.data["id"] for answer in answers}
        assert len(ids) == 200 == len(box.book.orders("iproyal"))
        assert {entry.order_id for entry in box.book.charges()} == {str(order_id) for order_id in ids}
        assert box.state.vendors["iproyal"].wallet().balance == 1000 - 200 * 3
        assert box.book.count("iproyal", "create") == 200

    def test_parallel_orders_never_overdraw_the_wallet(self, box, ask):
        box.control({"vendor": "iproyal", "wallet": {"balance": "30.00"}})
        auth = ask.auth("iproyal")
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: ask("iproyal", "POST", "/orders", ORDER, headers=auth), range(40)))
        assert sorted(answer.status for answer in answers) == [200] * 10 + [422] * 30
        assert len(box.book.orders()) == 10 and box.state.vendors["iproyal"].wallet().balance == 0

    def test_over_http_it_is_the_same_and_holds_no_token(self, box, ask):
        ask("iproyal", "POST", "/orders", ORDER)
        ask("voodoo", "POST", "/api/v1/orders", {"item_id": 5120, "merchant_order_id": "r"})
        said = ask("", "GET", "/_sandbox/book", headers={})
        assert said.data == box.book.as_dict()
        assert [entry["reference"] for entry in said.data["orders"]] == [None, "r"]
        assert said.data["counts"] == {"iproyal": {"create": 1}, "voodoo": {"create": 1, "token": 1}}
        assert not any(box.token(vendor) in said.text for vendor in box.state.vendors)
        only = ask("", "GET", "/_sandbox/book", params={"vendor": "voodoo"}, headers={}).data
        assert list(only["counts"]) == ["voodoo"] and len(only["charges"]) == 1

    def test_it_stays_readable_after_the_end(self, box, ask):
        ask("iproyal", "POST", "/orders", ORDER)
        box.stop()
        assert len(box.book.orders()) == 1


class TestCommands:
    def test_over_http(self, box, ask):
        commands = [{"vendor": "iproyal", "wallet": {"balance": "2.50"}}, {"vendor": "iproyal", "order": {"id": 8000}}]
        answer = ask("", "POST", "/_sandbox/control", commands, headers={})
        assert answer.data == {"done": [None, "8000"]}
        assert ask("iproyal", "GET", "/balance").data == 2.5
        overview = ask("", "GET", "/_sandbox", headers={}).data
        assert overview["vendors"]["iproyal"]["wallets"]["main"] == {"token": "ip-test-token", "balance": "2.50"}

    @pytest.mark.parametrize(
        "command",
        [
            {},
            {"explode": 1},
            {"vendor": "nobody", "permission": "read"},
            {"vendor": "iproyal", "permission": "all"},
            {"order": {"id": 1}},
            {"vendor": "iproyal", "subaccount": {}},
            {"vendor": "iproyal", "wallet": {"balance": "a lot"}},
            {"vendor": "iproyal", "wallet": "nobody", "permission": "read"},
            {"vendor": "iproyal", "set_status": {"order_id": 1, "status": "expired"}},
            {"advance": -1},
            {"advance": 1, "reset": True},
        ],
    )
    def test_what_cannot_be_done_is_said(self, box, ask, command):
        with pytest.raises(ValueError, match="cannot be done"):
            box.control(command)
        answer = ask("", "POST", "/_sandbox/control", [command], headers={})
        assert answer.status == 400 and "cannot be done" in answer.data["error"]

    def test_a_body_that_is_no_json_is_said(self, box):
        connection = http.client.HTTPConnection("127.0.0.1", box.port)
        connection.request("POST", "/_sandbox/control", "{nope")
        assert connection.getresponse().status == 400
        connection.close()

    def test_wallets_are_addressed_by_name(self, box, ask):
        box.control(
            [
                {"vendor": "iproyal", "token": {"name": "second", "token": "ip-second", "balance": "10"}},
                {"vendor": "iproyal", "wallet": "second", "permission": "read"},
                {"vendor": "iproyal", "wallet": {"name": "main", "balance": "20"}},
            ]
        )
        assert ask("iproyal", "GET", "/balance", wallet="second").data == 10
        assert ask("iproyal", "POST", "/orders", ORDER, wallet="second").status == 403
        assert ask("iproyal", "POST", "/orders", ORDER).status == 200

    def test_a_command_without_vendor_is_for_all(self, box, ask):
        box.control([{"wallet": {"balance": "1"}}, {"processing": 9}])
        assert {shop.wallet().balance for shop in box.state.vendors.values()} == {1}
        assert {shop.processing for shop in box.state.vendors.values()} == {9}

    def test_reset_of_one_vendor_leaves_the_others(self, box, ask):
        for vendor, path, body in (
            ("iproyal", "/orders", ORDER),
            ("voodoo", "/api/v1/orders", {"item_id": 5120}),
        ):
            ask(vendor, "POST", path, body)
        box.control({"vendor": "iproyal", "reset": True})
        box.advance(5)  # what was still to happen to forgotten orders happens to nobody
        assert [entry.vendor for entry in box.book.charges()] == ["voodoo"]
        assert ask("iproyal", "GET", "/orders/7001").status == 404 and ask("iproyal", "GET", "/balance").data == 1000

    def test_no_id_comes_twice_even_after_a_reset(self, box, ask):
        seen = set()
        for _ in range(3):
            seen.add(ask("iproyal", "POST", "/orders", ORDER).data["id"])
            seen.add(ask("voodoo", "POST", "/api/v1/orders", {"item_id": 5120}, headers=ask.login("voodoo")).data["id"])
            box.control({"reset": True})
        assert len(seen) == 6

    def test_reset_of_everything(self, box, ask):
        ask("iproyal", "POST", "/orders", ORDER)
        box.fault("iproyal", "balance", action="status")
        begin = box.clock.timestamp()
        box.control([{"advance": 1000}, {"reset": True}])
        assert box.book.charges() == [] and box.faults() == [] and box.clock.timestamp() == begin
        assert ask("iproyal", "GET", "/balance").data == 1000


def test_unknown_paths_are_not_found_and_counted(box, ask):
    for vendor in box.state.vendors:
        said = ask(vendor, "GET", "/no/such/call")
        assert said.status == 404 or (not ROWS[vendor].refuses_by_status and said.data["status"] == "no")
        assert box.book.count(vendor, "unknown") == 1
    for path in ("/", "/nobody/orders", "/_sandbox/nothing"):
        assert ask("", "GET", path, headers={}).status == 404


def test_it_listens_on_this_machine_only(box):
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", box.port), timeout=1)
