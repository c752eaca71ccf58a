"""The operator that buys: what it asks, what it hands on, what it says when it ends badly, and when it waits where."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    CapExceeded,
    ConfigError,
    InsufficientFunds,
    InvalidRequest,
    LedgerError,
    OrderKeyConflict,
    OrderNotUsable,
    OrderPending,
    OutcomeUnknown,
    RequestRefused,
)
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, default_key
from airflow_provider_proxyorders.tasks.links import PAGE, OrderPageLink, PurchaseLink
from tests.hooks.connections import PRICES, REQUESTS, Shops
from tests.vendors import ROWS

from .tasks import START, Run, StateStore, context, run

RESULT = {
    *("order_key", "order_id", "vendor", "kind", "status", "vendor_status"),
    *("price", "refund", "currency", "expires_at", "delivered", "handles", "ledger_url"),
}
KEY = "create:shop:buy:2026-03-01T00:00:00+00:00/2026-03-02T00:00:00+00:00"


def buy(shops: Shops, vendor: str, *, connection: Any = None, **options: Any) -> Callable[[], CreateProxyOrderOperator]:
    """The task, made anew whenever it is called, as every worker does."""
    conn_id = shops.connect(vendor, **(connection or {}))
    given = {"request": dict(REQUESTS[vendor]), "poll_interval": 0.1, "deferrable": False, **options}
    return lambda: CreateProxyOrderOperator(task_id="buy", conn_id=conn_id, **given)


def ledger(shops: Shops) -> Ledger:
    return ProxyOrdersHook("any").ledger


class TestKey:
    @pytest.mark.parametrize(
        ("fields", "interval", "key"),
        [
            ({}, True, KEY),
            ({"map_index": 0}, True, KEY.replace("buy:", "buy[0]:")),
            ({"map_index": 12}, True, KEY.replace("buy:", "buy[12]:")),
            ({"map_index": None}, True, KEY),
            ({"dag_id": "other"}, True, KEY.replace("shop", "other")),
            ({"task_id": "group.buy"}, True, KEY.replace("buy", "group.buy")),
            ({}, False, "create:shop:buy:manual__1"),
        ],
    )
    def test_by_default(self, fields: dict[str, Any], interval: bool, key: str) -> None:
        assert default_key(context(run=Run() if interval else Run("manual__1", None, None), **fields)) == key

    def test_the_try_number_and_the_run_have_no_part_in_it(self) -> None:
        keys = {
            default_key(context(run=Run(run_id), try_number=number))
            for number in (1, 2, 7)
            for run_id in ("scheduled__1", "backfill__1")
        }
        assert keys == {KEY}

    def test_another_interval_is_another_purchase(self) -> None:
        later = Run("r", START + timedelta(days=1), START + timedelta(days=2))
        assert default_key(context(run=later)) != default_key(context())

    def test_the_users_own_counts(self, shops: Shops) -> None:
        result = buy(shops, "iproyal", order_key="march")().execute(context())
        assert result["order_key"] == "march"

    @pytest.mark.parametrize("empty", [None, ""])
    def test_an_empty_one_is_none(self, shops: Shops, empty: Any) -> None:
        assert buy(shops, "iproyal", order_key=empty)().execute(context())["order_key"] == KEY

    def test_one_that_is_too_long_is_refused(self, shops: Shops) -> None:
        with pytest.raises(ConfigError, match="1 to 500 characters.*Nothing was sent"):
            buy(shops, "iproyal", order_key="k" * 501)().execute(context())
        assert shops.box.book.count("iproyal") == 0


class TestResult:
    def test_it_is_plain_json_without_a_secret(self, shops: Shops, vendor: str) -> None:
        result = buy(shops, vendor)().execute(context())
        assert set(result) == RESULT
        assert json.loads(json.dumps(result)) == result
        handles = result["handles"] or {}
        assert all(isinstance(value, str) for value in handles.values()) and bool(handles) is (
            vendor in ("proxyscrape", "proxy6")
        )
        assert all(value is None or isinstance(value, (str, int)) for name, value in result.items() if name != "handles")
        assert {name: result[name] for name in ("order_key", "vendor", "kind", "status", "currency")} == {
            "order_key": KEY,
            "vendor": vendor,
            "kind": "create",
            "status": "delivered",
            "currency": "USD",
        }
        assert Decimal(result["price"]) == Decimal(PRICES[vendor])
        assert result["order_id"] == shops.bought(vendor)[0].order_id
        delivery = shops.hook(vendor).get_delivery(result["order_id"])
        shown = json.dumps(result) + json.dumps(vars(ledger(shops).find(KEY)), default=str)
        secrets = {shops.box.token(vendor), *delivery.secrets()}
        assert secrets and not [secret for secret in secrets if secret in shown]

    def test_the_log_tells_the_story_in_a_few_lines(self, shops: Shops, vendor: str, capsys: pytest.CaptureFixture[str]) -> None:
        shops.box.control({"vendor": vendor, "processing": 0.3})
        result = buy(shops, vendor)().execute(context())
        lines = [
            line for line in capsys.readouterr().out.splitlines() if "[airflow.task" in line and "cannot be called" not in line
        ]
        assert 3 <= len(lines) <= 6
        told = "\n".join(lines)
        assert KEY in told and result["order_id"] in told and "delivered" in told
        assert shops.box.token(vendor) not in told

    def test_the_key_is_in_airflows_task_state(self, shops: Shops) -> None:
        given = context()
        buy(shops, "iproyal")().execute(given)
        assert given["task_state_store"].kept == {"proxyorders_order_key": {"order_key": KEY, "ledger": ledger(shops).identity}}

    def test_the_history_names_the_try(self, shops: Shops) -> None:
        buy(shops, "iproyal")().execute(context(try_number=2))
        assert {(row.actor.dag_id, row.actor.task_id, row.actor.try_number) for row in ledger(shops).history(KEY)} == {
            ("shop", "buy", 2)
        }


class TestOnce:
    def test_every_try_gets_the_same_order(self, shops: Shops, vendor: str) -> None:
        make = buy(shops, vendor)
        results = [make().execute(context(try_number=number)) for number in (1, 2, 3)]
        assert results[0] == results[1] == results[2]
        assert len(shops.bought(vendor)) == 1

    def test_a_try_that_was_replaced_buys_nothing(self, shops: Shops, vendor: str) -> None:
        given = {**context(), "task_state_store": StateStore(replaced=True)}
        with pytest.raises(LedgerError, match="another try may have replaced it; this one buys nothing") as error:
            buy(shops, vendor)().execute(given)
        assert error.value.money == "untouched"
        assert shops.bought(vendor) == []
        assert buy(shops, vendor)().execute(context())["order_id"]

    @pytest.mark.parametrize("missing", [True, False])
    def test_without_a_task_state_the_ledgers_own_fence_serves(self, shops: Shops, missing: bool) -> None:
        given = context()
        if missing:
            del given["task_state_store"]
        else:
            given["task_state_store"] = None
        assert buy(shops, "iproyal")().execute(given)["status"] == "delivered"

    def test_a_template_that_changed_under_its_key_is_a_conflict(self, shops: Shops) -> None:
        buy(shops, "iproyal")().execute(context())
        with pytest.raises(OrderKeyConflict):
            buy(shops, "iproyal", request={**REQUESTS["iproyal"], "quantity": 1})().execute(context(try_number=2))
        assert len(shops.bought("iproyal")) == 1

    def test_a_lost_answer_is_found_in_the_same_try(self, shops: Shops) -> None:
        shops.box.fault("iproyal", "create", when="after", times=1, action="reset")
        result = buy(shops, "iproyal")().execute(context())
        assert [result["order_id"]] == [entry.order_id for entry in shops.bought("iproyal")]

    @pytest.mark.parametrize("options", [{"max_price": "None"}, {"request": "no JSON"}, {"request": {"quantity": 0}}])
    def test_a_refused_retry_tells_of_the_purchase_that_may_have_landed(self, shops: Shops, options: dict[str, Any]) -> None:
        make = buy(shops, "iproyal")
        shops.connect("iproyal", extra={"settle": 3600})
        shops.box.fault("iproyal", "create", when="before", times=1, action="reset")
        with pytest.raises(OutcomeUnknown):
            make().execute(context())
        with pytest.raises(OutcomeUnknown, match="may have taken") as error:
            buy(shops, "iproyal", **options)().execute(context(try_number=2))
        assert (error.value.money, error.value.retry) == ("unknown", "never")


class TestRequest:
    def test_a_template_renders_to_json(self, shops: Shops) -> None:
        result = buy(shops, "iproyal", request=json.dumps(REQUESTS["iproyal"]))().execute(context())
        assert result["status"] == "delivered"

    def test_text_and_object_are_the_same_purchase(self, shops: Shops) -> None:
        first = buy(shops, "iproyal")().execute(context())
        assert buy(shops, "iproyal", request=json.dumps(REQUESTS["iproyal"], indent=2))().execute(context()) == first
        words = {name: str(value) for name, value in REQUESTS["iproyal"].items()}
        assert buy(shops, "iproyal", request=words)().execute(context()) == first
        assert len(shops.bought("iproyal")) == 1

    @pytest.mark.parametrize(
        ("request_", "said"),
        [
            ("{'quantity': 1}", "use the filter `tojson`"),
            ("", "must be an object"),
            ("[1]", "must be an object"),
            ("5", "must be an object"),
            ([1], "must be an object"),
            (None, "must be an object"),
            ({}, "product_id"),
            ({"product_id": 9}, "product_plan_id"),
        ],
    )
    def test_what_is_none_is_refused_before_anything_is_sent(self, shops: Shops, request_: Any, said: str) -> None:
        with pytest.raises(InvalidRequest, match=said) as error:
            buy(shops, "iproyal", request=request_)().execute(context())
        assert (error.value.money, error.value.retry) == ("untouched", "never")
        assert shops.box.book.count("iproyal") == 0

    @pytest.mark.parametrize("price", ["5.99", Decimal("5.99"), 5.99, 5])
    def test_max_price(self, shops: Shops, price: Any) -> None:
        with pytest.raises(CapExceeded):
            buy(shops, "iproyal", max_price=price)().execute(context())
        assert shops.bought("iproyal") == []

    def test_a_fake_cap_does_not_pass_for_one(self, shops: Shops) -> None:
        """A template that renders to nothing sensible must not mean "no cap"."""
        for price in ("None", "null", "unlimited"):
            with pytest.raises(InvalidRequest, match="max_price"):
                buy(shops, "iproyal", max_price=price)().execute(context())
        assert shops.bought("iproyal") == []


class TestDefinition:
    def test_template_fields(self) -> None:
        assert tuple(CreateProxyOrderOperator.template_fields) == ("conn_id", "request", "order_key", "max_price")
        for word in ("proxy", "proxies", "token", "secret", "password"):
            assert not [name for name in CreateProxyOrderOperator.template_fields if word in name], "Airflow would mask it"

    def test_templates_are_rendered(self, shops: Shops) -> None:
        operator = CreateProxyOrderOperator(
            task_id="buy",
            conn_id="{{ vendor }}_default",
            request={"product_id": 9, "quantity": "{{ n }}", "list": ["{{ n }}"]},
            order_key="march-{{ n }}",
            max_price="{{ price }}",
        )
        operator.render_template_fields({"vendor": "iproyal", "n": 2, "price": "7.50"})  # type: ignore[arg-type]
        assert (operator.conn_id, operator.order_key, operator.max_price) == ("iproyal_default", "march-2", "7.50")
        assert operator.request == {"product_id": 9, "quantity": "2", "list": ["2"]}

    def test_defaults_that_the_user_may_change(self) -> None:
        plain = CreateProxyOrderOperator(task_id="t", conn_id="c", request={})
        assert (plain.retries, plain.wait_for_completion, plain.deferrable, plain.on_partial) == (2, True, False, "fail")
        assert plain.retry_policy is not None and plain.retry_delay == timedelta(seconds=15)
        own = CreateProxyOrderOperator(
            task_id="t", conn_id="c", request={}, retries=0, retry_policy=None, retry_delay=timedelta(minutes=5)
        )
        assert (own.retries, own.retry_policy, own.retry_delay) == (0, None, timedelta(minutes=5))

    def test_deferrable_follows_airflows_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow_provider_proxyorders.tasks import order_operator as ordering

        monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
        clear: Any = getattr(ordering.default_deferrable, "cache_clear", lambda: None)
        clear()
        try:
            assert CreateProxyOrderOperator(task_id="t", conn_id="c", request={}).deferrable is True
            assert CreateProxyOrderOperator(task_id="t", conn_id="c", request={}, deferrable=False).deferrable is False
        finally:
            monkeypatch.undo()
            clear()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"on_partial": "maybe"}, "on_partial must be one of fail, accept"),
            ({"poll_interval": 0}, "poll_interval must be"),
            ({"poll_interval": -5}, "poll_interval must be"),
            ({"poll_interval": "soon"}, "poll_interval must be"),
            ({"poll_interval": float("nan")}, "poll_interval must be"),
            ({"timeout": -1}, "timeout must be"),
            ({"timeout": "an hour"}, "timeout must be"),
            ({"timeout": float("inf")}, "timeout must be"),
        ],
    )
    def test_a_mistake_shows_when_the_dag_is_read(self, options: dict[str, Any], said: str) -> None:
        """And not after the purchase, when the task begins to wait."""
        with pytest.raises(ValueError, match=said):
            CreateProxyOrderOperator(task_id="t", conn_id="c", request={}, **options)

    def test_durations_are_seconds_or_timedeltas(self) -> None:
        one = CreateProxyOrderOperator(task_id="t", conn_id="c", request={}, timeout=90, poll_interval=1.5)
        other = CreateProxyOrderOperator(
            task_id="t", conn_id="c", request={}, timeout=timedelta(seconds=90), poll_interval=timedelta(seconds=1.5)
        )
        assert (one.timeout, one.poll_interval) == (other.timeout, other.poll_interval) == (90.0, 1.5)

    def test_making_one_asks_nobody(self, shops: Shops) -> None:
        CreateProxyOrderOperator(task_id="t", conn_id="nowhere", request={"product_id": 9})
        assert shops.looked_up == []


class TestOrderPage:
    def test_the_address_is_left_for_the_button(self, shops: Shops) -> None:
        given = context()
        page = "https://dashboard.example.com/orders/{order_id}"
        task = buy(shops, "iproyal", connection={"extra": {"order_page": page}})()
        result = task.execute(given)
        assert given["ti"].xcoms == {PAGE: page.replace("{order_id}", result["order_id"]), "order_id": result["order_id"]}
        assert [link.name for link in task.operator_extra_links] == ["Purchase", "Order"]

    def test_without_a_setting_nothing_is_left(self, shops: Shops) -> None:
        given = context()
        task = buy(shops, "iproyal")()
        task.execute(given)
        assert [*given["ti"].xcoms] == ["order_id"]
        assert [link.name for link in task.operator_extra_links] == ["Purchase"], "Airflow stores empty links, too"

    @pytest.mark.parametrize("page", ["https://dashboard.example.com/orders/7001", None])
    def test_the_button_leads_there(self, monkeypatch: pytest.MonkeyPatch, page: str | None) -> None:
        """Airflow asks for it when the task has ended, and takes empty text for "no button"."""
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import GetXCom, XComResult

        class Supervisor:
            """What a task's process hears from Airflow when it asks for an XCom."""

            def send(self, message: object) -> XComResult:
                assert isinstance(message, GetXCom) and (message.dag_id, message.task_id) == ("shop", "buy")
                return XComResult(key=message.key, value=page if message.key == PAGE else None)

        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)
        operator = CreateProxyOrderOperator(task_id="buy", conn_id="c", request={})
        assert OrderPageLink().get_link(operator, ti_key=context()["ti"]) == (page or "")

    def test_the_operators_have_the_button(self) -> None:
        operator = CreateProxyOrderOperator(task_id="t", conn_id="c", request={})
        assert [type(link) for link in operator.operator_extra_links] == [PurchaseLink, OrderPageLink]

    def test_the_purchase_has_a_page(self, shops: Shops, vendor: str) -> None:
        """In the result and as a link. A failed task has no result, so its link names the task."""
        shops.patch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/af/")
        page = "https://airflow.example.com/team/af/plugin/proxyorders?"
        operator = buy(shops, vendor, order_key="a key/with:signs&more")()
        address = f"{page}purchase=a%20key%2Fwith%3Asigns%26more"
        ti = context()["ti"]
        assert PurchaseLink().get_link(operator, ti_key=ti).startswith(f"{page}dag_id=shop&run_id=")
        assert operator.execute(context())["ledger_url"] == address
        assert PurchaseLink().get_link(operator, ti_key=ti) == address


