"""The operator that finds orders which end, and what it hands on to mapped tasks, people and reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_proxyorders.domain.errors import InvalidRequest
from airflow_provider_proxyorders.operators.orders import ExtendProxyOrderOperator, FindExpiringOrdersOperator
from airflow_provider_proxyorders.tasks.retry_policy import OrderRetryPolicy
from tests.hooks.connections import REQUESTS, Shops
from tests.tasks.tasks import context, through_json

from .conftest import PLAN

VendorHas = Callable[..., str]
DAY = timedelta(days=1)


def find(
    shops: Shops, vendor: str = "iproyal", task_context: Any = None, **options: Any
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """What it returns, and what it tells, both as they come back from Airflow's database."""
    options.setdefault("within", 3 * DAY)
    task_context = task_context or context(task_id="find")
    made = FindExpiringOrdersOperator(task_id="find", conn_id=shops.connect(vendor), **options)
    returned = through_json(made.execute(task_context))
    return returned, through_json(task_context["ti"].xcoms["found"])


def ids(returned: list[dict[str, str]]) -> list[str]:
    return [each["order_id"] for each in returned]


class TestHandedOn:
    def test_each_object_is_what_the_extending_task_takes(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, 2 * DAY)
        vendor_has(2, 1 * DAY)
        returned, _ = find(shops)
        assert returned == [
            {"order_id": "2", "expires_at": (now + DAY).isoformat()},
            {"order_id": "1", "expires_at": (now + 2 * DAY).isoformat()},
        ]
        for item in returned:
            task = ExtendProxyOrderOperator(task_id="t", conn_id="iproyal_default", request=PLAN, deferrable=False, **item)
            assert task.execute(context(task_id="t"))["expires_before"] == item["expires_at"]
        assert find(shops)[0] == []
        for item in returned:  # another run that saw the same list
            task = ExtendProxyOrderOperator(task_id="t", conn_id="iproyal_default", request=PLAN, deferrable=False, **item)
            with pytest.raises(AirflowSkipException):
                task.execute(context(task_id="t", dag_id="second"))
        assert len(shops.bought("iproyal")) == 2

    def test_what_is_told(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, note="crawler", quantity=2)
        vendor_has(2, auto_extend_settings={"is_enabled": True})
        _, report = find(shops, request=json.dumps(PLAN))
        assert (report["source"], report["looked_at"], report["left_out_count"], report["postponed"]) == ("vendor", 2, 1, [])
        (line,) = report["due"]
        assert (line["order_id"], line["note"], line["expires_from"]) == ("1", "crawler", "vendor")
        assert (line["price"], line["currency"], line["price_from"]) == ("6.00", "USD", "quote")
        assert (report["total"], report["unpriced"]) == ({"USD": "6.00"}, 0)
        (left,) = report["left_out"]
        assert (left["order_id"], left["reason"]) == ("2", "auto_extends")
        assert datetime.fromisoformat(report["until"]) - datetime.fromisoformat(report["as_of"]) == 3 * DAY

    def test_no_secret_is_in_it(
        self, shops: Shops, now: datetime, vendor_has: VendorHas, capsys: pytest.CaptureFixture[str]
    ) -> None:
        vendor_has(1, proxy_data={"proxies": [{"ip": "203.0.113.7", "username": "u1", "password": "hunter2-invented"}]})
        returned, report = find(shops, request=PLAN)
        everything = json.dumps([returned, report]) + capsys.readouterr().out
        assert "hunter2" not in everything and "203.0.113.7" not in everything and shops.box.token("iproyal") not in everything

    def test_prices_from_the_ledger(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1)
        hook = shops.hook("iproyal")
        order = hook.create_order(REQUESTS["iproyal"], order_key="first")
        calls = shops.box.book.count("iproyal", "quote")
        _, report = find(shops, within=40 * DAY)
        lines = {line["order_id"]: line for line in report["due"]}
        assert (lines[order.order_id]["price"], lines[order.order_id]["price_from"]) == ("6.00", "ledger")
        assert (lines["1"]["price"], lines["1"]["price_from"]) == (None, "unknown")
        assert (report["total"], report["unpriced"]) == ({"USD": "6.00"}, 1)
        assert shops.box.book.count("iproyal", "quote") == calls  # nobody asked what it would cost

    def test_a_vendor_without_a_list(self, shops: Shops) -> None:
        hook = shops.hook("proxyscrape")
        order = hook.create_order(REQUESTS["proxyscrape"], order_key="first")
        hook.buyer().wait(order, deadline=datetime.now(timezone.utc) + timedelta(seconds=10), poll_interval=0.05)
        returned, report = find(shops, "proxyscrape", within="P40D", term="P30D")
        assert ids(returned) == [order.order_id]
        assert (report["source"], report["due"][0]["expires_from"], report["due"][0]["price_from"]) == (
            "ledger",
            "term",
            "ledger",
        )
        task = ExtendProxyOrderOperator(
            task_id="t",
            conn_id="proxyscrape_default",
            if_unsupported="reorder",
            deferrable=False,
            poll_interval=0.1,
            **returned[0],
        )
        assert task.execute(context(task_id="t"))["replaces"] == order.order_id


