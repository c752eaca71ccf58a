"""Extending as reconciliation: "this order must be paid through then", whoever asks, and however often."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_proxyorders.domain.errors import (
    CapExceeded,
    ConfigError,
    InvalidRequest,
    NotDue,
    NotFarEnough,
    OrderNotFound,
    RequestRefused,
)
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator
from airflow_provider_proxyorders.renewal.due import DueRule
from tests.counted import counted
from tests.hooks.connections import Shops
from tests.tasks.tasks import Run, context, run

from .conftest import PLAN, written

VendorHas = Callable[..., str]
DAY = timedelta(days=1)


def extend(shops: Shops, order_id: Any = "7001", **options: Any) -> Callable[[], ExtendProxyOrderOperator]:
    conn_id = shops.connect("iproyal", **options.pop("connection", {}))
    arguments = {"request": PLAN, "poll_interval": 0.1, "deferrable": False, **options}
    return lambda: ExtendProxyOrderOperator(task_id="extend", conn_id=conn_id, order_id=order_id, **arguments)


@pytest.fixture
def until(now: datetime, vendor_has: VendorHas) -> datetime:
    """Order 7001 is paid until then."""
    vendor_has(7001, 5 * DAY)
    return now + 5 * DAY


class TestState:
    def test_not_far_enough_is_extended_and_says_from_when_to_when(self, shops: Shops, until: datetime) -> None:
        result = extend(shops, paid_through=until + DAY)().execute(context())
        assert datetime.fromisoformat(result["expires_before"]) == until
        assert datetime.fromisoformat(result["expires_at"]) == until + 30 * DAY
        assert (result["price"], result["currency"], result["status"], result["replaces"]) == ("3", "USD", "delivered", None)

    @pytest.mark.parametrize("less", [timedelta(0), timedelta(seconds=1), 9 * DAY])
    def test_far_enough_is_skipped(self, shops: Shops, until: datetime, less: timedelta) -> None:
        with pytest.raises(AirflowSkipException, match=rf"paid through {until:%Y-%m-%d %H:%M} UTC.*Nothing was bought"):
            extend(shops, paid_through=until - less)().execute(context())
        assert shops.bought("iproyal") == []

    def test_a_refused_extension_that_landed_is_the_task_s_own(self, shops: Shops, until: datetime) -> None:
        """Reads lag after the refusal. The cleared task looks for its own extension before it finds the order paid."""
        shops.box.fault("iproyal", "extend", action="repeat", times=1)
        lag = shops.box.fault("iproyal", "*", action="lag", seconds=3600)
        task = extend(shops, paid_through=until + DAY)
        with pytest.raises(RequestRefused, match="bought as far as IPRoyal shows") as refused:
            task().execute(context())
        assert (refused.value.money, refused.value.retry) == ("unknown", "never")
        lag.release()
        shops.box.clear_faults()
        result = task().execute(context())
        assert datetime.fromisoformat(result["expires_at"]) == until + 30 * DAY and len(shops.bought("iproyal")) == 1
        assert task().execute(context()) == result

    def test_templates_give_text(self, shops: Shops, until: datetime) -> None:
        text = (until - DAY).isoformat(sep=" ")
        with pytest.raises(AirflowSkipException):
            extend(shops, paid_through=text, expires_at="None", only_within="")().execute(context())

    @pytest.mark.parametrize("zone, bought", [("UTC", 0), ("Asia/Kolkata", 0), ("America/New_York", 1)])
    def test_a_target_without_a_zone_is_the_connections(self, shops: Shops, until: datetime, zone: str, bought: int) -> None:
        """The order ends on the dot in UTC; the same digits are five hours later in New York."""
        make = extend(shops, paid_through=written(until), connection={"extra": {"timezone": zone, "vendor_timezone": "UTC"}})
        if bought:
            make().execute(context())
        else:
            with pytest.raises(AirflowSkipException):
                make().execute(context())
        assert len(shops.bought("iproyal")) == bought

    @pytest.mark.parametrize("value", ["soon", "12:30", "2026-02-30"])
    def test_what_is_no_moment(self, shops: Shops, until: datetime, value: str) -> None:
        with pytest.raises(InvalidRequest, match=r"paid_through.*Nothing was bought"):
            extend(shops, paid_through=value)().execute(context())
        assert shops.bought("iproyal") == []

    def test_short_of_the_target_after_one_extension(self, shops: Shops, until: datetime) -> None:
        make, task_context = extend(shops, paid_through=until + 31 * DAY), context()
        with pytest.raises(NotFarEnough, match=r"extended for 3.00 USD and ends .* before paid_through=.*next run extends"):
            make().execute(task_context)
        assert task_context["ti"].xcoms["return_value"]["price"] == "3"  # what was paid is told all the same
        for number in (2, 3):  # a retry, and the task when it is cleared
            with pytest.raises(NotFarEnough):
                make().execute(context(try_number=number))
        assert len(shops.bought("iproyal")) == 1
        result = make().execute(context(run=Run("the next run")))
        assert datetime.fromisoformat(result["expires_before"]) == until + 30 * DAY
        assert len(shops.bought("iproyal")) == 2

    def test_short_and_accepted(self, shops: Shops, until: datetime, capsys: pytest.CaptureFixture[str]) -> None:
        result = extend(shops, paid_through=until + 31 * DAY, on_short="accept")().execute(context())
        assert result["status"] == "delivered" and "one extension was not enough" in capsys.readouterr().out

    def test_in_the_triggerer(self, shops: Shops, until: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow_provider_proxyorders.triggers import subscription

        monkeypatch.setattr(subscription, "EARLIEST", 0.05)
        shops.box.control({"vendor": "iproyal", "extend_processing": 3600})
        make = extend(shops, deferrable=True, paid_through=until + 31 * DAY)
        with pytest.raises(NotFarEnough):
            run(make, context(), while_deferred=lambda: shops.box.advance(3600))
        assert len(shops.bought("iproyal")) == 1


class TestOnce:
    def test_a_week_of_missed_runs(self, shops: Shops, until: datetime) -> None:
        """Catch-up: every run asks for its own day, and one extension reaches them all."""
        bought = []
        for number in range(7):
            try:
                make = extend(shops, paid_through=until + (number - 2) * DAY)
                bought.append(make().execute(context(run=Run(f"scheduled {number}")))["order_key"])
            except AirflowSkipException:
                continue
        assert len(bought) == len(shops.bought("iproyal")) == 1

    def test_two_dags_a_manual_run_and_a_retry(self, shops: Shops, until: datetime) -> None:
        make = extend(shops, paid_through=until + DAY)
        first = make().execute(context(dag_id="one"))
        assert make().execute(context(dag_id="one", try_number=2)) == first
        for other in (context(dag_id="two"), context(run=Run("manual__2")), context(dag_id="one", task_id="again")):
            with pytest.raises(AirflowSkipException, match="paid through"):
                make().execute(other)
        assert len(shops.bought("iproyal")) == 1

    def test_who_saw_the_same_expiry_means_the_same_extension(self, shops: Shops, until: datetime) -> None:
        """Mapped over a list that is old by now: the one that comes second has nothing to pay, and does not count it twice."""
        make = extend(shops, expires_at=until.isoformat())
        first = make().execute(context(dag_id="one"))
        assert first["order_key"] == f"extend:iproyal:iproyal_default:7001:{until.isoformat()}"
        assert make().execute(context(dag_id="one", map_index=4)) == first
        with pytest.raises(AirflowSkipException, match=r"7001 was extended, paid until .* by one\.buy .*Nothing was bought"):
            make().execute(context(dag_id="two"))
        with pytest.raises(AirflowSkipException, match="by one.buy"):  # another plan is no conflict once it is paid
            extend(shops, expires_at=until.isoformat(), request={"product_plan_id": 23})().execute(context(dag_id="three"))
        assert len(shops.bought("iproyal")) == 1

    def test_an_order_that_somebody_extended_meanwhile(self, shops: Shops, until: datetime) -> None:
        """By hand in the dashboard, or under a key of his own: nothing in the ledger says so but the vendor's order."""
        shops.hook("iproyal").extend_order("7001", PLAN, order_key="by hand")
        with pytest.raises(AirflowSkipException, match="another purchase or the vendor itself has extended it already"):
            extend(shops, expires_at=until.isoformat())().execute(context())
        assert len(shops.bought("iproyal")) == 1

    def test_a_task_whose_try_bought_nothing_looks_again(self, shops: Shops, until: datetime) -> None:
        """The wallet was dry; until it is cleared somebody extends the order in another way."""
        make = extend(shops, max_price="0.01")
        with pytest.raises(CapExceeded):
            make().execute(context())
        shops.hook("iproyal").extend_order("7001", PLAN, order_key="by hand")
        with pytest.raises(AirflowSkipException, match="another purchase or the vendor itself has extended it already"):
            extend(shops)().execute(context(try_number=2))
        assert len(shops.bought("iproyal")) == 1

    @pytest.mark.parametrize("how", ["paid_through", "expires_at"])
    def test_another_key_between_the_look_and_the_sending(self, shops: Shops, until: datetime, how: str) -> None:
        """The last read before it leaves decides, not the first."""
        conn_id = shops.connect("iproyal")
        require_due = DueRule.require_due

        def slowly(rule: DueRule, *args: Any) -> None:
            require_due(rule, *args)
            ProxyOrdersHook(conn_id).extend_order("7001", PLAN, order_key="quicker")

        shops.patch.setattr(DueRule, "require_due", slowly)
        target = {"paid_through": until + DAY} if how == "paid_through" else {"expires_at": until}
        task = ExtendProxyOrderOperator(
            task_id="t", conn_id=conn_id, order_id="7001", request=PLAN, order_key="slower", deferrable=False, **target
        )
        with pytest.raises(AirflowSkipException, match="Nothing was bought"):
            task.execute(context())
        assert len(shops.bought("iproyal")) == 1
        slower = ProxyOrdersHook(conn_id).ledger.find("slower")
        assert slower is not None and slower.step.value == "intended"
        assert counted(ProxyOrdersHook(conn_id).ledger, "iproyal:iproyal_default") == 3, "its reservation is given back"

    def test_the_desk_is_asked_with_what_was_read_last(self, shops: Shops, until: datetime) -> None:
        expiries = []

        def refuse(evidence: Any) -> None:
            expiries.append(evidence["expires_at"])
            raise NotDue("no more. Nothing was bought.")

        with pytest.raises(NotDue):
            shops.hook("iproyal").buyer().extend("7001", PLAN, order_key="k", still_due=refuse)
        assert expiries == [until.isoformat()] and shops.bought("iproyal") == []


