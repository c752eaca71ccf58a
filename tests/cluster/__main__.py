"""Two Airflow hosts with Celery, PostgreSQL, Redis and the sandbox's vendors: orders while parts are killed.

Exit status: 0 when every intended order was bought once and no person was asked, 1 otherwise, 2 for wrong arguments, and 3 when
Redis or the environment with Celery is missing. With --by-hand it is 0 when something was bought twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # before anybody imports airflow, which reads its environment once and makes a folder in its home
    for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW"))]:
        del os.environ[_name]
    _home = tempfile.mkdtemp(prefix="proxyorders-cluster-airflow-")
    os.environ.update(AIRFLOW_HOME=_home, AIRFLOW__CORE__LOAD_EXAMPLES="False", _AIRFLOW__AS_LIBRARY="1")

from .books import Result, table
from .hosts import LIMITS
from .missing import missing
from .plan import DISTURBANCES, ORDERS, waves
from .play import running


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :returns: the exit status.
    """
    options = _parser().parse_args(argv)
    if reason := missing():
        print(f"Skipped: {reason}")
        return 3
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its processes end with it
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    results: list[Result] = []
    broken = True
    try:
        with running(folder, say) as play:
            for seed in options.seeds:
                began = time.monotonic()
                for wave in waves(seed, options.only, options.orders, by_hand=options.by_hand):
                    results.append(play.play(wave))
                say(f"seed {seed}: {time.monotonic() - began:.0f} s")
            say(f"\n{_facts(play.cluster.restarts, play.cluster.most_connections)}")
        broken = not any(result.twice for result in results) if options.by_hand else any(result.is_broken for result in results)
    finally:
        if results:
            say(f"\n{table(results, DISTURBANCES)}")
        if options.keep or broken:
            say(f"\nLogs of all parts: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(os.environ.get("AIRFLOW_HOME", ""), ignore_errors=True)
    return int(broken)


def say(text: str) -> None:
    print(text, flush=True)


def _facts(restarts: int, connections: int) -> str:
    limits = ", ".join(f"{name} {value}" for options in LIMITS.values() for name, value in options.items())
    facts = f"Parts that ended by themselves: {restarts}. Connections to the ledger at most: {connections}."
    return f"{facts} Airflow's limits: {limits}."


def _seeds(text: str) -> list[int]:
    """Seeds such as ``0-9`` or ``3,7,12-20``."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {name:<12}{words}" for name, words in DISTURBANCES.items()]
    parser = argparse.ArgumentParser(
        prog="make cluster",
        description=__doc__,
        epilog="\n".join(
            ["disturbances:", *lines, "", "A seed plays three of them; three seeds in a row, such as 0-2, play all."]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=_seeds, default=_seeds("0-9"), help="such as 0-99 or 3,7,12-20 (default 0-9)")
    parser.add_argument(
        "--only", action="append", choices=list(DISTURBANCES), default=[], help="this disturbance in place of the seed's"
    )
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"of each disturbance, at least 6 (default {ORDERS})")
    parser.add_argument(
        "--by-hand", action="store_true", help="the control: plain tasks buy, without this package and its ledger"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs of all parts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
