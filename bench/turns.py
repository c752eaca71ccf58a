"""Many workers, one wallet: who waits how long for the turn, and how much of the vendor's time is used.

Each worker is a process of its own and buys some orders, one after the other. The vendor answers each call after a pause, as a
vendor far away does. There are two limits, timed in the same run on a kept connection: the POST alone, since purchases that take
turns leave one after the other, and all calls of a purchase in a row. Workers near the front of the line read their evidence
while another one has the turn, so the second limit can be passed. Judged are failures, the longest wait beside the median, and
the part of the first limit. In the last lines a worker with the turn and a worker in the line are dead.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import measuring
from measuring import REQUESTS, SandboxProcess, Verdicts

measuring.private_airflow()

VENDORS = ("proxyscrape", "iproyal")
CAPS = {"max_order_price": "50.00"}
LONGEST_BY_MEDIAN, PART_OF_POST = 1.5, 0.6
#: Seconds for which the dead holder still has the turn. The package gives it 120 s.
LEFT_BY_DEAD = 3.0
HEAD = [
    "vendor, ledger, workers x orders",
    "orders/s",
    "÷ POST",
    "÷ all calls",
    "failed",
    "wait median s",
    "longest s",
    "longest ÷ median",
]
_fork = multiprocessing.get_context("fork")


@dataclass
class Result:
    """:param waits: seconds of each purchase. :param errors: the others, by their class."""

    waits: list[float]
    errors: list[str]
    seconds: float

    @property
    def pace(self) -> float:
        return len(self.waits) / self.seconds

    @property
    def ratio(self) -> float:
        return max(self.waits) / statistics.median(self.waits)


def hook_of(vendor: str, url: str) -> Any:
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    os.environ["AIRFLOW__PROXYORDERS__LEDGER_URL"] = url
    return ProxyOrdersHook(f"bench_{vendor}")


def read_evidence(hook: Any, vendor: str) -> None:
    """Read what a purchase reads before it leaves."""
    body = hook.vendor.prepare_create(REQUESTS[vendor], "reference").body
    hook.http.run(hook.vendor.snapshot("create", body, None))


def buy(vendor: str, url: str, worker: int, orders: int, ready: Any, done: Any) -> None:
    """One worker. It is ready to buy before it begins: a hundred first imports at once would be measured else."""
    hook = hook_of(vendor, url)
    hook.buyer()
    hook.ledger.last_step()
    read_evidence(hook, vendor)
    ready.wait()
    taken: list[float | str] = []
    for number in range(orders):
        began = time.monotonic()
        try:
            hook.create_order(REQUESTS[vendor], order_key=f"w{worker}-{number}")
            taken.append(time.monotonic() - began)
        except Exception as error:
            taken.append(f"{type(error).__name__}: {error}"[:200])
    done.put(taken)


def measured(vendor: str, url: str, workers: int, orders: int) -> Result:
    ready, done = _fork.Barrier(workers + 1), _fork.Queue()
    processes = [_fork.Process(target=buy, args=(vendor, url, each, orders, ready, done)) for each in range(workers)]
    for process in processes:
        process.start()
    ready.wait(600)
    began = time.monotonic()
    taken = [each for _ in processes for each in done.get()]
    seconds = time.monotonic() - began
    for process in processes:
        process.join()
    waits = [each for each in taken if isinstance(each, float)]
    return Result(waits, [each for each in taken if isinstance(each, str)], seconds)


def leave_dead(vendor: str, url: str) -> None:
    """What a killed worker with the turn, and one in the line, leave in the ledger."""
    from airflow_provider_proxyorders.domain.model import Actor, Money
    from airflow_provider_proxyorders.ledger import Intent

    hook = hook_of(vendor, url)
    account = hook.buyer().account
    wallet, price = account.wallet, Money(Decimal(1), "USD")
    intent = Intent("dead holder", "create", vendor, account.conn_id, wallet, "f" * 64, {}, price)
    hook.ledger.intend(intent, Actor(), turn_seconds=LEFT_BY_DEAD)
    hook.ledger.line_up(wallet, "dead waiter")


@dataclass(frozen=True)
class Limits:
    """Purchases a second that the vendor allows, one after the other.

    :param post: by the POST alone.
    :param calls: by the evidence and the POST.
    """

    post: float
    calls: float


def limits_of(box: SandboxProcess, vendor: str, url: str) -> Limits:
    hook = hook_of(vendor, url)

    def asked() -> int:
        return sum(box.ask(f"book?vendor={vendor}")["counts"].get(vendor, {}).values())

    before, waits = asked(), []
    for _ in range(5):
        began = time.monotonic()
        read_evidence(hook, vendor)
        waits.append(time.monotonic() - began)
    reads = (asked() - before) / len(waits)
    return Limits(reads / min(waits), reads / (min(waits) * (reads + 1)))


def slow(box: SandboxProcess, delay: float) -> None:
    box.control({"reset": True}, {"wallet": {"balance": "9000000"}})
    box.ask("faults", [{"vendor": vendor, "action": "delay", "seconds": delay, "when": "before"} for vendor in VENDORS])


def row(name: str, result: Result, limits: Limits) -> list[str]:
    wait = f"{statistics.median(result.waits):.1f}" if result.waits else "-"
    longest = f"{max(result.waits):.1f}" if result.waits else "-"
    by_median = f"{result.ratio:.2f}" if result.waits else "-"
    parts = [f"{result.pace / limit:.2f}" for limit in (limits.post, limits.calls)]
    return [name, f"{result.pace:.2f}", *parts, str(len(result.errors)), wait, longest, by_median]


def run(box: SandboxProcess, ledgers: dict[str, Callable[[], str]], plan: list[tuple[int, int]], delay: float) -> int:
    verdicts, rows = Verdicts(), []
    for vendor in VENDORS:
        for name, new in ledgers.items():
            for workers, orders in plan:
                slow(box, delay)
                url = new()
                limits = limits_of(box, vendor, url)
                result = measured(vendor, url, workers, orders)
                what = f"{vendor}, {name}, {workers} x {orders}"
                rows.append(row(what, result, limits))
                print(" | ".join(rows[-1]), *result.errors[:3], flush=True)
                verdicts.at_most(f"{what}: failed", len(result.errors), 0)
                verdicts.at_most(f"{what}: longest wait ÷ median", result.ratio, LONGEST_BY_MEDIAN)
                by_post = result.pace / limits.post
                verdicts.true(f"{what}: {by_post:.2f} of the POST alone", by_post >= PART_OF_POST)
    for name, new in ledgers.items():
        slow(box, delay)
        url = new()
        limits = limits_of(box, VENDORS[0], url)
        leave_dead(VENDORS[0], url)
        result = measured(VENDORS[0], url, *plan[0])
        print(*result.errors[:3], sep="\n", flush=True)
        what = f"{VENDORS[0]}, {name}, {plan[0][0]} x {plan[0][1]}, two dead"
        rows.append(row(what, result, limits))
        verdicts.at_most(f"{what}: failed", len(result.errors), 0)
    print("\n" + measuring.table(HEAD, rows))
    return verdicts.finish()


def main() -> int:
    def add(parser: Any) -> None:
        parser.add_argument("--delay", type=float, help="seconds of the vendor before each answer")
        parser.add_argument("--workers", type=int, nargs="+", help="numbers of workers")

    options = measuring.options(__doc__ or "", add)
    plan = [(8, 8), (32, 4), (100, 3)] if options.full else [(8, 4), (32, 3)]
    plan = [(workers, orders) for workers, orders in plan if workers in (options.workers or [workers])]
    delay = options.delay or (0.3 if options.full else 0.1)
    print(f"{measuring.machine()}; the vendor answers after {delay:g} s\n", flush=True)
    with measuring.sandbox() as box, measuring.postgres() as database, tempfile.TemporaryDirectory() as folder:
        for vendor in VENDORS:
            os.environ[f"AIRFLOW_CONN_BENCH_{vendor.upper()}"] = box.connection(vendor, **CAPS)
        files = iter(range(1000))
        ledgers: dict[str, Callable[[], str]] = {"SQLite": lambda: f"sqlite:///{Path(folder) / f'{next(files)}.db'}"}
        if database is not None:
            ledgers["PostgreSQL"] = database
        return run(box, ledgers, plan, delay)


if __name__ == "__main__":
    sys.exit(main())
