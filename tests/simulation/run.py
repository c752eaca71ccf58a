"""One seed, from its scenario to what came of it."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.iproyal import SandboxIPRoyal
from airflow_provider_proxyorders.sandbox.proxy6 import SandboxProxy6
from airflow_provider_proxyorders.sandbox.vendor_base import Outcome
from airflow_provider_proxyorders.sandbox.voodoo import SandboxVoodoo
from airflow_provider_proxyorders.vendors import voodoo
from tests.vendors import ROWS

from .books import Books, emptied
from .checker import Checker
from .clockwork import Clockwork, Worker
from .closing import Closing
from .market import SOMEBODY, Market
from .network import Network
from .people import Person, audit, enough
from .post import Post
from .scenario import BAD_ENDS, GOODS, Scenario, draw
from .tasks import Task, buyer_of

#: Where a process that stops leaves the most behind, so it is stopped there more often.
DECISIVE = ("after claim", "before claim", "before record", "while create is under way", "while extend is under way")


@dataclass
class Result:
    """What came of a seed."""

    seed: int
    kind: str
    failures: list[str]
    log: list[str] = field(repr=False)
    stats: Counter[str] = field(repr=False)


class Run:
    """The parts of one run, for each other.

    :param chance: everything that the scenario leaves open is drawn from it.
    """

    def __init__(self, scenario: Scenario, chance: Random):
        self.scenario, self.chance = scenario, chance
        always = [Rule(action="clock", seconds=scenario.off)] if scenario.off else []
        self.market = Market(scenario.seed, scenario.start, hidden=scenario.hidden, lagging=scenario.lagging, always=always)
        self.clockwork = Clockwork(self.market.state.clock, chance)
        self.network = Network(self.market, scenario.weather, chance, self._gone_beyond)
        self.engine = emptied()
        self.stats: Counter[str] = Counter()
        self.failures: list[str] = []
        self.calm = False
        #: whether the conditions of the promises were left: something came after its settle time, or a clock jumped
        self.beyond = False
        self.task_of: dict[Worker, Task] = {}
        self.books: dict[Worker, Books] = {}
        self.checker = Checker(self)
        self.market.on_charge = self.checker.charged
        self.person = Person(self)
        #: how far the clock of a task's first worker is ahead, in seconds, by the worker's name
        self.skews: dict[str, float] = {}
        #: the connection of a task by the task's name, where the ledger decides the wallet
        self.connections: dict[str, str] = {}
        self.audits = 0
        #: unix seconds of the last comparison of each wallet
        self.audited: dict[str, float] = {}
        self.lost_webhooks: set[str] = set()
        #: why wallets were frozen
        self.alarms: list[str] = []
        self.tasks = [Task(self, wish) for wish in scenario.wishes]

    def go(self) -> Result:
        self._set_up()
        scenario, clockwork = self.scenario, self.clockwork
        for task in self.tasks:
            clockwork.after(task.wish.starts, task.start)
            if self.chance.random() < scenario.clears:
                clockwork.after(self.chance.random() * 1200, task.clear)
        for at, wallet, amount in scenario.top_ups:
            clockwork.after(at, partial(self._topped_up, wallet, amount))
        for at, wallet, number in scenario.foreign:
            clockwork.after(at, partial(self._bought_elsewhere, wallet, number))
        for at in scenario.audits:
            first_of_foreign = at == 0 and scenario.kind == "foreign"
            clockwork.after(at, partial(audit, self, calm=first_of_foreign))
        if scenario.dear:
            clockwork.after(scenario.dear, self._grow_dear)
        clockwork.after(scenario.weather.until - scenario.start + 1, self._calm_down)
        clockwork.after(self.chance.choice((300.0, 1000.0)), self._visit)
        if not clockwork.run():
            self.fail("does not come to an end")
        if not self.failures:
            Closing(self).finish()
        return Result(scenario.seed, scenario.kind, self.failures, clockwork.log, self.stats)

    # -- for the others --------------------------------------------------------------------------------------------

    def buyer(self, worker: Worker, vendor: str, wallet: str, **options: Any) -> Buyer:
        buyer = buyer_of(self, worker, vendor, wallet, **options)
        assert isinstance(buyer.ledger, Books)
        self.books[worker] = buyer.ledger
        return buyer

    def frozen(self, wallet: str) -> str | None:
        """Why the ledger stops purchases from a wallet, read past all workers."""
        return Ledger(self.engine).freeze_reason(wallet)

    def fail(self, text: str, error: BaseException | None = None) -> None:
        """Say what is broken and end the run."""
        self.failures.append(text)
        self.clockwork.note("BROKEN", text)
        if error is not None:
            self.clockwork.log += "".join(traceback.format_exception(error)).rstrip().splitlines()
        self.clockwork.stopped = True

    def mishap(self, worker: Worker, point: str) -> float | None:
        """What happens to a worker at a switch point: seconds of being held up, None for SIGKILL."""
        weather, chance = self.scenario.weather, self.chance
        if self.calm:
            return 0.0
        task = self.task_of.get(worker)
        often = 4 if point in DECISIVE else 1
        if chance.random() < weather.killed * often:
            self.stats["killed"] += 1
            if task is not None:
                task.killed(worker)
            return None
        if weather.jumps and chance.random() < 0.02:
            self.beyond = True
            worker.skew = chance.choice((-1, 1)) * chance.random() * weather.jumps
            worker.say(f"*** its clock jumps to {worker.skew:+.0f} s")
        if chance.random() < weather.frozen * often:
            seconds = chance.random() * weather.freezes
            self.stats["frozen"] += 1
            if chance.random() < weather.suspended:
                worker.suspended(seconds)
            worker.say(f"*** held up for {seconds:.0f} s {point}")
            if task is not None:
                task.frozen(worker, seconds)
            return seconds
        return 0.0

    def _gone_beyond(self, why: str) -> None:
        self.beyond = True
        self.clockwork.note("weather", why)

    # -- what happens beside the tasks -----------------------------------------------------------------------------

    def _set_up(self) -> None:
        scenario, shop = self.scenario, self.market.state.vendors[self.scenario.vendor]
        for name, balance in scenario.wallets.items():
            shop.open_wallet(name, balance=balance)
        shop.processing = scenario.processing
        if isinstance(shop, (SandboxIPRoyal, SandboxProxy6)):
            shop.extend_processing = scenario.extend_processing
        if isinstance(shop, SandboxVoodoo) and scenario.webhooks:
            shop.webhook_sender = Post(self, shop)
        for order_id, name in scenario.targets:
            shop.seed_order(shop.wallet(name), {"id": int(order_id), "quantity": 2, "status": ROWS[shop.name].usable})
        for _ in range(12):
            bad = self.chance.random() < scenario.bad_ends
            shop.outcomes.append(Outcome(self.chance.choice(BAD_ENDS[shop.name]) if bad else shop.success))
        self.clockwork.note("scenario", f"seed {scenario.seed}, {scenario.kind}: {self._told()}")

    def _told(self) -> str:
        scenario = self.scenario
        left_out = ("seed", "kind", "wishes", "weather", "start")
        shown = {k: v for k, v in scenario.__dict__.items() if k not in left_out and v not in (None, 0.0, [], False)}
        bad = {k: v for k, v in scenario.weather.__dict__.items() if v and k != "until"}
        return f"{shown} weather {bad}"

    def _topped_up(self, wallet: str, amount: Any) -> None:
        self.clockwork.note("person", f"tops {wallet} up by {amount}")
        self.market.top_up(self.scenario.vendor, wallet, amount)

    def _bought_elsewhere(self, wallet: str, number: int) -> None:
        body, _ = GOODS[self.scenario.vendor][number]
        order_id = self.market.buy_elsewhere(self.scenario.vendor, wallet, body)
        self.clockwork.note(SOMEBODY, f"buys {order_id} from {wallet}")

    def _grow_dear(self) -> None:
        """The vendor raises its prices, and tells nobody."""
        self.clockwork.note("VENDOR", "is much dearer from now on")
        grow_dear = ROWS[self.scenario.vendor].grow_dear
        assert grow_dear is not None
        grow_dear(self.market.state.vendors[self.scenario.vendor])

    def _calm_down(self) -> None:
        self.clockwork.note("weather", "calm from now on")
        self.calm = True
        enough(self)
        for task in self.tasks:
            if task.tries and not task.done and task.current is None:
                task.clear()

    def _visit(self) -> None:
        over = all(task.done for task in self.tasks) and not self.person.wanted and not any(w.running for w in self.task_of)
        if over or self.clockwork.now > self.scenario.weather.until + 6 * 3600:
            if self.scenario.audits:
                self.clockwork.after(400.0 + self.scenario.hidden, partial(audit, self, calm=True))
            return
        if self.person.wanted or (self.alarms and self.scenario.kind != "plain"):
            self.person.visit()
        self.clockwork.after(300.0 if self.calm else self.chance.choice((100.0, 700.0)), self._visit)


def run(seed: int) -> Result:
    """Run one seed. The same seed gives the same log, letter by letter."""
    return play(Run(*draw(seed)))


def play(made: Run) -> Result:
    """Let a run happen; meanwhile this process has no other time and no other chance."""
    state, real = random.getstate(), voodoo.now
    random.seed(made.scenario.seed)  # pauses between tries are spread by the module's own chance
    try:
        voodoo.now = lambda: made.clockwork.now
        return made.go()
    finally:
        voodoo.now = real
        random.setstate(state)


__all__ = ["Result", "Run", "play", "run"]
