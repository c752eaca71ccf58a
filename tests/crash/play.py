"""Plays one cell: the vendor, the tries as Airflow makes them, and the count at the end.

Two rules: what Airflow does is done here and decided there (``OrderRetryPolicy`` says whether a failure is tried again, a
killed or frozen try is tried again, such a trigger is started again), only its delays are thirty times as short; and nothing
is believed but the vendor's book and the ledger.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from . import worker
from .cells import Cell
from .forks import Child, Work
from .verdict import End, Verdict, judge

#: A process that says nothing for so long hangs, in seconds. Longer than a try that waits for one that may still be sending.
LIMIT = 180.0
#: How many times as short Airflow's delays before a try are.
HURRY = 30


Said = dict[str, Any] | None


class Stage:
    """One cell while it is played.

    :param folder: gets the cell's log.
    """

    def __init__(self, cell: Cell, ledger_url: str, folder: Path):
        self.folder = folder
        self.log = folder / f"{str(cell).replace(':', '.')}.log"
        self.place = worker.Place(cell, ledger_url, self.log.with_suffix(".killed"))
        self.kills = 0
        self.tries = 0
        self.frozen: Child | None = None

    async def play(self) -> Verdict:
        """Play the cell.

        :raises RuntimeError, TimeoutError: when the matrix itself broke.
        """
        cell, began = self.place.cell, time.monotonic()
        receiver, port = await self._receiver() if cell.webhook else (None, None)
        vendor = Child(partial(worker.sandbox, cell, port), self.log)
        try:
            opened = await vendor.says(LIMIT)
            assert opened is not None, "the sandbox did not start"
            self.place = replace(self.place, vendor_url=opened["url"], order_id=opened["order_id"])
            ends = await self._tasks(cell.mode)
            thawed = await self._thaw()
        finally:
            if self.frozen is not None:
                self.frozen.end()
            if receiver is not None:
                receiver.end()
                await receiver.ended()
            vendor.end(signal.SIGTERM)
            book = await vendor.says(LIMIT)
            await vendor.ended()
        assert book is not None
        ledger, _ = await self._child(partial(worker.audit, self.place))
        assert ledger is not None
        self.place.token.unlink(missing_ok=True)
        seconds = time.monotonic() - began
        return judge(cell, book, ledger, ends, thawed, kills=self.kills, tries=self.tries, seconds=seconds)

    async def _receiver(self) -> tuple[Child, int]:
        child = Child(partial(worker.receive, self.place), self.log)
        said = await child.says(LIMIT)
        assert said is not None, "the webhook receiver did not start"
        return child, int(said["port"])

    async def _tasks(self, mode: str) -> list[End]:
        """How often and when the task is run; the ends that count."""
        if mode == "two":
            return list(await asyncio.gather(self._task(), self._task()))
        if mode == "clear":
            await self._task(tries=1)
            end = await self._task()
            if end.final and end.money == "unknown" and end.error != "Quarantined":  # refused, in doubt: looked for again
                end = await self._task()
            return [end, await self._task()]
        return [await self._task()]

    async def _task(self, tries: int = worker.MAX_TRIES + 1) -> End:
        """One task instance: try after try until it is done, must not be tried again, or has no try left."""
        end = End("killed")
        for number in range(1, tries + 1):
            if number > 1:
                await asyncio.sleep(end.delay / HURRY)
            end = await self._try(number)
            if end.kind == "done" or end.final:
                break
        return end

    async def _try(self, number: int) -> End:
        self.tries += 1
        said, killed = await self._child(partial(worker.execute, self.place, number))
        while said is not None and "deferred" in said:
            event = await self._event(said["deferred"])
            kwargs = {**said["next"], "event": event}
            said, killed = await self._child(partial(worker.resume, self.place, number, said["method"], kwargs))
        return End("killed") if killed else _end(said)

    async def _event(self, deferred: Mapping[str, Any]) -> Any:
        """What the trigger says; a triggerer that was killed is started again and runs the same trigger."""
        while True:
            said, killed = await self._child(partial(worker.trigger, self.place, deferred["trigger"], deferred["kwargs"]))
            if not killed:
                assert said is not None
                return said["event"]

    async def _child(self, work: Work) -> tuple[Said, bool]:
        """Fork, listen, wait.

        :returns: what it said, and whether it was killed or frozen at the kill point, so that Airflow has to give it up.
        """
        child = Child(work, self.log)
        try:
            return await self._listen(child)
        except BaseException:  # the run is being ended, or the child hangs
            child.end()
            raise

    async def _listen(self, child: Child) -> tuple[Said, bool]:
        saying = asyncio.ensure_future(child.says(LIMIT))
        if self.place.cell.mode == "frozen":
            while not saying.done():
                if child.frozen:
                    self.kills += 1
                    self.frozen, self._saying = child, saying
                    return None, True
                await asyncio.wait({saying}, timeout=0.02)
        said = await saying
        code = await child.ended()
        killed = code == -signal.SIGKILL
        self.kills += killed
        if not killed and (code or said is None):
            raise RuntimeError(f"a process ended with {code}, see {self.log}")
        return said, killed

    async def _thaw(self) -> End | None:
        """Let the frozen process go on. What it hands on or defers, Airflow no longer takes; what it does counts."""
        if self.frozen is None:
            return None
        self.frozen.end(signal.SIGCONT)
        said = await self._saying
        await self.frozen.ended()
        self.frozen = None
        return _end(said)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


def _end(said: Said) -> End:
    assert said is not None
    if "error" in said:
        final = said["action"] == "fail"
        return End("failed", None, final, said["error"], said["text"], said["money"], said["delay"], _now())
    return End("done", result=said.get("result"))
