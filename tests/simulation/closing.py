"""The promises, checked when a run is over: everything settled, every cent accounted for, every step allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from airflow_provider_proxyorders.domain.errors import CapExceeded
from airflow_provider_proxyorders.domain.model import LIFE, TAKEN, UNRESOLVED, Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.schema import purchases, spending, steps
from airflow_provider_proxyorders.ledger.spending import millionths
from tests.vendors import ROWS

from .market import SOMEBODY, Charge
from .verdict import TWIN, Verdict

#: One purchase as the ledger holds it.
Row = dict[str, Any]


class Closing(Verdict):
    """The last look at one run."""

    def finish(self) -> None:
        run = self.run
        with run.engine.connect() as connection:
            rows: dict[str, Row] = {row["order_key"]: dict(row) for row in connection.execute(select(purchases)).mappings()}
            days = {(row.wallet, row.day): row.counted for row in connection.execute(select(spending))}
            past = [(row.order_key, Step(row.step)) for row in connection.execute(select(steps).order_by(steps.c.id))]
        for task in run.tasks:
            if not task.done:
                self.broken("not finished", f"task {task.wish.name}: {type(task.error).__name__}: {task.error}")
        for key in sorted({charge.key for charge in run.market.charges} - {SOMEBODY} - set(rows)):
            self.broken("lost", f"{key} was bought and the ledger does not know it")
        for key, row in rows.items():
            self._settled(key, row, Step(row["step"]))
            self._alarmed(key, row)
        self._owned_once(rows.values())
        self._seen(rows.values())
        self._sums(rows.values(), days)
        self._limits(rows)
        self._history(past)
        keys = {task.key for task in run.tasks if task.key}
        run.stats["intended"] += len(keys)
        run.stats["bought"] += len([charge for charge in run.market.charges if charge.key != SOMEBODY])
        run.stats["asked a person"] += len(run.person.asked)

    def _settled(self, key: str, row: Row, step: Step) -> None:
        """Every purchase has come to an end that is true, and counts for what was paid."""
        run, charges = self.run, self.run.market.of(key)
        if step is Step.UNKNOWN and any(
            task.key == key and isinstance(task.error and task.error.__cause__, CapExceeded) for task in run.tasks
        ):
            run.stats["cannot be repeated within its limits"] += 1
        elif step in UNRESOLVED:
            self.broken("still open", f"{key} is {step.value} at the end")
        elif step in (Step.INTENDED, Step.REJECTED):
            self._found_later(key, charges)
            if (
                row["counted"] and not row["maybe_sent"] and step is Step.INTENDED
            ):  # a refusal in doubt counts until room is needed
                self.broken("kept reserved", f"{key} is {step.value} and still counts {row['counted']}")
        elif run.scenario.unattended:
            return  # nobody read what it is and what it cost
        elif not any(run.market.is_of(row["order_id"], charge) for charge in charges):
            bought = [charge.entry.order_id for charge in charges]
            self.broken(
                TWIN if key in run.checker.swapped else "adopted another",
                f"{key} is {row['order_id']} in the ledger at the end, bought was {bought}",
            )
        elif len(charges) == 1 and not self._guessed(row, charges[0]) and not run.scenario.weather.overcharged:
            # A refund counts where the vendor names it, which only one does.
            reported = charges[0].entry.vendor == "voodoo" and row["vendor_status"] in ("failed", "partial")
            paid = self.paid(charges[0]) if reported else Decimal(charges[0].entry.amount)
            asked = len(Ledger(run.engine).questions(order_key=key)) * Decimal(row["reserved"])  # a question counts beside it
            if row["counted"] != millionths(paid + asked):
                self.broken("counted wrong", f"{key} counts {row['counted']} millionths, paid was {paid}")

    def _found_later(self, key: str, charges: list[Charge]) -> None:
        """A copy that was refused while reads lagged is found by a later look."""
        if key in self.run.checker.behind and charges and not self.given_back(charges):
            self.broken("lost", f"{key} was refused while reads lagged, and no later look found {charges[0].entry.order_id}")

    def _guessed(self, row: Row, charge: Charge) -> bool:
        """Whether the price was read from a balance that others moved as well, or is not known, so that the cap counts.

        Beside an answer that names an order which no read shows, the wallet's next purchase goes on, at an unknown price.
        """
        run, entry = self.run, charge.entry
        unquoted = row["kind"] == "extend" and not ROWS[entry.vendor].vendor.capabilities.quote_extend
        if unquoted and row["price"] is None and row["counted"] == millionths(Decimal(row["reserved"])):
            return True
        if not unquoted and not str(row["order_id"]).startswith("subaccount:"):
            return False
        since = run.checker.since.get(charge.key, 0.0)
        if run.scenario.weather.misnamed and any(
            other.key != charge.key and (other.entry.wallet, other.entry.vendor) == (entry.wallet, entry.vendor)
            for other in run.market.charges
        ):
            return True
        return bool(run.scenario.lagging) or run.market.others_moved(entry.vendor, entry.wallet, since, run.clockwork.now)

    def _alarmed(self, key: str, row: Row) -> None:
        """A charge above its cap has frozen the wallet."""
        run = self.run
        if run.scenario.kind != "plain" or Step(row["step"]) not in TAKEN or str(row["order_id"]).startswith("subaccount:"):
            return
        for charge in run.market.of(key):
            entry = charge.entry
            if Decimal(entry.amount) <= Decimal(row["reserved"]) or run.frozen(row["wallet"]):
                continue
            if row["price"] != entry.amount and run.market.others_moved(entry.vendor, entry.wallet, charge.at, run.clockwork.now):
                run.stats["a charge above its quote was hidden by a top-up"] += 1  # the order shows no price
            else:
                self.broken("no alarm", f"{key} was charged {charge.entry.amount}, above {row['reserved']}, and no freeze")

    def _owned_once(self, rows: Iterable[Row]) -> None:
        """No order belongs to two purchases."""
        owners: dict[str, str] = {}
        for row in rows:
            if row["kind"] != "create" or Step(row["step"]) not in TAKEN:
                continue
            handles = self.run.market.state.vendors[row["vendor"]].handles()
            order_id = handles.get(str(row["order_id"]).rpartition(":")[2], row["order_id"])
            other = owners.setdefault(f"{row['vendor']} {order_id}", row["order_key"])
            if other != row["order_key"]:
                self.broken("owned twice", f"{order_id} belongs to {other} and to {row['order_key']}")

    def _seen(self, rows: Iterable[Row]) -> None:
        """What somebody else bought was found, where the vendor lists orders."""
        run = self.run
        if not ROWS[run.scenario.vendor].vendor.capabilities.list_orders:
            return
        owned = {row["order_id"] for row in rows}
        for charge in run.market.of(SOMEBODY):
            order_id = charge.entry.order_id
            if order_id not in owned and not any(order_id in alarm for alarm in run.alarms):
                self.broken("unseen", f"no comparison found {order_id}, which somebody else bought")

    def _sums(self, rows: Iterable[Row], days: dict[tuple[str, str], int]) -> None:
        counted: Counter[tuple[str, str]] = Counter()
        for row in rows:
            counted[row["wallet"], row["counted_on"]] += row["counted"]
        for day in sorted(set(counted) | set(days)):
            if counted[day] != days.get(day, 0):
                self.broken("sums differ", f"{day} counts {days.get(day, 0)}, its purchases {counted[day]}")

    def _limits(self, rows: dict[str, Row]) -> None:
        """No day and no month has paid more than its limit."""
        run, caps = self.run, self.run.scenario.caps
        paid: Counter[tuple[str, str]] = Counter()
        for charge in run.market.charges:
            if charge.key in rows:
                wallet, day = rows[charge.key]["wallet"], rows[charge.key]["counted_on"]
                paid[wallet, day] += millionths(self.paid(charge))
                paid[wallet, day[:7]] += millionths(self.paid(charge))
                at = datetime.fromtimestamp(charge.at, ZoneInfo(run.scenario.zone)).date().isoformat()
                run.stats["charged on another day than counted"] += at != day
        for (wallet, period), amount in paid.items():
            name, limit = ("daily_limit", caps.daily_limit) if len(period) == 10 else ("monthly_limit", caps.monthly_limit)
            if limit is not None and amount > millionths(limit) and not run.scenario.surprising:
                self.broken(name, f"{wallet} paid {amount} millionths in {period}, the limit is {limit}")

    def _history(self, past: Sequence[tuple[str, Step]]) -> None:
        last: dict[str, Step] = {}
        for key, step in past:
            before = last.get(key)
            if before is None and step is not Step.INTENDED:
                self.broken("history", f"{key} begins as {step.value}")
            if before is not None and step is not before and step not in LIFE[before]:
                self.broken("history", f"{key} went from {before.value} to {step.value}")
            last[key] = step
