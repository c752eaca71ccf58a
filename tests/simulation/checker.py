"""The promises, checked against the vendor's book while a run goes on.

One rule: what was bought is read in the market, never in the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.domain.errors import CapExceeded, OrderKeyConflict, OrderNotUsable, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import TAKEN, UNRESOLVED, Purchase, Step
from airflow_provider_proxyorders.wallet.reconcile import ReconcileReport
from tests.vendors import ROWS

from .clockwork import Worker
from .market import SOMEBODY, Charge
from .verdict import TWIN, Verdict

if TYPE_CHECKING:
    from .books import Books
    from .run import Run
    from .tasks import Task


class Checker(Verdict):
    """Watches one run."""

    def __init__(self, run: Run):
        super().__init__(run)
        #: unix seconds of the intent before each key's last claim: from then on evidence was read
        self.since: dict[str, float] = {}
        self._handed: set[Worker] = set()

    def charged(self, charge: Charge) -> None:
        """A vendor has taken a purchase."""
        run, key = self.run, charge.key
        if key == SOMEBODY:
            return
        run.clockwork.note("VENDOR", f"takes {charge.entry.kind} {charge.entry.order_id} for {key}, {charge.entry.amount}")
        before = [other for other in run.market.of(key) if other is not charge]
        if before:
            self.broken(
                self.excused(before) or "bought twice",
                f"{key} was bought again: {[other.entry.order_id for other in before]}, {charge.entry.order_id}",
            )
        row = self.row(key)
        step = Step(row["step"]) if row else None
        if row is None or not (step in UNRESOLVED or (step is Step.INTENDED and row["maybe_sent"])):
            self.broken("taken unseen", f"{key} was taken while the ledger says {step.value if step else 'nothing'}")
        least = run.scenario.caps.min_balance
        if least is not None and charge.left < least and not run.scenario.lagging and not run.scenario.dear:
            self.broken("min_balance", f"{key} left {charge.left} in the wallet, the minimum is {least}")

    def wrote(self, worker: Worker, name: str, order: Any, arguments: Any) -> None:
        """The ledger has committed something, in most cases a step of an order."""
        run = self.run
        if name == "freeze":
            worker.say(f"ledger freeze: {arguments}")
            run.alarms.append(str(arguments))
        if not isinstance(order, Purchase):
            return
        worker.say(f"ledger {name}: {order.order_key} {order.step.value} (fence {order.fence}) {order.order_id or ''}")
        if name == "claim":
            if run.frozen(order.wallet):
                self.broken("sent though frozen", f"{order.order_key} was sent from {order.wallet}, which is frozen")
            ledger: Books = run.books[worker]
            self.since[order.order_key] = ledger.intended_at
        charges = run.market.of(order.order_key)
        if order.step in TAKEN:
            self._taken(order, charges)
        doubtful = order.step is Step.INTENDED and order.maybe_sent  # to be sent again under the same reference
        if order.step in (Step.REJECTED, Step.INTENDED) and charges and not doubtful:
            self.broken(
                self.excused(charges) or "lost",
                f"{order.order_key} was bought as {charges[0].entry.order_id}, the ledger says {order.step.value}",
            )
        row = self.row(order.order_key) if charges else None
        if row is not None and row["counted"] == 0 and order.step not in (Step.FAILED, Step.REFUNDED):
            self.broken(
                self.excused(charges) or "not counted",
                f"{order.order_key} was bought for {charges[0].entry.amount} and counts nothing",
            )
        if order.step is Step.QUARANTINED and run.books[worker].worker is worker:
            self._quarantined(order, charges)

    def _taken(self, order: Purchase, charges: list[Charge]) -> None:
        """The ledger says that the vendor took the order: it must be the one that was bought."""
        another = TWIN if self._twin(order) else "adopted another"
        if not charges:
            self.broken(another, f"{order.order_key} is {order.step.value} as {order.order_id}, but was not bought")
        elif order.kind == "create" and not any(self.run.market.is_of(order.order_id, charge) for charge in charges):
            bought = [charge.entry.order_id for charge in charges]
            self.broken(another, f"{order.order_key} is {order.order_id} in the ledger, bought was {bought}")

    def _twin(self, order: Purchase) -> bool:
        """Whether somebody else bought just the same, so that nothing could tell the two apart."""
        for charge in self.run.market.of(SOMEBODY):
            if self.run.market.is_of(order.order_id, charge):
                return all(charge.entry.request.get(name) == order.request.get(name) for name in ROWS[order.vendor].matched_by)
        return False

    def _quarantined(self, order: Purchase, charges: list[Charge]) -> None:
        """A person is asked: that needs a reason."""
        run, scenario = self.run, self.run.scenario
        run.stats["quarantined"] += 1
        run.person.wanted = True
        now, since = run.clockwork.now, self.since.get(order.order_key, 0.0)
        wallet = order.wallet.partition(":")[2]
        if scenario.kind != "plain" or scenario.lagging:
            return
        capabilities = ROWS[order.vendor].vendor.capabilities
        evidence = capabilities.extend_evidence if order.kind == "extend" else capabilities.create_evidence
        if run.market.others_moved(order.vendor, wallet, since, now):
            run.stats["quarantined: others moved the balance"] += 1
        elif evidence == "reference":
            self._named_no_id(order, charges)
        elif evidence in ("order", "search"):
            self.broken("asked without need", f"{order.order_key} {'was' if charges else 'was not'} bought, and can be looked up")
        elif evidence == "none":
            run.stats["quarantined: the vendor shows nothing"] += 1
        elif not charges:
            self.broken("asked without need", f"{order.order_key} was not bought, and its wallet is untouched")
        elif ROWS[order.vendor].traces_come_late and order.evidence.get("subaccounts") is None:
            run.stats["quarantined: sub-accounts could not be read before"] += 1
        elif self.opened(charges[0], now - scenario.hidden - 5):
            self.broken("asked without need", f"{order.order_key} has its sub-account, and nothing else happened")
        else:
            run.stats["quarantined: no sub-account in time"] += 1

    def _named_no_id(self, order: Purchase, charges: list[Charge]) -> None:
        """The vendor refused a repeat, and nothing told the id of the order that it took."""
        run = self.run
        refused = order.order_key in run.network.refused
        if not charges and not refused:
            self.broken("asked without need", f"{order.order_key} was not bought, and the vendor refused nothing")
        reported = charges and charges[0].entry.order_id not in run.lost_webhooks
        if run.scenario.webhooks and reported and not refused and run.clockwork.now - charges[0].at < 7000:
            self.broken("asked without need", f"{order.order_key} was bought, and a webhook tells its id")
        run.stats["quarantined: the vendor names no id"] += 1

    def check_order(self, worker: Worker, task: Task, order: Purchase) -> None:
        """The buyer returned an order to its caller."""
        self._handed.add(worker)
        if order.step not in TAKEN or not order.order_id:
            self.broken("handed on", f"the buyer handed on {order.order_key} as {order.step.value}, order {order.order_id}")

    def check_message(self, worker: Worker, task: Task, error: Exception | None) -> None:
        """A try failed: what it says about the money must be true."""
        if not isinstance(error, ProxyOrdersError) or worker in self._handed:
            return  # what is said about a look at an order is about the look
        caused = [charge for charge in self.run.market.charges if charge.worker == worker.name]
        if error.money == "untouched" and caused and not self.given_back(caused):
            self.broken(
                "told wrong", f"{type(error).__name__} says untouched, but {caused[0].entry.order_id} was bought: {error}"
            )

    def final(self, task: Task, error: ProxyOrdersError) -> bool:
        """Whether a task may end like this for good."""
        if isinstance(error, OrderKeyConflict) or isinstance(error.__cause__, OrderKeyConflict):
            return True  # which of the two was first is chance
        if isinstance(error, OrderNotUsable):
            return True
        return self.run.calm and isinstance(error.__cause__ or error, CapExceeded)

    def compared(self, wallet: str, report: ReconcileReport, since: float, final: bool) -> None:
        """Ledger and vendor were compared: a plain seed holds nothing strange, and the last comparison is clean."""
        run = self.run
        run.stats["compared"] += 1
        if run.scenario.kind != "plain":
            return
        if report.foreign:
            self.broken("false alarm", f"the comparison of {wallet} finds {report.foreign} strange")
        if report.missing and not run.scenario.hidden:
            self.broken("false alarm", f"the comparison of {wallet} misses {report.missing}")
        moved = run.market.others_moved(run.scenario.vendor, wallet, since, run.clockwork.now)
        if report.unexplained and report.unexplained.amount > 0 and not (moved or run.scenario.lagging or run.scenario.dear):
            self.broken("false alarm", f"the comparison of {wallet} cannot explain {report.unexplained}")