class TestWaiting:
    def test_in_the_worker(self, shops: Shops, vendor: str) -> None:
        shops.box.control({"vendor": vendor, "processing": 0.4})
        assert buy(shops, vendor)().execute(context())["status"] == "delivered"

    def test_not_at_all(self, shops: Shops, vendor: str) -> None:
        shops.box.control({"vendor": vendor, "processing": 3600})
        result = buy(shops, vendor, wait_for_completion=False)().execute(context())
        assert (result["status"], result["order_id"]) == ("placed", shops.bought(vendor)[0].order_id)
        looked_before = ROWS[vendor].vendor.capabilities.create_evidence == "search"
        assert shops.box.book.count(vendor, "get") == looked_before

    @pytest.mark.parametrize("timeout", [0, 0.3, timedelta(seconds=0.3)])
    def test_until_the_deadline(self, shops: Shops, timeout: Any) -> None:
        shops.box.control({"vendor": "proxyscrape", "processing": 3600})
        make = buy(shops, "proxyscrape", timeout=timeout)
        with pytest.raises(OrderPending, match="waits for the same order and buys nothing") as error:
            make().execute(context())
        assert (error.value.money, error.value.retry) == ("charged", "later")
        shops.box.advance(3600)
        assert make().execute(context(try_number=2))["status"] == "delivered"
        assert len(shops.bought("proxyscrape")) == 1

    def test_a_key_that_is_revoked_while_we_wait(self, shops: Shops) -> None:
        shops.box.control({"vendor": "iproyal", "processing": 3600})
        shops.box.fault("iproyal", "get", action="status", status=401)
        with pytest.raises(AuthenticationFailed) as error:
            buy(shops, "iproyal")().execute(context())
        assert error.value.retry == "never"
        found = ledger(shops).find(KEY)
        assert found is not None and found.step.value == "placed"


