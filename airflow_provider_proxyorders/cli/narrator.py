"""Prints the progress of a long command, and ends it as Ctrl-C does on other signals too."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import TextIO


class Narrator:
    """Prints each event with the seconds since the start. During a silence it repeats the activity.

    :param silence: seconds before it repeats the activity.
    """

    def __init__(self, out: TextIO, silence: float = 4.0):
        self.out = out
        self._silence = silence
        self._started = self._printed = time.monotonic()
        self._activity: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat_activity, name="narrator", daemon=True)

    def __enter__(self) -> Narrator:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, text: str) -> None:
        """Print an event. It is also the activity until the next one."""
        with self._lock:
            self._activity = text
            self._print(text)

    def doing(self, text: str) -> None:
        """Set the activity without printing it."""
        with self._lock:
            self._activity = text

    def end(self) -> None:
        """Stop repeating the activity."""
        with self._lock:
            self._activity = None

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        print(f"[{self._printed - self._started:5.1f} s] {text}", file=self.out, flush=True)

    def _repeat_activity(self) -> None:
        while not self._ended.wait(0.5):
            with self._lock:
                if self._activity and time.monotonic() - self._printed > self._silence:
                    self._print(f"... {self._activity}")


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and a closed terminal raise KeyboardInterrupt, as Ctrl-C does. All signals after the first are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {each: signal.signal(each, interrupt) for each in signals}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
