"""The operator that extends: once per expiry, only when it is due, and never beside the vendor's own renewal."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_proxyorders.domain.errors import (
    CapExceeded,
    ConfigError,
    InvalidRequest,
    OrderKeyConflict,
    OrderNotFound,
    OutcomeUnknown,
    ProxyOrdersError,
    UnsupportedOperation,
)
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator
from airflow_provider_proxyorders.vendors import vendor_class
from tests.hooks.connections import Shops

from .tasks import context, run

PLAN = {"product_plan_id": 22}
RENEWED = {"is_enabled": True, "product_plan_id": 22, "payment_type": "balance"}


def written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


@pytest.fixture
def until(shops: Shops) -> datetime:
    """Order 7001 is there, and paid until then."""
    moment = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=5)
    fields = {"id": 7001, "product_id": 9, "product_plan_id": 22, "status": "confirmed", "expire_date": written(moment)}
    shops.box.control({"vendor": "iproyal", "order": fields})
    return moment


def extend(
    shops: Shops, *, vendor: str = "iproyal", order_id: Any = "7001", **options: Any
) -> Callable[[], ExtendProxyOrderOperator]:
    conn_id = shops.connect(vendor)
    given = {"request": PLAN, "poll_interval": 0.1, "deferrable": False, **options}
    return lambda: ExtendProxyOrderOperator(task_id="extend", conn_id=conn_id, order_id=order_id, **given)


def renew(shops: Shops) -> None:
    """Let the vendor renew the order by itself."""
    shops.hook("iproyal").set_auto_extend("7001", True, product_plan_id=22, payment_type="balance")


class TestOnce:
    def test_the_expiry_grows_and_the_result_says_so(self, shops: Shops, until: datetime) -> None:
        result = extend(shops)().execute(context())
        assert (result["kind"], result["status"], result["order_id"], result["price"]) == ("extend", "delivered", "7001", "3")
        assert datetime.fromisoformat(result["expires_at"]) == until + timedelta(days=30)
        assert result["order_key"] == f"extend:iproyal:iproyal_default:7001:{until.isoformat()}"
        assert json.loads(json.dumps(result)) == result

    def test_every_try_means_the_same_extension(self, shops: Shops, until: datetime) -> None:
        results = [extend(shops)().execute(context(try_number=number)) for number in (1, 2, 3)]
        assert results[0] == results[1] == results[2]
        assert len(shops.bought("iproyal")) == 1

    def test_the_next_run_means_the_next_extension(self, shops: Shops, until: datetime) -> None:
        from .tasks import Run

        for number in (1, 2):
            extend(shops)().execute(context(run=Run(f"run {number}")))
        assert len(shops.bought("iproyal")) == 2

    def test_a_lost_answer_is_found(self, shops: Shops, until: datetime) -> None:
        shops.box.fault("iproyal", "extend", when="after", times=1, action="reset")
        assert extend(shops)().execute(context())["status"] == "delivered"
        assert len(shops.bought("iproyal")) == 1

    def test_a_retry_of_an_extension_that_was_due_is_not_skipped(self, shops: Shops, until: datetime) -> None:
        """After it landed the order is not due any more; the retry still hands on what was bought."""
        make = extend(shops, only_within=timedelta(days=7))
        first = make().execute(context())
        assert make().execute(context(try_number=2)) == first

    def test_the_users_own_key(self, shops: Shops, until: datetime) -> None:
        make = extend(shops, order_key="march")
        assert make().execute(context())["order_key"] == "march"
        with pytest.raises(OrderKeyConflict):
            extend(shops, order_key="march", request={"product_plan_id": 23})().execute(context())
        assert len(shops.bought("iproyal")) == 1

    def test_a_number_is_an_order_id_too(self, shops: Shops, until: datetime) -> None:
        assert extend(shops, order_id=7001)().execute(context())["order_id"] == "7001"


class TestWhen:
    @pytest.mark.parametrize("within", [timedelta(days=6), "6 days", "P6D", "144h", None, ""])
    def test_an_order_that_is_due_is_extended(self, shops: Shops, until: datetime, within: Any) -> None:
        assert extend(shops, only_within=within)().execute(context())["status"] == "delivered"

    @pytest.mark.parametrize("within", [timedelta(days=4), "4 days", "0h"])
    def test_an_order_that_runs_for_longer_is_skipped(self, shops: Shops, until: datetime, within: Any) -> None:
        with pytest.raises(AirflowSkipException, match=rf"runs until {until:%Y-%m-%d %H:%M} UTC.*Nothing was bought"):
            extend(shops, only_within=within)().execute(context())
        assert shops.bought("iproyal") == []

    @pytest.mark.parametrize("within", ["a week", "nan", "inf", "-1d", [7]])
    def test_what_is_no_duration(self, shops: Shops, until: datetime, within: Any) -> None:
        with pytest.raises(InvalidRequest, match=r"only_within.*must be a number with a unit.*3 days.*Nothing was bought"):
            extend(shops, only_within=within)().execute(context())
        assert shops.bought("iproyal") == []

    @pytest.mark.parametrize("name", ["only_within", "paid_through", "expires_at"])
    @pytest.mark.parametrize("nothing", [None, "", " ", "null"])
    def test_a_condition_whose_template_renders_to_nothing_is_refused(
        self, shops: Shops, until: datetime, name: str, nothing: str | None
    ) -> None:
        """Without its condition the task would extend on every run."""
        operator = extend(shops, **{name: "{{ when }}"})()
        operator.render_template_fields({"when": nothing})  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match=rf"^{name} was set to a template and rendered to nothing.*Nothing was bought"):
            operator.execute(context())
        assert shops.bought("iproyal") == []

    @pytest.mark.parametrize("options", [{"max_price": ""}, {"only_within": "a week"}, {"request": {"product_plan_id": "x"}}])
    @pytest.mark.parametrize("key", [None, "march"])
    def test_a_refused_retry_tells_of_the_extension_that_may_have_landed(
        self, shops: Shops, until: datetime, options: dict[str, Any], key: str | None
    ) -> None:
        make = extend(shops, order_key=key)
        shops.connect("iproyal", extra={"settle": 3600})
        shops.box.fault("iproyal", "extend", when="before", times=1, action="reset")
        with pytest.raises(OutcomeUnknown):
            make().execute(context())
        with pytest.raises(OutcomeUnknown, match="may have taken") as error:
            extend(shops, order_key=key, **options)().execute(context(try_number=2))
        assert error.value.money == "unknown" and "Nothing was bought" not in str(error.value).split(": ")[0]

    @pytest.mark.parametrize("status", ["expired", "refunded"])
    def test_an_order_that_is_over_is_refused(self, shops: Shops, until: datetime, status: str) -> None:
        shops.box.control({"vendor": "iproyal", "set_status": {"order_id": "7001", "status": status}})
        with pytest.raises(InvalidRequest, match=f"must name a running order; 7001 is '{status}'"):
            extend(shops)().execute(context())
        assert shops.box.book.count("iproyal", "extend") == 0

    def test_an_order_that_is_not_there(self, shops: Shops) -> None:
        with pytest.raises(OrderNotFound):
            extend(shops, order_id="4242")().execute(context())

    def test_an_order_without_expiry(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "in-progress"}})
        with pytest.raises(ConfigError, match="has no expiry"):
            extend(shops)().execute(context())
        assert shops.box.book.count("iproyal", "extend") == 0


class TestOwnRenewal:
    """The vendor renews the order by itself: extending it as well could pay twice."""

    def test_skip_is_the_default(self, shops: Shops, until: datetime) -> None:
        renew(shops)
        with pytest.raises(AirflowSkipException, match=r"renews order 7001 by itself.*Nothing was bought.*='disable'"):
            extend(shops)().execute(context())
        assert shops.bought("iproyal") == []
        assert shops.hook("iproyal").get_order("7001").auto_extends is True

    def test_fail(self, shops: Shops, until: datetime) -> None:
        renew(shops)
        with pytest.raises(InvalidRequest, match=r"renews by itself; on_auto_extend='fail'.*Nothing was bought"):
            extend(shops, on_auto_extend="fail")().execute(context())
        assert shops.bought("iproyal") == []

    def test_disable(self, shops: Shops, until: datetime) -> None:
        renew(shops)
        assert extend(shops, on_auto_extend="disable")().execute(context())["status"] == "delivered"
        assert shops.hook("iproyal").get_order("7001").auto_extends is False
        assert len(shops.bought("iproyal")) == 1

    def test_disable_that_is_refused_buys_nothing(self, shops: Shops, until: datetime) -> None:
        renew(shops)
        shops.box.fault("iproyal", "set_auto_extend", action="status", status=400)
        with pytest.raises(Exception, match="moves no money"):
            extend(shops, on_auto_extend="disable")().execute(context())
        assert shops.bought("iproyal") == []

    def test_disable_stays_out_where_the_extension_does_not_leave(self, shops: Shops, until: datetime) -> None:
        """Else the order lapses that its vendor would have renewed."""
        renew(shops)
        with pytest.raises(CapExceeded, match="Nothing was bought"):
            extend(shops, on_auto_extend="disable", max_price="0.01")().execute(context())
        assert shops.hook("iproyal").get_order("7001").auto_extends is True

    def test_disable_is_told_where_the_extension_is_refused(self, shops: Shops, until: datetime) -> None:
        renew(shops)
        shops.box.control({"vendor": "iproyal", "wallet": {"balance": "0.50"}})
        with pytest.raises(
            ProxyOrdersError, match=r"Nothing was bought.*own renewal of it is switched off.*ends unless it is extended"
        ):
            extend(shops, on_auto_extend="disable")().execute(context())
        assert shops.bought("iproyal") == []

    def test_disable_that_comes_too_late_buys_nothing(
        self, shops: Shops, until: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The vendor renews the order in the moment before it is told not to."""
        renew(shops)
        iproyal = vendor_class("iproyal")
        switch = iproyal.set_auto_extend

        def late(vendor: Any, order_id: str, enabled: bool, options: Any) -> Any:
            later = written(until + timedelta(days=30))
            fields = {"id": 7001, "product_id": 9, "product_plan_id": 22, "status": "confirmed", "expire_date": later}
            shops.box.control({"vendor": "iproyal", "order": fields})
            return (yield from switch(vendor, order_id, enabled, options))

        monkeypatch.setattr(iproyal, "set_auto_extend", late)
        with pytest.raises(AirflowSkipException, match="has extended it already. Nothing was bought"):
            extend(shops, on_auto_extend="disable")().execute(context())
        assert shops.bought("iproyal") == []

    def test_disable_before_the_order_is_due_changes_nothing(self, shops: Shops, until: datetime) -> None:
        renew(shops)
        with pytest.raises(AirflowSkipException, match="runs until"):
            extend(shops, on_auto_extend="disable", only_within="1min")().execute(context())
        assert shops.hook("iproyal").get_order("7001").auto_extends is True

    def test_extend(self, shops: Shops, until: datetime) -> None:
        renew(shops)
        assert extend(shops, on_auto_extend="extend")().execute(context())["status"] == "delivered"
        assert len(shops.bought("iproyal")) == 1

    @pytest.mark.parametrize("choice", ["skip", "fail", "disable", "extend"])
    def test_without_renewal_the_choice_does_not_matter(self, shops: Shops, until: datetime, choice: Any) -> None:
        assert extend(shops, on_auto_extend=choice)().execute(context())["status"] == "delivered"

    def test_there_is_no_other_choice(self) -> None:
        with pytest.raises(ValueError, match="on_auto_extend must be one of skip, fail, disable, extend"):
            ExtendProxyOrderOperator(task_id="t", conn_id="c", order_id="1", request={}, on_auto_extend="maybe")  # type: ignore[arg-type]


