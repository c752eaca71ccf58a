"""Faults in what a vendor does and says, at every vendor, judged by the buyer's socket and by the book."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import reduce
from operator import getitem
from typing import Any

import pytest

from airflow_provider_proxyorders.sandbox.faults import ACTIONS
from airflow_provider_proxyorders.sandbox.standalone import serve
from tests.vendors import NAMES, PRICES, REQUESTS, ROWS

CREATE = {
    "proxyscrape": "/v4/account/orders/create",
    "voodoo": "/api/v1/orders",
    "iproyal": "/orders",
    "proxy6": "/api/:key/buy/",
}
READ = {
    "proxyscrape": "/v4/account/orders/{}/status",
    "voodoo": "/api/v1/orders/{}",
    "iproyal": "/orders/{}",
    "proxy6": "/api/:key/getproxy/?descr={}",
}
SUBACCOUNTS = "/v4/account/subaccounts"
EXTEND = {"product_plan_id": 22}


class Shop:
    """One vendor, as a buyer asks it."""

    def __init__(self, ask: Any, name: str):
        self._ask, self.name = ask, name
        self.pretended = ask.box.state.vendors[name]
        self.field, self.bought = self.pretended.id_field, 0

    def buy(self, **fields: Any) -> Any:
        if self.name == "proxy6":
            self.bought += 1
            params = {**REQUESTS[self.name], "descr": f"comment-{self.bought}", **fields}
            return self._as_status(self._ask(self.name, "GET", CREATE[self.name], params=params))
        body = {**REQUESTS[self.name], **({"merchant_order_id": "ref"} if self.name == "voodoo" else {}), **fields}
        return self._ask(self.name, "POST", CREATE[self.name], body)

    def id(self, answer: Any) -> str:
        named = str(answer.data[self.field])
        return self.pretended.handles().get(named, named) if self.name == "proxy6" else named

    def read(self, order_id: str) -> Any:
        return self._as_status(self._ask(self.name, "GET", READ[self.name].format(order_id)))

    def _as_status(self, said: Any) -> Any:
        """PROXY6 says with 200 what others say with a status."""
        if self.name == "proxy6" and said.status == 200:
            no, none = said.data["status"] == "no", said.data.get("list", ...) == []
            return replace(said, status=400 if no else 404 if none else 200)
        return said

    def balance(self) -> Decimal:
        answer = self._ask(self.name, "GET", ROWS[self.name].balance_path)
        return Decimal(str(reduce(getitem, ROWS[self.name].balance_at, answer.data)))


@pytest.fixture(params=NAMES)
def shop(request, ask):
    return Shop(ask, request.param)


def iproyal_ids(ask):
    listed = ask("iproyal", "GET", "/orders").data
    assert listed["meta"]["total"] == len(listed["data"])
    return [row["id"] for row in listed["data"]]


class TestReadsThatLag:
    def test_the_balance_and_the_order_show_late(self, box, shop):
        full = shop.balance()
        box.fault(shop.name, action="lag", seconds=10)
        order_id = shop.id(shop.buy())
        assert (shop.balance(), shop.read(order_id).status) == (full, 404)
        box.advance(9)
        assert (shop.balance(), shop.read(order_id).status) == (full, 404)
        box.advance(1.001)
        assert (shop.balance(), shop.read(order_id).status) == (full - PRICES[shop.name], 200)

    def test_only_the_named_read(self, box, shop):
        full = shop.balance()
        box.fault(shop.name, "balance", action="lag", seconds=10, times=1)
        order_id = shop.id(shop.buy())
        assert (shop.balance(), shop.read(order_id).status) == (full, 200)
        assert shop.balance() == full - PRICES[shop.name]

    def test_a_refund_shows_late(self, box, shop):
        full, order_id = shop.balance(), shop.id(shop.buy())
        box.advance(20)
        ended = {"voodoo": "failed"}.get(shop.name, "refunded")
        box.control({"vendor": shop.name, "set_status": {"order_id": order_id, "status": ended}})
        now = shop.balance()
        box.fault(shop.name, action="lag", seconds=10)
        assert shop.balance() == full - PRICES[shop.name]
        box.advance(11)
        assert shop.balance() == now

    def test_the_list(self, box, ask):
        old = int(Shop(ask, "iproyal").id(Shop(ask, "iproyal").buy()))
        box.advance(20)
        box.fault("iproyal", "list", action="lag", seconds=10)
        new = int(Shop(ask, "iproyal").id(Shop(ask, "iproyal").buy()))
        assert iproyal_ids(ask) == [old]
        box.advance(11)
        assert iproyal_ids(ask) == [new, old]

    def test_sub_accounts(self, box, ask):
        Shop(ask, "proxyscrape").buy()
        box.fault("proxyscrape", action="lag", seconds=10)
        box.advance(5)
        assert ask("proxyscrape", "GET", SUBACCOUNTS).data == {"data": {"subaccounts": []}}
        box.advance(10)
        assert len(ask("proxyscrape", "GET", SUBACCOUNTS).data["data"]["subaccounts"]) == 1

    def test_an_extension(self, box, ask):
        shop = Shop(ask, "iproyal")
        order_id = shop.id(shop.buy())
        box.advance(20)
        before = shop.read(order_id).data
        box.fault("iproyal", action="lag", seconds=10)
        assert ask("iproyal", "POST", f"/orders/{order_id}/extend", EXTEND).status == 200
        assert shop.read(order_id).data == before == ask("iproyal", "GET", "/orders").data["data"][0]
        box.advance(5)
        assert ask("iproyal", "POST", f"/orders/{order_id}/extend", EXTEND).status == 200
        box.advance(5.001)
        one = shop.read(order_id).data
        assert len(one["extended_history"]) == 1 and one["expire_date"] > before["expire_date"]
        box.advance(5)
        two = shop.read(order_id).data
        assert len(two["extended_history"]) == 2 and two["expire_date"] > one["expire_date"]


class TestAnAnswerThatNamesAnotherOrder:
    @pytest.mark.parametrize("action", ["another_order", "another_id"])
    def test_the_previous_one(self, box, shop, action):
        first = shop.id(shop.buy())
        box.fault(shop.name, "create", action=action)
        said = shop.buy(**({"merchant_order_id": "second"} if shop.name == "voodoo" else {}))
        assert (said.status, shop.id(said), len(box.book.orders(shop.name))) == ({"voodoo": 201}.get(shop.name, 200), first, 2)

    @pytest.mark.parametrize("action", ["another_order", "another_id"])
    def test_one_that_somebody_else_bought(self, box, shop, action):
        box.fault(shop.name, "create", action=action, order="foreign")
        named = shop.id(shop.buy())
        (entry,) = box.book.orders(shop.name)
        assert named != entry.order_id and shop.read(named).status == 200

    @pytest.mark.parametrize("action", ["another_order", "another_id"])
    def test_one_that_does_not_exist(self, box, shop, action):
        box.fault(shop.name, "create", action=action, order="missing")
        named = shop.id(shop.buy())
        assert len(box.book.orders(shop.name)) == 1 and shop.read(named).status == 404

    @pytest.mark.parametrize("name", ["voodoo", "iproyal"])
    def test_the_whole_answer_or_only_its_id(self, box, ask, name):
        """ProxyScrape's answer is an id and nothing else."""
        shop = Shop(ask, name)
        first = shop.id(shop.buy())
        box.fault(name, "create", action="another_id", times=1)
        box.fault(name, "create", action="another_order", order=first, nth=2)
        said = [shop.buy(quantity=1, **({"merchant_order_id": nth} if name == "voodoo" else {})) for nth in ("second", "third")]
        assert [(shop.id(answer), answer.data["quantity"]) for answer in said] == [(first, 1), (first, 2)]

    def test_both_ids(self, box, shop):
        first = shop.id(shop.buy())
        box.fault(shop.name, "create", action="doubled_id")
        said = shop.buy(**({"merchant_order_id": "second"} if shop.name == "voodoo" else {}))
        own = shop.pretended.as_named(box.book.orders(shop.name)[-1].order_id)
        assert shop.id(said) == first and said.headers["content-type"].startswith("application/json")
        assert (
            said.text.index(own) < said.text.rindex(shop.pretended.as_named(first)) and said.text.count(f'"{shop.field}":') == 2
        )

    def test_what_was_refused_names_no_order(self, box, shop):
        box.control({"vendor": shop.name, "wallet": {"balance": "0.01"}})
        box.fault(shop.name, "create", action="another_id", order="missing")
        assert shop.buy().status in (400, 422) and box.book.orders(shop.name) == []


