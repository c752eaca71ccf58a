"""The promises, checked against the vendor's book while a run goes on and at its end.

Two rules: what was bought is read in the market, never in the ledger; and what a seed's kind excuses is counted, not
forgotten.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import RowMapping, bindparam, select

from airflow_provider_proxyorders.core.errors import (
    CapExceeded,
    OrderKeyConflict,
    OrderNotUsable,
    OutcomeUnknown,
    ProxyOrdersError,
)
from airflow_provider_proxyorders.core.ledger.schema import purchases, spending, steps
from airflow_provider_proxyorders.core.ledger.spending import millionths
from airflow_provider_proxyorders.core.model import LIFE, OPEN, TAKEN, Order, Step
from airflow_provider_proxyorders.core.reconcile import Findings
from airflow_provider_proxyorders.sandbox.book import Entry
from airflow_provider_proxyorders.sandbox.proxyscrape import ProxyScrapeShop

from .clockwork import Worker
from .market import SOMEBODY, Charge

if TYPE_CHECKING:
    from .books import Books
    from .run import Run
    from .tasks import Task


_ROW = select(purchases.c.step, purchases.c.ambiguous, purchases.c.counted).where(purchases.c.order_key == bindparam("key"))


class Checker:
    """Watches one run."""

    def __init__(self, run: Run):
        self.run = run
        #: unix seconds of the intent before each key's last claim: from then on evidence was read
        self._since: dict[str, float] = {}
        self._handed: set[Worker] = set()

    # -- while it goes on ------------------------------------------------------------------------------------------

    def charged(self, charge: Charge) -> None:
        """A vendor has taken a purchase."""
        run, key = self.run, charge.key
        if key == SOMEBODY:
            return
        run.clockwork.note("VENDOR", f"takes {charge.entry.kind} {charge.entry.order_id} for {key}, {charge.entry.amount}")
        before = [other for other in run.market.of(key) if other is not charge]
        if before:
            self._broken(
                self._excused(before) or "bought twice",
                f"{key} was bought again: {[other.entry.order_id for other in before]}, {charge.entry.order_id}",
            )
        row = self._row(key)
        step = Step(row["step"]) if row else None
        if row is None or not (step in OPEN or (step is Step.INTENDED and row["ambiguous"])):
            self._broken("taken unseen", f"{key} was taken while the ledger says {step.value if step else 'nothing'}")
        least = run.scenario.caps.min_balance
        if least is not None and charge.left < least and not run.scenario.lagging and not run.scenario.dear:
            self._broken("min_balance", f"{key} left {charge.left} in the wallet, the minimum is {least}")

    def wrote(self, worker: Worker, name: str, order: Any, arguments: Any) -> None:
        """The ledger has committed something, in most cases a step of an order."""
        run = self.run
        if name == "freeze":
            worker.say(f"ledger freeze: {arguments}")
            run.alarms.append(str(arguments))
        if not isinstance(order, Order):
            return
        worker.say(f"ledger {name}: {order.order_key} {order.step.value} (fence {order.fence}) {order.order_id or ''}")
        if name == "claim":
            if run.frozen(order.wallet):
                self._broken("sent though frozen", f"{order.order_key} was sent from {order.wallet}, which is frozen")
            ledger: Books = run.books[worker]
            self._since[order.order_key] = ledger.intended_at
        charges = run.market.of(order.order_key)
        if order.step in TAKEN:
            if not charges:
                kind = "adopted its twin, apart" if self._twin(order) else "adopted another"
                self._broken(kind, f"{order.order_key} is {order.step.value} as {order.order_id}, but was not bought")
            elif order.kind == "create" and not any(run.market.is_of(order.order_id, charge) for charge in charges):
                bought = [charge.entry.order_id for charge in charges]
                self._broken("adopted another", f"{order.order_key} is {order.order_id} in the ledger, bought was {bought}")
        doubtful = order.step is Step.INTENDED and order.ambiguous  # to be sent again under the same reference
        if order.step in (Step.REJECTED, Step.INTENDED) and charges and not doubtful:
            self._broken(
                self._excused(charges) or "lost",
                f"{order.order_key} was bought as {charges[0].entry.order_id}, the ledger says {order.step.value}",
            )
        row = self._row(order.order_key) if charges else None
        if row is not None and row["counted"] == 0 and order.step not in (Step.FAILED, Step.REFUNDED):
            self._broken(
                self._excused(charges) or "not counted",
                f"{order.order_key} was bought for {charges[0].entry.amount} and counts nothing",
            )
        if order.step is Step.QUARANTINED and run.books[worker].worker is worker:
            self._quarantined(order, charges)

    def _twin(self, order: Order) -> bool:
        """Whether somebody else bought just the same, so that nothing could tell the two apart."""
        for charge in self.run.market.of(SOMEBODY):
            if self.run.market.is_of(order.order_id, charge):
                telling = ("type",) if order.vendor == "proxyscrape" else ("product_plan_id", "product_location_id", "quantity")
                return all(charge.entry.request.get(name) == order.request.get(name) for name in telling)
        return False

    def _quarantined(self, order: Order, charges: list[Charge]) -> None:
        """A person is asked: that needs a reason."""
        run, scenario = self.run, self.run.scenario
        run.stats["quarantined"] += 1
        run.person.wanted = True
        now, since = run.clockwork.now, self._since.get(order.order_key, 0.0)
        wallet = order.wallet.partition(":")[2]
        if scenario.kind != "plain" or scenario.lagging:
            return
        if run.market.others_moved(order.vendor, wallet, since, now):
            run.stats["quarantined: others moved the balance"] += 1
        elif order.vendor == "voodoo":
            if not charges and order.order_key not in run.network.refused:
                self._broken("asked without need", f"{order.order_key} was not bought, and the vendor refused nothing")
            run.stats["quarantined: the vendor names no id"] += 1
        elif order.vendor == "iproyal":
            self._broken(
                "asked without need", f"{order.order_key} {'was' if charges else 'was not'} bought, and can be looked up"
            )
        elif not charges:
            self._broken("asked without need", f"{order.order_key} was not bought, and its wallet is untouched")
        elif order.evidence.get("subaccounts") is None:
            run.stats["quarantined: sub-accounts could not be read before"] += 1
        elif self._opened(charges[0], now - scenario.hidden - 5):
            self._broken("asked without need", f"{order.order_key} has its sub-account, and nothing else happened")
        else:
            run.stats["quarantined: no sub-account in time"] += 1

    def _opened(self, charge: Charge, before: float) -> bool:
        shop = self.run.market.world.shops[charge.entry.vendor]
        assert isinstance(shop, ProxyScrapeShop)
        account = shop.orders[charge.entry.order_id].account
        return account is not None and account.valid and account.entry["time_added"] <= before

    def handed(self, worker: Worker, task: Task, order: Order) -> None:
        """The desk handed an order to its caller."""
        self._handed.add(worker)
        if order.step not in TAKEN or not order.order_id:
            self._broken("handed on", f"the desk handed on {order.order_key} as {order.step.value}, order {order.order_id}")

    def told(self, worker: Worker, task: Task, error: Exception | None) -> None:
        """A try failed: what it says about the money must be true."""
        if not isinstance(error, ProxyOrdersError) or worker in self._handed:
            return  # what is said about a look at an order is about the look
        caused = [charge for charge in self.run.market.charges if charge.worker == worker.name]
        if error.money == "untouched" and caused and not self._given_back(caused):
            self._broken(
                "told wrong", f"{type(error).__name__} says untouched, but {caused[0].entry.order_id} was bought: {error}"
            )

    def final(self, task: Task, error: ProxyOrdersError) -> bool:
        """Whether a task may end like this for good."""
        if isinstance(error, OrderKeyConflict) or isinstance(error.__cause__, OrderKeyConflict):
            return True  # which of the two was first is chance
        if isinstance(error, OrderNotUsable):
            return True
        return self.run.calm and isinstance(error.__cause__ or error, CapExceeded)

    def compared(self, wallet: str, findings: Findings, since: float, final: bool) -> None:
        """Ledger and vendor were compared: a plain seed holds nothing strange, and the last comparison is clean."""
        run = self.run
        run.stats["compared"] += 1
        if run.scenario.kind != "plain":
            return
        if findings.strange:
            self._broken("false alarm", f"the comparison of {wallet} finds {findings.strange} strange")
        if findings.missing and not run.scenario.hidden:
            self._broken("false alarm", f"the comparison of {wallet} misses {findings.missing}")
        moved = run.market.others_moved(run.scenario.vendor, wallet, since, run.clockwork.now)
        if findings.unexplained and findings.unexplained.amount > 0 and not moved and not run.scenario.lagging:
            self._broken("false alarm", f"the comparison of {wallet} cannot explain {findings.unexplained}")

    # -- at the end ------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        run = self.run
        for task in run.tasks:
            if not task.done:
                kind = "not finished" if run.scenario.kind == "plain" else "not finished, apart"
                self._broken(kind, f"task {task.wish.name} did not finish: {type(task.error).__name__}: {task.error}")
        with run.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(select(purchases)).mappings()]
            days = {(row.wallet, row.day): row.counted for row in connection.execute(select(spending))}
            past = list(connection.execute(select(steps.c.order_key, steps.c.step).order_by(steps.c.id)))
        self._history(past)
        known = {row["order_key"]: row for row in rows}
        for key in sorted({charge.key for charge in run.market.charges} - {SOMEBODY} - set(known)):
            self._broken("lost", f"{key} was bought and the ledger does not know it")
        for key, row in known.items():
            self._settled(key, row)
        self._limits(rows, days)
        self._alarms(rows)
        keys = {task.key for task in run.tasks if task.key}
        run.stats["intended"] += len(keys)
        run.stats["bought"] += len([charge for charge in run.market.charges if charge.key != SOMEBODY])
        run.stats["asked a person"] += len(run.person.asked)

    def _settled(self, key: str, row: dict[str, object]) -> None:
        run, charges, step = self.run, self.run.market.of(key), Step(str(row["step"]))
        if step is Step.UNKNOWN and any(
            isinstance(task.error, OutcomeUnknown) and task.done for task in run.tasks if task.key == key
        ):
            run.stats["cannot be repeated within its limits"] += 1
            return
        if step in OPEN:
            self._broken(
                "still open" if run.scenario.kind == "plain" else "still open, apart", f"{key} is {step.value} at the end"
            )
            return
        if step in (Step.INTENDED, Step.REJECTED):
            if row["counted"] and not row["ambiguous"]:
                self._broken("kept reserved", f"{key} is {step.value} and still counts {row['counted']}")
            return
        if len(charges) != 1:
            return  # said already
        charge = charges[0]
        paid = Decimal(charge.entry.amount)
        if charge.entry.vendor == "voodoo" and row["vendor_status"] in ("failed", "partial"):  # the only one that tells a refund
            paid = self._paid(charge)
        adopted = str(row["order_id"]).startswith("subaccount:")  # its price was read from the balance
        if row["counted"] != millionths(paid) and not (adopted and self._disturbed(charge)):
            self._broken("counted wrong", f"{key} counts {row['counted']} millionths, paid was {paid}")

    def _disturbed(self, charge: Charge) -> bool:
        since = self._since.get(charge.key, 0.0)
        moved = self.run.market.others_moved(charge.entry.vendor, charge.entry.wallet, since, self.run.clockwork.now)
        return moved or bool(self.run.scenario.lagging) or self.run.scenario.kind != "plain"

    def _alarms(self, rows: list[dict[str, object]]) -> None:
        run = self.run
        for row in rows:
            reserved = Decimal(str(row["reserved"]))
            if Step(str(row["step"])) not in TAKEN:
                continue
            over = [charge for charge in run.market.of(str(row["order_key"])) if Decimal(charge.entry.amount) > reserved]
            adopted = str(row["order_id"]).startswith("subaccount:")
            if over and not run.frozen(str(row["wallet"])) and run.scenario.kind == "plain" and not adopted:
                self._broken(
                    "no alarm", f"{row['order_key']} was charged {over[0].entry.amount}, above {reserved}, and no freeze"
                )
        if run.scenario.kind == "foreign" and run.scenario.vendor == "iproyal":
            owned = {row["order_id"] for row in rows}
            for charge in run.market.of(SOMEBODY):
                order_id = charge.entry.order_id
                if order_id not in owned and not any(order_id in alarm for alarm in run.alarms):
                    self._broken("unseen", f"no comparison found {order_id}, which somebody else bought")

    def _limits(self, rows: list[dict[str, object]], days: dict[tuple[str, str], int]) -> None:
        run, caps = self.run, self.run.scenario.caps
        counted: Counter[tuple[str, str]] = Counter()
        paid: Counter[tuple[str, str]] = Counter()
        for row in rows:
            day = (str(row["wallet"]), str(row["counted_on"]))
            counted[day] += int(str(row["counted"]))
            for charge in run.market.of(str(row["order_key"])):
                paid[day] += millionths(self._paid(charge))
                at = datetime.fromtimestamp(charge.at, ZoneInfo(run.scenario.zone)).date().isoformat()
                run.stats["charged on another day than counted"] += at != day[1]
        for day in set(counted) | set(days):
            if counted[day] != days.get(day, 0):
                self._broken("sums differ", f"{day} counts {days.get(day, 0)}, its purchases {counted[day]}")
        for name, limit, length in (("daily_limit", caps.daily_limit, 10), ("monthly_limit", caps.monthly_limit, 7)):
            spent: Counter[tuple[str, str]] = Counter()
            for (wallet, day_), amount in paid.items():
                spent[wallet, day_[:length]] += amount
            for period, amount in spent.items():
                if limit is not None and amount > millionths(limit) and not run.scenario.dear:
                    self._broken(name, f"{period} paid {amount} millionths, the limit is {limit}")

    def _history(self, past: list[tuple[str, str]]) -> None:
        last: dict[str, Step] = {}
        for key, word in past:
            step, before = Step(word), last.get(key)
            if before is None and step is not Step.INTENDED:
                self._broken("history", f"{key} begins as {word}")
            if before is not None and step is not before and step not in LIFE[before]:
                self._broken("history", f"{key} went from {before.value} to {word}")
            last[key] = step

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _row(self, key: str) -> RowMapping | None:
        with self.run.engine.connect() as connection:
            return connection.execute(_ROW, {"key": key}).mappings().first()

    def _paid(self, charge: Charge) -> Decimal:
        """What was paid in the end."""
        return Decimal(charge.entry.amount) - sum(Decimal(entry.amount) for entry in self._refunds(charge))

    def _refunds(self, charge: Charge) -> list[Entry]:
        book = self.run.market.world.book.charges(charge.entry.vendor)
        return [entry for entry in book if entry.kind == "refund" and entry.order_id == charge.entry.order_id]

    def _excused(self, charges: list[Charge]) -> str | None:
        """What no vendor's read can tell from "it was never bought": all of the money came back, or just as much."""
        if self._given_back(charges):
            return "forgotten after a refund"
        shop, charge = self.run.market.world.shops[charges[0].entry.vendor], charges[0]
        if isinstance(shop, ProxyScrapeShop) and not self._opened(charge, self.run.clockwork.now):
            if (Decimal(charge.entry.amount), charge.entry.wallet) in self.run.market.top_ups:
                return "forgotten after a top-up of its price, apart"
        return None

    def _given_back(self, charges: list[Charge]) -> bool:
        return all(sum(Decimal(e.amount) for e in self._refunds(c)) >= Decimal(c.entry.amount) for c in charges)

    def _broken(self, what: str, text: str) -> None:
        """A promise is broken; counted apart where the seed's kind leaves its conditions."""
        run = self.run
        apart = what in APART.get(run.scenario.kind, ()) or what.endswith((", apart", "after a refund"))
        if apart:
            run.clockwork.note("APART", f"{what}: {text}")
            run.stats[f"apart, {run.scenario.kind}: {what}"] += 1
        else:
            run.fail(f"{what}: {text}")


_TIMING = (
    "bought twice",
    "taken unseen",
    "lost",
    "not counted",
    "adopted another",
    "told wrong",
    "asked without need",
    "min_balance",
    "counted wrong",
    "daily_limit",
    "monthly_limit",
)
#: What each kind of seed can break without breaking a promise.
APART: dict[str, tuple[str, ...]] = {"late": _TIMING, "clocks": _TIMING, "foreign": ("min_balance", "counted wrong")}
