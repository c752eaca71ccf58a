"""CheckWalletOperator: one alert for a crossing, whoever looks; what failed is repeated; one broken wallet stops no other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException
from sqlalchemy import text

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator
from tests.hooks.connections import REQUESTS, Shops

from .tasks import context


class Post(BaseNotifier):
    """A notifier that keeps what it is told, or fails."""

    template_fields: Sequence[str] = ("message",)

    def __init__(self, box: list[str], message: str = "{{ alert.subject }} | {{ alert.text }}", broken: bool = False):
        super().__init__()
        self.box, self.message, self.broken = box, message, broken

    def notify(self, context: Any) -> None:
        if self.broken:
            raise ConnectionError("the post is closed")
        self.box.append(self.message)


class Wallets:
    """Wallets at the sandbox, and checks of them."""

    def __init__(self, shops: Shops):
        self.shops = shops
        self.told: list[str] = []

    def holds(self, amount: str, vendor: str = "iproyal") -> None:
        self.shops.box.control({"vendor": vendor, "wallet": {"balance": amount}})

    def check(self, vendors: str = "iproyal", *, connect: bool = True, given: Any = None, **options: Any) -> dict[str, Any]:
        names = [f"{vendor}_default" for vendor in vendors.split(",")]
        for vendor in vendors.split(","):
            if connect:
                self.shops.connect(vendor)
        options = {"low_balance": "50", "horizon": None, "notifiers": [Post(self.told)], **options}
        result = CheckWalletOperator(task_id="check", conn_ids=names, **options).execute(given or context())
        assert json.loads(json.dumps(result)) == result
        return result

    def subjects(self) -> list[str]:
        """What was told since the last question."""
        said = [text.partition(" | ")[0] for text in self.told]
        self.told.clear()
        return said


@pytest.fixture
def wallets(shops: Shops) -> Wallets:
    return Wallets(shops)


class TestCrossing:
    @pytest.mark.parametrize("vendor", ["iproyal", "proxyscrape", "voodoo"])
    def test_told_once_into_low_and_once_back(self, wallets: Wallets, vendor: str) -> None:
        name = f"{vendor}:{vendor}_default"
        seen = wallets.check(vendor)[f"{vendor}_default"]
        assert (seen["state"], seen["alert"], seen["balance"], seen["currency"]) == ("ok", None, "1000.00", "USD")
        wallets.holds("49.99", vendor)
        for _ in range(3):
            seen = wallets.check(vendor)[f"{vendor}_default"]
        assert (seen["state"], seen["alert"], seen["balance"]) == ("low", None, "49.99")
        assert wallets.subjects() == [f"Wallet {name} is low: 49.99 USD"]
        wallets.holds("54.99", vendor)  # above the level, and not yet recovered
        assert wallets.check(vendor)[f"{vendor}_default"]["state"] == "low"
        wallets.holds("55", vendor)
        assert wallets.check(vendor)[f"{vendor}_default"]["alert"] == "recovered"
        assert wallets.check(vendor)[f"{vendor}_default"]["alert"] is None
        assert wallets.subjects() == [f"Wallet {name} has recovered: 55.00 USD"]
        wallets.holds("3", vendor)
        assert wallets.check(vendor)[f"{vendor}_default"]["alert"] == "low"
        assert wallets.shops.bought(vendor) == []

    @pytest.mark.parametrize(("balance", "low"), [("0.00", True), ("-3.20", True), ("0.01", False)])
    def test_a_level_of_zero(self, wallets: Wallets, balance: str, low: bool) -> None:
        wallets.holds(balance)
        seen = wallets.check(low_balance="0")["iproyal_default"]
        assert (seen["state"], seen["balance"]) == ("low" if low else "ok", balance)
        assert len(wallets.subjects()) == low

    def test_a_balance_that_wavers_is_one_crossing(self, wallets: Wallets) -> None:
        for balance in ("50.01", "49.99", "50.00", "49.98", "52", "49"):
            wallets.holds(balance)
            wallets.check()
        assert wallets.subjects() == ["Wallet iproyal:iproyal_default is low: 49.99 USD"]

    def test_two_dags_alert_once_and_another_name_is_another_alert(self, wallets: Wallets) -> None:
        wallets.holds("10")
        wallets.check(given=context(task_id="one"))
        wallets.check(given=context(task_id="two"), low_balance="50.00")
        assert len(wallets.subjects()) == 1
        wallets.check(alert_name="the accountant's")
        wallets.check(low_balance="60")
        assert len(wallets.subjects()) == 2

    @pytest.mark.parametrize("name", [{}, {"alert_name": "wallet"}])
    def test_a_check_without_notifiers_takes_no_alert_from_one_with_notifiers(
        self, wallets: Wallets, name: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        wallets.holds("10")
        wallets.check(given=context(dag_id="watching"), notifiers=(), **name)
        assert capsys.readouterr().out.count("ALERT: ") == 1 and wallets.subjects() == []
        wallets.check(given=context(dag_id="alerting"), **name)
        assert wallets.subjects() == ["Wallet iproyal:iproyal_default is low: 10.00 USD"]
        wallets.holds("1000")
        wallets.check(given=context(dag_id="alerting"), **name)
        wallets.check(given=context(dag_id="watching"), notifiers=(), **name)
        assert wallets.subjects() == ["Wallet iproyal:iproyal_default has recovered: 1000.00 USD"]

    def test_two_dags_are_both_heard(self, wallets: Wallets) -> None:
        wallets.holds("10")
        for message in ("to the buyers: {{ alert.subject }}", "to the accountants: {{ alert.subject }}"):
            for _ in range(2):
                wallets.check(given=context(dag_id=message[:8]), notifiers=Post(wallets.told, message))
        assert [said.partition(":")[0] for said in wallets.told] == ["to the buyers", "to the accountants"]

    def test_without_notifiers_the_log_says_it(self, wallets: Wallets, capsys: pytest.CaptureFixture[str]) -> None:
        wallets.holds("10")
        for _ in range(2):
            wallets.check(notifiers=())
        alerts = [line for line in capsys.readouterr().out.splitlines() if "ALERT: " in line]
        assert len(alerts) == 1
        assert "[warning" in alerts[0] and "ALERT: Wallet iproyal:iproyal_default is low: 10.00 USD." in alerts[0]


class TestTelling:
    def test_one_that_nobody_took_is_repeated_by_the_next_try(self, wallets: Wallets) -> None:
        wallets.holds("10")
        with pytest.raises(ProxyOrdersError, match=r"every notifier failed: Post \(ConnectionError\)") as refused:
            wallets.check(notifiers=[Post([], broken=True)])
        assert refused.value.retry == "soon"
        assert wallets.check()["iproyal_default"]["alert"] == "low"
        assert "an earlier try to send this alert failed" in wallets.told[0]
        assert wallets.check()["iproyal_default"]["alert"] is None

    def test_a_low_that_nobody_heard_of_is_said_with_the_recovery(self, wallets: Wallets) -> None:
        wallets.holds("10")
        with pytest.raises(ProxyOrdersError):
            wallets.check(notifiers=[Post([], broken=True)])
        wallets.holds("1000")
        wallets.check()
        assert "The alert of the change before this one reached no notifier" in wallets.told[0]
        assert wallets.subjects() == ["Wallet iproyal:iproyal_default has recovered: 1000.00 USD"]

    def test_one_of_two_took_it(self, wallets: Wallets) -> None:
        wallets.holds("10")
        both = [Post([], broken=True), Post(wallets.told)]
        given = context()
        with pytest.raises(AirflowFailException, match=r"not through every notifier: Wallet .* is low: 10.00 USD: Post"):
            wallets.check(notifiers=both, given=given)
        assert given["ti"].xcoms["return_value"]["iproyal_default"]["alert"] == "low"
        wallets.check(notifiers=both)
        assert len(wallets.subjects()) == 1

    def test_each_alert_renders_the_templates_anew(self, wallets: Wallets) -> None:
        for vendor in ("iproyal", "voodoo"):
            wallets.holds("10", vendor)
        wallets.check("iproyal,voodoo", notifiers=Post(wallets.told, "{{ alert.wallet }} {{ alert.balance }} {{ ti.task_id }}"))
        assert wallets.told == ["iproyal:iproyal_default 10.00 buy", "voodoo:voodoo_default 10.00 buy"]

    def test_ten_at_the_same_moment_tell_once(self, wallets: Wallets) -> None:
        wallets.shops.connect("iproyal")
        for amount, subject in (("10", "is low: 10.00 USD"), ("100", "has recovered: 100.00 USD"), ("5", "is low: 5.00 USD")):
            wallets.holds(amount)
            ready, errors = threading.Barrier(10), []

            def one(ready: threading.Barrier = ready, errors: list[BaseException] = errors) -> None:
                ready.wait()
                try:
                    wallets.check(connect=False)
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=one) for _ in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            assert wallets.subjects() == [f"Wallet iproyal:iproyal_default {subject}"]

    def test_a_worker_that_is_killed_while_it_tells(self, wallets: Wallets) -> None:
        wallets.shops.connect("iproyal")
        wallets.holds("10")
        script = (
            "import os, signal\n"
            "from airflow.sdk import BaseNotifier\n"
            "from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator\n"
            "from tests.tasks.tasks import context\n"
            "class Killed(BaseNotifier):\n"
            "    def notify(self, context):\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "CheckWalletOperator(task_id='t', conn_ids='iproyal_default', low_balance='50', horizon=None,\n"
            "                    notifiers=Killed()).execute(context())\n"
        )
        died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert wallets.check()["iproyal_default"]["alert"] is None, "its time to tell is not over"
        ledger = wallets.shops.hook("iproyal").ledger
        with ledger.engine.begin() as connection:
            connection.execute(text("UPDATE proxyorders_alarms SET held_until = '2026-01-01T00:00:00.000000+00:00'"))
        assert wallets.check()["iproyal_default"]["alert"] == "low"
        assert "an earlier try to send this alert failed" in wallets.told[0]
        assert wallets.check()["iproyal_default"]["alert"] is None


class TestSeveral:
    def test_one_that_cannot_be_read_stops_no_other(self, wallets: Wallets) -> None:
        wallets.shops.connect("proxyscrape", password="wrong-key")
        for vendor in ("iproyal", "voodoo"):
            wallets.shops.connect(vendor)
            wallets.holds("10", vendor)
        given = context()
        with pytest.raises(ProxyOrdersError, match=r"1 of 3 wallets could not be checked: proxyscrape_default: Auth") as refused:
            wallets.check("iproyal,proxyscrape,voodoo", connect=False, given=given)
        assert "The others were checked" in str(refused.value) and "wrong-key" not in str(refused.value)
        assert refused.value.retry == "never", "a retry mends no key"
        kept = given["ti"].xcoms["return_value"]
        assert [kept[f"{vendor}_default"]["state"] for vendor in ("iproyal", "proxyscrape", "voodoo")] == ["low", None, "low"]
        assert len(wallets.subjects()) == 2
        with pytest.raises(ProxyOrdersError):
            wallets.check("iproyal,proxyscrape,voodoo", connect=False)
        assert wallets.subjects() == []

    def test_two_kinds_of_trouble_are_both_said(self, wallets: Wallets) -> None:
        wallets.shops.connect("proxyscrape", password="wrong-key")
        wallets.shops.connect("iproyal")
        wallets.holds("10")
        both = [Post([], broken=True), Post(wallets.told)]
        with pytest.raises(ProxyOrdersError, match=r"1 of 2 wallets .*And the alert went out, but not through every notifier"):
            wallets.check("iproyal,proxyscrape", connect=False, notifiers=both)

    def test_a_connection_that_is_not_there(self, wallets: Wallets) -> None:
        wallets.shops.connect("iproyal")
        wallets.holds("10")
        with pytest.raises(ProxyOrdersError, match="1 of 2 wallets could not be checked: nobody_default"):
            wallets.check("nobody,iproyal", connect=False)
        assert len(wallets.subjects()) == 1

    def test_a_vendor_that_is_down_is_worth_a_retry(self, wallets: Wallets) -> None:
        wallets.shops.connect("iproyal", host="http://127.0.0.1:1")
        with pytest.raises(ProxyOrdersError) as refused:
            wallets.check(connect=False)
        assert refused.value.retry == "soon"

    def test_a_level_for_each(self, wallets: Wallets) -> None:
        for vendor in ("iproyal", "voodoo"):
            wallets.holds("30", vendor)
        seen = wallets.check("iproyal,voodoo", low_balance={"iproyal_default": "25", "voodoo_default": "50"})
        assert [facts["state"] for facts in seen.values()] == ["ok", "low"]

    def test_ids_as_text(self, wallets: Wallets) -> None:
        for vendor in ("iproyal", "voodoo"):
            wallets.shops.connect(vendor)
        operator = CheckWalletOperator(task_id="t", conn_ids="iproyal_default, voodoo_default", low_balance="5", horizon=None)
        assert [*operator.execute(context())] == ["iproyal_default", "voodoo_default"]


class TestRunway:
    def order(self, wallets: Wallets, key: str, days: float) -> str:
        """An order that ends in so many days; it cost 6.00."""
        order = wallets.shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key=key)
        assert order.order_id is not None
        ends = (datetime.now(timezone.utc) + timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S")
        known = {"id": int(order.order_id), "status": "confirmed", **REQUESTS["iproyal"], "expire_date": ends}
        wallets.shops.box.control({"vendor": "iproyal", "order": known})
        return order.order_id

    def test_a_full_wallet_that_does_not_reach_is_low(self, wallets: Wallets) -> None:
        first, second, later = (self.order(wallets, f"k{days}", days) for days in (2, 3, 30))
        wallets.holds("11.99")
        seen = wallets.check(low_balance=None, horizon=timedelta(days=7))["iproyal_default"]
        assert (seen["state"], seen["runway"], seen["renewals_due"], seen["renewals_covered"]) == ("low", "short", 2, 1)
        assert (seen["needed"], seen["short"]) == ("12.00", "0.01")
        assert (seen["first_uncovered_order_id"], seen["first_uncovered_price"]) == (second, "6.00")
        assert [(each["order_id"], each["source"], each["covered"]) for each in seen["renewals"]] == [
            (first, "ledger", "yes"),
            (second, "ledger", "no"),
        ]
        assert later not in json.dumps(seen)
        assert (seen["spent_per_day"], seen["spent_over_days"], seen["days_left"]) == ("18.00", 1, "0.6")
        wallets.holds("12.00")
        assert wallets.check(low_balance=None, horizon="P7D")["iproyal_default"]["alert"] == "recovered"
        name = "Wallet iproyal:iproyal_default"
        assert wallets.subjects() == [f"{name} is low: 11.99 USD", f"{name} has recovered: 12.00 USD"]

    def test_quoted_where_a_request_says_what_to_ask_for(self, wallets: Wallets) -> None:
        self.order(wallets, "k", 2)
        seen = wallets.check(horizon=timedelta(days=7), extension={"product_plan_id": 22})["iproyal_default"]
        assert (seen["runway"], seen["renewals"][0]["source"], seen["renewals"][0]["price"]) == ("covered", "quote", "6.00")

    def test_what_must_remain_does_not_count(self, wallets: Wallets) -> None:
        self.order(wallets, "k", 2)
        wallets.shops.connect("iproyal", extra={"min_balance": "10"})
        wallets.holds("15")
        seen = wallets.check(low_balance=None, horizon=timedelta(days=7), connect=False)["iproyal_default"]
        assert (seen["state"], seen["spendable"]) == ("low", "5.00")
        assert "10.00 of it must remain" in seen["text"]

    def test_low_while_the_list_is_down(self, wallets: Wallets) -> None:
        wallets.holds("10")
        wallets.shops.box.fault("iproyal", "list", action="status", status=404)
        given = context()
        with pytest.raises(ProxyOrdersError, match="1 of 1 wallets could not be checked"):
            wallets.check(horizon=timedelta(days=7), given=given)
        assert wallets.subjects() == ["Wallet iproyal:iproyal_default is low: 10.00 USD"]
        kept = given["ti"].xcoms["return_value"]["iproyal_default"]
        assert (kept["state"], kept["runway"], kept["renewals_due"]) == ("low", None, None)
        assert kept["trouble"]

    def test_unknown_is_not_covered_and_not_low(self, wallets: Wallets) -> None:
        ends = (datetime.now(timezone.utc) + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
        order = {"id": 7001, "status": "confirmed", "quantity": 1, "expire_date": ends}
        wallets.shops.box.control({"vendor": "iproyal", "order": order})
        seen = wallets.check(horizon=timedelta(days=7))["iproyal_default"]
        assert (seen["state"], seen["runway"], seen["renewals_without_price"]) == ("ok", "unknown", 1)
        assert "1 renewal due; 1 of them without a known price." in seen["text"]

    def test_what_nobody_will_ever_know_keeps_no_low_from_being_told(self, wallets: Wallets) -> None:
        """An order that was bought elsewhere has no price; it must not keep the wallet low for good."""
        ends = (datetime.now(timezone.utc) + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
        order = {"id": 7001, "status": "confirmed", "quantity": 1, "expire_date": ends}
        wallets.shops.box.control({"vendor": "iproyal", "order": order})
        for balance in ("40", "500", "10"):
            wallets.holds(balance)
            wallets.check(horizon="P7D")
        assert [subject.rpartition(" is ")[2].rpartition(" has ")[2] for subject in wallets.subjects()] == [
            "low: 40.00 USD",
            "recovered: 500.00 USD",
            "low: 10.00 USD",
        ]

    def test_what_cannot_be_told_right_now_is_no_recovery(self, wallets: Wallets) -> None:
        ends = (datetime.now(timezone.utc) + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
        order = {"id": 7001, "status": "confirmed", "product_id": 9, "quantity": 2, "expire_date": ends}
        wallets.shops.box.control({"vendor": "iproyal", "order": order})
        wallets.holds("5.99")
        asked = {"low_balance": None, "horizon": "P7D", "extension": {"product_plan_id": 22}}
        assert wallets.check(**asked)["iproyal_default"]["runway"] == "short"
        wallets.shops.box.fault("iproyal", "quote", action="status", status=500, times=50)
        seen = wallets.check(**asked)["iproyal_default"]
        assert (seen["runway"], seen["state"], seen["alert"]) == ("unknown", "low", None)

    def test_an_order_that_does_not_tell_its_end_is_not_covered(self, wallets: Wallets) -> None:
        wallets.shops.hook("voodoo").create_order(REQUESTS["voodoo"], order_key="k")
        seen = wallets.check("voodoo", horizon=timedelta(days=7))["voodoo_default"]
        assert (seen["state"], seen["runway"], seen["orders_without_end"]) == ("ok", "unknown", 1)
        assert "1 orders have an unknown end (see term)" in seen["text"]
        seen = wallets.check("voodoo", horizon=timedelta(days=7), term="P30D")["voodoo_default"]
        assert (seen["runway"], seen["orders_without_end"]) == ("covered", 0)


class TestAsked:
    def test_it_can_fail_the_task(self, wallets: Wallets) -> None:
        wallets.holds("10")
        given = context()
        for _ in range(2):
            with pytest.raises(AirflowFailException, match="wallet iproyal:iproyal_default is low: Balance 10.00 USD"):
                wallets.check(fail_when_low=True, given=given)
        assert len(wallets.subjects()) == 1
        assert given["ti"].xcoms["return_value"]["iproyal_default"]["state"] == "low"

    def test_another_currency_is_refused(self, wallets: Wallets) -> None:
        wallets.shops.connect("proxyscrape", extra={"currency": "EUR"})
        with pytest.raises(ProxyOrdersError, match="its currency is EUR: the levels cannot be compared"):
            wallets.check("proxyscrape", connect=False)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"low_balance": None, "horizon": None}, "low_balance is needed where horizon is empty"),
            ({"low_balance": [5]}, "low_balance must be an amount"),
            ({"low_balance": "fifty"}, "low_balance must be an amount"),
            ({"low_balance": {"a": "x"}}, "low_balance must be an amount"),
            ({"low_balance": "5", "recovered_at": True}, "recovered_at must be an amount"),
        ],
    )
    def test_a_mistake_shows_when_the_dag_is_read(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            CheckWalletOperator(task_id="t", conn_ids="c", **options)

    def test_levels_in_the_wrong_order(self, wallets: Wallets) -> None:
        with pytest.raises(ProxyOrdersError, match="recovered_at 40 must not be below low_balance 50"):
            wallets.check(recovered_at="40")

    def test_what_templates_render_to(self, wallets: Wallets) -> None:
        wallets.holds("10")
        wallets.shops.connect("iproyal")
        operator = CheckWalletOperator(
            task_id="t",
            conn_ids="{{ params.c | tojson }}",
            low_balance="{{ params.low }}",
            recovered_at="{{ params.none or '' }}",
            horizon="{{ params.none }}",
            extension="{{ params.none | tojson }}",
        )
        given: Any = {**context(), "params": {"c": ["iproyal_default"], "low": "50.00", "none": None}}
        operator.render_template_fields(given)
        assert operator.execute(given)["iproyal_default"]["state"] == "low"

    def test_no_connection_at_all(self, wallets: Wallets) -> None:
        with pytest.raises(ProxyOrdersError, match="conn_ids is empty: name one connection"):
            CheckWalletOperator(task_id="t", conn_ids="", low_balance="5").execute(context())
