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
        #: keys whose copy was refused while reads did not show yet that they were bought: a later look finds it
        self.behind: set[str] = set()
        #: keys with the order of the other: an answer named an order that does not exist, and the goods are the same
        self.swapped: set[str] = set()
        #: keys that were taken for not bought while just their price came in
        self.forgotten: set[str] = set()
        #: keys that a person was asked about, each with its ``since``
        self._asked: set[tuple[str, float | None]] = set()

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
        if least is not None and charge.left < least and not run.scenario.surprising:
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
        if charges and self._refused_behind(order):
            return
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
        """The ledger says that the vendor took the order: it must be the one that was bought, once a read has shown it."""
        if order.step is Step.PLACED and not order.confirmed:
            return
        another = TWIN if self._twin(order) or self._swaps(order) else "adopted another"
        if not charges:
            self.broken(another, f"{order.order_key} is {order.step.value} as {order.order_id}, but was not bought")
        elif order.kind == "create" and not any(self.run.market.is_of(order.order_id, charge) for charge in charges):
            bought = [charge.entry.order_id for charge in charges]
            self.broken(another, f"{order.order_key} is {order.order_id} in the ledger, bought was {bought}")

    def _twin(self, order: Purchase) -> bool:
        """Whether somebody else bought just the same, so that nothing could tell the two apart."""
        for charge in self.run.market.of(SOMEBODY):
            if self.run.market.is_of(order.order_id, charge):
                fields = ROWS[order.vendor].matched_by
                if all(charge.entry.request.get(name) == order.request.get(name) for name in fields):
                    self.swapped.add(order.order_key)
                return order.order_key in self.swapped
        return False

    def _shows_late(self, order: Purchase) -> bool:
        """Whether a refused copy may hide what was taken: reads lag, and no look came after the settle time."""
        scenario = self.run.scenario
        lags = scenario.hidden or scenario.lagging or (order.kind == "extend" and scenario.extend_processing)
        return bool(lags) and order.order_key in self.run.network.refused and "looked_again" not in order.evidence

    def _refused_behind(self, order: Purchase) -> bool:
        """Whether a copy was refused while reads lagged, see :meth:`_shows_late`, or is sent again after that.

        The vendor takes one order per reference. So the repeat buys no second order, and its refusal shows the first one. Until
        then the ledger believes the refusal, as it did right after it.
        """
        if order.step is Step.REJECTED and self._shows_late(order):
            self.run.stats["told as refused while reads lagged"] += order.order_key not in self.behind
            self.behind.add(order.order_key)
            return True
        by_reference = ROWS[order.vendor].vendor.capabilities.create_evidence == "reference"
        return order.step is Step.INTENDED and by_reference and order.order_key in self.behind

    def _swaps(self, order: Purchase) -> bool:
        """Whether the order is another key's with the same goods, which has an id from its answer that no read has shown."""
        if not self.run.scenario.weather.misnamed:
            return False
        for charge in self.run.market.charges:
            if charge.key in (SOMEBODY, order.order_key) or not self.run.market.is_of(order.order_id, charge):
                continue
            row = self.row(charge.key)
            same = all(charge.entry.request.get(name) == order.request.get(name) for name in ROWS[order.vendor].matched_by)
            if same and row is not None and not row["confirmed"] and not self.run.market.is_of(row["order_id"], charge):
                self.swapped |= {order.order_key, charge.key}
        return order.order_key in self.swapped

    def _quarantined(self, order: Purchase, charges: list[Charge]) -> None:
        """A person is asked: that needs a reason."""
        run, scenario = self.run, self.run.scenario
        run.person.wanted = True
        if (order.order_key, self.since.get(order.order_key)) in self._asked:
            return
        self._asked.add((order.order_key, self.since.get(order.order_key)))
        run.stats["quarantined"] += 1
        now = run.clockwork.now
        if scenario.kind != "plain" or scenario.lagging:
            return
        capabilities = ROWS[order.vendor].vendor.capabilities
        evidence = capabilities.extend_evidence if order.kind == "extend" else capabilities.create_evidence
        if reason := self._undecidable(order):
            run.stats[f"quarantined: {reason}"] += 1
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

    def _undecidable(self, order: Purchase) -> str:
        """Why no evidence can decide about a lost answer; "" if it can.

        What is above an empty list may be older, and the ledger has bought nothing yet that bounds it. And a purchase that was
        refused after it was taken owns an order that may be this one's, until its own task looks again.
        """
        network, wallet = self.run.network, order.wallet.partition(":")[2]
        since = self.since.get(order.order_key, 0.0)
        if self.run.market.others_moved(order.vendor, wallet, since, self.run.clockwork.now):
            return "others moved the balance"
        if order.order_key in network.blanked and ROWS[order.vendor].vendor.capabilities.create_evidence != "reference":
            return "the list was empty for the read before"
        if (order.evidence.get("checkpoint") or {}).get("certain") is False:  # another purchase left during the first read
            return "its wallet had no certain balance before it"
        for charge in self.run.market.charges:
            if charge.key not in (order.order_key, SOMEBODY) and charge.key in network.refused:
                row = self.row(charge.key)
                if row is not None and Step(row["step"]) not in TAKEN:
                    return "a refused purchase of the wallet landed as well"
        return ""

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
        told = [charge for charge in caused if charge.key not in self.behind]
        if error.money == "untouched" and told and not self.given_back(told):
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
        if (
            report.unexplained
            and report.unexplained.amount > 0
            and not (moved or run.scenario.lagging or run.scenario.surprising)
        ):
            self.broken("false alarm", f"the comparison of {wallet} cannot explain {report.unexplained}")