class TestARefusal:
    @pytest.mark.parametrize("reason", ["balance", "duplicate", "forbidden", "invalid"])
    @pytest.mark.parametrize(("when", "taken"), [("before", 0), ("after", 1)])
    def test_before_the_order_is_taken_or_after(self, box, shop, when, taken, reason):
        box.fault(shop.name, "create", action="refuse", when=when, reason=reason)
        assert 400 <= shop.buy().status < 500 and len(box.book.orders(shop.name)) == taken

    def test_of_a_copy(self, box, shop):
        full = shop.balance()
        box.fault(shop.name, "create", action="repeat")
        said = shop.buy()
        words = {"voodoo": "already in use", "proxy6": "no money"}.get(shop.name, "nsufficient")
        assert said.status in (400, 422) and words in said.text
        assert len(box.book.orders(shop.name)) == 1 and shop.balance() == full - PRICES[shop.name]

    def test_with_another_status(self, box, shop):
        box.fault(shop.name, "create", action="repeat", status=402)
        assert shop.buy().status == 402 and len(box.book.orders(shop.name)) == 1

    def test_to_wait(self, box, shop):
        for when in ("before", "after"):
            box.fault(
                shop.name,
                "create",
                action="refuse",
                when=when,
                reason="invalid",
                status=429,
                headers={"Retry-After": "7"},
                times=1,
            )
        for taken in (0, 1):
            said = shop.buy()
            assert (said.status, said.headers["retry-after"], len(box.book.orders(shop.name))) == (429, "7", taken)


