"""A new order in the place of one that its vendor cannot extend: once for each old one, and never by accident."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_proxyorders.domain.errors import InvalidRequest, OrderNotFound, OrderNotUsable, UnsupportedOperation
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator
from airflow_provider_proxyorders.renewal.search import ExpiringOrders, OrderFilter, find_due
from tests.hooks.connections import PRICES, REQUESTS, Shops
from tests.tasks.tasks import Run, context
from tests.vendors import ROWS

DAY = timedelta(days=1)
#: those whose orders cannot be extended
VENDORS = tuple(name for name, row in ROWS.items() if row.extension is None)


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def old(shops: Shops, vendor: str) -> Purchase:
    """An order that was bought through the ledger."""
    return bought(shops, vendor)


def bought(shops: Shops, vendor: str, key: str = "old", **fields: Any) -> Purchase:
    hook = shops.hook(vendor)
    order = hook.create_order({**REQUESTS[vendor], **fields}, order_key=key)
    return hook.buyer().wait(order, deadline=datetime.now().astimezone() + timedelta(seconds=10), poll_interval=0.05)


def renew(shops: Shops, vendor: str, order_id: Any, **options: Any) -> ExtendProxyOrderOperator:
    arguments = {"if_unsupported": "reorder", "poll_interval": 0.1, "deferrable": False, **options}
    return ExtendProxyOrderOperator(task_id="renew", conn_id=shops.connect(vendor), order_id=order_id, **arguments)


def find(shops: Shops, vendor: str, as_of: datetime, **options: Any) -> ExpiringOrders:
    return find_due(shops.hook(vendor).buyer(), as_of=as_of, within=3 * DAY, **options)


def without_reference(shops: Shops, purchase: Purchase) -> dict[str, Any]:
    """The vendor's own fields of a purchase: each key has a reference of its own."""
    reference = shops.hook(purchase.vendor).vendor.reference_in(purchase.request)
    return {name: value for name, value in purchase.request.items() if reference is None or value != reference}


def test_it_is_refused_unless_asked_for(shops: Shops, vendor: str, old: Purchase) -> None:
    with pytest.raises(UnsupportedOperation, match=r"Nothing was sent.*CreateProxyOrderOperator.*if_unsupported='reorder'"):
        renew(shops, vendor, old.order_id, if_unsupported="fail").execute(context())
    assert len(shops.bought(vendor)) == 1


