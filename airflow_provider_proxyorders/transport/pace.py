"""The pace of one account: how close together its requests leave this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pacer:
    """Gives each request its place, a fixed time after the one before. Threads may share it.

    :param rate: the most requests a second.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic):
        self._gap = 1.0 / rate
        self._clock = clock
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Take the next place; returns the seconds to wait for it."""
        with self._lock:
            now = self._clock()
            place = max(now, self._next)
            self._next = place + self._gap
            return place - now
