"""The month's verdict finds what it is there to find: a week in which everything goes well, and one for each thing that does not.

The renewals here are no DAG: a few lines pay what is due through the same buyer, and commit one sin each.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import RequestRefused
from airflow_provider_proxyorders.domain.levels import Levels
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.ledger.alarms import Alarms
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.wallet.check import check_wallet
from tests.ledgers import sqlite_ledger

from .books import wrong
from .plan import DAY, WEEK, Plan
from .play import FIRST, SECOND, WALLET, Day, Month, Run, Running, Story

SINS = {
    "none": "",
    "pays one order twice": "twice, or too early",
    "pays for what the vendor renews": "was paid for as extend, auto-extending True",
    "forgets an order": "is due and unpaid",
    "forgets a line of its report": "booked and not reported",
    "is a cent off": "its lines say",
    "calls a paid order failed": "failed, unpaid are",
    "alerts twice": "people were told",
    "reads the balance wrong": "a check says otherwise than the vendor",
    "takes money for nothing": "the wallet holds",
}


class Rehearsal(Month):
    """A month without Airflow.

    :param sin: what it does wrong.
    """

    def __init__(self, plan: Plan, box: Sandbox, folder: Path, sin: str):
        self.plan, self.box, self.sin, self.say = plan, box, sin, lambda text: None
        self.ledger = open_ledger(sqlite_ledger(folder))
        self.alerts = folder / "alerts.txt"
        self.alerts.touch()
        self.sinned = False

    def once(self, sin: str) -> bool:
        now = self.sin == sin and not self.sinned
        self.sinned |= now
        return now

    def _renew(self, story: Story, day: int) -> list[Run]:
        if self.once("takes money for nothing"):
            self._holds(self._balance() - 1)
        runs = [self._run(story, dag_id) for dag_id in (FIRST, SECOND)]
        if runs[0].report and not runs[0].report["skipped"]:  # the second schedule came after the first one
            runs[0].report["skipped"].append("one that was found before it was paid")  # type: ignore[attr-defined]
        return runs

    def _run(self, story: Story, dag_id: str) -> Run:
        report: dict[str, Any] = {"extended": [], "errors": [], "skipped": [], "short": [], "postponed": [], "cost": {}}
        until = self.box.clock.now() + self.plan.size.horizon * DAY
        running = sorted(self._running(story), key=lambda order: order.ends)
        for order in running:
            if order.auto and self.once("pays for what the vendor renews"):
                self._pay(story, order, "sin")
            if (
                not order.auto
                and order.ends <= until
                and not (self.sin == "forgets an order" and order.order_id == running[0].order_id)
            ):
                self._extend(story, order, report)
        if report["extended"] and self.once("pays one order twice"):
            paid = next(order for order in running if order.order_id == report["extended"][0]["order_id"])
            self._pay(story, paid, "sin")
        if report["extended"] and self.once("forgets a line of its report"):
            report["extended"].pop()
        cost = sum((Decimal(row["price"]) for row in report["extended"]), Decimal(0))
        report["cost"] = {"USD": f"{cost + (Decimal('0.01') if self.once('is a cent off') else 0)}"}
        if report["extended"] and self.once("calls a paid order failed"):
            report["errors"].append({"order_id": report["extended"][0]["order_id"]})
        return Run(dag_id, "run", "failed" if report["errors"] else "success", report)

    def _extend(self, story: Story, order: Running, report: dict[str, Any]) -> None:
        try:
            self._pay(story, order, order.ends.isoformat())
            report["extended"].append({"order_id": order.order_id, "price": f"{order.price}"})
        except RequestRefused:
            report["errors"].append({"order_id": order.order_id})

    def _pay(self, story: Story, order: Running, what: str) -> None:
        request = {"product_plan_id": story.orders[order.order_id].term.plan_id}
        self.buyer.refresh(self.buyer.extend(order.order_id, request, order_key=f"extend/{order.order_id}/{what}"))

    def _check(self, day: int) -> list[Mapping[str, Any]]:
        ahead = timedelta(seconds=float(self._ahead(self.plan.size.look_ahead)[2:-1]))
        check = check_wallet(self.buyer, horizon=ahead)
        alarms = Alarms(self.ledger.engine)
        state = check.judge(Levels.of(self.plan.low, self.plan.recovered), with_runway=True)
        crossing = alarms.observe(WALLET, "month", state)
        facts: dict[str, Any] = {**check.facts(), "run": "success", "alert": crossing.state if crossing else None}
        if crossing is not None:
            alarms.confirm(crossing)
            lines = 2 if self.once("alerts twice") else 1
            with self.alerts.open("a") as file:
                file.write(f"{day} {crossing.state} {check.balance.amount:.2f}\n" * lines)
        alarm = alarms.find(WALLET, "month")
        facts["state"] = alarm.state if alarm else None
        if self.once("reads the balance wrong"):
            facts["balance"] = "1000000.00"
        return [facts]


@pytest.mark.parametrize(("sin", "finds"), SINS.items())
def test_the_verdict(sin: str, finds: str, tmp_path: Path) -> None:
    with Sandbox.start(processing=0, speed=0) as box:
        month = Rehearsal(Plan.of(WEEK), box, tmp_path, sin)
        story = month.play()
        broken = wrong(story, box, month.ledger)
    days: list[Day] = story.days
    assert len(days) == WEEK.days
    if finds:
        assert month.sinned or sin == "forgets an order"
        assert any(finds in line for line in broken), broken
    else:
        assert broken == []
