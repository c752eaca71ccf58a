"""What the triggerer cannot read and the worker can: the task waits on, loses no try over it, and is not sent to and fro.

The connection is given as ``AIRFLOW_CONN_*``, which here only workers have, for once or always.
"""

from __future__ import annotations

import re
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred

from airflow_provider_proxyorders.domain.errors import AuthenticationFailed, OrderPending
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor
from airflow_provider_proxyorders.sensors.wallet import WalletBalanceSensor
from airflow_provider_proxyorders.tasks import order_operator as ordering
from airflow_provider_proxyorders.tasks import waiting_sensor as watching
from airflow_provider_proxyorders.triggers import subscription
from tests.hooks.connections import REQUESTS, Shops

from .tasks import context, run

BUYS = ("create", "extend")
KINDS = (*BUYS, "order", "wallet")
UNREADABLE = {"outcome": "unreadable", "reason": "ConfigError"}


class Task:
    """A deferred task of one kind that waits for something at the vendor, made anew by every worker.

    :ivar blind: how often the triggerer does not find the connection from now on.
    """

    def __init__(self, shops: Shops, kind: str, **options: Any):
        self.shops, self.kind, self.blind = shops, kind, 0
        self.options = {"conn_id": "iproyal_default", "deferrable": True, "poll_interval": 0.1, "timeout": 60, **options}
        expiry = f"{datetime.now(timezone.utc) + timedelta(days=5):%Y-%m-%d %H:%M:%S}"
        known = {"id": 7001, "product_id": 9, "product_plan_id": 22, "status": "confirmed", "expire_date": expiry}
        shops.box.control([{"vendor": "iproyal", "order": known}, {"vendor": "iproyal", "wallet": {"balance": "20"}}])
        shops.box.control([{"vendor": "iproyal", "processing": 3600}, {"vendor": "iproyal", "extend_processing": 3600}])
        self.order_id = str(shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k").order_id)

    def __call__(self) -> BaseOperator:
        self.shops.connect("iproyal")
        if self.kind == "create":
            return CreateProxyOrderOperator(task_id="t", request=dict(REQUESTS["iproyal"]), **self.options)
        if self.kind == "extend":
            return ExtendProxyOrderOperator(task_id="t", order_id="7001", request={"product_plan_id": 22}, **self.options)
        if self.kind == "order":
            return ProxyOrderSensor(task_id="t", order_id=self.order_id, **self.options)
        return WalletBalanceSensor(task_id="t", at_least="50", **self.options)

    def ready(self) -> None:
        """Let what it waits for happen."""
        self.shops.box.advance(3600)
        self.shops.box.control({"vendor": "iproyal", "wallet": {"balance": "75"}})

    def in_the_triggerer(self) -> None:
        """The triggerer has the task now: it does not find the connection, or what it waits for happens."""
        if self.blind:
            self.blind -= 1
            self.shops.patch.delenv("AIRFLOW_CONN_IPROYAL_DEFAULT")
        else:
            self.ready()

    def deferred(self) -> dict[str, Any]:
        """Run it until it is put aside; returns what Airflow keeps for its return."""
        with pytest.raises(TaskDeferred) as aside:
            self().execute(context())
        return dict(aside.value.kwargs or {})

    def resumed(self, event: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        return self().resume_execution("execute_complete", {**kwargs, "event": event}, context())

    @property
    def reads(self) -> int:
        """How often the vendor was asked for what it waits for."""
        return self.shops.box.book.count("iproyal", "balance" if self.kind == "wallet" else "get")

    @property
    def bought(self) -> int:
        return len(self.shops.bought("iproyal")) - 1


@pytest.fixture(autouse=True)
def brisk(at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "EARLIEST", 0.05)


def here(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a worker looks itself."""
    for module in (ordering, watching):
        monkeypatch.setattr(module, "POLLED_IN_WORKER", seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_it_waits_on_until_the_same_moment(
    shops: Shops, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    here(0.3, monkeypatch)
    task = Task(shops, kind)
    task.blind = 4
    began = time.monotonic()
    story = run(task, context(), while_deferred=task.in_the_triggerer)
    assert time.monotonic() - began >= 4 * 0.3, "and it is not sent to and fro any faster"
    good = "reached" if kind == "wallet" else "final"
    assert [(event["outcome"], event["reason"]) for event in story.events] == 4 * [("unreadable", "ConfigError")] + [(good, None)]
    assert story.result is not None
    assert len({(aside.kwargs or {})["deadline"] for aside in story.deferred}) == 1
    assert task.bought == (1 if kind in BUYS else 0)
    told = [line for line in capsys.readouterr().out.splitlines() if re.search("The triggerer (could not|failed to)", line)]
    assert len(told) == 4 and all("(ConfigError)" in line for line in told)


@pytest.mark.parametrize("kind", KINDS)
def test_its_deadline_ends_it_as_ever(shops: Shops, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    here(30.0, monkeypatch)
    task = Task(shops, kind, timeout=2.0)
    task.blind = 100
    began = time.monotonic()
    with pytest.raises(OrderPending if kind in BUYS else AirflowSensorTimeout):
        run(task, context(), while_deferred=task.in_the_triggerer)
    assert 1.9 <= time.monotonic() - began < 20.0
    assert task.blind == 99


@pytest.mark.parametrize("kind", KINDS)
def test_the_worker_who_sees_the_end_goes_on_at_once(shops: Shops, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    here(60.0, monkeypatch)
    task = Task(shops, kind)
    kwargs = task.deferred()
    timer = threading.Timer(0.5, task.ready)
    timer.start()
    began = time.monotonic()
    assert task.resumed(UNREADABLE, kwargs)
    assert time.monotonic() - began < 30.0
    timer.join()


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_is_refused_to_the_worker_too_ends_it(shops: Shops, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    here(60.0, monkeypatch)
    task = Task(shops, kind)
    kwargs = task.deferred()
    timer = threading.Timer(0.5, lambda: shops.box.fault("iproyal", action="status", status=401))
    timer.start()
    with pytest.raises(AuthenticationFailed):
        task.resumed(UNREADABLE, kwargs)
    timer.join()


@pytest.mark.parametrize("kind", ["order", "wallet"])
def test_a_vendor_that_asks_for_a_longer_pause_gets_it(shops: Shops, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    here(0.5, monkeypatch)
    task = Task(shops, kind)
    kwargs = task.deferred()
    shops.box.fault("iproyal", action="status", status=429, headers={"Retry-After": "90"})
    before = task.reads
    with pytest.raises(TaskDeferred):
        task.resumed(UNREADABLE, kwargs)
    assert task.reads == before + 1


def test_a_minute_or_so() -> None:
    assert watching.POLLED_IN_WORKER == ordering.POLLED_IN_WORKER >= 45
