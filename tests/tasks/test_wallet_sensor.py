"""WalletBalanceSensor: waits for a top-up in the worker and in the triggerer, and only reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSensorTimeout, AirflowSkipException

from airflow_provider_proxyorders.domain.errors import AuthenticationFailed, ConfigError
from airflow_provider_proxyorders.sensors.wallet import WalletBalanceSensor
from airflow_provider_proxyorders.triggers import subscription
from tests.hooks.connections import Shops

from .tasks import context, run


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "EARLIEST", 0.05)


def holds(shops: Shops, amount: str, vendor: str = "iproyal") -> None:
    shops.box.control({"vendor": vendor, "wallet": {"balance": amount}})


def sensor(shops: Shops, vendor: str = "iproyal", **options: Any) -> Callable[[], WalletBalanceSensor]:
    conn_id = shops.connect(vendor, **options.pop("connection", {}))
    given = {"at_least": "50", "poke_interval": 0.1, "poll_interval": 0.1, "timeout": 20, "deferrable": False, **options}
    return lambda: WalletBalanceSensor(task_id="wait", conn_id=conn_id, **given)


def test_enough_to_the_cent(shops: Shops, vendor: str) -> None:
    operator = sensor(shops, vendor)()
    holds(shops, "49.99", vendor)
    assert not operator.poke(context()).is_done
    holds(shops, "50", vendor)
    seen = operator.poke(context())
    assert seen.is_done
    assert seen.xcom_value == {
        "wallet": f"{vendor}:{vendor}_default",
        "balance": "50.00" if vendor == "proxy6" else "50",  # as the vendor writes it
        "currency": "USD",
    }
    assert shops.bought(vendor) == []


def test_deferred_until_the_top_up(shops: Shops, vendor: str) -> None:
    holds(shops, "1", vendor)
    story = run(sensor(shops, vendor, deferrable=True), context(), while_deferred=lambda: holds(shops, "75.50", vendor))
    assert story.result["balance"] == "75.5" or story.result["balance"] == "75.50"
    assert [event["outcome"] for event in story.events] == ["reached"]


def test_a_full_wallet_is_not_deferred(shops: Shops) -> None:
    assert run(sensor(shops, deferrable=True), context()).deferred == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_it_gives_up_like_every_sensor(shops: Shops, deferrable: bool) -> None:
    holds(shops, "1")
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(shops, timeout=0.4, deferrable=deferrable), context())
    if not deferrable:
        with pytest.raises(AirflowSkipException):
            run(sensor(shops, timeout=0.4, soft_fail=True), context())


def test_reschedule_frees_the_worker(shops: Shops) -> None:
    holds(shops, "1")
    given = context(began=datetime.now(timezone.utc) - timedelta(seconds=5))
    with pytest.raises(AirflowRescheduleException) as again:
        sensor(shops, mode="reschedule", poke_interval=30)().execute(given)
    assert 20 < (again.value.reschedule_date - datetime.now(timezone.utc)).total_seconds() < 40


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_refused_key_ends_it_at_once(shops: Shops, deferrable: bool) -> None:
    with pytest.raises(AuthenticationFailed):
        run(sensor(shops, deferrable=deferrable, connection={"password": "wrong-key"}), context())
    with pytest.raises(AirflowSkipException, match="soft_fail"):
        run(sensor(shops, soft_fail=True, connection={"password": "wrong-key"}), context())


def test_what_passes_is_waited_out_as_long_as_the_vendor_asks(shops: Shops) -> None:
    shops.box.fault("iproyal", "balance", action="status", status=429, headers={"Retry-After": "40"})
    operator = sensor(shops)()
    operator.hook.http._sleep = lambda seconds: None
    assert not operator.poke(context()).is_done
    assert operator._get_next_poke_interval(0.0, lambda: 0.0, 1) >= 40
    shops.box.clear_faults()
    assert operator.poke(context()).is_done
    assert operator._get_next_poke_interval(0.0, lambda: 0.0, 1) == 0.1


def test_another_currency_is_refused(shops: Shops) -> None:
    with pytest.raises(ConfigError, match="its currency is EUR"):
        run(sensor(shops, "proxyscrape", connection={"extra": {"currency": "EUR"}}), context())


@pytest.mark.parametrize("amount", ["many", True, ""])
def test_a_mistake_shows_when_the_dag_is_read(amount: Any) -> None:
    with pytest.raises(ValueError, match="^at_least (must be|is needed)"):
        WalletBalanceSensor(task_id="t", conn_id="c", at_least=amount)


def test_an_amount_from_a_template(shops: Shops) -> None:
    operator = sensor(shops, at_least="{{ params.needed }}")()
    given = {**context(), "params": {"needed": "2000"}}
    operator.render_template_fields(given)  # type: ignore[arg-type]
    assert not operator.poke(given).is_done  # type: ignore[arg-type]


def test_the_result_names_the_wallet_of_the_account(shops: Shops) -> None:
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    for conn_id in ("one", "two"):
        shops.connect("iproyal", conn_id)
    ProxyOrdersHook("one").buyer()
    sensor = WalletBalanceSensor(task_id="wait", conn_id="two", at_least="1")
    assert sensor.poke({}).xcom_value["wallet"] == "iproyal:one"  # type: ignore[typeddict-item, index]