ENDS = {name: {word: text for word, (_, text) in row.bad_ends.items() if text} for name, row in ROWS.items()}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("deferrable", [False, True])
class TestBadEnds:
    @pytest.mark.parametrize(("vendor", "word"), [(vendor, word) for vendor, words in ENDS.items() for word in words])
    def test_each_is_said_with_what_became_of_the_money(self, shops: Shops, vendor: str, word: str, deferrable: bool) -> None:
        shops.box.control([{"vendor": vendor, "processing": 30 if deferrable else 0}, {"vendor": vendor, "next_outcome": word}])
        make = buy(shops, vendor, deferrable=deferrable)
        with pytest.raises(OrderNotUsable) as error:
            run(make, context(), while_deferred=lambda: shops.box.advance(30))
        text = str(error.value)
        assert f"ended as '{word}'" in text and ENDS[vendor][word] in text
        assert "Nothing is bought in its place" in text and "another order_key" in text
        assert (error.value.money, error.value.retry) == ("charged", "never")
        with pytest.raises(OrderNotUsable):
            make().execute(context(try_number=2))
        assert len(shops.bought(vendor)) == 1

    def test_a_partial_order_can_be_accepted(self, shops: Shops, deferrable: bool) -> None:
        shops.box.control(
            [{"vendor": "voodoo", "processing": 30 if deferrable else 0}, {"vendor": "voodoo", "next_outcome": "partial"}]
        )
        make = buy(shops, "voodoo", on_partial="accept", deferrable=deferrable)
        story = run(make, context(), while_deferred=lambda: shops.box.advance(30))
        assert (story.result["status"], story.result["delivered"], story.result["vendor_status"]) == ("partial", 1, "partial")
        assert bool(story.deferred) is deferrable


