"""The calls of our functions during one look at a waiting order, counted so that a busy machine has no influence.

Orders wait at a sandbox in another process. A profile counts each call of a function of the package, and each time that a
coroutine or a flow goes on. Orders stay pending meanwhile and the vendor repeats its answer, as it nearly always does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import measuring
from measuring import Verdicts

#: name of a case -> vendor, status of a pending order
CASES = {"single reads": ("proxyscrape", "paid"), "list": ("iproyal", "in-progress")}
#: The most calls per look: three fifths of those of the poller with two loops, which took 95.2, 75.1, 94.2 and 9.0.
BUDGETS = {("single reads", 1): 57.2, ("single reads", 100): 45.0, ("list", 1): 56.5, ("list", 100): 5.4}
#: Seconds between two looks at an order, and how often each is looked at while the profile is taken.
RHYTHM = 0.25
LOOKS = 20
PLACED = (datetime.now(timezone.utc) - timedelta(minutes=5)).isoformat()
DEADLINE = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()


@dataclass(frozen=True)
class Figures:
    """What was counted in one case.

    :ivar calls: by file and function.
    :ivar requests: how many calls the vendor saw.
    :ivar looks: how many orders those asked for.
    """

    calls: Counter[tuple[str, str]]
    requests: int
    looks: int

    @property
    def per_look(self) -> float:
        """Calls per look at one order."""
        return sum(self.calls.values()) / self.looks

    @property
    def by_file(self) -> Counter[str]:
        files: Counter[str] = Counter()
        for (file, _), count in self.calls.items():
            files[file] += count
        return files


class Profile:
    """Counts the calls of functions that are defined in one folder, by function."""

    def __init__(self, folder: Path):
        self.calls: Counter[CodeType] = Counter()
        self._folder = str(folder)

    def __enter__(self) -> Profile:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self.calls[frame.f_code] += 1

    @property
    def by_function(self) -> Counter[tuple[str, str]]:
        return Counter(
            {
                (code.co_filename.removeprefix(self._folder).lstrip("/"), code.co_qualname): count
                for code, count in self.calls.items()
                if code.co_filename.startswith(self._folder)
            }
        )


async def watch(box: measuring.SandboxProcess, case: str, order_ids: list[str]) -> Figures:
    """Let orders wait, and count."""
    import airflow_provider_proxyorders
    from airflow_provider_proxyorders.triggers.orders import ProxyOrderTrigger

    vendor, _ = CASES[case]

    async def wait(order_id: str) -> None:
        trigger = ProxyOrderTrigger(conn_id=vendor, order_id=order_id, deadline=DEADLINE, placed_at=PLACED, poll_interval=RHYTHM)
        async for event in trigger.run():
            raise RuntimeError(f"order {order_id} ended: {event}")

    async def requests() -> int:
        book = await asyncio.to_thread(box.ask, "book")
        return sum(book["counts"].get(vendor, {}).values())

    tasks = [asyncio.create_task(wait(order_id)) for order_id in order_ids]
    await asyncio.sleep(2.0 + 4 * RHYTHM)  # until the first looks are over and their lines are written
    before = await requests()
    with Profile(Path(airflow_provider_proxyorders.__file__).parent) as profile:
        await asyncio.sleep(LOOKS * RHYTHM)
    counted = await requests() - before
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(error, asyncio.CancelledError):
            raise SystemExit(f"a wait ended before its time: {error!r}")
    return Figures(profile.by_function, counted, counted * (len(order_ids) if case == "list" else 1))


def quicken(vendor: str) -> None:
    """Let a vendor be asked as often as this needs."""
    from airflow_provider_proxyorders.vendors import vendor_class

    kind: Any = vendor_class(vendor)
    polling = replace(kind.capabilities.polling, first=RHYTHM, fastest=RHYTHM)
    kind.capabilities = replace(kind.capabilities, polling=polling)


def pending_order(vendor: str, order_id: str, status: str) -> dict[str, Any]:
    if vendor == "iproyal":
        return {"id": int(order_id), "status": status, "quantity": 1}
    return {"id": order_id, "status": status}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, nargs="+", default=[1, 100], help="how many orders wait (1 100)")
    parser.add_argument("--only", choices=CASES, nargs="+", default=[*CASES])
    parser.add_argument("--functions", action="store_true", help="also list the functions of each case")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    measuring.private_airflow()
    import os

    figures: dict[tuple[str, int], Figures] = {}
    with measuring.sandbox() as box:
        for case in options.only:
            vendor, status = CASES[case]
            os.environ[f"AIRFLOW_CONN_{vendor.upper()}"] = box.connection(vendor)
            quicken(vendor)
            for many in options.many:
                order_ids = [str(100000 + number) for number in range(many)]
                box.control(*({"vendor": vendor, "order": pending_order(vendor, order_id, status)} for order_id in order_ids))
                figures[case, many] = asyncio.run(watch(box, case, order_ids))
    if options.output == "json":
        print(json.dumps({f"{case}, {many}": taken.per_look for (case, many), taken in figures.items()}))
        return 0
    files = sorted({file for taken in figures.values() for file in taken.by_file})
    head = ["calls per look at an order", *(f"{case}, {many}" for case, many in figures)]
    rows = [[file, *(f"{taken.by_file[file] / taken.looks:.2f}" for taken in figures.values())] for file in files]
    rows.append(["**all**", *(f"**{taken.per_look:.2f}**" for taken in figures.values())])
    rows.append(["calls per request", *(f"{sum(taken.calls.values()) / taken.requests:.1f}" for taken in figures.values())])
    print(measuring.table(head, rows))
    if options.functions:
        for (case, many), taken in figures.items():
            print(f"\n{case}, {many}: {taken.requests} requests, {taken.looks} looks")
            for (file, name), count in taken.calls.most_common(60):
                print(f"{count / taken.requests:8.2f}  {file}:{name}")
    verdicts = Verdicts()
    for (case, many), taken in figures.items():
        if (case, many) in BUDGETS:
            verdicts.at_most(f"calls per look, {case}, {many} waiting", taken.per_look, BUDGETS[case, many])
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