class TestOnce:
    def test_the_new_order_and_what_it_replaces(self, shops: Shops, vendor: str, old: Purchase) -> None:
        result = renew(shops, vendor, old.order_id).execute(context())
        assert (result["kind"], result["status"], result["replaces"]) == ("create", "delivered", old.order_id)
        assert result["order_id"] != old.order_id
        assert float(result["price"]) == float(PRICES[vendor])
        assert result["order_key"].startswith(f"reorder:{vendor}:{vendor}_default:{old.order_id}:from ")
        new = shops.hook(vendor).ledger.find(result["order_key"])
        assert new is not None and new.step.value == "delivered"
        assert without_reference(shops, new) == without_reference(shops, old)

    def test_retries_other_dags_and_other_runs(self, shops: Shops, vendor: str, old: Purchase) -> None:
        first = renew(shops, vendor, old.order_id).execute(context(dag_id="one"))
        assert renew(shops, vendor, old.order_id).execute(context(dag_id="one", try_number=2)) == first
        for other in (context(dag_id="two"), context(dag_id="one", run=Run("manual__2"))):
            with pytest.raises(AirflowSkipException, match=f"order {first['order_id']} was bought in its place.*by one.buy"):
                renew(shops, vendor, old.order_id).execute(other)
        assert len(shops.bought(vendor)) == 2

    def test_another_expiry_tomorrow_is_the_same_order(self, shops: Shops, vendor: str, old: Purchase, now: datetime) -> None:
        """Such an order has one period only, whatever a template gives for its end."""
        for number in range(3):
            ends = now + number * DAY
            try:
                renew(shops, vendor, old.order_id, expires_at=ends, paid_through=now + 30 * DAY).execute(
                    context(run=Run(f"run {number}"))
                )
            except AirflowSkipException:
                continue
        assert len(shops.bought(vendor)) == 2

    def test_nor_of_an_order_that_the_ledger_does_not_know(self, shops: Shops, now: datetime) -> None:
        """Bought by another Airflow: the period is what the first task is told."""
        other = bought(shops, "proxyscrape", "elsewhere").order_id
        outcomes = []
        for number in range(3):
            elsewhere = shops.box.url("proxyscrape").replace("127.0.0.1", "localhost")  # another account, as the ledger sees it
            conn = shops.connect("proxyscrape", "second", host=elsewhere, extra={"wallet": "another"})
            task = ExtendProxyOrderOperator(
                task_id="renew",
                conn_id=conn,
                order_id=str(other),
                request=REQUESTS["proxyscrape"],
                if_unsupported="reorder",
                expires_at=now + number * DAY,
                deferrable=False,
                poll_interval=0.1,
            )
            try:
                outcomes.append(task.execute(context(run=Run(f"run {number}")))["order_key"])
            except AirflowSkipException:
                continue
        assert outcomes == [f"reorder:proxyscrape:another:{other}:until {now.isoformat()}"]
        assert len(shops.bought("proxyscrape")) == 2

    def test_a_lost_answer(self, shops: Shops, vendor: str, old: Purchase) -> None:
        shops.box.fault(vendor, "create", when="after", times=1, action="reset")
        for number in (1, 2, 3):
            try:
                renew(shops, vendor, old.order_id).execute(context(try_number=number))
                break
            except Exception as error:
                assert "nothing is sent again" in str(error).lower() or "has to decide" in str(error)
        assert len(shops.bought(vendor)) == 2

    def test_a_replacement_that_failed_is_not_replaced(self, shops: Shops, vendor: str, old: Purchase) -> None:
        word = next(word for word, (step, _) in ROWS[vendor].bad_ends.items() if step is Step.FAILED)
        shops.box.control({"vendor": vendor, "next_outcome": word})
        for number in (1, 2):
            with pytest.raises(OrderNotUsable, match="Nothing is bought in its place"):
                renew(shops, vendor, old.order_id).execute(context(try_number=number))
        assert len(shops.bought(vendor)) == 2
        assert old.sent_at is not None
        (left,) = find(shops, vendor, old.sent_at + 29 * DAY, term=30 * DAY).left_out
        assert left.reason == "replaced" and "is failed; no other is bought by itself" in left.why


class TestRefused:
    def test_nobody_says_when_it_ends(self, shops: Shops, vendor: str, old: Purchase, now: datetime) -> None:
        for due in ({"paid_through": now + DAY}, {"only_within": DAY}):
            with pytest.raises(InvalidRequest, match=r"expires_at.*reports no end of order.*Nothing was bought"):
                renew(shops, vendor, old.order_id, **due).execute(context())
        assert len(shops.bought(vendor)) == 1

    def test_it_runs_for_long_enough(self, shops: Shops, vendor: str, old: Purchase, now: datetime) -> None:
        with pytest.raises(AirflowSkipException, match=r"reaches paid_through.*Nothing was bought"):
            renew(shops, vendor, old.order_id, expires_at=now + 9 * DAY, paid_through=now + 2 * DAY).execute(context())
        with pytest.raises(AirflowSkipException, match=r"runs until .*, beyond .*Nothing was bought"):
            renew(shops, vendor, old.order_id, expires_at=now + 9 * DAY, only_within=DAY).execute(context())
        assert len(shops.bought(vendor)) == 1

    def test_it_is_due(self, shops: Shops, vendor: str, old: Purchase, now: datetime) -> None:
        arguments = {"expires_at": (now + DAY).isoformat(), "paid_through": now + 2 * DAY}
        assert renew(shops, vendor, old.order_id, **arguments).execute(context())["replaces"] == old.order_id

    def test_an_order_that_is_not_there(self, shops: Shops, vendor: str, now: datetime) -> None:
        nobody = "00000000-0000-4000-8000-000000000000"
        with pytest.raises(InvalidRequest, match=r"expires_at.*bought outside of this ledger.*Nothing was bought"):
            renew(shops, vendor, nobody).execute(context())
        with pytest.raises(InvalidRequest, match=r"request is needed.*Nothing was bought"):
            renew(shops, vendor, nobody, expires_at=now + DAY).execute(context())
        with pytest.raises(OrderNotFound, match="Nothing was bought"):
            renew(shops, vendor, nobody, expires_at=now + DAY, request=REQUESTS[vendor]).execute(context())
        assert shops.bought(vendor) == []

    def test_an_order_that_is_over(self, shops: Shops) -> None:
        old = bought(shops, "proxyscrape")
        shops.box.control({"vendor": "proxyscrape", "set_status": {"order_id": old.order_id, "status": "refunded"}})
        with pytest.raises(InvalidRequest, match="must name a running order"):
            renew(shops, "proxyscrape", old.order_id).execute(context())

    def test_a_request_with_secrets_is_not_in_the_ledger(self, shops: Shops) -> None:
        old = bought(shops, "voodoo", account_password="hunter2-invented")
        with pytest.raises(InvalidRequest, match=r"request.*bought with secrets \(account_password\).*Nothing was bought"):
            renew(shops, "voodoo", old.order_id).execute(context())
        assert len(shops.bought("voodoo")) == 1
        request = {**REQUESTS["voodoo"], "account_password": "hunter2-invented"}
        assert renew(shops, "voodoo", old.order_id, request=request).execute(context())["replaces"] == old.order_id


