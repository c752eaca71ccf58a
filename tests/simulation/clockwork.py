"""Virtual time, and workers that take turns in it.

Three rules: time passes only here, from one entry of the queue to the next; a worker (a greenlet) gives way only in
:meth:`Worker.pause`, so every run of a seed is the same; and a killed worker is kept but never resumed, so that nothing of
it runs any more, not even its ``finally``.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timezone
from random import Random

from greenlet import GreenletExit, greenlet  # type: ignore[import-untyped]

from airflow_provider_proxyorders.sandbox.clock import Clock

#: No run needs nearly as many steps; one that does goes round in circles.
MOST_STEPS = 60_000


class Clockwork:
    """The queue of everything that is still to happen, and the log of what did.

    :param clock: the sandbox's, stopped; moved only by :meth:`run`.
    :param chance: decides who goes first of those who are due at the same moment.
    """

    def __init__(self, clock: Clock, chance: Random):
        self.clock, self.chance = clock, chance
        self.start = clock.timestamp()
        self.log: list[str] = []
        self.steps = 0
        #: set to end the run early
        self.stopped = False
        #: whether the run has ended
        self.over = False
        self._queue: list[tuple[float, float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self.hub = greenlet.getcurrent()

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.clock.timestamp()

    def note(self, actor: str, text: str) -> None:
        """Add a line to the log."""
        at = self.now - self.start
        self.log.append(f"{int(at) // 3600}:{int(at) // 60 % 60:02}:{at % 60:06.3f}  {actor:<12} {text}")

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        """Have ``what`` happen ``seconds`` from now."""
        heapq.heappush(self._queue, (self.now + seconds, self.chance.random(), next(self._numbers), what))

    def run(self) -> bool:
        """Let everything happen; False when it does not come to an end."""
        try:
            while self._queue and not self.stopped:
                moment, _, _, what = heapq.heappop(self._queue)
                self.clock.advance(max(0.0, moment - self.now))
                self.steps += 1
                if self.steps > MOST_STEPS:
                    return False
                what()
            return True
        finally:
            self.over = True

    def give_way(self) -> None:
        """Back from a worker to :meth:`run`."""
        self.hub.switch()


class Worker:
    """One process: a try of a task, or a person at the command line.

    :param mishap: asked at every switch point with its name; returns seconds to be frozen there, or None for SIGKILL.
    :param skew: how far this host's clock is ahead of the world's, in seconds.
    """

    def __init__(
        self, clockwork: Clockwork, name: str, *, mishap: Callable[[Worker, str], float | None] | None = None, skew: float = 0.0
    ):
        self.clockwork, self.name, self.skew = clockwork, name, skew
        self.alive = True
        #: whether no fault of any kind may happen to this process
        self.calm = mishap is None
        self._mishap = mishap
        self._asleep = 0.0
        self._greenlet: greenlet | None = None

    def begin(self, run: Callable[[], None], after: float = 0.0) -> None:
        """Start the process ``after`` seconds from now."""
        self._greenlet = greenlet(run, parent=self.clockwork.hub)
        self.clockwork.after(after, self._greenlet.switch)

    @property
    def running(self) -> bool:
        """Whether it may still do something, perhaps only much later."""
        return self.alive and self._greenlet is not None and not self._greenlet.dead

    def pause(self, seconds: float, point: str) -> None:
        """A switch point: others go on, time passes, and this process may not come back."""
        if not self.alive or self.clockwork.over:  # Python takes the process down, and runs a ``finally`` of it
            raise GreenletExit
        assert self._greenlet is not None
        mishap = self._mishap(self, point) if self._mishap else 0.0
        if mishap is None:
            self.alive = False
            self.say(f"*** SIGKILL {point}")
        else:
            self.clockwork.after(seconds + mishap, self._greenlet.switch)
        self.clockwork.give_way()

    def sleep(self, seconds: float) -> None:
        """The buyer gets this as ``time.sleep``."""
        self.pause(max(0.0, seconds), "asleep")

    def clock(self) -> datetime:
        """This host's wall clock, aware UTC."""
        return datetime.fromtimestamp(self.clockwork.now + self.skew, timezone.utc)

    def ticks(self) -> float:
        """The buyer gets this as ``time.monotonic``: it stands still while the machine is suspended."""
        return self.clockwork.now - self._asleep

    def suspended(self, seconds: float) -> None:
        """Seconds that the monotonic clock of this host will not have counted."""
        self._asleep += seconds

    def say(self, text: str) -> None:
        self.clockwork.note(self.name, text)
