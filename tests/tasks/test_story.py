"""A task's log: one sentence a line, what happened first, the order key once, and an error's advice on a line of its own."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import secrets_masker
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_proxyorders.domain.errors import ConfigError, OrderPending, Quarantined
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator
from airflow_provider_proxyorders.operators.ledger import ReconcileLedgerOperator
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, FindExpiringOrdersOperator
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor
from airflow_provider_proxyorders.tasks.telling import Story
from tests.hooks.connections import REQUESTS, Shops

from .tasks import context

LONG = "create:a_dag_with_a_long_name:a_task:2026-03-01T00:00:00+00:00/2026-03-02T00:00:00+00:00"


class Lines:
    """A logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: Any) -> None:
        self.lines.append(text % values)


def test_what_happened_comes_first_and_the_key_once() -> None:
    log = Lines()
    story = Story(log)
    story(f"Order key {LONG!r}: intended at Voodoo, quoted at 9.00 USD")
    story(f"Order key {LONG!r}: outcome unknown. It's lost: 1.5 s passed. The vendor is asked.")
    story("Order key \"an 'other' one\": absent so far (nothing)")
    story("Order key \"an 'other' one\": proven absent")
    story("Note: nothing special.")
    assert log.lines == [
        "Intended at Voodoo, quoted at 9.00 USD",
        f"Order key: {LONG!r}",
        "Outcome unknown.",
        "It's lost: 1.5 s passed.",
        "The vendor is asked.",
        "Absent so far (nothing)",
        "Order key: \"an 'other' one\"",
        "Proven absent (order key \"an 'other' one\")",
        "Note: nothing special.",
    ]


def test_an_errors_advice_has_a_line_of_its_own(shops: Shops, capfd: pytest.CaptureFixture[str]) -> None:
    shops.box.fault("voodoo", "create", when="after", action="reset", times=1)
    task = CreateProxyOrderOperator(task_id="buy", conn_id=shops.connect("voodoo"), request=REQUESTS["voodoo"], order_key="k")
    with pytest.raises(Quarantined):
        task.execute(context())
    logged = re.findall(r"\[(\w+) *\] (.*?) *\[airflow\.task\.operators", capfd.readouterr().out)
    errors = [text for level, text in logged if level == "error"]
    assert errors[0].startswith("A person has to decide about 'k' at Voodoo")
    assert "If it is there: proxyorders ledger resolve 'k' --adopt ORDER_ID." in errors
    assert errors[-1] == "Then clear the task."
    assert logged.count(("info", "Order key: 'k'")) == 1


READERS = {
    "deliver": lambda: DeliverProxiesOperator(task_id="t", conn_id="gone", order_id="7001", path="x"),
    "find": lambda: FindExpiringOrdersOperator(task_id="t", conn_id="gone", within="P3D"),
    "reconcile": lambda: ReconcileLedgerOperator(task_id="t", conn_id="gone"),
    "sensor": lambda: ProxyOrderSensor(task_id="t", conn_id="gone", order_id="7001", deferrable=False),
}


@pytest.mark.parametrize("task", READERS)
def test_so_it_has_in_tasks_that_read(shops: Shops, task: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as error:
        READERS[task]().execute(context())
    logged = re.findall(r"\[error *\] (.*?) *\[airflow\.task\.operators", capfd.readouterr().out)
    advice = "Create it under Admin > Connections, with the vendor as its type, or correct conn_id."
    assert logged == ["connection 'gone' is missing.", "Nothing was sent.", advice]
    assert error.value.retry == "never", "no second try"


@pytest.mark.parametrize("operator", [True, False])
def test_a_missing_connection_is_told_once(operator: bool) -> None:
    task = CreateProxyOrderOperator(task_id="buy", conn_id="not_there", request={"quantity": 1})
    with pytest.raises(ConfigError, match=r"'not_there' is missing\. Nothing was sent\. Create it under Admin") as error:
        task.execute(context()) if operator else ProxyOrdersHook("not_there").get_balance()
    assert error.value.retry == "never"


class TestShortSettings:
    """Airflow warns of every short text in an extra, secret or not."""

    @pytest.fixture
    def warned(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(secrets_masker.SecretsMasker, "_has_warned_short_secret", False)
        return lambda: [record for record in caplog.records if "too short" in record.getMessage()]

    def test_of_our_docs_are_no_reason(self, shops: Shops, warned: Any) -> None:
        hook = ProxyOrdersHook(shops.connect("voodoo", extra={"currency": "USD", "max_order_price": "5"}))
        assert hook.vendor.account.currency == "USD" and warned() == []

    def test_a_short_key_still_is(self, shops: Shops, warned: Any) -> None:
        assert ProxyOrdersHook(shops.connect("voodoo", password="abc")).vendor and len(warned()) == 1


class TestNoTriggerer:
    def wait(self, shops: Shops) -> tuple[CreateProxyOrderOperator, Any]:
        shops.box.control([{"vendor": "voodoo", "processing": 1e6}])
        task = CreateProxyOrderOperator(
            task_id="buy", conn_id=shops.connect("voodoo"), request=REQUESTS["voodoo"], deferrable=True, timeout=3600
        )
        given = context()
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(given)
        assert timedelta(minutes=60) < deferred.value.timeout <= timedelta(minutes=70)
        return task, given

    def test_is_told_once(self, shops: Shops) -> None:
        task, given = self.wait(shops)
        with pytest.raises(OrderPending, match="buys nothing. No triggerer looked at it") as error:
            task.resume_execution("__fail__", {"error": "Trigger timeout"}, given)
        assert error.value.retry == "never" and len(shops.bought("voodoo")) == 1

    def test_the_worker_looks_in_its_place(self, shops: Shops) -> None:
        task, given = self.wait(shops)
        order_id = shops.bought("voodoo")[0].order_id
        shops.box.control([{"vendor": "voodoo", "set_status": {"order_id": order_id, "status": "completed"}}])
        assert task.resume_execution("__fail__", {"error": "Trigger timeout"}, given)["status"] == "delivered"
