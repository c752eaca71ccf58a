"""The promises, checked when a run is over: everything settled, every cent accounted for, every step allowed."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from airflow_provider_proxyorders.core.errors import OutcomeUnknown
from airflow_provider_proxyorders.core.ledger.schema import purchases, spending, steps
from airflow_provider_proxyorders.core.ledger.spending import millionths
from airflow_provider_proxyorders.core.model import LIFE, OPEN, TAKEN, Step

from .market import SOMEBODY, Charge
from .verdict import Verdict

Row = dict[str, Any]


class Closing(Verdict):
    """The last look at one run."""

    def finish(self) -> None:
        run = self.run
        for task in run.tasks:
            if not task.done:
                kind = "not finished" if run.scenario.kind == "plain" else "not finished, apart"
                self.broken(kind, f"task {task.wish.name} did not finish: {type(task.error).__name__}: {task.error}")
        with run.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(select(purchases)).mappings()]
            days = {(row.wallet, row.day): row.counted for row in connection.execute(select(spending))}
            past = list(connection.execute(select(steps.c.order_key, steps.c.step).order_by(steps.c.id)))
        self._history(past)
        known = {row["order_key"]: row for row in rows}
        for key in sorted({charge.key for charge in run.market.charges} - {SOMEBODY} - set(known)):
            self.broken("lost", f"{key} was bought and the ledger does not know it")
        for key, row in known.items():
            self._settled(key, row)
        self._limits(rows, days)
        self._alarms(rows)
        keys = {task.key for task in run.tasks if task.key}
        run.stats["intended"] += len(keys)
        run.stats["bought"] += len([charge for charge in run.market.charges if charge.key != SOMEBODY])
        run.stats["asked a person"] += len(run.person.asked)

    def _settled(self, key: str, row: Row) -> None:
        run, charges, step = self.run, self.run.market.of(key), Step(str(row["step"]))
        if step is Step.UNKNOWN and any(
            isinstance(task.error, OutcomeUnknown) and task.done for task in run.tasks if task.key == key
        ):
            run.stats["cannot be repeated within its limits"] += 1
            return
        if step in OPEN:
            self.broken(
                "still open" if run.scenario.kind == "plain" else "still open, apart", f"{key} is {step.value} at the end"
            )
            return
        if step in (Step.INTENDED, Step.REJECTED):
            if row["counted"] and not row["ambiguous"]:
                self.broken("kept reserved", f"{key} is {step.value} and still counts {row['counted']}")
            return
        if len(charges) != 1:
            return  # said already
        charge = charges[0]
        paid = Decimal(charge.entry.amount)
        if charge.entry.vendor == "voodoo" and row["vendor_status"] in ("failed", "partial"):  # the only one that tells a refund
            paid = self.paid(charge)
        adopted = str(row["order_id"]).startswith("subaccount:")  # its price was read from the balance
        if row["counted"] != millionths(paid) and not (adopted and self._disturbed(charge)):
            self.broken("counted wrong", f"{key} counts {row['counted']} millionths, paid was {paid}")

    def _disturbed(self, charge: Charge) -> bool:
        since = self.run.checker.since.get(charge.key, 0.0)
        moved = self.run.market.others_moved(charge.entry.vendor, charge.entry.wallet, since, self.run.clockwork.now)
        return moved or bool(self.run.scenario.lagging) or self.run.scenario.kind != "plain"

    def _alarms(self, rows: list[Row]) -> None:
        run = self.run
        for row in rows:
            reserved = Decimal(str(row["reserved"]))
            if Step(str(row["step"])) not in TAKEN:
                continue
            over = [charge for charge in run.market.of(str(row["order_key"])) if Decimal(charge.entry.amount) > reserved]
            adopted = str(row["order_id"]).startswith("subaccount:")
            if over and not run.frozen(str(row["wallet"])) and run.scenario.kind == "plain" and not adopted:
                self.broken(
                    "no alarm", f"{row['order_key']} was charged {over[0].entry.amount}, above {reserved}, and no freeze"
                )
        if run.scenario.kind == "foreign" and run.scenario.vendor == "iproyal":
            owned = {row["order_id"] for row in rows}
            for charge in run.market.of(SOMEBODY):
                order_id = charge.entry.order_id
                if order_id not in owned and not any(order_id in alarm for alarm in run.alarms):
                    self.broken("unseen", f"no comparison found {order_id}, which somebody else bought")

    def _limits(self, rows: list[Row], days: dict[tuple[str, str], int]) -> None:
        run, caps = self.run, self.run.scenario.caps
        counted: Counter[tuple[str, str]] = Counter()
        paid: Counter[tuple[str, str]] = Counter()
        for row in rows:
            day = (str(row["wallet"]), str(row["counted_on"]))
            counted[day] += int(str(row["counted"]))
            for charge in run.market.of(str(row["order_key"])):
                paid[day] += millionths(self.paid(charge))
                at = datetime.fromtimestamp(charge.at, ZoneInfo(run.scenario.zone)).date().isoformat()
                run.stats["charged on another day than counted"] += at != day[1]
        for day in set(counted) | set(days):
            if counted[day] != days.get(day, 0):
                self.broken("sums differ", f"{day} counts {days.get(day, 0)}, its purchases {counted[day]}")
        for name, limit, length in (("daily_limit", caps.daily_limit, 10), ("monthly_limit", caps.monthly_limit, 7)):
            spent: Counter[tuple[str, str]] = Counter()
            for (wallet, day_), amount in paid.items():
                spent[wallet, day_[:length]] += amount
            for period, amount in spent.items():
                if limit is not None and amount > millionths(limit) and not run.scenario.dear:
                    self.broken(name, f"{period} paid {amount} millionths, the limit is {limit}")

    def _history(self, past: list[tuple[str, str]]) -> None:
        last: dict[str, Step] = {}
        for key, word in past:
            step, before = Step(word), last.get(key)
            if before is None and step is not Step.INTENDED:
                self.broken("history", f"{key} begins as {word}")
            if before is not None and step is not before and step not in LIFE[before]:
                self.broken("history", f"{key} went from {before.value} to {word}")
            last[key] = step
