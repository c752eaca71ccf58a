"""The crash matrix as a command: ``python -m tests.crash.matrix`` (see ``--help``).

Every cell buys one order from a vendor on this machine in real processes, one of which is killed (SIGKILL); then the vendor's
book is compared with the ledger. Exit status: 0 when nothing was bought twice or lost and whatever must finish by itself did,
1 otherwise, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

if __name__ == "__main__":  # before anybody imports airflow, which reads its environment once and makes a folder in its home
    for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW"))]:
        del os.environ[_name]
    _home = tempfile.mkdtemp(prefix="proxyorders-matrix-airflow-")
    os.environ.update(AIRFLOW_HOME=_home, AIRFLOW__CORE__LOAD_EXAMPLES="False")

from . import report, worker
from .cells import Cell, bounded, core, product, shuffled
from .forks import Child
from .guards import GUARDS
from .play import LIMIT, Stage
from .verdict import Verdict

#: A run in which fewer of the processes were killed that could be shows nothing. The rest is lost to a busy machine, on which an
#: order can be ready before the task has come to the moment it was to be killed at.
HIT = 0.95
#: A short run may lose so many to a busy machine.
LOST_TO_LOAD = 4
#: Of so many wrong cells the log is shown at once; any cell shows it when it is played again with ``--only``.
SHOWN = 3
#: So many cells at a time write into one SQLite file.
SHARE = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :returns: the exit status.
    """
    options = _parser().parse_args(argv)
    if options.renew:
        report.renew(options.renew)
        return 0
    cells = options.only or _chosen(options)
    for part in options.where:
        cells = [cell for cell in cells if part in str(cell).split(":")]
    cells = shuffled(cells, options.seed)
    finished = _read(options.results) if options.results else {}
    begun, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="proxyorders-matrix-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what it started, as Ctrl-C does
    worker.warm()
    if options.without:
        GUARDS[options.without](setattr)
    gc.collect()
    gc.freeze()  # so that a child's first collection does not copy the parent's memory
    try:
        verdicts = asyncio.run(_play([cell for cell in cells if str(cell) not in finished], options, folder, sys.stderr))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    verdicts = [*(finished[str(cell)] for cell in cells if str(cell) in finished), *verdicts]
    took = time.monotonic() - begun + sum(verdict.seconds for verdict in finished.values()) / options.jobs
    print(report.table(verdicts))
    print(report.summary(verdicts, took, options.jobs))
    if options.write:
        ledger = "PostgreSQL" if (options.ledger or "").startswith("postgres") else "SQLite"
        report.write(options.write, verdicts, took, options.jobs, _command(options), ledger)
    return int(
        any(verdict.wrong for verdict in verdicts) or report.not_hit(verdicts) > max(LOST_TO_LOAD, (1 - HIT) * len(verdicts))
    )


def _chosen(options: argparse.Namespace) -> list[Cell]:
    """The whole product, or the parts of it that were asked for."""
    if not (options.core or options.bounded):
        return product()
    parts = [*(core() if options.core else []), *(bounded(options.bounded, 1) if options.bounded else [])]
    return list(dict.fromkeys(parts))


