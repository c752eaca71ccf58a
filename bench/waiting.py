"""The cost of waiting for many orders, beside today's triggers and beside a hand-written limit.

Each contender waits in a process of its own for a vendor in another and asks every five seconds. They are measured one after the
other: CPU, memory, requests and connections while all are pending, then the seconds from usable to event. The peers are measured
where their packages are installed: apache-airflow-providers-http and apache-airflow-providers-dbt-cloud.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import measuring
from measuring import Verdicts
from waiters import CONTENDERS

Figures = dict[str, float]
PEERS = ("HttpSensor, deferrable", "dbt-cloud")
HEAD = (
    *("N waiting", "CPU of one core", "CPU ms per request", "requests per order and minute", "new connections while waiting"),
    *("memory per waiter", "usable to event, median", "99 %", "lost"),
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--many", type=int, nargs="+", help="how many orders wait (100 1000; with --full 10000 as well)")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="only these contenders")
    parser.add_argument("--rounds", type=int, help="how often each is measured (1; with --full 3)")


def measured(name: str, many: int) -> Figures | str:
    """The figures of one contender, or why there are none."""
    command = [sys.executable, str(Path(__file__).with_name("waiters.py")), name, str(many)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    try:
        results = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"{name} with {many} orders ended with {done.returncode}:\n{done.stdout}{done.stderr}") from None
    return str(results["missing"]) if "missing" in results else results


def middle(rounds: Sequence[Figures]) -> Figures:
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def row(name: str, figures: Figures) -> list[str]:
    return [
        name,
        f"{figures['cpu']:.1%}",
        f"{figures['cpu_per_request'] * 1e3:.2f}",
        f"{figures['asked_per_minute']:.2f}",
        f"{figures['connected']:.0f}",
        f"{figures['memory'] / 1024:.0f} KB",
        f"{figures['median']:.1f} s",
        f"{figures['late']:.1f} s",
        f"{figures['lost']:.0f}",
    ]


def judge(verdicts: Verdicts, many: int, results: dict[str, list[Figures]]) -> None:
    """The budgets, as ratios within this run where the machine has a say."""

    def each(name: str, key: str) -> list[float]:
        return [figures[key] for figures in results[name]]

    def ratio(ours: str, other: str, what: str, key: str, limit: float, at_least: float = 0.0) -> None:
        """Ours by the other's, which counts as not smaller than ``at_least``: below it is only noise."""
        if ours in results and other in results:
            rounds = [mine / max(its, at_least) for mine, its in zip(each(ours, key), each(other, key), strict=True)]
            verdicts.at_most(f"{many}: {what} of {ours} ÷ {other}", statistics.median(rounds), limit, "", rounds)

    for ours, other in (("ours, list", "limit, 100 ids a call"), ("ours, single reads", "limit, single reads")):
        if ours not in results:
            continue
        listed = ours == "ours, list"
        if listed:
            used = each(ours, "cpu")
            allowed = max(1.0, 5.0 * many / 10000)  # in per cent of a core
            verdicts.at_most(f"{many}: CPU of {ours}", statistics.median(used) * 100, allowed, " %", [100 * u for u in used])
            least = 0.13 if many >= 5000 else 0.16 if many >= 1000 else 0.26  # the last call of each round is not full
            rounds = each(ours, "asked_per_minute")
            verdicts.at_most(f"{many}: requests per order and minute of {ours}", statistics.median(rounds), least, "", rounds)
        elif many >= 1000:  # with fewer, both mostly wake up and go to sleep again
            ratio(ours, other, "CPU per request", "cpu_per_request", 1.3 if many >= 5000 else 1.5)
        ratio(ours, other, "median seconds to the event", "median", 1.12 if listed else 1.3, at_least=2.5)
        ratio(ours, other, "99 % of seconds to the event", "late", 1.12 if listed else 1.3, at_least=5.0)
        for peer in PEERS:
            ratio(ours, peer, "CPU", "cpu", 1.0, at_least=0.01)
        if many >= 5000:  # with fewer, what does not grow with them is in it as well
            kept = [value / 1024 for value in each(ours, "memory")]
            verdicts.at_most(f"{many}: memory per waiter of {ours}", statistics.median(kept), 14 if listed else 24, " KB", kept)
        verdicts.at_most(f"{many}: new connections of {ours} while waiting", max(each(ours, "connected")), 0)
        verdicts.at_most(f"{many}: connections of {ours} in all", max(each(ours, "connected_in_all")), 10)
        verdicts.at_most(f"{many}: orders that {ours} lost", max(each(ours, "lost")), 0)


def main() -> int:
    options = measuring.options(__doc__ or "", add)
    rounds = options.rounds or (3 if options.full else 1)
    print(f"{measuring.machine()}; asked every 5 s; {rounds} round{'s' * (rounds > 1)}\n", flush=True)
    verdicts = Verdicts()
    missing: dict[str, str] = {}
    for many in options.many or [100, 1000, *([10000] if options.full else [])]:
        results: dict[str, list[Figures]] = {}
        for _ in range(rounds):
            for name in options.only or CONTENDERS:
                if name in missing:
                    continue
                figures = measured(name, many)
                if isinstance(figures, str):
                    missing[name] = figures
                else:
                    results.setdefault(name, []).append(figures)
        print(measuring.table([f"{many} waiting", *HEAD[1:]], [row(name, middle(taken)) for name, taken in results.items()]))
        print(flush=True)
        judge(verdicts, many, results)
    for name, why in missing.items():
        print(f"{name} is not measured: {why}")
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