@pytest.mark.usefixtures("at_once")
class TestDeferred:
    def slow(self, shops: Shops, vendor: str, **options: Any) -> Callable[[], CreateProxyOrderOperator]:
        shops.box.control({"vendor": vendor, "processing": 3600})
        return buy(shops, vendor, deferrable=True, **options)

    def test_an_order_that_is_ready_at_once_is_not_deferred(self, shops: Shops, vendor: str) -> None:
        story = run(buy(shops, vendor, deferrable=True), context())
        assert (story.result["status"], story.deferred) == ("delivered", [])

    def test_the_result_is_the_same_as_in_the_worker(self, shops: Shops, vendor: str) -> None:
        make = self.slow(shops, vendor)
        story = run(make, context(), while_deferred=lambda: shops.box.advance(3600))
        assert len(story.deferred) == len(story.events) == 1
        assert story.events[0]["outcome"] == "final"
        assert story.result == buy(shops, vendor)().execute(context(try_number=2))
        assert len(shops.bought(vendor)) == 1

    def test_what_is_stored_and_logged_holds_ids_and_moments_only(self, shops: Shops, vendor: str) -> None:
        story = run(self.slow(shops, vendor), context(), while_deferred=lambda: shops.box.advance(3600))
        stored = json.dumps([story.deferred[0].trigger.serialize(), story.deferred[0].kwargs, story.events])
        order_id = story.result["order_id"]
        secrets = {shops.box.token(vendor), *shops.hook(vendor).get_delivery(order_id).secrets()}
        assert order_id in stored and not [secret for secret in secrets if secret in stored]
        assert set(story.events[0]) <= {"order_id", "outcome", "reason", "at"}

    def test_the_deadline_leaves_the_order_for_the_next_try(self, shops: Shops) -> None:
        make = self.slow(shops, "proxyscrape", timeout=1.2)
        with pytest.raises(OrderPending):
            run(make, context())
        shops.box.advance(3600)
        assert run(make, context(try_number=2)).result["status"] == "delivered"
        assert len(shops.bought("proxyscrape")) == 1

    def test_a_hint_that_was_early_is_no_proof(self, shops: Shops) -> None:
        """P7: the worker believes the vendor's read and waits on, until the same moment as before."""
        make = self.slow(shops, "iproyal")
        with pytest.raises(TaskDeferred) as first:
            make().execute(context())
        kwargs: Any = first.value.kwargs
        with pytest.raises(TaskDeferred) as second:
            make().execute_complete(context(), {"outcome": "final"}, **kwargs)
        assert second.value.kwargs == kwargs
        assert second.value.trigger.serialize()[1]["deadline"] == first.value.trigger.serialize()[1]["deadline"]

    @pytest.mark.parametrize("outcome", ["deadline", "some day another"])
    def test_any_other_event_ends_the_try_where_the_order_is_pending(self, shops: Shops, outcome: str) -> None:
        make = self.slow(shops, "iproyal")
        with pytest.raises(TaskDeferred) as deferred:
            make().execute(context())
        kwargs: Any = deferred.value.kwargs
        with pytest.raises(OrderPending):
            make().execute_complete(context(), {"outcome": outcome, "reason": "Whatever"}, **kwargs)

    @pytest.mark.parametrize("outcome", ["final", "deadline", "unreadable"])
    def test_any_event_is_good_news_where_the_order_is_ready(self, shops: Shops, outcome: str) -> None:
        make = self.slow(shops, "iproyal")
        with pytest.raises(TaskDeferred) as deferred:
            make().execute(context())
        kwargs: Any = deferred.value.kwargs
        shops.box.advance(3600)
        assert make().execute_complete(context(), {"outcome": outcome}, **kwargs)["status"] == "delivered"

    def test_a_key_that_is_refused_meanwhile_is_said_by_the_worker(self, shops: Shops) -> None:
        make = self.slow(shops, "iproyal")

        def revoke() -> None:
            shops.box.control({"vendor": "iproyal", "token": {"name": "main", "token": "another-token"}})

        with pytest.raises(AuthenticationFailed, match="does not accept the key"):
            run(make, context(), while_deferred=revoke)

    def test_a_vendor_that_is_away_when_the_task_resumes_is_waited_for(self, shops: Shops) -> None:
        make = self.slow(shops, "iproyal")
        with pytest.raises(TaskDeferred) as deferred:
            make().execute(context())
        kwargs: Any = deferred.value.kwargs
        shops.box.fault("iproyal", "get", action="status", status=500)
        operator = make()
        operator.hook.http._sleep = lambda seconds: None
        with pytest.raises(TaskDeferred):
            operator.execute_complete(context(), {"outcome": "final"}, **kwargs)
        with pytest.raises(OrderPending):
            operator.execute_complete(context(), {"outcome": "deadline"}, **kwargs)

    def test_another_ledger_than_before_is_said(self, shops: Shops, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        make = self.slow(shops, "iproyal")
        with pytest.raises(TaskDeferred) as deferred:
            make().execute(context())
        kwargs: Any = deferred.value.kwargs
        monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", f"sqlite:///{tmp_path / 'other.db'}")
        with pytest.raises(LedgerError, match="ledger_url the same on every host"):
            make().execute_complete(context(), {"outcome": "final"}, **kwargs)


def test_the_worker_glances_before_it_defers_and_only_briefly(shops: Shops) -> None:
    """Many orders are ready within two seconds; and Airflow 3.3 loses tasks that are resumed while they are being put aside."""
    shops.box.control({"vendor": "iproyal", "processing": 3600})
    began = time.monotonic()
    with pytest.raises(TaskDeferred):
        buy(shops, "iproyal", deferrable=True, poll_interval=None)().execute(context())
    assert 1.9 < time.monotonic() - began < 60
    assert 1 <= shops.box.book.count("iproyal", "get") <= 3


class TestNothingIsBought:
    """P5 and the rest: what goes wrong before the purchase leaves it unbought, and says so."""

    @pytest.mark.parametrize(
        "wrong",
        [{"password": ""}, {"extra": {"daily_limits": "1"}}, {"host": "nowhere://x"}, {"extra": {"max_order_price": "x"}}],
    )
    def test_a_connection_that_is_wrong(self, shops: Shops, vendor: str, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="Nothing was") as error:
            buy(shops, vendor, connection=wrong)().execute(context())
        assert error.value.retry == "never"
        assert shops.bought(vendor) == []

    def test_a_ledger_that_is_not_shared(self, shops: Shops, vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
        with pytest.raises(LedgerError, match="Nothing was bought"):
            buy(shops, vendor)().execute(context())
        assert shops.box.book.count(vendor) == 0

    def test_a_ledger_that_cannot_be_written(self, shops: Shops, vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", "sqlite:////proc/no-ledger.db")
        with pytest.raises(LedgerError):
            buy(shops, vendor)().execute(context())
        assert shops.box.book.count(vendor) == 0

    def test_an_empty_wallet(self, shops: Shops, vendor: str) -> None:
        shops.box.control({"vendor": vendor, "wallet": {"balance": "0.50"}})
        with pytest.raises(RequestRefused, match="Nothing was bought") as error:
            buy(shops, vendor)().execute(context())
        assert error.value.retry == "never"
        if vendor != "iproyal":  # no page says how it tells that a wallet is empty
            assert isinstance(error.value, InsufficientFunds) and "Top the wallet up" in str(error.value)
        assert shops.bought(vendor) == []

    def test_a_doubtful_purchase_is_never_called_untouched(self, shops: Shops) -> None:
        shops.box.fault("voodoo", "create", when="after", times=1, action="reset")
        with pytest.raises(OutcomeUnknown) as error:
            buy(shops, "voodoo")().execute(context())
        assert error.value.money == "unknown"
        assert "Nothing was bought" not in str(error.value)


def test_a_resumed_task_without_its_ledger_says_that_it_bought_before(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    shops.box.control({"vendor": "voodoo", "processing": 3600})

    def task() -> CreateProxyOrderOperator:
        options: dict[str, Any] = {"deferrable": True, "timeout": 3600, "request": REQUESTS["voodoo"]}
        return CreateProxyOrderOperator(task_id="buy", conn_id=shops.connect("voodoo"), **options)

    with pytest.raises(TaskDeferred) as deferral:
        task().execute(context())
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", "postgresql+psycopg://u:p@127.0.0.1:1/x")
    with pytest.raises(LedgerError, match="This try bought nothing. Its order was bought before that; the next try waits for it"):
        task().execute_complete(context(), {"outcome": "final"}, **(deferral.value.kwargs or {}))
