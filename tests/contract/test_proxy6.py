"""What PROXY6 alone has: a comment as the order id, flags by presence, proxies that end one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import InvalidRequest, UnreadableAnswer, telling_of_the_wallet
from airflow_provider_proxyorders.domain.model import OrderStatus
from airflow_provider_proxyorders.vendors.base import Filters
from airflow_provider_proxyorders.wire.messages import Response
from tests.contract.replay import named, play, vendor_for

REFERENCE = f"af-{'0123456789' * 4}"
ORDER: dict[str, Any] = {"count": 2, "period": 30, "country": "NL"}


def prepared(request: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return dict(vendor_for("proxy6", settings=settings).prepare_create(request, REFERENCE).body)


class TestPrepare:
    def test_the_version_is_always_sent_and_the_country_is_small(self) -> None:
        assert prepared(ORDER) == {"count": 2, "period": 30, "country": "nl", "version": 6, "descr": f"{REFERENCE}-2"}
        assert prepared({**ORDER, "version": "4"})["version"] == 4

    def test_what_was_prepared_can_be_prepared_again(self) -> None:
        assert prepared(prepared(ORDER)) == prepared(ORDER)

    @pytest.mark.parametrize("count", [1, 999_999])
    def test_our_comment_fits(self, count: int) -> None:
        assert len(prepared({**ORDER, "count": count})["descr"]) <= 50

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("count", 0),
            ("count", 1_000_000),
            ("period", "1.5"),
            ("country", "Netherlands"),
            ("country", "1!"),
            ("version", 5),
            ("type", "socks5"),
            ("descr", "my own"),
            ("auto_prolong", "perhaps"),
            ("auto_prolong", True),
        ],
    )
    def test_a_wrong_field_is_named_before_money_moves(self, field: str, value: Any) -> None:
        with pytest.raises(InvalidRequest, match=rf"'{field}'.*Nothing was bought"), telling_of_the_wallet():
            prepared({**ORDER, field: value})

    @pytest.mark.parametrize("value", [False, "false", None, ""])
    def test_a_flag_that_is_not_true_is_not_sent(self, value: Any) -> None:
        """Any value of it would switch the renewal on."""
        for settings in ({}, {"allow_auto_prolong": True}):
            assert "auto_prolong" not in prepared({**ORDER, "auto_prolong": value}, **settings)

    def test_the_flag_is_sent_where_the_connection_allows_it(self) -> None:
        vendor = vendor_for("proxy6", settings={"allow_auto_prolong": True})
        done = vendor.prepare_create({**ORDER, "auto_prolong": "true"}, REFERENCE)
        assert vendor.renews_by_itself(done.body) and "by itself" in done.warnings[0]
        assert ("auto_prolong", "") in list(next(vendor.create(done.body)).params)

    @pytest.mark.parametrize(
        ("ids", "wanted"), [("9002,9001", ["9001", "9002"]), ([9002, "9001"], ["9001", "9002"]), ("9", ["9"])]
    )
    def test_ids_in_all_their_forms(self, ids: Any, wanted: list[str]) -> None:
        assert vendor_for("proxy6").prepare_extend("x", {"period": 30, "ids": ids}).body == {"period": 30, "ids": wanted}

    @pytest.mark.parametrize("ids", [[], ["9001", "9001"], ["x"], [True], [None], ["9001", ""], "9001,,9002", ",", [-1], {}])
    def test_ids_that_could_extend_something_else(self, ids: Any) -> None:
        """No list may shrink to "all proxies of the order"."""
        with pytest.raises(InvalidRequest, match="'ids'"):
            vendor_for("proxy6").prepare_extend("x", {"period": 30, "ids": ids})


class TestExtended:
    evidence: Any = play(named("proxy6/snapshot.extend")).result

    def test_all_proxies_end_later(self) -> None:
        vendor = vendor_for("proxy6")
        assert vendor.extended(self.evidence, play(named("proxy6/extend.all_proxies")).result)
        assert not vendor.extended(self.evidence, play(named("proxy6/extend.one_proxy")).result)
        assert not vendor.extended(self.evidence, play(named("proxy6/get.active")).result)
        assert not vendor.extended({}, play(named("proxy6/extend.all_proxies")).result)

    def test_a_part_of_the_order(self) -> None:
        part: Any = play(named("proxy6/snapshot.extend_one")).result
        assert vendor_for("proxy6").extended(part, play(named("proxy6/extend.one_proxy")).result)


class TestContradiction:
    @pytest.mark.parametrize("case", ["resolve.bought_twice", "resolve.another_country", "resolve.of_another_purchase"])
    def test_a_doubtful_find_is_never_adopted(self, case: str) -> None:
        look: Any = play(named(f"proxy6/{case}")).result
        assert look.verdict == "inconclusive" and look.order is None and look.has_trace

    def test_the_answer_to_another_purchase(self) -> None:
        body = named("proxy6/create.two_proxies").data["call"]["args"][0]
        vendor, answer = vendor_for("proxy6"), play(named("proxy6/create.another_purchase")).result
        assert vendor.contradiction("create", body, {}, answer) == "it is 5 proxies, asked was for 2"
        own = play(named("proxy6/create.two_proxies")).result
        assert vendor.contradiction("create", body, {}, own) == ""
        assert vendor.contradiction("create", {**body, "period": 60}, {}, own) == "its period is 30, asked was 60"

    def test_its_own_order_has_none(self) -> None:
        exchange = named("proxy6/get.active")
        body = named("proxy6/create.two_proxies").data["call"]["args"][0]
        vendor, order = vendor_for("proxy6"), play(exchange).result
        assert vendor.contradiction("create", body, {}, order) == ""
        for other in ({"country": "pl"}, {"version": 4}, {"count": 1}, {"descr": "af-other-2"}):
            assert vendor.contradiction("create", {**body, **other}, {}, order)


def page(rows: int, first: int) -> Response:
    template = named("proxy6/get.active").responses()[0].data()
    row = next(iter(template["list"].values()))
    listed = {str(first + n): {**row, "id": str(first + n), "descr": "fleet"} for n in range(rows)}
    return Response(200, {}, json.dumps({**template, "list": listed, "list_count": rows}, default=str).encode())


def test_pages_are_read_until_one_is_short() -> None:
    flow = vendor_for("proxy6").list(Filters())
    assert ("page", "1") in next(flow).params
    assert ("page", "2") in flow.send(page(1000, 1)).params
    with pytest.raises(StopIteration) as stop:
        flow.send(page(1, 1001))
    (order,) = stop.value.value
    assert (order.order_id, order.delivered, order.status) == ("fleet", 1001, OrderStatus.DELIVERED)


def test_a_list_without_end_ends() -> None:
    flow = vendor_for("proxy6").get("fleet")
    next(flow)
    with pytest.raises(UnreadableAnswer, match="goes on after"):
        for number in range(101):
            flow.send(page(1000, 1 + 1000 * number))


def test_a_page_that_comes_again_ends_the_list() -> None:
    flow = vendor_for("proxy6").get("fleet")
    next(flow)
    flow.send(page(1000, 1))
    with pytest.raises(UnreadableAnswer, match="nothing new"):
        flow.send(page(1000, 1))