class TestRefused:
    @pytest.mark.parametrize("status", ["expired", "refunded"])
    def test_an_order_that_is_over(self, shops: Shops, now: datetime, vendor_has: VendorHas, status: str) -> None:
        vendor_has(7001, DAY, status=status)
        with pytest.raises(InvalidRequest, match=f"must name a running order; 7001 is '{status}'.*Nothing was bought"):
            extend(shops, paid_through=now + 9 * DAY)().execute(context())
        assert shops.box.book.count("iproyal", "extend") == 0

    def test_an_order_whose_date_has_passed(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        """By our reading of a time without a zone; the vendor knows better, or the zone is wrong."""
        vendor_has(7001, timedelta(hours=2))
        make = extend(shops, paid_through=now + 9 * DAY, connection={"extra": {"vendor_timezone": "Asia/Kolkata"}})
        with pytest.raises(InvalidRequest, match=r"7001 ended .* though IPRoyal says 'confirmed'.*time zone.*Nothing was bought"):
            make().execute(context())
        assert shops.box.book.count("iproyal", "extend") == 0

    def test_an_order_that_is_not_there(self, shops: Shops, now: datetime) -> None:
        with pytest.raises(OrderNotFound, match=r"IPRoyal does not know order '4242' .*'iproyal_default'.*Nothing was bought"):
            extend(shops, "4242", paid_through=now + DAY)().execute(context())
        with pytest.raises(OrderNotFound, match=r"IPRoyal does not know order '4242' .*'iproyal_default'.*Nothing was bought"):
            extend(shops, "4242", order_key="mine")().execute(context())

    @pytest.mark.parametrize("asked", ["paid_through", "expires_at", "only_within"])
    def test_a_date_needs_an_expiry(self, shops: Shops, now: datetime, vendor_has: VendorHas, asked: str) -> None:
        vendor_has(7001, None, status="in-progress")
        date: Any = DAY if asked == "only_within" else now + DAY
        with pytest.raises(ConfigError, match=r"no expiry.*Nothing was sent"):
            extend(shops, order_key="mine", **{asked: date})().execute(context())
        assert shops.bought("iproyal") == []

    def test_an_expiry_that_is_not_the_orders(self, shops: Shops, until: datetime) -> None:
        with pytest.raises(InvalidRequest, match=r"expires_at.*must be the end of order 7001.*Nothing was bought"):
            extend(shops, expires_at=until + DAY)().execute(context())

    def test_an_extension_needs_a_request(self, shops: Shops, until: datetime) -> None:
        with pytest.raises(InvalidRequest, match="request is needed to extend"):
            extend(shops, request=None)().execute(context())

    @pytest.mark.parametrize("name", ["on_short", "if_unsupported"])
    def test_there_is_no_other_choice(self, name: str) -> None:
        wrong: dict[str, Any] = {name: "maybe"}
        with pytest.raises(ValueError, match=f"{name} must be one of"):
            ExtendProxyOrderOperator(task_id="t", conn_id="c", order_id="1", request={}, **wrong)
