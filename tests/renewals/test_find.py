"""Which orders of a wallet end within a horizon, by the vendor's list, and who is left out and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.renewal.search import ExpiringOrders, OrderFilter, find_due
from airflow_provider_proxyorders.vendors import vendor_class
from tests.hooks.connections import REQUESTS, Shops

from .conftest import PLAN, written

VendorHas = Callable[..., str]
DAY = timedelta(days=1)


def find(shops: Shops, now: datetime, *, vendor: str = "iproyal", within: timedelta = 3 * DAY, **options: Any) -> ExpiringOrders:
    connection = options.pop("connection", {})
    return find_due(shops.hook(vendor, **connection).buyer(), as_of=now, within=within, **options)


def due(orders: ExpiringOrders) -> list[str]:
    return [each.order_id for each in orders.due]


def reasons(orders: ExpiringOrders) -> dict[str, str]:
    return {left.order_id: left.reason for left in orders.left_out}


class TestHorizon:
    def test_the_soonest_comes_first(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        for number, days in ((1, 2.5), (2, 1), (3, 3), (4, 3.001), (5, 30), (6, 0.1)):
            vendor_has(number, timedelta(days=days))
        orders = find(shops, now)
        assert due(orders) == ["6", "2", "1", "3"]  # who ends at the very end of the horizon is in it
        assert (orders.looked_at, orders.source, orders.left_out) == (6, "vendor", ())
        assert orders.due[0].expires_at == now + timedelta(days=0.1)
        assert all(each.expires_at.tzinfo is timezone.utc for each in orders.due)

    def test_every_page_is_read(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        for number in range(1, 8):
            vendor_has(number, number * timedelta(hours=1))
        orders = find(shops, now, connection={"extra": {"page_size": 2}})
        assert len(orders.due) == 7
        assert shops.box.book.count("iproyal", "list") == 4
        assert shops.box.book.count("iproyal", "get") == 0

    def test_another_now(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, 9 * DAY)
        assert due(find(shops, now)) == []
        assert due(find(shops, now + 7 * DAY)) == ["1"]

    def test_an_empty_account(self, shops: Shops, now: datetime) -> None:
        orders = find(shops, now)
        assert (orders.due, orders.left_out, orders.looked_at) == ((), (), 0)

    @pytest.mark.parametrize("zone, hours", [("UTC", 0), ("America/New_York", 5), ("Asia/Kolkata", -5.5)])
    def test_vendor_times_without_a_zone(self, shops: Shops, vendor_has: VendorHas, zone: str, hours: float) -> None:
        """The same digits are another moment in each zone, and decide at the edge."""
        vendor_has(1, expire_date="2030-02-01 12:00:00")
        ends = datetime(2030, 2, 1, 12, tzinfo=timezone.utc) + timedelta(hours=hours)
        for setting in ("timezone", "vendor_timezone"):
            extra = {"extra": {setting: zone}}
            assert [each.expires_at for each in find(shops, ends - 3 * DAY, connection=extra).due] == [ends]
            assert due(find(shops, ends - 3 * DAY - timedelta(seconds=1), connection=extra)) == []
            assert reasons(find(shops, ends, connection=extra)) == {"1": "expired"}

    def test_a_calendar_horizon_is_counted_in_the_connections_zone(self, shops: Shops, vendor_has: VendorHas) -> None:
        """The night of 2030-03-31 has an hour less in Berlin, so a day there ends an hour sooner."""
        from airflow_provider_proxyorders.domain.dates import duration

        vendor_has(1, expire_date="2030-03-31 11:00:00")
        as_of, day = datetime(2030, 3, 30, 11, 30, tzinfo=timezone.utc), duration("within", "P1D")
        extra = {"timezone": "Europe/Berlin", "vendor_timezone": "UTC"}
        assert due(find(shops, as_of, within=day, connection={"extra": extra})) == []
        assert due(find(shops, as_of, within=DAY, connection={"extra": extra})) == ["1"]

    def test_the_last_day_of_february(self, shops: Shops, vendor_has: VendorHas) -> None:
        from airflow_provider_proxyorders.domain.dates import duration

        for number, text in ((1, "2028-02-29 12:00:00"), (2, "2028-02-29 12:00:01"), (3, "2028-03-01 00:00:00")):
            vendor_has(number, expire_date=text)
        as_of = datetime(2028, 1, 31, 12, tzinfo=timezone.utc)
        assert due(find(shops, as_of, within=duration("within", "P1M"))) == ["1"]


class TestLeftOut:
    def test_what_is_over_and_when_it_is_told(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, -1 * DAY, status="expired")
        vendor_has(2, -60 * DAY, status="expired")  # of last month: nobody asks for it any more
        vendor_has(3, 1 * DAY, status="refunded")
        vendor_has(5, 60 * DAY, status="refunded")
        orders = find(shops, now)
        assert due(orders) == []
        assert reasons(orders) == {"1": "expired", "3": "ended"}

    def test_the_vendors_word_is_late(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, timedelta(hours=1))
        orders = find(shops, now + timedelta(hours=2))
        assert (due(orders), reasons(orders)) == ([], {"1": "expired"})
        assert "though IPRoyal says 'confirmed'" in orders.left_out[0].why

    def test_the_vendor_renews_it(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, auto_extend_settings={"is_enabled": True})
        vendor_has(2, auto_extend_settings={"is_enabled": False})
        vendor_has(3, auto_extend_settings=None)
        orders = find(shops, now)
        assert (due(orders), reasons(orders)) == (["2", "3"], {"1": "auto_extends"})
        assert due(find(shops, now, auto_extending=True)) == ["1", "2", "3"]

    def test_no_expiry_yet(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, None, status="in-progress")
        vendor_has(2, 1 * DAY, status="in-progress")
        orders = find(shops, now)
        assert (due(orders), reasons(orders)) == (["2"], {"1": "no_expiry"})

    def test_a_word_that_nobody_knows_is_still_running(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, status="napping")
        assert due(find(shops, now)) == ["1"]

    def test_the_log_tells(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        for number in range(1, 9):
            vendor_has(number, auto_extend_settings={"is_enabled": True})
        vendor_has(9)
        lines = find(shops, now).lines(most=3)
        assert lines[0].startswith("1 of 9 orders end") and "8 left out" in lines[0]
        assert sum("(auto_extends): IPRoyal renews it by itself" in line for line in lines) == 3
        assert lines[-1] == "left out (auto_extends): and 5 more"

    def test_an_odd_entry_of_the_list_is_left_out_and_named(self, shops: Shops, now: datetime) -> None:
        good = {"id": 7001, "status": "confirmed", "quantity": 1, "expire_date": f"{now + DAY:%Y-%m-%d %H:%M:%S}"}
        good["proxy_data"] = {"proxies": ["203.0.113.1:8000:u:p"]}
        odd = [7, None, {**good, "id": 7002, "status": None}, {**good, "id": "{{ conn.x.password }}"}]
        body = json.dumps({"data": [*odd, good], "meta": {"current_page": 1, "last_page": 1}})
        shops.box.fault("iproyal", "list", action="body", status=200, body=body)
        orders = find(shops, now)
        assert due(orders) == ["7001"]
        places = ("entry 1 of the list", "entry 2 of the list", "7002", "entry 4 of the list")
        assert reasons(orders) == dict.fromkeys(places, "unreadable")


class TestFilters:
    @pytest.fixture(autouse=True)
    def orders(self, shops: Shops, vendor_has: VendorHas) -> None:
        vendor_has(1, note="crawler one")
        vendor_has(2, note="Crawler TWO", product_id=9, location="United States")
        vendor_has(3, product_id=4)
        vendor_has(4, note=None)

    def test_by_note(self, shops: Shops, now: datetime) -> None:
        orders = find(shops, now, only=OrderFilter(note="crawler"))
        assert (due(orders), reasons(orders)) == (["1", "2"], {"3": "filtered", "4": "filtered"})
        assert {each.note for each in orders.due} == {"crawler one", "Crawler TWO"}

    def test_by_product_and_location(self, shops: Shops, now: datetime) -> None:
        everything = find(shops, now)
        names = {each.order_id: (each.product, each.location) for each in everything.due}
        product, location = names["1"]
        assert product and location
        same = [order_id for order_id, (name, _) in names.items() if name == product]
        assert due(find(shops, now, only=OrderFilter(product=product.upper()))) == same
        there = [order_id for order_id, (_, place) in names.items() if place and location in place]
        assert due(find(shops, now, only=OrderFilter(location=location[:5].lower()))) == there
        assert due(find(shops, now, only=OrderFilter(product="no such product"))) == []

    def test_by_id(self, shops: Shops, now: datetime) -> None:
        before = shops.box.book.count("iproyal", "list")
        orders = find(shops, now, only=OrderFilter(order_ids=["4", "1", "77", "4"]))
        assert (due(orders), reasons(orders)) == (["1", "4"], {"77": "unknown"})
        assert orders.looked_at == 2 and shops.box.book.count("iproyal", "list") == before + 1

    def test_by_id_says_why_not_of_each_that_was_asked_for(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(5, -90 * DAY, status="expired")
        vendor_has(6, 90 * DAY)
        orders = find(shops, now, only=OrderFilter(order_ids=["5", "6"]))
        assert (due(orders), reasons(orders)) == ([], {"5": "expired", "6": "later"})

    def test_excluded(self, shops: Shops, now: datetime) -> None:
        orders = find(shops, now, only=OrderFilter(exclude=["2", "3"]))
        assert (due(orders), reasons(orders)) == (["1", "4"], {"2": "filtered", "3": "filtered"})
        assert due(find(shops, now, only=OrderFilter(order_ids=["1", "2"], exclude=["2"]))) == ["1"]


class TestLedger:
    def test_an_extension_that_does_not_show_yet(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1)
        shops.box.control({"vendor": "iproyal", "extend_processing": 3600})
        shops.hook("iproyal").extend_order("1", PLAN, order_key="k")
        assert reasons(find(shops, now)) == {"1": "extending"}
        shops.box.advance(3600)
        assert find(shops, now).left_out == ()
        # nobody waited for it, and a month later it must not keep its order from being renewed
        later = find(shops, now + 30 * DAY)
        assert (due(later), reasons(later)) == (["1"], {})
        purchase = shops.hook("iproyal").ledger.find("k")
        assert purchase is not None and purchase.step.value == "delivered"

    def test_an_extension_whose_outcome_is_unknown(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1)
        buyer = self._lose_an_answer(shops)
        assert reasons(find_as(buyer, now)) == {"1": "extending"}
        clock = buyer.ledger.clock
        buyer.ledger.clock = lambda: clock() + timedelta(hours=2)  # its task is gone: the next one settles it
        assert due(find_as(buyer, now)) == ["1"]

    def test_an_extension_that_was_only_intended(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        """A dry wallet refused it: nothing was bought, and the order would lapse if it was left out."""
        vendor_has(1)
        shops.box.control({"vendor": "iproyal", "wallet": {"balance": "0"}})
        with pytest.raises(Exception, match="(?i)nothing was bought"):
            shops.hook("iproyal").extend_order("1", PLAN, order_key="k")
        assert due(find(shops, now)) == ["1"]

    def test_a_person_has_to_decide(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        from airflow_provider_proxyorders.domain.model import Actor, Step

        vendor_has(1)
        buyer = self._lose_an_answer(shops)
        purchase = buyer.ledger.find("k")
        assert purchase is not None
        buyer.ledger.record(purchase, Step.QUARANTINED, "evidence cannot decide", Actor())
        orders = find_as(buyer, now + timedelta(hours=5), within=9 * DAY)
        assert reasons(orders) == {"1": "unresolved"} and "ledger show 'k'" in orders.left_out[0].why

    def test_a_vendor_that_extends_and_lists_nothing(self, shops: Shops, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        """The ledger knows when the last extension ends; the creation's expiry is long past by then."""
        kind = vendor_class("iproyal")
        monkeypatch.setattr(kind, "capabilities", replace(kind.capabilities, list_orders=False))
        hook = shops.hook("iproyal")
        made = hook.create_order(REQUESTS["iproyal"], order_key="first")
        made = hook.buyer().wait(made, deadline=now + timedelta(seconds=30), poll_interval=0.05)
        assert made.expires_at is not None and made.order_id is not None
        for number in range(3):
            hook.extend_order(made.order_id, PLAN, order_key=f"extension {number}")
        ends = made.expires_at + 90 * DAY
        orders = find(shops, ends - DAY)
        assert [(each.order_id, each.expires_at, each.expires_from) for each in orders.due] == [(made.order_id, ends, "vendor")]
        assert orders.source == "ledger"
        assert find(shops, made.expires_at - DAY).due == ()

    def test_thousands_of_orders(self, shops: Shops, now: datetime) -> None:
        """As many questions to the ledger as there are batches, and as many calls as there are pages."""
        expire = written(now + DAY)
        shops.box.control(
            [{"vendor": "iproyal", "order": {"id": n, "status": "confirmed", "expire_date": expire}} for n in range(1, 2201)]
        )
        buyer = shops.hook("iproyal").buyer()
        asked: list[str] = []
        event.listen(buyer.ledger.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
        orders = find_as(buyer, now)
        assert (len(orders.due), orders.looked_at) == (2200, 2200)
        assert shops.box.book.count("iproyal", "list") == 22
        assert sum("proxyorders_purchases" in statement for statement in asked) <= 6

    def _lose_an_answer(self, shops: Shops) -> Buyer:
        """An extension that was sent, whose answer was lost and whose order could not be read afterwards."""
        buyer = shops.hook("iproyal").buyer()
        shops.box.control({"vendor": "iproyal", "extend_processing": 3600})
        shops.box.fault("iproyal", "extend", when="after", times=1, action="reset")

        def say(line: str) -> None:
            if "outcome unknown" in line:
                shops.box.fault("iproyal", "get", action="status", status=503)

        buyer.say = say
        with pytest.raises(OutcomeUnknown):
            buyer.extend("1", PLAN, order_key="k")
        shops.box.clear_faults()
        return shops.hook("iproyal").buyer()


def find_as(buyer: Buyer, now: datetime, within: timedelta = 3 * DAY) -> ExpiringOrders:
    return find_due(buyer, as_of=now, within=within)