class TestAsked:
    def test_the_same_interval_looks_at_the_same_horizon(self, shops: Shops, now: datetime, vendor_has: VendorHas) -> None:
        vendor_has(1, 1 * DAY)
        vendor_has(2, 8 * DAY)
        for as_of in (now, now.isoformat(), f"{now:%Y-%m-%d %H:%M:%S}+00:00"):
            assert ids(find(shops, as_of=as_of)[0]) == ["1"]
        assert ids(find(shops, as_of=now + 6 * DAY)[0]) == ["2"]

    @pytest.mark.parametrize("within", [3 * DAY, "3 days", "P3D", "PT72H"])
    def test_within(self, shops: Shops, vendor_has: VendorHas, within: Any) -> None:
        vendor_has(1, 2.9 * DAY)
        vendor_has(2, 3.1 * DAY)
        assert ids(find(shops, within=within)[0]) == ["1"]

    @pytest.mark.parametrize("chosen", [["1", "3"], [1, 3], '["1", "3"]', "[1, 3]", "1, 3"])
    def test_ids_as_templates_give_them(self, shops: Shops, vendor_has: VendorHas, chosen: Any) -> None:
        for number in (1, 2, 3):
            vendor_has(number)
        assert ids(find(shops, order_ids=chosen)[0]) == ["1", "3"]
        assert ids(find(shops, exclude=chosen)[0]) == ["2"]

    def test_nothing_asked_for_is_everything(self, shops: Shops, vendor_has: VendorHas) -> None:
        vendor_has(1)
        empty = {
            "order_ids": "",
            "exclude": "None",
            "product": "",
            "note": "None",
            "as_of": "",
            "term": "",
            "limit": "",
            "request": "",
        }
        assert ids(find(shops, **empty)[0]) == ["1"]

    @pytest.mark.parametrize(
        "name, value",
        [
            ("within", "soon"),
            ("within", "-1d"),
            ("within", 3),
            ("term", 30),
            ("as_of", "yesterday"),
            ("as_of", "2026-12-31"),  # such as {{ ds }}: at the end of that day what ends on it would be over
            ("order_ids", 70.01),
            ("order_ids", "[7001"),
            ("exclude", [None]),
            ("limit", 0),
            ("limit", "many"),
            ("term", "a month"),
            ("request", "{"),
            ("request", {"product_plan_id": "soon"}),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, shops: Shops, vendor_has: VendorHas, name: str, value: Any) -> None:
        vendor_has(1)
        with pytest.raises(InvalidRequest) as refused:
            find(shops, **{name: value})
        assert name in str(refused.value) or name == "request"
        assert "bought" not in str(refused.value), "this task only reads"

    def test_auto_extending(self, shops: Shops, vendor_has: VendorHas) -> None:
        vendor_has(1, auto_extend_settings={"is_enabled": True})
        assert find(shops)[0] == []
        assert ids(find(shops, auto_extending=True)[0]) == ["1"]

    def test_template_fields(self) -> None:
        fields = ["conn_id", "within", "as_of", "request", "product", "location", "note", "order_ids", "exclude", "term", "limit"]
        assert list(FindExpiringOrdersOperator.template_fields) == fields


class TestMapped:
    def test_a_limit_takes_the_soonest(self, shops: Shops, vendor_has: VendorHas, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(1, 6):
            vendor_has(number, (6 - number) * timedelta(hours=1))
        returned, report = find(shops, limit="3")
        assert (ids(returned), report["postponed"]) == (["5", "4", "3"], ["2", "1"])
        assert "2 orders are due beyond the limit of 3 and wait for the next run" in capsys.readouterr().out

    def test_more_than_airflow_maps(self, shops: Shops, vendor_has: VendorHas, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
        for number in range(1, 4):
            vendor_has(number)
        with pytest.raises(InvalidRequest, match=r"finds 3 orders.*over 2 at most.*Set limit"):
            find(shops)
        assert len(find(shops, limit=50)[0]) == 2

    def test_in_a_dag(self) -> None:
        """Mapped tasks have the same retries as others: Airflow takes them from the signature."""
        with DAG("renewal"):
            soon = FindExpiringOrdersOperator(task_id="find", conn_id="c", within="P3D")
            mapped: Any = ExtendProxyOrderOperator.partial(task_id="extend", conn_id="c", request=PLAN).expand_kwargs(soon.output)  # type: ignore[arg-type]
        assert (mapped.retries, mapped.retry_delay) == (2, timedelta(seconds=15))
        assert isinstance(mapped.retry_policy, OrderRetryPolicy)
        assert soon.retries == 2

    def test_what_the_dag_says_of_retries_counts(self) -> None:
        with DAG("renewal", default_args={"retries": 7, "retry_delay": timedelta(seconds=1)}):
            plain = ExtendProxyOrderOperator(task_id="plain", conn_id="c", order_id="1", request=PLAN)
            mapped: Any = ExtendProxyOrderOperator.partial(task_id="mapped", conn_id="c", request=PLAN).expand(order_id=["1"])
            own = ExtendProxyOrderOperator(task_id="own", conn_id="c", order_id="1", request=PLAN, retries=1)
        assert (plain.retries, mapped.retries, own.retries) == (7, 7, 1)
        assert plain.retry_delay == mapped.retry_delay == timedelta(seconds=1)
