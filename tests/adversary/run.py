"""Plays one seed: the vendor, the storm, the calm after it, and what everybody said.

Two rules: what Airflow does is done here (a killed or frozen try is tried again, a failure as the retry policy says, Clear brings
a failed task back), only its delays are shorter; and nothing here looks into the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..crash.forks import Child, Work
from . import book, vendor, worker
from .plan import SETTLE, Plan, Task

#: A process that says nothing for so long hangs, in seconds.
LIMIT = 300.0
#: How many times as short Airflow's delays before a try are, and the longest of them in seconds.
HURRY, LONGEST_DELAY = 40, 2.0
#: The longest pause that an error asks for and gets, in seconds.
LONGEST_WAIT = 3 * SETTLE
#: Tries of one task after the storm, until it is done or says that no try can help.
CALM_TRIES = 8
#: How often a process is asked whether it was stopped, in seconds.
TICK = 0.2


@dataclass(frozen=True)
class Place:
    """Where ledgers come from.

    :param server_url: of PostgreSQL, "" where it is not used.
    :param folder: for ledgers, books and logs.
    """

    folder: Path
    server_url: str = ""


@dataclass
class Result:
    """A run when it is over.

    :param said: what every process said at its end, in order; ``frozen`` counts processes that were stopped.
    """

    plan: Plan
    book: book.Book
    said: list[dict[str, Any]]
    tries: int
    kills: int
    frozen: int
    disturbed: int
    seconds: float
    calm_at: float = 0.0
    began: float = 0.0


@dataclass
class _Count:
    tries: int = 0
    kills: int = 0
    frozen: int = 0
    disturbed: int = 0


@dataclass
class Run:
    """One seed while it is played."""

    plan: Plan
    place: Place
    said: list[dict[str, Any]] = field(default_factory=list)
    count: _Count = field(default_factory=_Count)
    storm: bool = True

    def __post_init__(self) -> None:
        self.name = f"{self.plan.scene or 'seed'}{self.plan.seed}"
        self.log = self.place.folder / f"{self.name}.log"
        self.book = self.place.folder / f"{self.name}.book"
        self.book.unlink(missing_ok=True)
        self.slots = asyncio.Semaphore(self.plan.workers)
        self.stopped: list[asyncio.Task[None]] = []
        self.children: list[Child] = []

    async def play(self) -> Result:
        """Play the seed.

        :raises RuntimeError, TimeoutError: when the campaign itself broke.
        """
        began = time.monotonic()
        url = await self._ledger()
        shop = Child(partial(vendor.serve, self.plan, self.book), self.log)
        try:
            opened = await shop.says(LIMIT)
            assert opened is not None, "the vendor did not start"
            self.world = worker.World(self.plan, url, opened["port"])
            await self._blow()
            shop.end(signal.SIGUSR1)
            calm_at = time.monotonic()
            await asyncio.sleep(self.plan.storm.behind)
            self.storm = False
            await self._settle()
        finally:
            for child in self.children:  # whoever is left when the campaign is stopped in the middle
                child.end(signal.SIGKILL)
            shop.end(signal.SIGTERM)
            await shop.says(LIMIT)
            await shop.ended()
            await self._drop(url)
        told = book.read(self.book)
        count, seconds = self.count, time.monotonic() - began
        said = sorted(self.said, key=lambda each: float(each["at"]))
        return Result(self.plan, told, said, count.tries, count.kills, count.frozen, count.disturbed, seconds, calm_at, began)

    # -- the storm -------------------------------------------------------------------------------------------------

    async def _blow(self) -> None:
        """All runs of all tasks, Reconcile, and trouble with the database."""
        runs = [self._task(task, start, f"run{number}") for task in self.plan.tasks for number, start in enumerate(task.starts)]
        others = [self._reconcile(at) for at in self.plan.storm.reconciles]
        if self.plan.storm.database:
            others.append(self._disturb())
        await asyncio.gather(*runs, *others)
        await asyncio.gather(*self.stopped)

    async def _task(self, task: Task, start: float, run: str) -> None:
        """One task instance: try after try until it is done, must not be tried again, or has no try left."""
        await asyncio.sleep(start)
        for number in range(1, worker.MAX_TRIES + 2):
            async with self.slots:
                said = await self._try(task, number, run)
            if said is not None and ("result" in said or said["final"]):
                return
            await asyncio.sleep(_delay(said))

    async def _try(self, task: Task, number: int, run: str) -> dict[str, Any] | None:
        """One try; None for one that was killed, or frozen and given up."""
        self.count.tries += 1
        dice = self.plan.dice("try", task.key, run, number)
        kill = dice.uniform(0.05, 0.9) if self.storm and dice.random() < self.plan.storm.kills else None
        freeze = dice.uniform(0.05, 0.9) if self.storm and dice.random() < self.plan.storm.freezes else None
        asleep, given_up = dice.choice(self.plan.storm.sleeps), dice.random() < 0.7
        child = self._start(partial(worker.buy, self.world, task, number, run))
        saying = asyncio.ensure_future(child.says(LIMIT))
        for moment, blow in ((kill, signal.SIGKILL), (freeze, signal.SIGSTOP)):
            if moment is not None:
                asyncio.get_running_loop().call_later(moment, _strike, child, saying, blow)
        while not saying.done():
            await asyncio.wait({saying}, timeout=TICK)
            if child.frozen:
                self.count.frozen += 1
                thawing = asyncio.ensure_future(self._thaw(child, saying, asleep))
                self.stopped.append(thawing)
                if given_up:
                    return None
                await thawing
        return await self._ending(child, saying)

    async def _thaw(self, child: Child, saying: asyncio.Future[dict[str, Any] | None], asleep: float) -> None:
        """Let a stopped process go on after a while. Airflow no longer takes what it says, but it said it."""
        await asyncio.sleep(asleep)
        child.end(signal.SIGCONT)
        while not saying.done():
            await asyncio.wait({saying}, timeout=TICK)
            if child.frozen:
                await asyncio.sleep(asleep)
                child.end(signal.SIGCONT)
        await self._ending(child, saying)

    async def _ending(self, child: Child, saying: asyncio.Future[dict[str, Any] | None]) -> dict[str, Any] | None:
        said = saying.result()
        code = await child.ended()
        if said is not None:
            if said not in self.said:
                self.said.append(said)
            return said
        if code != -signal.SIGKILL:
            raise RuntimeError(f"seed {self.plan.seed}: a process ended with {code}, see {self.log}")
        self.count.kills += 1
        return None

    async def _reconcile(self, at: float) -> list[dict[str, Any]]:
        await asyncio.sleep(at)
        conns = [wallet.conns[0][0] for wallet in self.plan.wallets]
        return await asyncio.gather(*(self._child(partial(worker.reconcile, self.world, conn_id)) for conn_id in conns))

    async def _disturb(self) -> None:
        said = await self._child(partial(worker.disturb, self.world), keep=False)
        self.count.disturbed += said["disturbed"]

    # -- the calm --------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Every task comes back until it is done or no try can help; a person lifts freezes; Reconcile compares."""
        await asyncio.gather(*(self._until_final(task, "calm") for task in self.plan.tasks))
        compared = await self._reconcile(0)
        frozen = [said["run"].split()[1] for said in compared if (said.get("result") or {}).get("frozen")]
        if self.plan.unfreezes:
            await asyncio.gather(*(self._child(partial(worker.unfreeze, self.world, conn_id)) for conn_id in frozen))
        open_tasks = [task for task in self.plan.tasks if not self._is_done(task)]
        if open_tasks:
            await asyncio.sleep(SETTLE)
            await asyncio.gather(*(self._until_final(task, "cleared") for task in open_tasks))
            await self._reconcile(0)

    def _is_done(self, task: Task) -> bool:
        """Whether the task came back with its order when the storm was over."""
        return any(said["key"] == task.key and said["run"] == "calm" and "result" in said for said in self.said)

    async def _until_final(self, task: Task, run: str) -> None:
        for number in range(1, CALM_TRIES + 1):
            async with self.slots:
                said = await self._try(task, number, run)
            if said is not None and ("result" in said or said["final"]):
                return
            await asyncio.sleep(_delay(said))

    async def _child(self, work: Work, *, keep: bool = True) -> dict[str, Any]:
        child = self._start(work)
        said = await child.says(LIMIT)
        await child.ended()
        if said is None:
            raise RuntimeError(f"seed {self.plan.seed}: a process said nothing, see {self.log}")
        if keep:
            self.said.append(said)
        return said

    def _start(self, work: Work) -> Child:
        child = Child(work, self.log)
        self.children.append(child)
        return child

    # -- the ledger ------------------------------------------------------------------------------------------------

    async def _ledger(self) -> str:
        """A fresh ledger for this run, a copy of the prepared one."""
        if self.plan.database == "postgres":
            name = self._database
            sql = f"CREATE DATABASE {name} TEMPLATE adversary"
            with contextlib.suppress(RuntimeError):
                await self._child(partial(worker.command, self.place.server_url, f"DROP DATABASE IF EXISTS {name}"), keep=False)
            await self._child(partial(worker.command, self.place.server_url, sql), keep=False)
            return _ledger_url(self.place, name)
        path = self.place.folder / f"{self.name}.db"
        _remove(path)
        shutil.copy(self.place.folder / "prepared.db", path)
        return f"sqlite:///{path}"

    @property
    def _database(self) -> str:
        return f"{self.name}_{os.getpid()}"

    async def _drop(self, url: str) -> None:
        if url.startswith("sqlite"):
            return
        sql = f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)"
        await self._child(partial(worker.command, self.place.server_url, sql), keep=False)


