"""Airflow in small: tries and retries of tasks, tries that were given up but live on, clears.

One rule: a try does what an operator does (place or extend, wait, hand on), with the real buyer; everything around it only
decides when another try starts.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import LedgerError, ProxyOrdersError, Quarantined
from airflow_provider_proxyorders.domain.model import Actor, Purchase
from airflow_provider_proxyorders.ledger.accounts import Accounts
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.purchase.kept_answers import KeptAnswer, Mark
from tests.vendors import VENDORS

from .books import Books
from .clockwork import Worker
from .network import Wire
from .scenario import Wish

if TYPE_CHECKING:
    from .run import Run

#: After this long without a sign of life Airflow gives a try up and starts another.
HEARTBEAT = 300.0
#: Tries that Airflow makes by itself, and rounds of clearing in the calm at the end.
TRIES, ROUNDS = 3, 24


class State(dict[str, KeptAnswer]):
    """What Airflow keeps for all tries of a task; Clear deletes it."""

    def mark(self) -> Mark | None:
        return None  # all workers of a market share its ledger

    def keep(self, order_key: str, answer: KeptAnswer) -> None:
        self[order_key] = answer

    def find(self, order_key: str) -> KeptAnswer | None:
        return self.get(order_key)


class Task:
    """One task instance."""

    def __init__(self, run: Run, wish: Wish):
        self.run, self.wish = run, wish
        self.chance: Random = run.clockwork.chance
        self.tries = 0
        self.left = TRIES
        self.cleared = 0
        self.current: Worker | None = None
        self.order: Purchase | None = None
        self.error: Exception | None = None
        self.done = False
        self.state = State()
        #: the key, once it is known
        self.key = wish.key

    def start(self) -> None:
        """Begin another try; one that is still alive is from now on only a ghost."""
        if self.done:
            return
        self.tries += 1
        self.left -= 1
        scenario = self.run.scenario
        skew = self.chance.choice((-scenario.skew, 0.0, scenario.skew))
        worker = Worker(self.run.clockwork, f"{self.wish.name}{self.tries}", mishap=self.run.mishap, skew=skew)
        worker.skew = self.run.skews.get(worker.name, worker.skew)
        worker.calm = False
        self.current = worker
        self.run.task_of[worker] = self
        worker.begin(lambda: self._try(worker))

    def _try(self, worker: Worker) -> None:
        wish, order, error = self.wish, None, None
        worker.say(
            f"try {self.tries} of task {wish.name}: {wish.kind} {wish.key or 'default key'} at {wish.vendor}:{wish.wallet}"
        )
        try:
            order = self._work(worker)
        except ProxyOrdersError as caught:
            error = caught
        except Exception as caught:  # anything else is a bug
            self.run.fail(f"try {worker.name} ended with {type(caught).__name__}: {caught}", caught)
            return
        self.run.stats["tries"] += 1
        if error is None and order is not None:
            worker.say(f"done: {order.order_key} is {order.step.value}, order {order.order_id}")
        else:
            worker.say(f"{type(error).__name__} ({getattr(error, 'money', '')}, retry {getattr(error, 'retry', '')}): {error}")
            self.run.checker.check_message(worker, self, error)
        if self.current is worker:
            self._ended(order, error)

    def _work(self, worker: Worker) -> Purchase:
        run, wish = self.run, self.wish
        options = {"actor": self._actor(), "fence": self._fence(worker), "answers": self.state}
        buyer = run.buyer(worker, wish.vendor, wish.wallet, conn_id=run.connections.get(wish.name, ""), **options)
        assert isinstance(buyer.http, Wire)
        if wish.kind == "extend":
            assert wish.target is not None
            key = self.key = self.key or self._extension_key(buyer, wish.target)
            buyer.http.key = key
            order = buyer.extend(wish.target, wish.request, order_key=key)
        else:
            assert wish.key is not None
            buyer.http.key = wish.key
            order = buyer.place(wish.request, order_key=wish.key)
        run.checker.check_order(worker, self, order)
        if run.scenario.unattended:
            return order
        deadline = buyer.ledger.clock() + timedelta(seconds=self.chance.choice((2.0, 1200.0)))
        order = buyer.wait(order, deadline=deadline)
        return buyer.require_usable(order, on_partial="accept")

    def _extension_key(self, buyer: Buyer, target: str) -> str:
        """As the hook makes it: the expiry is read once for all tries of a task."""
        anchor = f"expiry of {target} for {self.wish.name}"
        expiry = buyer.ledger.get(anchor)
        if not expiry:
            expires_at = buyer.http.run(buyer.vendor.get(target)).expires_at
            assert expires_at is not None
            expiry = buyer.ledger.decide_once(anchor, expires_at.isoformat())
        return f"extend:{buyer.account.wallet}:{target}:{expiry}"

    def _actor(self) -> Actor:
        return Actor("sim", "run", self.wish.name, -1, self.tries, "host")

    def _fence(self, worker: Worker) -> Any:
        if not self.run.scenario.fenced:
            return None

        def fence(order_key: str) -> None:
            worker.pause(0.0, "in Airflow's fence")
            if self.current is not worker:
                raise LedgerError("Airflow no longer lets this try write its state; this one buys nothing")

        return fence

    # -- what Airflow makes of it ----------------------------------------------------------------------------------

    def killed(self, worker: Worker) -> None:
        """The worker is gone; Airflow notices at once, or when its heartbeat is missed."""
        if self.current is worker:
            self.current = None
            self._again(self.chance.choice((5.0, 30.0, HEARTBEAT)))

    def frozen(self, worker: Worker, seconds: float) -> None:
        """The worker gives no sign of life."""
        if seconds > HEARTBEAT and self.current is worker:
            self.run.clockwork.after(HEARTBEAT, lambda: self._given_up(worker))

    def _given_up(self, worker: Worker) -> None:
        if self.current is worker and not self.done:
            worker.say("no heartbeat: Airflow gives this try up")
            self.current = None
            self._again(1.0)

    def clear(self) -> None:
        """Somebody clears the task, whether it is running or not."""
        if not self.done:
            self.run.clockwork.note("person", f"clears task {self.wish.name}")
            self.left = TRIES
            self.current = None
            self.state.clear()
            self._again(self.chance.choice((0.0, 1.0)))

    def _again(self, seconds: float) -> None:
        if self.left > 0:
            tries = self.tries
            self.run.clockwork.after(seconds, lambda: self.start() if self.tries == tries else None)
        elif self.cleared < ROUNDS and (self.run.calm or self.chance.random() < 0.5):
            self.cleared += 1
            self.left = TRIES
            self._again(300.0)
        else:
            self.run.clockwork.note("airflow", f"task {self.wish.name} has failed")

    def _ended(self, order: Purchase | None, error: ProxyOrdersError | None) -> None:
        self.order, self.error = order, error
        self.current = None
        if error is None or self.run.checker.final(self, error):
            self.done = True
            return
        if error.retry == "never":
            self.left = 0
            if isinstance(error, Quarantined):
                return  # a person looks, then clears the task
            self._again(600.0)
            return
        retry_after = getattr(error, "retry_after", None)
        self._again(retry_after or (20.0 if error.retry == "soon" else 120.0))


def account(run: Run, vendor: str, wallet: str) -> Account:
    """The connection of one try, as a new process reads it."""
    scenario = run.scenario
    settings: dict[str, Any] = {"webhook_secret": "not-used-here"} if scenario.webhooks else {}
    if scenario.settle is not None:
        settings["settle"] = scenario.settle
    return Account(
        vendor=vendor,
        conn_id=f"{vendor}_{wallet}",
        wallet=f"{vendor}:{wallet}",
        base_url=f"http://127.0.0.1/{vendor}",
        secret=run.market.state.vendors[vendor].wallet(wallet).token,
        settings=settings,
        caps=scenario.caps,
        currency="USD",
        timezone=scenario.zone,
        requests_per_second=scenario.pace,
        timeout=scenario.timeout,
    )


def buyer_of(run: Run, worker: Worker, vendor: str, wallet: str, *, conn_id: str = "", **options: Any) -> Buyer:
    """A buyer as a new process has it: only the ledger is from before.

    :param conn_id: of a connection whose wallet the ledger decides.
    """
    own = account(run, vendor, wallet)
    if conn_id:
        own.conn_id, own.wallet = conn_id, f"{vendor}:{conn_id}"
        own.wallet = Accounts(run.engine, worker.clock).resolve(own).name
    ledger = Books(run.engine, worker, run.scenario.weather, run.checker.wrote)
    return Buyer(
        VENDORS[vendor](own),
        Wire(own, worker, run.network),
        ledger,
        say=worker.say,
        sleep=worker.sleep,
        ticks=worker.ticks,
        **options,
    )
