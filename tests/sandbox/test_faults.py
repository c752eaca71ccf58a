"""Every fault, before and after the vendor's work, judged by the buyer's socket and by the book."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time

import pytest

ORDER = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 1, "auto_extend": False}


def buy(ask, **options):
    return ask("iproyal", "POST", "/orders", ORDER, **options)


def bought(box):
    """Orders taken, after whatever is still under way had a moment to end."""
    time.sleep(0.05)
    return len(box.book.orders("iproyal"))


@pytest.fixture(params=["before", "after"])
def when(request):
    return request.param


@pytest.fixture
def taken(when):
    """How many orders the vendor takes when the fault strikes at that moment."""
    return {"before": 0, "after": 1}[when]


class TestEveryAction:
    def test_reset(self, box, ask, when, taken):
        rule = box.fault("iproyal", "create", when=when, action="reset")
        with pytest.raises(ConnectionResetError):
            buy(ask)
        assert (bought(box), rule.hits) == (taken, 1)

    def test_close(self, box, ask, when, taken):
        rule = box.fault("iproyal", "create", when=when, action="close")
        with pytest.raises(http.client.RemoteDisconnected):
            buy(ask)
        assert (bought(box), rule.hits) == (taken, 1)

    def test_truncate(self, box, ask, when, taken):
        rule = box.fault("iproyal", "create", when=when, action="truncate")
        with pytest.raises(http.client.IncompleteRead) as caught:
            buy(ask)
        assert caught.value.partial and caught.value.expected and (bought(box), rule.hits) == (taken, 1)

    def test_status(self, box, ask, when, taken):
        box.fault("iproyal", "create", when=when, action="status", status=429, headers={"Retry-After": "7"}, body="slow down")
        answer = buy(ask)
        assert (answer.status, answer.headers["retry-after"], answer.text) == (429, "7", "slow down")
        assert bought(box) == taken

    def test_body(self, box, ask, when, taken):
        box.fault("iproyal", "create", when=when, action="body", body="<html>hello</html>")
        answer = buy(ask)
        assert (answer.status, answer.text) == (200, "<html>hello</html>")
        assert answer.headers["content-type"].startswith("text/html") and bought(box) == taken

    def test_empty(self, box, ask, when, taken):
        box.fault("iproyal", "create", when=when, action="empty", status=201)
        answer = buy(ask)
        assert (answer.status, answer.body) == (201, b"") and bought(box) == taken

    def test_hang(self, box, ask, when, taken):
        rule = box.fault("iproyal", "create", when=when, action="hang")
        with pytest.raises(TimeoutError):
            buy(ask, timeout=0.2)
        assert (bought(box), rule.hits) == (taken, 1)

    def test_hang_is_bounded(self, box, ask, when, taken):
        box.fault("iproyal", "create", when=when, action="hang", seconds=0.1)
        with pytest.raises(http.client.RemoteDisconnected):
            buy(ask)
        assert bought(box) == taken

    def test_a_fraction_of_a_second_over_http(self, box, ask):
        rule = {"vendor": "iproyal", "operation": "create", "action": "delay", "seconds": 0.1}
        assert ask("", "POST", "/_sandbox/faults", rule, headers={}).status == 200
        assert buy(ask).status == 200 and bought(box) == 1

    def test_delay(self, box, ask, when):
        box.fault("iproyal", "create", when=when, action="delay", seconds=0.3)
        begin = time.monotonic()
        assert buy(ask).status == 200
        assert time.monotonic() - begin >= 0.3 and bought(box) == 1

    def test_pause(self, box, ask, when, taken):
        rule = box.fault("iproyal", "create", when=when, action="pause")
        answers = []
        buyer = threading.Thread(target=lambda: answers.append(buy(ask)))
        buyer.start()
        assert rule.wait(5)
        assert bought(box) == taken and answers == []
        rule.release()
        buyer.join(5)
        assert answers[0].status == 200 and bought(box) == 1
        assert buy(ask).status == 200  # a released rule is over
        assert rule.hits == 1

    @pytest.mark.parametrize("action", ["delay", "pause"])
    def test_a_held_request_goes_on_though_the_buyer_has_gone(self, box, ask, action):
        rule = box.fault("iproyal", "create", when="before", action=action, seconds=0.5)
        with pytest.raises(TimeoutError):
            buy(ask, timeout=0.1)
        assert bought(box) == 0
        rule.release()
        assert bought(box) == 1


class TestWhich:
    def test_only_the_named_vendor_and_operation(self, box, ask):
        box.fault("iproyal", "create", action="status", status=500)
        assert ask("iproyal", "GET", "/balance").status == 200
        assert ask("proxyscrape", "GET", "/v4/account/orders/balance").status == 200
        assert buy(ask).status == 500

    def test_everything(self, box, ask):
        box.fault(action="status", status=502)
        assert ask("iproyal", "GET", "/balance").status == 502
        assert ask("proxyscrape", "GET", "/v4/account/orders/balance").status == 502

    def test_the_nth(self, box, ask):
        rule = box.fault("iproyal", "balance", action="status", nth=2)
        assert [ask("iproyal", "GET", "/balance").status for _ in range(4)] == [200, 503, 200, 200]
        assert (rule.seen, rule.hits) == (4, 1)

    def test_so_many_times(self, box, ask):
        box.fault("iproyal", "balance", action="status", times=2)
        assert [ask("iproyal", "GET", "/balance").status for _ in range(3)] == [503, 503, 200]

    def test_several_rules_in_turn(self, box, ask):
        """A delay goes on to the next rule; a rule that ended the request keeps the later ones from counting."""
        first = box.fault("iproyal", "balance", action="delay", seconds=0)
        second = box.fault("iproyal", "balance", action="status", times=1)
        third = box.fault("iproyal", "balance", action="status", status=418)
        assert [ask("iproyal", "GET", "/balance").status for _ in range(2)] == [503, 418]
        assert (first.hits, second.hits, third.hits) == (2, 1, 1)

    def test_a_token_exchange_can_fail(self, box, ask):
        box.fault("voodoo", "token", action="status", status=500)
        assert ask("voodoo", "POST", "/api/v1/auth/token/client", {"api_key": "x"}, headers={}).status == 500

    def test_requests_that_fail_are_counted_all_the_same(self, box, ask):
        box.fault("iproyal", "balance", action="status")
        ask("iproyal", "GET", "/balance")
        assert box.book.count("iproyal", "balance") == box.book.count("iproyal") == 1

    def test_cleared(self, box, ask):
        box.fault("iproyal", "balance", action="status")
        box.clear_faults()
        assert ask("iproyal", "GET", "/balance").status == 200 and box.faults() == []

    @pytest.mark.parametrize("rule", [{"when": "later"}, {"action": "explode"}, {"colour": "red"}])
    def test_a_rule_that_is_none_is_refused(self, box, rule):
        with pytest.raises(ValueError):
            box.fault("iproyal", **rule)


class TestOverHttp:
    def test_rules_are_made_listed_released_and_deleted(self, box, ask):
        made = ask("", "POST", "/_sandbox/faults", {"vendor": "iproyal", "operation": "create", "action": "pause"}, headers={})
        (rule,) = made.data
        buyer = threading.Thread(target=lambda: buy(ask))
        buyer.start()
        assert box.faults()[0].wait(5)
        (listed,) = ask("", "GET", "/_sandbox/faults", headers={}).data
        assert (listed["number"], listed["hits"], listed["released"]) == (rule["number"], 1, False)
        assert ask("", "POST", f"/_sandbox/faults/{rule['number']}/release", headers={}).data["released"] is True
        buyer.join(5)
        assert bought(box) == 1
        assert ask("", "DELETE", "/_sandbox/faults", headers={}).data == []
        assert ask("", "GET", "/_sandbox/faults", headers={}).data == []

    def test_nonsense_is_refused(self, ask):
        for body in ({"action": "explode"}, [1], {"vendor": "iproyal", "foo": 1}):
            answer = ask("", "POST", "/_sandbox/faults", body, headers={})
            assert answer.status == 400 and "error" in answer.data


def test_a_kept_connection_survives_what_does_not_touch_it(box, ask):
    """429 and odd bodies leave the connection open; a client that keeps it uses one for all."""
    box.fault("iproyal", "balance", action="status", status=429, times=1)
    box.fault("iproyal", "balance", action="body", body="odd", times=1)
    connection = http.client.HTTPConnection("127.0.0.1", box.port)
    before = box.book.connections
    texts = []
    for _ in range(3):
        connection.request("GET", "/iproyal/balance", headers=ask.auth("iproyal"))
        texts.append(connection.getresponse().read().decode())
    assert texts == ["", "odd", "1000"] and box.book.connections == before + 1
    connection.close()


def test_stopping_does_not_wait_for_what_is_held_back(box, ask):
    box.fault("iproyal", "create", when="before", action="pause")
    box.fault("iproyal", "balance", action="hang")
    held = []
    for path, body in (("/iproyal/orders", json.dumps(ORDER)), ("/iproyal/balance", None)):
        connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=5)
        connection.request("POST" if body else "GET", path, body, ask.auth("iproyal"))
        held.append(connection)
    assert all(rule.wait(5) for rule in box.faults())
    begin = time.monotonic()
    box.stop()
    assert time.monotonic() - begin < 20 and bought(box) == 0
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", box.port), timeout=1)
    for connection in held:
        connection.close()