def _strike(child: Child, saying: asyncio.Future[dict[str, Any] | None], number: int) -> None:
    if not saying.done():
        child.end(number)


def _delay(said: Mapping[str, Any] | None) -> float:
    if said is None:
        return 0.5
    if said["wait"]:  # by the short times of this world
        return min(LONGEST_WAIT, float(said["wait"]))
    return min(LONGEST_DELAY, float(said["delay"]) / HURRY)


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


async def prepare(place: Place, databases: Sequence[str]) -> dict[str, str]:
    """Make the ledgers that runs copy.

    :returns: the address of one more ledger in each database, for the parent's own exercise.
    """
    urls: dict[str, str] = {}
    if "sqlite" in databases:
        await _work(place, partial(worker.prepare, f"sqlite:///{place.folder / 'prepared.db'}"))
        shutil.copy(place.folder / "prepared.db", place.folder / "warm.db")
        urls["sqlite"] = f"sqlite:///{place.folder / 'warm.db'}"
    if "postgres" in databases:
        await _work(place, partial(worker.command, place.server_url, "CREATE DATABASE adversary"))
        await _work(place, partial(worker.prepare, _ledger_url(place, "adversary")))
        await _work(place, partial(worker.command, place.server_url, "CREATE DATABASE adversary_warm TEMPLATE adversary"))
        urls["postgres"] = _ledger_url(place, "adversary_warm")
    return urls


async def _work(place: Place, work: Work) -> None:
    log = place.folder / "prepare.log"
    child = Child(work, log)
    if await child.says(LIMIT) is None or await child.ended():
        raise RuntimeError(f"the ledger cannot be made: {log.read_text()}")


def _ledger_url(place: Place, name: str) -> str:
    """The ledger in another database of the same server."""
    head, _, query = place.server_url.partition("?")
    url = f"{head.rpartition('/')[0]}/{name}{'?' + query if query else ''}"
    return url.replace("postgresql:", "postgresql+psycopg:", 1)