async def _play(cells: Sequence[Cell], options: argparse.Namespace, folder: Path, out: TextIO) -> list[Verdict]:
    jobs = max(1, min(options.jobs, len(cells)))
    ledgers = [options.ledger] if options.ledger else [f"sqlite:///{folder / f'ledger{n}.db'}" for n in range(-(-jobs // SHARE))]
    for ledger_url in ledgers:
        preparing = Child(partial(worker.prepare, ledger_url), folder / "ledger.log")
        if await preparing.says(LIMIT) is None or await preparing.ended():
            raise RuntimeError(f"the ledger cannot be made: {(folder / 'ledger.log').read_text()}")
    waiting, verdicts = list(reversed(cells)), list[Verdict]()
    progress = _Progress(len(cells), out)

    async def play_on(ledger_url: str) -> None:
        while waiting:
            cell = waiting.pop()
            stage = Stage(cell, ledger_url, folder)
            verdict = await _played(stage)
            verdicts.append(verdict)
            if options.results and verdict.tries:
                with options.results.open("a") as file:
                    file.write(json.dumps(verdict.as_dict()) + "\n")
            if verdict.wrong:
                shown = stage.log.read_text() if sum(bool(verdict.wrong) for verdict in verdicts) <= SHOWN else ""
                progress.say(f"WRONG {cell}: {'; '.join(verdict.wrong)}\n{shown}")
            elif options.only:
                progress.say(f"{stage.log.read_text()}\n{cell}: good")
            if not options.keep:
                stage.log.unlink(missing_ok=True)
            progress.show(verdicts)

    players = [asyncio.ensure_future(play_on(ledgers[number % len(ledgers)])) for number in range(jobs)]
    try:
        await asyncio.gather(*players)
    finally:
        for player in players:
            player.cancel()
        await asyncio.gather(*players, return_exceptions=True)
    return verdicts


async def _played(stage: Stage) -> Verdict:
    """What came of a cell; one in which the matrix itself broke is wrong, and the others go on."""
    try:
        return await stage.play()
    except (RuntimeError, TimeoutError, AssertionError, OSError) as error:
        broken = f"the matrix broke: {type(error).__name__}: {error}"
        return Verdict(str(stage.place.cell), 0, 0, 0, 0, 0, 0, 0, False, wrong=[broken])


class _Progress:
    """A line now and then: how far, how long still, how many are wrong."""

    def __init__(self, total: int, out: TextIO):
        self._total, self._out = total, out
        self._begun = self._told = time.monotonic()

    def say(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    def show(self, verdicts: Sequence[Verdict]) -> None:
        now, done = time.monotonic(), len(verdicts)
        if now - self._told < 10 and done < self._total:
            return
        self._told = now
        left = (now - self._begun) / done * (self._total - done)
        wrong = sum(bool(verdict.wrong) for verdict in verdicts)
        self.say(f"{done}/{self._total} cells, {wrong} wrong, about {left / 60:.1f} min left")


def _read(results: Path) -> dict[str, Verdict]:
    """Cells that an earlier run wrote down."""
    if not results.exists():
        return {}
    rows = [json.loads(line) for line in results.read_text().splitlines() if line.endswith("}")]
    return {row["cell"]: Verdict(**row) for row in rows}


def _cell(name: str) -> Cell:
    try:
        return Cell.parse(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _command(options: argparse.Namespace) -> str:
    """How to play the same cells again."""
    words = ["--core"] if options.core else []
    words += [f"--bounded {options.bounded}"] if options.bounded else []
    words += [f"--where {part}" for part in options.where]
    words += [f"--jobs {options.jobs}"]
    return f'make crash ARGS="{" ".join(words)}"'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.matrix", description=__doc__.split("\n\n")[1])
    parser.add_argument("--jobs", type=int, default=16, help="cells at a time (16); they mostly wait")
    parser.add_argument("--seed", type=int, help="play the cells in a random order, the same one for the same seed")
    parser.add_argument(
        "--only", action="append", default=[], type=_cell, metavar="CELL", help="play this cell and show its log; repeatable"
    )
    parser.add_argument("--where", action="append", default=[], metavar="VALUE", help="only cells with this value; repeatable")
    parser.add_argument(
        "--core", action="store_true", help="the whole product for a task that waits in its worker and is retried"
    )
    parser.add_argument("--bounded", type=int, metavar="N", help="about N cells in which every value of the matrix occurs")
    parser.add_argument("--ledger", metavar="URL", help="database of the ledger; default: a SQLite file of its own")
    parser.add_argument("--results", type=Path, help="file of finished cells: written, and not played again by a later run")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write guarantees and these numbers, as docs/guarantees.md")
    parser.add_argument("--renew", type=Path, metavar="FILE", help="play nothing; renew the guarantees in FILE, keep its numbers")
    parser.add_argument("--without", choices=GUARDS, help="remove one of our guards: the matrix must fail then")
    return parser


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    finally:
        shutil.rmtree(_home, ignore_errors=True)
    sys.exit(status)
