"""Plays waves on a running cluster: begins the runs, strikes, waits for the ends, and hands everything to the judge."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg

from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import RestError
from tests.vendors import EXTENSIONS, NAMES

from .books import Result, judge
from .hosts import Cluster
from .kills import Striker
from .plan import BY_HAND, CREATING, Order, Wave
from .services import LEDGER, METADATA, Broker, Database

#: seconds until an order is usable, and for which the vendor works on a request to buy, before and after it takes the order
PROCESSING, WORKING = 6.0, 0.7
SETTLE = 5
WEBHOOK_SECRET = "secret-of-the-cluster"
ENDED = ("success", "failed")
#: seconds for all runs of a wave, and for one call on a busy machine
PATIENCE, BUSY = 600.0, 120.0


@contextmanager
def running(folder: Path, say: Callable[[str], None]) -> Iterator[Play]:
    """The cluster with its servers and the vendors, all of them gone afterwards.

    :param folder: a private folder with a short path.
    """
    dags = Path(__file__).parent / "dags"
    with Sandbox.start(processing=PROCESSING) as box:
        for moment in ("before", "after"):
            for operation in ("create", "extend"):
                box.fault(operation=operation, when=moment, action="delay", seconds=WORKING)
        box.control([{"wallet": {"balance": "100000.00"}}])
        database = Database(folder / "pg")
        try:
            broker = Broker(folder / "redis")
            try:
                with Cluster(folder, dags, database, broker, lambda url: connections(box, url), say) as cluster:
                    yield Play(cluster, box, say)
            finally:
                broker.stop()
        finally:
            database.stop()


def connections(box: Sandbox, airflow_url: str) -> dict[str, dict[str, Any]]:
    """A connection for each vendor. Voodoo sends its webhooks to the API server, on the first host."""
    url = f"{airflow_url}/proxyorders/webhooks/voodoo_default"
    box.control([{"vendor": "voodoo", "webhook": {"url": url, "secret": WEBHOOK_SECRET}}])
    return {
        f"{vendor}_default": box.connection(
            vendor, settle=SETTLE, **({"webhook_secret": WEBHOOK_SECRET} if vendor == "voodoo" else {})
        )
        for vendor in NAMES
    }


class Play:
    """Plays waves one after the other."""

    def __init__(self, cluster: Cluster, box: Sandbox, say: Callable[[str], None]):
        self.cluster, self.box, self.say = cluster, box, say
        for flow in (*CREATING, "extend", BY_HAND):
            cluster.api.wait_for_dag(flow, timeout=120)

    def play(self, wave: Wave) -> Result:
        """One wave, to its end."""
        targets = {order: self._seed_order(order) for order in wave.orders if order.kind == "extend"}
        before, asked = len(self.box.book.charges()), self._asked()
        for order in wave.orders:
            conf = {"conn_id": f"{order.vendor}_default", "request": dict(order.request), "order_key": order.key}
            self._begin(order, conf | {"order_id": targets.get(order, "0")})
        self._wait(lambda: self._asked() - asked >= wave.after, 60)
        time.sleep(wave.pause)
        striker = Striker(self.cluster, wave.seed)
        striker.strike(wave.disturbance)
        runs = self._ends(wave)
        result = self._judge(wave, before, targets, runs, striker)
        self.say(f"{wave.disturbance}: {', '.join(striker.hit)}; {_words(result)}")
        return result

    def _begin(self, order: Order, conf: Mapping[str, Any]) -> None:
        """Start a run. A busy machine answers late, and then the run is there already."""
        deadline = time.monotonic() + BUSY
        while True:
            try:
                self.cluster.api.trigger(order.flow, conf, run_id=order.key)
                return
            except RestError as error:
                if error.status == 409:
                    return
                if error.status is not None or time.monotonic() > deadline:
                    raise

    def _judge(
        self, wave: Wave, before: int, targets: Mapping[Order, str], runs: Mapping[str, tuple[str, Any]], striker: Striker
    ) -> Result:
        ledger = open_ledger(self.cluster.database.url(LEDGER))
        try:
            orders = {order: ledger.find(order.key) for order in wave.orders}
        finally:
            ledger.engine.dispose()
        tries, hosts, starts = self._tries(wave)
        later = [start for start in starts if start > striker.struck_at]
        ends = [ended.timestamp() for _, ended in runs.values() if ended]
        return judge(
            wave.disturbance,
            orders,
            self.box.book.charges()[before:],
            handles={vendor: self.box.state.vendors[vendor].handles() for vendor in NAMES},
            targets=targets,
            unfinished=sum(runs.get(order.key, ("", None))[0] != "success" for order in wave.orders),
            first=min(later) - striker.struck_at if later else None,
            recovered=max([0.0, *(end - striker.struck_at for end in ends)]),
            tries=tries,
            hosts=hosts,
        )

    def _ends(self, wave: Wave) -> dict[str, tuple[str, Any]]:
        """Run -> state and end, as soon as all have ended or patience has."""
        runs: dict[str, tuple[str, Any]] = {}

        def all_ended() -> bool:
            nonlocal runs
            query = "SELECT run_id, state, end_date FROM dag_run WHERE run_id = ANY(%s)"
            runs = {run: (state, ended) for run, state, ended in self._rows(query, wave)} or runs
            return len(runs) == len(wave.orders) and all(state in ENDED for state, _ in runs.values())

        self._wait(all_ended, PATIENCE)
        return runs

    def _tries(self, wave: Wave) -> tuple[Counter[int], frozenset[str], list[float]]:
        """Number of tries -> tasks; hosts that tasks ran on; and when each try started."""
        query = "SELECT task_id, run_id, try_number, hostname, start_date FROM {} WHERE run_id = ANY(%s)"
        rows: list[tuple[Any, ...]] = []
        self._wait(lambda: bool(rows.extend(self._rows(query.format("task_instance"), wave)) or rows), BUSY)
        rows += self._rows(query.format("task_instance_history"), wave)
        last: dict[tuple[str, str], int] = {}
        for task, run, number, _, _ in rows:
            last[task, run] = max(number, last.get((task, run), 0))
        starts = [start.timestamp() for *_, start in rows if start]
        return Counter(last.values()), frozenset(host for *_, host, _ in rows if host), starts

    def _rows(self, query: str, wave: Wave) -> list[tuple[Any, ...]]:
        try:
            return self.cluster.database.do(METADATA, query, [[order.key for order in wave.orders]])
        except psycopg.Error:
            return []  # the server is away

    def _seed_order(self, order: Order) -> str:
        """Put an order to extend to the vendor."""
        expiry = datetime.now(timezone.utc) + timedelta(days=20)
        return str(self.box.control(EXTENSIONS[order.vendor].seed(expiry, 1.0))[-1])

    def _asked(self) -> int:
        return sum(self.box.book.count(vendor, kind) for vendor in NAMES for kind in ("create", "extend"))

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            time.sleep(0.2)


def _words(result: Result) -> str:
    text = f"{result.bought} of {result.intended} bought, {result.twice} twice, {result.lost} lost"
    return f"{text}, {result.asked} asked, {result.unfinished} failed; all ended after {result.recovered:.0f} s"