class TestOddReads:
    def test_no_order_for_once(self, box, shop):
        order_id = shop.id(shop.buy())
        box.advance(5)
        box.fault(shop.name, "get", action="unseen", times=1)
        assert [shop.read(order_id).status for _ in range(2)] == [404, 200]

    def test_an_empty_list_for_once(self, box, ask):
        for name in ("iproyal", "proxyscrape"):
            Shop(ask, name).buy()
            box.fault(name, action="unseen", times=1)
        box.advance(5)
        assert [len(iproyal_ids(ask)) for _ in range(2)] == [0, 1]
        accounts = [ask("proxyscrape", "GET", SUBACCOUNTS).data["data"]["subaccounts"] for _ in range(2)]
        assert list(map(len, accounts)) == [0, 1]

    def test_a_balance_in_binary(self, box, shop):
        box.control({"vendor": shop.name, "wallet": {"balance": "468.25"}})
        box.fault(shop.name, "balance", action="float")
        assert shop.balance() == Decimal("468.25000000000006")

    def test_an_answer_without_a_length_that_is_cut(self, box, ask):
        box.control({"vendor": "iproyal", "wallet": {"balance": "500.1"}})
        for keep, text in ((None, "50"), (4, "500."), (99, "500.1")):
            box.fault("iproyal", "balance", action="cut", keep=keep, times=1)
            said = ask("iproyal", "GET", "/balance")
            assert (said.text, "content-length" in said.headers, said.headers["connection"]) == (text, False, "close")

    def test_a_page_of_a_firewall(self, box, shop):
        box.fault(shop.name, "balance", action="html", times=1)
        with pytest.raises(ValueError):
            shop.balance()
        assert shop.balance() == 1000


