"""``python -m tests.month [--orders 200] [--days 30]``: exit status 0 when every cent is where it must be."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import signal
import tempfile
import time
from pathlib import Path

from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.testing.local_airflow import LocalAirflow
from tests.ledgers import Postgres

from .books import summary, wrong
from .plan import MONTH, Plan
from .play import Month

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.month", description="A month of daily renewals under a real Airflow.")
    parser.add_argument("--orders", type=int, default=MONTH.orders, help=f"how many ({MONTH.orders})")
    parser.add_argument("--days", type=int, default=MONTH.days, help=f"from {MONTH.top_up_on + 1} on ({MONTH.days})")
    parser.add_argument("--seed", type=int, default=MONTH.seed, help=f"of the orders' terms and dates ({MONTH.seed})")
    options = parser.parse_args()
    if options.days <= MONTH.top_up_on or options.orders < 20:
        parser.error(f"--days must be above {MONTH.top_up_on}, the day of the top-up, and --orders at least 20")
    size = dataclasses.replace(MONTH, orders=options.orders, days=options.days, seed=options.seed)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its processes end with it
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the path of the server's socket has a limit
    began = time.monotonic()
    try:
        broken = run(Plan.of(size), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
    for line in broken:
        print(f"WRONG: {line}")
    print("Every cent is where it must be." if not broken else f"{len(broken)} promises broken.")
    return 1 if broken else 0


def run(plan: Plan, folder: Path) -> list[str]:
    """Play it in processes of its own; returns what is wrong."""
    server = Postgres(folder / "pg")
    dags = folder / "dags"
    dags.mkdir()
    try:
        ledger_url = server.new_ledger()
        env = {"AIRFLOW__PROXYORDERS__LEDGER_URL": ledger_url}
        with (
            Sandbox.start(processing=0, speed=0) as box,
            LocalAirflow(folder / "airflow", dags_folder=dags, database=server.new_database(), env=env, say=say) as airflow,
        ):
            ledger = open_ledger(ledger_url)
            story = Month(plan, airflow, box, ledger, folder, PROJECT, say).play()
            broken = wrong(story, box, ledger)
            print("\n".join(["", *summary(story, box)]))
            return broken
    finally:
        server.stop()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
