"""An order that reads do not show for a while: one rule in worker, triggerer and sensor, and nobody is told after one miss."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_proxyorders.domain.errors import AuthenticationFailed, OrderMissing, OrderNotFound
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.purchase.polling import LEAST_MISSES
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor
from tests.hooks.connections import REQUESTS, Shops
from tests.ledgers import sqlite_ledger

from .tasks import context, event_of, revived, run, through_json

SETTLE = 130.0
LONG = timedelta(days=10)


class Clock:
    """Time that passes only while the worker sleeps."""

    def __init__(self) -> None:
        self.now = datetime.now(timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Waiting:
    """A paid order of long ago, and a worker that waits for it."""

    def __init__(self, shops: Shops, vendor: str, folder: Path):
        self.shops, self.vendor, self.clock, self.said = shops, vendor, Clock(), list[str]()
        shops.box.control({"vendor": vendor, "processing": 3600})
        hook = shops.hook(vendor, extra={"settle": SETTLE})
        ledger = open_ledger(sqlite_ledger(folder), self.clock)
        self.buyer = Buyer(hook.vendor, hook.http, ledger, say=self.said.append, sleep=self.clock.sleep)
        self.placed = self.buyer.place(REQUESTS[vendor], order_key="k")
        assert self.buyer.refresh(self.placed).step is Step.PLACED, "a read has shown it once"
        self.placed = self.buyer.as_it_stands(self.placed)  # ProxyScrape's read confirms an order with its sub-account only
        self.clock.now += LONG

    def fault(self, **fault: Any) -> Any:
        return self.shops.box.fault(self.vendor, "get", **{"action": "status", "status": 404, **fault})

    def wait(self, **options: Any) -> Purchase:
        return self.buyer.wait(self.placed, deadline=self.clock.now + timedelta(days=1), **options)


@pytest.fixture
def waiting(shops: Shops, vendor: str, tmp_path: Path) -> Waiting:
    return Waiting(shops, vendor, tmp_path)


class TestWorker:
    @pytest.mark.parametrize("status", [404, 410, 400])
    @pytest.mark.parametrize("times", [1, LEAST_MISSES + 1])
    def test_a_few_misses_long_after_the_purchase_are_nothing(self, waiting: Waiting, status: int, times: int) -> None:
        rule = waiting.fault(status=status, times=times)
        waiting.shops.box.advance(3600)
        began = waiting.clock.now
        assert waiting.wait().step is Step.DELIVERED
        assert rule.hits == times and (waiting.clock.now - began).total_seconds() < SETTLE
        assert len([line for line in waiting.said if "Looking again" in line]) == times

    def test_an_order_that_stays_away_is_told_with_its_money(self, waiting: Waiting) -> None:
        rule = waiting.fault()
        began = waiting.clock.now
        if not waiting.placed.confirmed:
            assert waiting.wait().step is Step.UNKNOWN, "only its answer named it: the evidence decides"
            assert (waiting.clock.now - began).total_seconds() >= SETTLE
            return
        with pytest.raises(OrderMissing) as error:
            waiting.wait()
        gone = (waiting.clock.now - began).total_seconds()
        assert SETTLE <= gone <= 2 * SETTLE and rule.hits >= LEAST_MISSES
        assert (error.value.money, error.value.retry) == ("charged", "later")
        text = str(error.value)
        assert waiting.placed.order_id is not None
        for part in (f"order {waiting.placed.order_id} (k)", "The money was spent", "ledger show 'k'", "buys nothing"):
            assert part in text
        rule.release()
        waiting.shops.box.clear_faults()
        waiting.shops.box.advance(3600)
        assert waiting.wait().step is Step.DELIVERED, "the next try"
        assert len(waiting.shops.bought(waiting.vendor)) == 1

    def test_a_refused_key_is_no_miss(self, waiting: Waiting) -> None:
        rule = waiting.fault(status=401)
        with pytest.raises(AuthenticationFailed):
            waiting.wait()
        assert rule.hits <= 2

    def test_what_the_triggerer_missed_counts(self, waiting: Waiting) -> None:
        if not waiting.placed.confirmed:
            pytest.skip("only its answer named it: the ledger counts")
        rule = waiting.fault()
        with pytest.raises(OrderMissing):
            waiting.wait(missed=(LEAST_MISSES, SETTLE))
        assert rule.hits == 1, "one read more, and it is told"
        waiting.shops.box.clear_faults()
        waiting.shops.box.advance(3600)
        assert waiting.wait(missed=(LEAST_MISSES, SETTLE)).step is Step.DELIVERED, "the worker's read is the truth"


@pytest.mark.usefixtures("at_once")
class TestResumed:
    """The triggerer, and the worker after it."""

    def deferred(self, shops: Shops, **connection: Any) -> tuple[Any, TaskDeferred]:
        shops.box.control({"vendor": "voodoo", "processing": 3600})
        conn_id = shops.connect("voodoo", **connection)

        def make() -> CreateProxyOrderOperator:
            return CreateProxyOrderOperator(
                task_id="buy", conn_id=conn_id, request=REQUESTS["voodoo"], deferrable=True, poll_interval=0.1
            )

        with pytest.raises(TaskDeferred) as put_aside:
            make().execute(context())
        return make, put_aside.value

    def test_one_miss_of_an_old_order_in_the_triggerer(self, shops: Shops) -> None:
        make, put_aside = self.deferred(shops, extra={"settle": 1})
        shops.box.advance(3600)
        rule = shops.box.fault("voodoo", "get", action="status", status=404, times=2)
        put_aside.trigger.placed_at = "2026-01-01T00:00:00+00:00"
        event = asyncio.run(event_of(revived(put_aside.trigger)))
        assert (event["outcome"], rule.hits) == ("final", 2) and "missed" not in event

    def test_one_miss_right_after_the_triggerer(self, shops: Shops) -> None:
        """The event says final, and the worker's one read misses: the task goes on waiting."""
        make, put_aside = self.deferred(shops, extra={"settle": 60})
        shops.box.advance(3600)
        event = asyncio.run(event_of(revived(put_aside.trigger)))
        assert event["outcome"] == "final"
        shops.box.fault("voodoo", "get", action="status", status=404, times=1)
        with pytest.raises(TaskDeferred) as again:
            make().execute_complete(context(), event, **through_json(put_aside.kwargs))
        event = asyncio.run(event_of(revived(again.value.trigger)))
        result = make().execute_complete(context(), event, **through_json(again.value.kwargs))
        assert result["status"] == "delivered"

    def test_an_order_that_stays_away_is_told_once_both_agree(self, shops: Shops) -> None:
        make, put_aside = self.deferred(shops, extra={"settle": 0.3})
        shops.hook("voodoo", extra={"settle": 0.3}).buyer().refresh(self.purchase(shops))
        rule = shops.box.fault("voodoo", "get", action="status", status=404)
        event = through_json(asyncio.run(event_of(revived(put_aside.trigger))))
        assert (event["outcome"], event["reason"]) == ("unreadable", "OrderNotFound")
        count, seconds = event["missed"]
        assert count >= LEAST_MISSES and seconds >= 0.3
        before = rule.hits
        with pytest.raises(OrderMissing, match="The money was spent"):
            make().execute_complete(context(), event, **through_json(put_aside.kwargs))
        assert rule.hits == before + 1
        shops.box.clear_faults()
        shops.box.advance(3600)
        assert make().execute_complete(context(), event, **through_json(put_aside.kwargs))["status"] == "delivered"

    def purchase(self, shops: Shops) -> Purchase:
        [purchase] = shops.hook("voodoo").ledger.purchases()
        return purchase