class TestMoneyAndTime:
    def test_a_charge_above_the_quote(self, box, shop):
        rule = box.fault(shop.name, "create", action="charge", amount="60.00", times=1)
        shop.buy()
        assert shop.balance() == Decimal(1000) - 60 and rule.hits == 1
        shop.buy(**({"merchant_order_id": "second"} if shop.name == "voodoo" else {}))
        assert [entry.amount for entry in box.book.orders(shop.name)] == ["60.00", f"{PRICES[shop.name]:.2f}"]

    def test_an_extension_above_the_quote(self, box, ask):
        shop = Shop(ask, "iproyal")
        order_id = shop.id(shop.buy())
        box.advance(5)
        box.fault("iproyal", "extend", action="charge", amount="60.00")
        ask("iproyal", "POST", f"/orders/{order_id}/extend", EXTEND)
        assert shop.balance() == Decimal(1000) - 6 - 60

    def test_the_vendors_clock(self, box, shop):
        fields = {"proxyscrape": ("data", "created_at"), "voodoo": ("created_at",)}.get(shop.name)
        order_id = shop.id(shop.buy())
        true = shop.read(order_id)
        box.fault(shop.name, action="clock", seconds=-600)
        off = shop.read(order_id)
        dates = [parsedate_to_datetime(said.headers["date"]) for said in (off, true)]
        assert dates[1] - dates[0] == timedelta(seconds=600)
        assert abs(dates[1] - box.clock.now()) < timedelta(seconds=2)
        if fields is not None:
            was, now = (reduce(getitem, fields, said.data) for said in (true, off))
            assert was != now and type(was) is type(now)

    def test_fewer_proxies_than_were_delivered(self, box, ask):
        for name in NAMES:
            shop = Shop(ask, name)
            order_id = shop.id(shop.buy())
            box.advance(5)
            box.control({"vendor": name, "deliver_less": {"order_id": order_id, "units": 1}})
            said = shop.read(order_id).data
            if name == "proxyscrape":
                account = said["data"]["subaccount"]["AccountID"]
                lines = ask(name, "GET", f"/v4/account/{account}/datacenter_shared/proxy-list").text.split()
                assert len(lines) == 1
            elif name == "proxy6":
                assert len(said["list"]) == 1
            else:
                assert len(said["codes"] if name == "voodoo" else said["proxy_data"]["proxies"]) == 1


def test_nobody_can_connect_for_a_while(box, ask):
    """The system drops what would begin a connection; the buyer's own tries again after a second."""
    box.fault("iproyal", "balance", action="slow_connect", seconds=0.7, times=1)
    kept = http.client.HTTPConnection("127.0.0.1", box.port, timeout=10)
    kept.request("GET", "/voodoo", headers={})
    kept.getresponse().read()
    assert ask("iproyal", "GET", "/balance").headers["connection"] == "close"
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", box.port), timeout=0.3)
    begin = time.monotonic()
    kept.request("GET", "/voodoo", headers={})  # whoever is connected already is not concerned
    assert kept.getresponse().status == 404 and time.monotonic() - begin < 0.3
    assert ask("iproyal", "GET", "/balance").data == 1000
    assert time.monotonic() - begin > 0.3
    kept.close()


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"action": "lag"}, "lag needs seconds"),
        ({"action": "charge"}, "charge needs amount"),
        ({"action": "clock"}, "clock needs seconds"),
        ({"action": "lag", "seconds": 1, "when": "after"}, "when is one of before for lag"),
        ({"action": "repeat", "when": "before"}, "when is one of after for repeat"),
    ],
)
def test_what_cannot_be_is_refused(box, rule, says):
    with pytest.raises(ValueError, match=says):
        box.fault("iproyal", **rule)


def test_the_help_names_every_fault(capsys):
    with suppress(SystemExit):
        serve(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown and action.words in shown for name, action in ACTIONS.items())


def test_over_http(box, ask):
    made: Mapping[str, Any] = {"vendor": "iproyal", "operation": "create", "action": "charge", "amount": 7.5}
    (rule,) = ask("", "POST", "/_sandbox/faults", made, headers={}).data
    assert (rule["amount"], rule["when"]) == ("7.5", "before")
    Shop(ask, "iproyal").buy()
    assert box.book.orders("iproyal")[0].amount == "7.5"


def test_a_sandbox_that_lets_nobody_connect_can_be_stopped(box, ask):
    box.fault("iproyal", "balance", action="slow_connect", seconds=60)
    ask("iproyal", "GET", "/balance")
    stopping = threading.Thread(target=box.stop)
    stopping.start()
    stopping.join(10)
    assert not stopping.is_alive()
