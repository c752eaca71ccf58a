"""Those who work beside the tasks: a person who decides what evidence could not, and the task that compares ledger and vendor.

One rule: the person tells the truth, as the vendor's dashboard shows it.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError, Quarantined
from airflow_provider_proxyorders.domain.model import STEP_OF, Actor, Purchase, Step
from airflow_provider_proxyorders.ledger import StaleClaim
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.wallet.reconcile import reconcile

from .clockwork import Worker

if TYPE_CHECKING:
    from .run import Run


class Person:
    """Looks at what is quarantined, decides by what the vendor's dashboard shows, and clears the tasks."""

    def __init__(self, run: Run):
        self.run = run
        self.visits = 0
        #: whether anything waits for a decision
        self.wanted = False
        self.asked: Counter[str] = Counter()

    def visit(self) -> None:
        self.visits += 1
        worker = Worker(self.run.clockwork, f"person{self.visits}")
        worker.begin(lambda: self._decide(worker))

    def _decide(self, worker: Worker) -> None:
        self.wanted = False
        for name in self.run.scenario.wallets:
            buyer = self.run.buyer(worker, self.run.scenario.vendor, name)
            if buyer.ledger.freeze_reason(buyer.account.wallet) and self.run.scenario.kind != "plain":
                worker.say(f"lifts the freeze of {name}: {buyer.ledger.freeze_reason(buyer.account.wallet)}")
                buyer.ledger.freeze(buyer.account.wallet, None)
            for order in buyer.ledger.purchases(wallet=buyer.account.wallet, in_steps=(Step.QUARANTINED,)):
                self._resolve(worker, buyer, order)
        for task in self.run.tasks:
            if not task.done and task.current is None and isinstance(task.error, Quarantined):
                task.clear()

    def _resolve(self, worker: Worker, buyer: Buyer, order: Purchase) -> None:
        taken = [charge for charge in self.run.market.charges if charge.key == order.order_key]
        self.asked[order.order_key] += 1
        try:
            if taken:
                vendor_order = buyer.http.run(buyer.vendor.get(taken[0].entry.order_id))
                worker.say(f"adopts {vendor_order.order_id} for {order.order_key}")
                buyer.ledger.record(
                    order, STEP_OF[vendor_order.status], "adopted by a person", Actor(host="me"), vendor_order=vendor_order
                )
            else:
                worker.say(f"declares {order.order_key} absent")
                buyer.ledger.record(order, Step.INTENDED, "declared absent by a person", Actor(host="me"), maybe_sent=False)
        except StaleClaim:
            worker.say("came too late")
        except ProxyOrdersError as error:
            worker.say(f"could not: {error}")


def audit(run: Run, *, calm: bool = False) -> None:
    """Start a comparison of every wallet with its vendor."""
    run.audits += 1
    worker = Worker(run.clockwork, f"audit{run.audits}", mishap=None if calm else run.mishap)
    worker.begin(lambda: _compare(run, worker, calm))


def _compare(run: Run, worker: Worker, final: bool) -> None:
    for name in run.scenario.wallets:
        buyer = run.buyer(worker, run.scenario.vendor, name)
        since = run.audited.get(name, run.clockwork.now)
        began = run.clockwork.now
        try:
            report = reconcile(buyer)
        except ProxyOrdersError as error:
            worker.say(f"comparing {name}: {type(error).__name__}: {error}")
            if final:
                run.fail(f"the last comparison failed: {error}")
            continue
        run.audited[name] = began
        worker.say(f"compared {name}: {report.lines() or 'clean'}")
        run.checker.compared(name, report, since, final)


def enough(run: Run) -> None:
    """Fill the wallets that run low, so that nothing is refused for lack of money any more."""
    for name in run.scenario.wallets:
        if run.market.state.vendors[run.scenario.vendor].wallet(name).balance < 100:
            run.market.top_up(run.scenario.vendor, name, Decimal(1000))
