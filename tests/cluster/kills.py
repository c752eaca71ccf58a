"""The disturbances. Each waits until there is something to disturb, strikes, and brings back what it took away.

A disturbance returns the moment of its strike and what it hit.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

import psutil
import psycopg

from .hosts import WORKER, Cluster, Host
from .services import METADATA

#: seconds to wait for a victim
PATIENCE = 30.0


class Striker:
    """Strikes a cluster; which victim is the seed's choice."""

    def __init__(self, cluster: Cluster, seed: int):
        self.cluster, self.chance = cluster, random.Random(seed)
        self.struck_at = 0.0
        self.hit: list[str] = []

    def strike(self, disturbance: str) -> None:
        """Do one of :data:`DISTURBANCES`."""
        self.struck_at = time.time()
        STRIKES[disturbance](self)

    def _strikes(self, what: str) -> None:
        if not self.hit:
            self.struck_at = time.time()
        self.hit.append(what)

    def nothing(self) -> None:
        self._strikes("nothing")

    def task(self) -> None:
        self._processes("task process", lambda host: host.tasks())

    def supervisor(self) -> None:
        self._processes("supervisor", lambda host: host.supervisors())

    def worker(self, away: float = 10.0) -> None:
        host = self._busy()
        self._strikes(f"worker of {host.name}, {len(host.tasks())} tasks running")
        self.cluster.kill(host, WORKER, away)

    def triggerer(self) -> None:
        host, waiting = self._with_most_waiting()
        self._strikes(f"triggerer of {host.name}, {waiting} orders waiting there")
        self.cluster.kill(host, "triggerer", 20.0)

    def scheduler(self) -> None:
        host = self.chance.choice(self.cluster.hosts)
        self._strikes(f"scheduler of {host.name}")
        self.cluster.kill(host, "scheduler", 20.0)

    def broker(self) -> None:
        self._strikes("broker")
        self.cluster.broker.crash()
        time.sleep(8.0)
        self.cluster.broker.start()

    def database(self) -> None:
        self._strikes("PostgreSQL")
        self.cluster.database.crash()
        time.sleep(8.0)
        self.cluster.database.start()

    def several(self) -> None:
        steps = [lambda: self.worker(away=5.0), self.broker, self.database]
        self.chance.shuffle(steps)
        for step in steps:
            step()
            time.sleep(self.chance.uniform(0.0, 3.0))

    # -- victims --------------------------------------------------------------------------------------------------

    def _processes(self, what: str, of: Callable[[Host], list[psutil.Process]]) -> None:
        for _ in range(2):
            deadline = time.monotonic() + PATIENCE
            while not (victims := [(host, process) for host in self.cluster.hosts for process in of(host)]):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.05)
            host, process = self.chance.choice(victims)
            self._strikes(f"{what} of {host.name}")
            try:
                process.kill()
            except psutil.NoSuchProcess:
                self.hit[-1] += " (ended first)"
            time.sleep(self.chance.uniform(0.2, 2.0))

    def _busy(self) -> Host:
        """A host whose worker runs a task; the last choice is any."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            busy = [host for host in self.cluster.hosts if host.tasks()]
            if busy:
                return self.chance.choice(busy)
            time.sleep(0.1)
        return self.chance.choice(self.cluster.hosts)

    def _with_most_waiting(self) -> tuple[Host, int]:
        """The host whose triggerer has most triggers, as soon as there are three."""
        query = "SELECT job.hostname, count(*) FROM trigger JOIN job ON job.id = trigger.triggerer_id GROUP BY 1 ORDER BY 2 DESC"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                rows = self.cluster.database.do(METADATA, query)
            except psycopg.Error:
                rows = []
            if (rows and rows[0][1] >= 3) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        name, waiting = rows[0] if rows else (self.cluster.hosts[0].name, 0)
        return next(host for host in self.cluster.hosts if host.name == name), waiting


STRIKES: Mapping[str, Callable[[Striker], None]] = {
    "nothing": Striker.nothing,
    "task": Striker.task,
    "supervisor": Striker.supervisor,
    "worker": Striker.worker,
    "triggerer": Striker.triggerer,
    "scheduler": Striker.scheduler,
    "broker": Striker.broker,
    "database": Striker.database,
    "several": Striker.several,
}
