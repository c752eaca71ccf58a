"""Processes for the price of a fork: one parent that has imported everything, and a child for every try.

Two rules: the parent opens no database, no connection and no thread, so a child inherits nothing that it could share by
mistake; and a child ends by ``os._exit`` or by a signal, so nothing of the parent's is cleaned up twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Say = Callable[[dict[str, Any]], None]
#: What a child does; what it says are objects that JSON can carry.
Work = Callable[[Say], None]

#: Exit status of a child whose work raised something that it did not expect.
BROKEN = 70


class Child:
    """A process that was forked off to do one thing.

    :param log: file that takes its output.
    """

    def __init__(self, work: Work, log: Path):
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _be_a_child(work, log, reading, writing)
        os.close(writing)
        self._reading = reading
        self._lines: asyncio.StreamReader | None = None
        self._status: int | None = None

    async def says(self, limit: float) -> dict[str, Any] | None:
        """The next thing it says, None when it has ended without a word. A child that takes longer is killed.

        :raises TimeoutError: when it was silent for ``limit`` seconds.
        """
        if self._lines is None:
            self._lines = asyncio.StreamReader(limit=2**24)
            protocol = asyncio.StreamReaderProtocol(self._lines)
            await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(self._reading, "rb", 0))
        try:
            line = await asyncio.wait_for(self._lines.readline(), limit)
        except asyncio.TimeoutError:
            self.end()
            raise TimeoutError(f"process {self.pid} said nothing for {limit:.0f} s") from None
        return json.loads(line) if line else None

    @property
    def frozen(self) -> bool:
        """Whether it was stopped since this was last asked."""
        if self._status is not None:
            return False
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid and not os.WIFSTOPPED(status):
            self._status = status
        return bool(pid) and os.WIFSTOPPED(status)

    def end(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it has not ended yet."""
        if self._status is None:
            os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait for its end.

        :returns: its exit status, or the negative number of the signal that ended it.
        :raises RuntimeError: when its work raised.
        """
        while self._status is None:  # its pipe is closed by now, so it takes a moment at most
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
            else:
                await asyncio.sleep(0.005)
        code = os.waitstatus_to_exitcode(self._status)
        if code == BROKEN:
            raise RuntimeError("a process of the matrix broke; see its log")
        return code


def _be_a_child(work: Work, log: Path, reading: int, writing: int) -> None:
    code = BROKEN
    try:
        os.close(reading)
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        work(lambda message: _write(writing, message))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _write(pipe: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]
