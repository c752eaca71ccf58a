"""The sensor: it waits for orders that anybody bought, in the worker and in the triggerer, and only reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)

from airflow_provider_proxyorders.domain.errors import AuthenticationFailed, OrderNotFound, OrderNotUsable, UnsupportedOperation
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor
from airflow_provider_proxyorders.tasks.links import PAGE, OrderPageLink
from airflow_provider_proxyorders.tasks.order_operator import TRIGGERER_PATIENCE
from tests.hooks.connections import REQUESTS, Shops
from tests.vendors import ROWS

from .tasks import context, run

DONE = {name: row.usable for name, row in ROWS.items()}


def ordered(shops: Shops, vendor: str, *, processing: float = 3600, key: str = "k") -> str:
    """An order that is under way; returns its id."""
    shops.box.control({"vendor": vendor, "processing": processing})
    order = shops.hook(vendor).create_order(REQUESTS[vendor], order_key=key)
    assert order.order_id is not None
    return order.order_id


def sensor(shops: Shops, vendor: str, order_id: str, **options: Any) -> Callable[[], ProxyOrderSensor]:
    conn_id = shops.connect(vendor, **options.pop("connection", {}))
    given = {"poke_interval": 0.1, "poll_interval": 0.1, "timeout": 20, "deferrable": False, **options}
    return lambda: ProxyOrderSensor(task_id="wait", conn_id=conn_id, order_id=order_id, **given)


class TestWithoutATriggerer:
    """Airflow ends the deferral in the scheduler, since no triggerer has looked at the order."""

    OVER = ("__fail__", {"error": "Trigger timeout"})

    def deferred(self, shops: Shops, **options: Any) -> tuple[ProxyOrderSensor, str]:
        order_id = ordered(shops, "voodoo")
        task = sensor(shops, "voodoo", order_id, deferrable=True, timeout=60, **options)()
        with pytest.raises(TaskDeferred) as deferral:
            task.execute(context())
        assert deferral.value.timeout is not None
        assert timedelta(seconds=50) < deferral.value.timeout - TRIGGERER_PATIENCE <= timedelta(seconds=60)
        return task, order_id

    def test_the_error_names_it_and_is_final(self, shops: Shops) -> None:
        task, order_id = self.deferred(shops)
        with pytest.raises(
            AirflowSensorTimeout, match=rf"order {order_id} was still pending.*airflow triggerer.*deferrable=False"
        ):
            task.resume_execution(*self.OVER, context())

    def test_the_worker_looks_first(self, shops: Shops) -> None:
        task, order_id = self.deferred(shops)
        shops.box.control({"vendor": "voodoo", "order": {"id": order_id, "status": "completed", "quantity": 2}})
        assert task.resume_execution(*self.OVER, context())["status"] == "delivered"

    @pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
    def test_a_soft_end(self, shops: Shops, option: str) -> None:
        task, _ = self.deferred(shops, **{option: True})
        with pytest.raises(AirflowSkipException, match="airflow triggerer"):
            task.resume_execution(*self.OVER, context())

    def test_another_failure_stays(self, shops: Shops) -> None:
        task, _ = self.deferred(shops)
        with pytest.raises(TaskDeferralError):
            task.resume_execution("__fail__", {"error": "Trigger failure"}, context())


class TestResult:
    def test_an_order_of_the_ledger(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor, processing=0.3)
        result = sensor(shops, vendor, order_id)().execute(context())
        assert (result["order_key"], result["order_id"], result["status"], result["vendor_status"]) == (
            "k",
            order_id,
            "delivered",
            DONE[vendor],
        )
        assert json.loads(json.dumps(result)) == result
        found = shops.hook(vendor).ledger.find("k")
        assert found is not None and found.step.value == "delivered", "the ledger learns from it"

    def test_an_order_that_somebody_bought_elsewhere(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed", "quantity": 2}})
        result = sensor(shops, "iproyal", "7001")().execute(context())
        assert (result["order_key"], result["order_id"], result["status"], result["delivered"]) == (None, "7001", "delivered", 2)
        assert shops.hook("iproyal").ledger.purchases() == []

    def test_the_address_is_left_for_the_button(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
        given = context()
        page = "https://dashboard.example.com/orders/{order_id}"
        sensor(shops, "iproyal", "7001", connection={"extra": {"order_page": page}})().execute(given)
        assert given["ti"].xcoms == {PAGE: page.replace("{order_id}", "7001")}

    def test_without_a_page_airflow_stores_no_empty_link(self, shops: Shops) -> None:
        """When a task ends, Airflow stores an XCom for each of its links, whatever the address."""
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
        task, given = sensor(shops, "iproyal", "7001")(), context()
        assert [link.name for link in task.operator_extra_links] == ["Order"], "the DAG has the button"
        task.execute(given)
        assert given["ti"].xcoms == {} and not any(isinstance(link, OrderPageLink) for link in task.operator_extra_links)

    def test_it_only_reads(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor, processing=0.2)
        before = shops.bought(vendor)
        sensor(shops, vendor, order_id)().execute(context())
        assert shops.bought(vendor) == before
        assert shops.box.book.count(vendor, "create") == 1


class TestBadEnds:
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_it_fails_with_what_became_of_it(self, shops: Shops, deferrable: bool) -> None:
        shops.box.control({"vendor": "voodoo", "next_outcome": "failed"})
        order_id = ordered(shops, "voodoo", processing=0)
        with pytest.raises(OrderNotUsable, match="ended as 'failed'"):
            sensor(shops, "voodoo", order_id, deferrable=deferrable)().execute(context())

    def test_an_order_of_somebody_else_fails_the_same_way(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "refunded"}})
        with pytest.raises(OrderNotUsable, match="ended as 'refunded'"):
            sensor(shops, "iproyal", "7001")().execute(context())

    @pytest.mark.parametrize("deferrable", [False, True])
    @pytest.mark.parametrize("how", ["soft_fail", "never_fail"])
    def test_it_skips_where_that_is_asked_for(self, shops: Shops, how: str, deferrable: bool) -> None:
        shops.box.control({"vendor": "voodoo", "next_outcome": "failed"})
        order_id = ordered(shops, "voodoo", processing=0)
        with pytest.raises(AirflowSkipException):
            sensor(shops, "voodoo", order_id, deferrable=deferrable, **{how: True})().execute(context())

    @pytest.mark.parametrize(("on_partial", "good"), [("accept", True), ("fail", False)])
    def test_on_partial(self, shops: Shops, on_partial: str, good: bool) -> None:
        shops.box.control({"vendor": "voodoo", "next_outcome": "partial"})
        make = sensor(shops, "voodoo", ordered(shops, "voodoo", processing=0), on_partial=on_partial)
        if good:
            assert make().execute(context())["status"] == "partial"
        else:
            with pytest.raises(OrderNotUsable, match="on_partial='accept'"):
                make().execute(context())

    def test_a_refused_key_ends_it_at_once(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor)
        with pytest.raises(AuthenticationFailed):
            sensor(shops, vendor, order_id, connection={"password": "wrong-key"})().execute(context())

    def test_an_order_that_is_not_there_is_tolerated_for_the_settle_time_only(self, shops: Shops) -> None:
        make = sensor(shops, "iproyal", "4242", connection={"extra": {"settle": 0.5}})
        operator = make()
        assert not operator.poke(context()).is_done
        with pytest.raises(OrderNotFound):
            operator.execute(context())

    def test_what_the_vendor_does_not_offer(self, shops: Shops) -> None:
        with pytest.raises((UnsupportedOperation, OrderNotFound)):
            sensor(shops, "proxyscrape", "subaccount:nobody", connection={"extra": {"settle": 0}})().execute(context())


class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [{"action": "status", "status": 503}, {"action": "body", "body": "<html>"}, {"action": "empty"}, {"action": "close"}],
    )
    def test_what_passes_is_waited_out(self, shops: Shops, fault: dict[str, Any]) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
        rule = shops.box.fault("iproyal", "get", **fault)
        operator = sensor(shops, "iproyal", "7001")()
        operator.hook.http._sleep = lambda seconds: None
        assert not operator.poke(context()).is_done
        rule.release()
        assert operator.poke(context()).is_done


class TestTime:
    def test_it_gives_up_like_every_sensor(self, shops: Shops) -> None:
        make = sensor(shops, "iproyal", ordered(shops, "iproyal"), timeout=0.3)
        with pytest.raises(AirflowSensorTimeout):
            make().execute(context())
        with pytest.raises(AirflowSkipException):
            sensor(shops, "iproyal", "1", timeout=0.1, soft_fail=True, connection={"extra": {"settle": 5}})().execute(context())

    def test_reschedule_frees_the_worker(self, shops: Shops) -> None:
        make = sensor(shops, "iproyal", ordered(shops, "iproyal"), mode="reschedule", poke_interval=30)
        given = context(began=datetime.now(timezone.utc) - timedelta(seconds=5))
        with pytest.raises(AirflowRescheduleException) as again:
            make().execute(given)
        assert 20 < (again.value.reschedule_date - datetime.now(timezone.utc)).total_seconds() < 40

    @pytest.mark.parametrize("interval", [0, -1, "soon", True])
    def test_a_mistake_shows_when_the_dag_is_read(self, interval: Any) -> None:
        with pytest.raises(ValueError, match="poll_interval must be"):
            ProxyOrderSensor(task_id="t", conn_id="c", order_id="1", poll_interval=interval)


@pytest.mark.usefixtures("at_once")
class TestDeferred:
    def test_an_order_that_is_ready_is_not_deferred(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor, processing=0)
        story = run(sensor(shops, vendor, order_id, deferrable=True), context())
        assert (story.result["status"], story.deferred) == ("delivered", [])

    def test_the_result_is_the_same_as_in_the_worker(self, shops: Shops, vendor: str) -> None:
        order_id = ordered(shops, vendor)
        story = run(sensor(shops, vendor, order_id, deferrable=True), context(), while_deferred=lambda: shops.box.advance(3600))
        assert len(story.deferred) == 1
        assert story.result == sensor(shops, vendor, order_id)().execute(context())
        stored = json.dumps([story.deferred[0].trigger.serialize(), story.deferred[0].kwargs, story.events])
        assert shops.box.token(vendor) not in stored

    @pytest.mark.parametrize(("soft", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
    def test_its_timeout_is_a_moment(self, shops: Shops, soft: bool, error: type[Exception]) -> None:
        make = sensor(shops, "iproyal", ordered(shops, "iproyal"), deferrable=True, timeout=0.6, soft_fail=soft)
        with pytest.raises(error):
            run(make, context())

    def test_a_hint_that_was_early_keeps_the_deadline(self, shops: Shops) -> None:
        make = sensor(shops, "iproyal", ordered(shops, "iproyal"), deferrable=True)
        with pytest.raises(TaskDeferred) as first:
            make().execute(context())
        kwargs: Any = first.value.kwargs
        with pytest.raises(TaskDeferred) as second:
            make().execute_complete(context(), {"outcome": "final"}, **kwargs)
        assert second.value.kwargs == kwargs

    def test_a_bad_end_meanwhile_is_said_by_the_worker(self, shops: Shops) -> None:
        make = sensor(shops, "voodoo", ordered(shops, "voodoo"), deferrable=True)
        with pytest.raises(OrderNotUsable, match="ended as 'failed'"):
            run(make, context(), while_deferred=lambda: fail(shops))

    def test_template_fields(self) -> None:
        assert tuple(ProxyOrderSensor.template_fields) == ("conn_id", "order_id")


def fail(shops: Shops) -> None:
    order_id = shops.bought("voodoo")[0].order_id
    shops.box.control({"vendor": "voodoo", "set_status": {"order_id": order_id, "status": "failed"}})