class TestSensor:
    def sensor(self, shops: Shops, order_id: str, **options: Any) -> ProxyOrderSensor:
        conn_id = shops.connect("iproyal", extra={"settle": 0.3})
        given = {"poke_interval": 0.1, "poll_interval": 0.1, "timeout": 20, "deferrable": False, **options}
        return ProxyOrderSensor(task_id="wait", conn_id=conn_id, order_id=order_id, **given)

    def test_one_miss_after_a_long_wait(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
        sensor = self.sensor(shops, "7001")
        sensor.begin(datetime.now(timezone.utc) - LONG, (0, 0.0))
        rule = shops.box.fault("iproyal", "get", action="status", status=404, times=1)
        assert sensor.execute(context())["status"] == "delivered" and rule.hits == 1

    def test_a_rescheduled_sensor_asks_again_within_one_look(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
        rule = shops.box.fault("iproyal", "get", action="status", status=404, times=2)
        sensor = self.sensor(shops, "7001", mode="reschedule")
        assert sensor.poke(context(began=datetime.now(timezone.utc) - LONG)).is_done and rule.hits == 2
        with pytest.raises(OrderNotFound):
            self.sensor(shops, "4242", mode="reschedule").poke(context(began=datetime.now(timezone.utc) - LONG))

    @pytest.mark.parametrize("mode", ["poke", "reschedule"])
    def test_a_paid_order_that_stays_away(self, shops: Shops, mode: str) -> None:
        shops.box.control({"vendor": "iproyal", "processing": 3600})
        order_id = shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k").order_id
        assert order_id is not None
        shops.box.fault("iproyal", "get", action="status", status=404)
        with pytest.raises(OrderMissing, match=rf"order {order_id} \(k\).*The money was spent"):
            self.sensor(shops, order_id, mode=mode).execute(context(began=datetime.now(timezone.utc)))


@pytest.mark.usefixtures("at_once")
class TestAnswersThatNameNothing:
    """The answer names an order that nobody finds. The task settles that itself and waits for the order of the evidence."""

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_one_task_settles_it(self, shops: Shops, deferrable: bool) -> None:
        shops.box.control({"vendor": "iproyal", "processing": 0})
        shops.box.fault("iproyal", "create", action="another_id", order="missing", times=1)
        conn_id = shops.connect("iproyal", extra={"settle": 0.5})

        def make() -> CreateProxyOrderOperator:
            return CreateProxyOrderOperator(
                task_id="buy", conn_id=conn_id, request=REQUESTS["iproyal"], deferrable=deferrable, poll_interval=0.1
            )

        story = run(make, context())
        [entry] = shops.bought("iproyal")
        assert (story.result["order_id"], story.result["status"]) == (entry.order_id, "delivered")
        assert shops.hook("iproyal").ledger.freeze_reason("iproyal:iproyal_default") is None


@pytest.mark.parametrize("misses", [1, 2])
def test_a_delivery_is_asked_for_again(shops: Shops, tmp_path: Path, misses: int) -> None:
    shops.box.control({"vendor": "voodoo", "processing": 0})
    order_id = shops.hook("voodoo").create_order(REQUESTS["voodoo"], order_key="k").order_id
    assert order_id is not None
    shops.connect("voodoo", extra={"settle": 0.2})
    rule = shops.box.fault("voodoo", action="status", status=404, times=misses)
    target = tmp_path / "proxies.txt"
    task = DeliverProxiesOperator(task_id="d", conn_id="voodoo_default", order_id=order_id, path=str(target))
    assert task.execute(context())["count"] > 0 and rule.hits == misses
    shops.box.fault("voodoo", action="status", status=404)
    with pytest.raises(OrderMissing, match=rf"order {order_id} \(k\).*The money was spent"):
        task.execute(context())


@pytest.mark.parametrize("misses", [1, 2])
def test_an_extension_is_not_given_up_after_one_miss(shops: Shops, misses: int) -> None:
    ends = datetime.now(timezone.utc) + timedelta(days=1)
    order = {"id": 7001, "product_id": 9, "product_plan_id": 22, "quantity": 2, "expire_date": f"{ends:%Y-%m-%d %H:%M:%S}"}
    shops.box.control({"vendor": "iproyal", "order": {**order, "status": "confirmed"}})
    rule = shops.box.fault("iproyal", "get", action="status", status=404, times=misses)
    task = ExtendProxyOrderOperator(
        task_id="x", conn_id=shops.connect("iproyal"), order_id="7001", request={"product_plan_id": 22}, deferrable=False
    )
    assert task.execute(context())["kind"] == "extend" and rule.hits == misses
    assert len(shops.bought("iproyal")) == 1


def test_a_read_of_one_order_is_asked_again(shops: Shops) -> None:
    shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed"}})
    hook: ProxyOrdersHook = shops.hook("iproyal", extra={"settle": 0.3})
    rule = shops.box.fault("iproyal", "get", action="status", status=404, times=2)
    assert hook.buyer().read_order("7001").order_id == "7001" and rule.hits == 2
    with pytest.raises(OrderNotFound):
        hook.buyer().read_order("4242")
