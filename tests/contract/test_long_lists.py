"""Lists of any length: read part by part, and ended where a vendor counts wrongly."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import UnreadableAnswer
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.vendors.base import Filters
from airflow_provider_proxyorders.vendors.iproyal.lists import MOST_REPEATS
from airflow_provider_proxyorders.wire.messages import Response
from tests.contract.replay import named, vendor_for


class TestListWithoutEnd:
    @pytest.fixture
    def pages(self) -> Any:
        """Answers a list flow page by page with orders of these ids until it ends; returns the number of pages."""
        first = named("iproyal/list.two_pages").responses()[0].data()
        row = first["data"][0]

        def play(flow: Any, ids: Any) -> int:
            next(flow)
            for number in count(1):
                first["meta"].update(current_page=number, last_page=10**9)
                first["data"] = [{**row, "id": order_id} for order_id in ids(number)]
                try:
                    flow.send(Response(200, {}, dump_json(first).encode()))
                except UnreadableAnswer as error:
                    said.append(str(error))
                    return number
            raise AssertionError

        said: list[str] = []
        play.said = said  # type: ignore[attr-defined]
        return play

    def test_one_that_repeats_itself_ends(self, pages: Any) -> None:
        assert pages(vendor_for("iproyal").get_many(["7001"]), lambda number: [7001, 7002]) == MOST_REPEATS + 1
        assert pages(vendor_for("iproyal").list(Filters()), lambda number: [number % 5, 9]) == 5 + MOST_REPEATS
        assert "goes on after" in pages.said[-1] and "repeat earlier ones" in pages.said[-1]

    def test_new_orders_while_it_is_read_are_no_repeat(self, pages: Any) -> None:
        """A page may bring known orders only, if as many new ones came in as it holds."""
        vendor = vendor_for("iproyal", settings={"most_orders": 300})
        assert pages(vendor.list(Filters()), lambda number: range(number // 5 * 10, number // 5 * 10 + 10)) == 30

    def test_a_bound_that_a_setting_raises(self, pages: Any) -> None:
        def ids(number: int) -> range:
            return range(number * 10, number * 10 + 10)

        parts: list[int] = []
        vendor = vendor_for("iproyal", settings={"most_orders": 500})
        assert pages(vendor.list_parts(Filters(), lambda orders: parts.append(len(orders))), ids) == 50
        assert "goes on after 500 orders" in pages.said[-1] and "set most_orders of the connection above that" in pages.said[-1]
        assert parts == [10] * 50, "each page was handed over when it came"


def test_a_list_by_parts_brings_each_order_once() -> None:
    """Pages overlap while orders come in."""
    page = named("iproyal/list.two_pages").responses()[0].data()
    row, parts = page["data"][0], list[list[str]]()
    flow = vendor_for("iproyal").list_parts(Filters(), lambda orders: parts.append([order.order_id for order in orders]))
    next(flow)
    with pytest.raises(StopIteration):
        for number, ids in ((1, [3, 2]), (2, [2, 1]), (3, [1])):
            page["meta"].update(current_page=number, last_page=3)
            page["data"] = [{**row, "id": order_id} for order_id in ids]
            flow.send(Response(200, {}, dump_json(page).encode()))
    assert parts == [["3", "2"], ["1"], []]
