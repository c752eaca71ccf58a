"""The sandbox's own time, so a month can pass in an instant of a test.

Two rules. Everything in the sandbox reads the time here. Every later event (an order gets usable, a term runs out, a renewal is
charged) is an entry in one queue, run in the order of time, with its own time as "now". So ``advance(60 days)`` renews a monthly
order twice, at the two due moments.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from datetime import datetime, timezone


class Clock:
    """Time at ``speed`` times the pace of the wall clock, with jumps ahead.

    Its caller holds the lock of the sandbox's state.

    :param speed: 0 stops the clock, and only :meth:`advance` moves it.
    """

    def __init__(self, speed: float = 1.0):
        self.speed = speed
        #: called when the next entry of the queue moved nearer; the server waits for it
        self.on_sooner: Callable[[], None] = lambda: None
        self._start = time.monotonic()
        self._origin = time.time()
        self._ahead = 0.0
        self._pinned: float | None = None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def timestamp(self) -> float:
        """Unix seconds."""
        if self._pinned is not None:
            return self._pinned
        return self._origin + self._ahead + (time.monotonic() - self._start) * self.speed

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.fromtimestamp(self.timestamp(), timezone.utc)

    def at(self, timestamp: float, what: Callable[[], None]) -> None:
        """Have ``what`` happen at a moment given in unix seconds; a moment in the past happens as soon as possible."""
        heapq.heappush(self._queue, (timestamp, next(self._numbers), what))
        if self._queue[0][2] is what:
            self.on_sooner()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Have ``what`` happen ``seconds`` from now."""
        self.at(self.timestamp() + seconds, what)

    def advance(self, seconds: float) -> None:
        """Jump ahead and let everything happen that was due on the way.

        :raises ValueError: for a jump into the past.
        """
        if seconds < 0:
            raise ValueError("the clock only goes forward")
        self._ahead += seconds
        self.run_due()
        self.on_sooner()

    def run_due(self) -> None:
        """Let everything happen that is due by now."""
        if not self._queue or self._pinned is not None:
            return
        until = self.timestamp()
        try:
            while self._queue and self._queue[0][0] <= until:
                self._pinned, _, what = heapq.heappop(self._queue)
                what()
        finally:
            self._pinned = None

    def next_in(self) -> float | None:
        """Real seconds until the next entry is due; None when nothing will become due by itself."""
        if not self._queue or not self.speed:
            return None
        return max(0.0, (self._queue[0][0] - self.timestamp()) / self.speed)

    def forget(self) -> None:
        """Drop everything that is still to happen, and undo all jumps."""
        self._queue.clear()
        self._ahead = 0.0
