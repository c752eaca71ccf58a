"""The campaign as a command: ``python -m tests.adversary --seeds 0-99`` (see ``--help``).

Exit status: 0 when nothing was bought twice or lost, no limit was passed, nothing was said of the money that is not so, and of
enough lost answers 99.5 % settled without a person; 1 otherwise, also when it was stopped early; 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # before anybody imports airflow, which reads its environment once and makes a folder in its home
    for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW"))]:
        del os.environ[_name]
    _home = tempfile.mkdtemp(prefix="proxyorders-adversary-airflow-")
    os.environ.update(AIRFLOW_HOME=_home, AIRFLOW__CORE__LOAD_EXAMPLES="False", _AIRFLOW__AS_LIBRARY="1")

from . import report, warming
from .campaign import Campaign, postgres
from .guards import SCENES
from .oracle import Verdict
from .plan import ALL_VENDORS, Plan, draw
from .run import Place, prepare
from .scenes import missed, scene

#: How a busy machine is told.
PACED = "On a machine that is busy with other things set ADVERSARY_PACE=3: everything takes three times as long then."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :returns: the exit status.
    """
    options = _parser().parse_args(argv)
    plans = _plans(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while all is set up; the campaign has its own way to stop
    warming.load()
    begun = time.monotonic()
    verdicts = _play(plans, options)
    if options.without and not options.control:
        print(report.guards(verdicts))
        found = {verdict.without for verdict in verdicts if missed(verdict)}
        return int(found != {plan.without for plan in plans})
    print(report.text(verdicts, len(plans), time.monotonic() - begun, options.jobs))
    return int(report.is_broken(verdicts) or len(verdicts) < len(plans))


def _plans(options: argparse.Namespace) -> list[Plan]:
    seeds = [options.replay] if options.replay is not None else options.seeds
    if options.without:
        names = sorted(SCENES) if "all" in options.without else options.without
        return [scene(name, seed, options.database, with_guard=options.control) for seed in seeds for name in names]
    plans = [draw(seed, joined=not options.apart, only=options.vendor, database=options.database) for seed in seeds]
    return [replace(plan, faults=tuple(options.fault)) for plan in plans]


def _play(plans: Sequence[Plan], options: argparse.Namespace) -> list[Verdict]:
    folder = Path(tempfile.mkdtemp(prefix="proxyorders-adversary-"))
    databases = sorted({plan.database for plan in plans})
    try:
        with postgres("postgres" in databases) as server_url:
            place = Place(folder, server_url)
            vendors = sorted({wallet.vendor for plan in plans for wallet in plan.wallets})
            warming.practise(asyncio.run(prepare(place, databases)), vendors, folder)
            told = "all" if options.replay is not None else "wrong" if options.verbose else ""
            campaign = Campaign(place, options.jobs, told=told, results=options.results)
            return asyncio.run(campaign.play(plans, sys.stderr))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(os.environ.get("AIRFLOW_HOME", ""), ignore_errors=True)


def _seeds(text: str) -> list[int]:
    """Seeds such as ``0-99`` or ``3,7,12-20``."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make adversary", description=__doc__.partition("\n")[0], epilog=PACED)
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=_seeds("0-99"),
        help="such as 0-999 or 3,7,12-20 (default 0-99); four vendors from 1000 on",
    )
    parser.add_argument("--jobs", type=int, default=10, help="seeds at a time (default 10); most of the time is waiting")
    parser.add_argument("--replay", type=int, metavar="SEED", help="play one seed and tell its story")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="tell the story of every seed in which something went wrong or a person was asked",
    )
    parser.add_argument(
        "--without",
        action="append",
        choices=["all", *sorted(SCENES)],
        help="play the scene of a guard without it, seed after seed until the oracle finds it; exit status 0 when all are found",
    )
    parser.add_argument("--control", action="store_true", help="with --without: play the same scenes with all guards in place")
    parser.add_argument("--vendor", choices=sorted(set(ALL_VENDORS)), help="this vendor only")
    parser.add_argument("--database", choices=("sqlite", "postgres"), help="this database only")
    parser.add_argument("--fault", action="append", default=[], help="only this fault on purchases; can be given several times")
    parser.add_argument("--apart", action="store_true", help="no account has two connections")
    parser.add_argument("--results", type=Path, help="write every verdict there as it falls, a line of JSON each")
    parser.add_argument("--keep", action="store_true", help="keep ledgers, books and logs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
