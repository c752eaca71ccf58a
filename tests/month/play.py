"""Plays a month: buys the orders, then lets day after day pass at the vendor and runs the DAGs of each in a real Airflow.

Two rules: nothing here judges, it writes down what was seen; and what a day's runs saw is written down before the next day.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.sandbox.iproyal.catalogue import Plan as Sold
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow, RestError
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors import vendor_class

from .plan import DAY, Plan, Wanted

VENDOR, CONN_ID, NAME, TOKEN = "iproyal", "month_wallet", "month", "token-of-the-wallet-of-the-month"
WALLET = f"{VENDOR}:{CONN_ID}"
#: the project's DAG, and its copy as a user would make one
FIRST, SECOND = "scheduled_renewal", "second_renewal"
CHECKS = ("month_check", "month_check_again")


@dataclass(frozen=True)
class Run:
    """One run of a renewal DAG as it ended.

    :param report: what its last task handed on; None where it handed on nothing.
    """

    dag_id: str
    run_id: str
    state: str
    report: Mapping[str, Any] | None


@dataclass(frozen=True)
class Running:
    """An order at the vendor, as it was after a day's runs; ``ends`` by the vendor's clock."""

    order_id: str
    ends: datetime
    price: Decimal
    auto: bool


@dataclass
class Day:
    """A day after its runs.

    :param now: the vendor's time.
    :param balance: what the wallet holds at the vendor.
    :param running: the orders that run at the vendor.
    :param renewals: none on a day that was missed.
    :param checks: what each check handed on.
    """

    number: int
    now: datetime
    balance: Decimal
    running: list[Running]
    renewals: list[Run]
    checks: list[Mapping[str, Any]]


@dataclass
class Story:
    """All that was seen.

    :param began: the vendor's time at the beginning of the month.
    :param orders: order id -> as it was planned.
    :param started: how many entries the book had when the month began.
    :param topped_up: when, by the vendor's clock.
    :param told: lines that the notifier wrote.
    """

    plan: Plan
    began: datetime
    orders: dict[str, Wanted] = field(default_factory=dict)
    started: int = 0
    topped_up: datetime | None = None
    days: list[Day] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


class Month:
    """One month in one Airflow and one sandbox.

    :param folder: for the file that alerts are written to.
    :param project: the checkout, for its DAGs.
    """

    def __init__(
        self,
        plan: Plan,
        airflow: LocalAirflow,
        box: Sandbox,
        ledger: Ledger,
        folder: Path,
        project: Path,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.plan, self.airflow, self.box, self.ledger, self.say = plan, airflow, box, ledger, say
        self.alerts = folder / "alerts.txt"
        self.alerts.touch()
        dags = Path(airflow.env["AIRFLOW__CORE__DAGS_FOLDER"])
        original = (project / "dags" / f"{FIRST}.py").read_text()
        for name, text in {
            FIRST: original,
            SECOND: original.replace(f'"{FIRST}"', f'"{SECOND}"'),
            "checking": (Path(__file__).parent / "dags" / "checking.py").read_text(),
        }.items():
            file = dags / f"{name}.py"
            if not file.exists():
                file.write_text(text)
        airflow.api.add_connection(
            CONN_ID,
            {
                "conn_type": VENDOR,
                "host": box.url(VENDOR),
                "password": TOKEN,
                "extra": {"max_order_price": "100.00", "currency": "USD", "settle": 2},  # days pass in seconds here
            },
        )

    def play(self) -> Story:
        story = self._buy()
        size = self.plan.size
        for day in range(size.days):
            self._advance_to(story.began + day * DAY)
            if day == size.top_up_on:
                self._holds(self._balance() + self.plan.top_up)
                story.topped_up = self.box.clock.now()
            renewals = self._renew(story, day) if self.plan.runs(day) else []
            checks = self._check(day)
            story.days.append(
                Day(day, self.box.clock.now(), self._balance(), self._running(story), renewals, checks),
            )
            self._tell(story.days[-1])
        story.told = self.alerts.read_text().splitlines()
        self.buyer.http.close()
        return story

    # -- before the month ------------------------------------------------------------------------------------------

    def _buy(self) -> Story:
        """Buy every order at its time through the buyer, as an earlier month's tasks did."""
        self.box.control(
            [
                {"vendor": VENDOR, "token": {"name": NAME, "token": TOKEN, "balance": "100000"}},
                {"vendor": VENDOR, "processing": 0},
            ]
        )
        with self.box.state.lock:
            product = self._shop.products[9]
            for term in self.plan.size.terms:
                product.plans[term.plan_id] = Sold(term.plan_id, f"{term.days} Days", term.days, term.price)
        caps = Caps(max_order_price=Decimal(100))
        account = Account(VENDOR, CONN_ID, WALLET, self.box.url(VENDOR), TOKEN, caps=caps, currency="USD", settings={"settle": 2})
        story = Story(self.plan, self.box.clock.now() + self.plan.orders[0].age)
        self.buyer = buyer = Buyer(vendor_class(VENDOR)(account), Http(account), self.ledger)
        for number, wanted in enumerate(self.plan.orders):
            self._advance_to(story.began - wanted.age)
            body = {"product_id": 9, "product_plan_id": wanted.term.plan_id, "product_location_id": 77}
            body |= {"quantity": wanted.quantity, "auto_extend": wanted.auto}
            order = buyer.refresh(buyer.place(body, order_key=f"month/{number}"))
            assert order.order_id is not None
            with self.box.state.lock:
                self._shop.orders[int(order.order_id)].note = wanted.term.name
            story.orders[order.order_id] = wanted
        self._advance_to(story.began)
        self._holds(self.plan.balance)
        story.started = len(self.box.book.charges(VENDOR))
        self.say(f"{len(story.orders)} orders are bought; the month begins with {self.plan.balance} in the wallet")
        return story

    # -- one day ---------------------------------------------------------------------------------------------------

    def _renew(self, story: Story, day: int) -> list[Run]:
        """Both renewal DAGs at the same time, each once for every term."""
        ends = [self._renewal(dag_id, term.name, term.plan_id) for term in self.plan.size.terms for dag_id in (FIRST, SECOND)]
        runs = [self._ended(dag_id, run_id) for dag_id, run_id in ends]
        if day == self.plan.size.again:
            busy = next(run for run in runs if run.report and run.report["extended"])
            self.airflow.api.clear(busy.dag_id, busy.run_id, "extend")
            runs[runs.index(busy)] = self._ended(busy.dag_id, busy.run_id)
            runs += [self._ended(*self._renewal(FIRST, term.name, term.plan_id)) for term in self.plan.size.terms[:1]]
        return runs

    def _renewal(self, dag_id: str, note: str, plan_id: int) -> tuple[str, str]:
        conf = {
            "conn_id": CONN_ID,
            "within": self._ahead(self.plan.size.horizon),
            "request": {"product_plan_id": plan_id},
            "max_price": "100.00",
            "approve_above": None,
            "note": note,
        }
        return dag_id, self._trigger(dag_id, conf)

    def _trigger(self, dag_id: str, conf: Mapping[str, Any], within: float = 120) -> str:
        """Start a run; a busy Airflow calls a DAG stale for a moment when reading its file again takes long."""
        deadline = time.monotonic() + within
        while True:
            try:
                return self.airflow.trigger(dag_id, conf)
            except RestError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
            time.sleep(2)

    def _ended(self, dag_id: str, run_id: str) -> Run:
        state = self.airflow.wait(dag_id, run_id, timeout=900)
        return Run(dag_id, run_id, state, self.airflow.xcom(dag_id, run_id, "report"))

    def _check(self, day: int) -> list[Mapping[str, Any]]:
        conf = {
            "conn_id": CONN_ID,
            "path": str(self.alerts),
            "day": day,
            "low": f"{self.plan.low:f}",
            "recovered": f"{self.plan.recovered:f}",
            "horizon": self._ahead(self.plan.size.look_ahead),
        }
        checks: list[Mapping[str, Any]] = []
        for dag_id, run_id in [(dag_id, self._trigger(dag_id, conf)) for dag_id in CHECKS]:
            state = self.airflow.wait(dag_id, run_id, timeout=300)
            xcom = self.airflow.xcom(dag_id, run_id, "check") or {}
            checks.append({"run": state, **xcom.get(CONN_ID, {})})
        return checks

    # -- the vendor ------------------------------------------------------------------------------------------------

    @property
    def _shop(self) -> Any:
        return self.box.state.vendors[VENDOR]

    def _balance(self) -> Decimal:
        with self.box.state.lock:
            balance: Decimal = self._shop.wallet(NAME).balance
        return balance

    def _holds(self, amount: Decimal) -> None:
        self.box.control({"vendor": VENDOR, "wallet": {"name": NAME, "balance": f"{amount:f}"}})

    def _running(self, story: Story) -> list[Running]:
        with self.box.state.lock:
            orders: list[Any] = [self._shop.orders[int(order_id)] for order_id in story.orders]
            return [
                Running(
                    str(order.order_id), _moment(order.expires), story.orders[str(order.order_id)].price, bool(order.auto_extend)
                )
                for order in orders
                if order.status == "confirmed" and order.expires is not None
            ]

    def _advance_to(self, moment: datetime) -> None:
        ahead = (moment - self.box.clock.now()).total_seconds()
        if ahead > 0:
            self.box.advance(ahead)

    def _ahead(self, days: int) -> str:
        """So many days from the vendor's now, told from this machine's now."""
        ahead = self.box.clock.now() - datetime.now(timezone.utc) + timedelta(days=days)
        return f"PT{ahead.total_seconds():.0f}S"

    def _tell(self, day: Day) -> None:
        reports = [run.report for run in day.renewals if run.report]
        extended = sum(len(report["extended"]) for report in reports)
        failed = {row["order_id"] for report in reports for row in report["errors"]}
        what = f"{extended} extended, {len(failed)} not paid" if day.renewals else "missed"
        self.say(f"{time.strftime('%H:%M:%S')} day {day.number:>2}: {what}, wallet {day.balance}, {day.checks[0].get('state')}")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