class TestRefused:
    @pytest.mark.parametrize("vendor", ["proxyscrape", "voodoo"])
    def test_vendors_that_cannot(self, shops: Shops, vendor: str) -> None:
        with pytest.raises(UnsupportedOperation, match="Nothing was"):
            extend(shops, vendor=vendor)().execute(context())
        assert shops.box.book.count(vendor) == 0

    @pytest.mark.parametrize("request_", [{}, "{}", "nonsense", {"product_plan_id": "soon"}])
    def test_a_bad_request_is_refused_before_anything_is_read(self, shops: Shops, until: datetime, request_: Any) -> None:
        with pytest.raises(InvalidRequest):
            extend(shops, request=request_)().execute(context())
        assert shops.box.book.count("iproyal") == 0

    def test_above_the_cap(self, shops: Shops, until: datetime) -> None:
        with pytest.raises(CapExceeded, match="quotes 3"):
            extend(shops, max_price="2.99")().execute(context())
        assert shops.bought("iproyal") == []

    def test_template_fields(self) -> None:
        fields = ("conn_id", "order_id", "request", "order_key", "only_within", "max_price", "paid_through", "expires_at")
        assert tuple(ExtendProxyOrderOperator.template_fields) == fields


@pytest.mark.usefixtures("at_once")
class TestWaiting:
    def test_in_the_worker(self, shops: Shops, until: datetime) -> None:
        shops.box.control({"vendor": "iproyal", "extend_processing": 0.4})
        result = extend(shops)().execute(context())
        assert datetime.fromisoformat(result["expires_at"]) == until + timedelta(days=30)

    def test_in_the_triggerer(self, shops: Shops, until: datetime) -> None:
        """It waits until the expiry has grown: the order itself was usable all the time."""
        shops.box.control({"vendor": "iproyal", "extend_processing": 3600})
        story = run(extend(shops, deferrable=True), context(), while_deferred=lambda: shops.box.advance(3600))
        assert (len(story.deferred), story.events[0]["outcome"]) == (1, "final")
        assert story.deferred[0].trigger.serialize()[1]["kind"] == "extend"
        assert datetime.fromisoformat(story.result["expires_at"]) == until + timedelta(days=30)
        assert len(shops.bought("iproyal")) == 1

    def test_not_at_all(self, shops: Shops, until: datetime) -> None:
        shops.box.control({"vendor": "iproyal", "extend_processing": 3600})
        assert extend(shops, wait_for_completion=False)().execute(context())["status"] == "placed"
        order = ProxyOrdersHook("any").ledger.find(f"extend:iproyal:iproyal_default:7001:{until.isoformat()}")
        assert order is not None and order.step.value == "placed"