class TestFind:
    """Vendors without a list: the orders that the ledger created."""

    def test_with_a_term(self, shops: Shops, vendor: str, old: Purchase) -> None:
        assert old.sent_at is not None
        ends = old.sent_at + 30 * DAY
        calls = shops.box.book.count(vendor, "get")
        assert find(shops, vendor, ends - 9 * DAY, term=30 * DAY).due == ()
        assert shops.box.book.count(vendor, "get") == calls  # nobody is asked about an order that is not due
        orders = find(shops, vendor, ends - DAY, term=30 * DAY)
        assert [(each.order_id, each.expires_at, each.expires_from) for each in orders.due] == [(old.order_id, ends, "term")]
        assert (orders.source, orders.looked_at) == ("ledger", 1)
        assert shops.box.book.count(vendor, "get") == calls + 1
        assert orders.due[0].traits == shops.hook(vendor).get_order(old.order_id).traits
        past = find(shops, vendor, ends + DAY, term=30 * DAY)
        assert [left.reason for left in past.left_out] == ["expired"]

    def test_without_one(self, shops: Shops, vendor: str, old: Purchase, now: datetime) -> None:
        orders = find(shops, vendor, now)
        assert orders.due == () and [left.reason for left in orders.left_out] == ["no_expiry"]
        assert "term" in orders.left_out[0].why

    def test_ids_and_filters(self, shops: Shops, vendor: str, old: Purchase) -> None:
        assert old.sent_at is not None and old.order_id is not None
        as_of = old.sent_at + 29 * DAY
        asked = find(shops, vendor, as_of, term=30 * DAY, only=OrderFilter(order_ids=[old.order_id, "nobody"]))
        assert ([each.order_id for each in asked.due], [left.order_id for left in asked.left_out]) == ([old.order_id], ["nobody"])
        without = find(shops, vendor, as_of, term=30 * DAY, only=OrderFilter(exclude=[old.order_id]))
        assert (without.due, [left.reason for left in without.left_out]) == ((), ["filtered"])

    def test_refunded_since(self, shops: Shops) -> None:
        old = bought(shops, "proxyscrape")
        shops.box.control({"vendor": "proxyscrape", "set_status": {"order_id": old.order_id, "status": "refunded"}})
        assert old.sent_at is not None
        orders = find(shops, "proxyscrape", old.sent_at + 29 * DAY, term=30 * DAY)
        assert (orders.due, [left.reason for left in orders.left_out]) == ((), ["ended"])

    def test_what_was_replaced_is_left_out(self, shops: Shops, vendor: str, old: Purchase) -> None:
        assert old.sent_at is not None
        as_of = old.sent_at + 29 * DAY
        (due,) = find(shops, vendor, as_of, term=30 * DAY).due
        result = renew(shops, vendor, due.order_id, expires_at=due.expires_at).execute(context())
        orders = find(shops, vendor, as_of, term=30 * DAY)
        assert [each.order_id for each in orders.due] == [result["order_id"]]
        (left,) = orders.left_out
        assert (left.order_id, left.reason) == (old.order_id, "replaced") and result["order_id"] in left.why
