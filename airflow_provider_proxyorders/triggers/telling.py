"""The lines of a connection in the logs, and its measures.

Two rules. A line goes through a pipe to the triggerer's supervisor, a slow reader with database work of its own, so a thread
writes it and the loop goes on. With many waiting triggers, one line in the triggerer's log replaces a line in each task's log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.triggers.background import Background
from airflow_provider_proxyorders.triggers.subscription import Subscription, Update

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Vendor

log = logging.getLogger(__name__)

#: Lines written at the same time, each by one of the triggerer's shared threads.
WRITING = 2
#: Seconds between two reports of our measures.
REPORT_EVERY = 1.0


class Lines:
    """The lines about one connection, few enough for the triggerer's supervisor."""

    def __init__(self, conn_id: str, background: Background):
        self._conn_id, self._background = conn_id, background
        self._writing = asyncio.Semaphore(WRITING)

    async def log_update(self, task_log: Any, subscription: Subscription, update: Update, many_waiting: bool) -> None:
        """Write an update's line, if it has one, into its task's log.

        With many waiting triggers, an end skips a busy log: otherwise it would come as late as the last line.

        :param task_log: the trigger's own logger.
        """
        ended = update.outcome is not None
        if not update.text or (many_waiting and ended and self._writing.locked()):
            return
        writing = self._write(task_log, subscription, update)
        if many_waiting and not ended:
            self._background.begin(writing)
        else:
            await writing

    async def _write(self, task_log: Any, subscription: Subscription, update: Update) -> None:
        async with self._writing:
            if update.outcome is not None or not subscription.gone:  # after the wait only its end matters
                await task_log.ainfo("%s", update.text)

    def warn_once(self, text: str) -> None:
        """Write one line into the triggerer's own log, in place of one for each of many."""
        write = partial(log.warning, "Connection %s: %s", self._conn_id, text)
        asyncio.get_running_loop().run_in_executor(None, copy_context().run, write)


class Measures:
    """The counts of one connection, reported beside Airflow's own measures.

    :ivar counts: since the last report: ``polls`` (calls to the vendor) and ``throttled``.
    :ivar due: the moment of the next report, in seconds of the loop's clock.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self.counts: Counter[str] = Counter()
        self.due = 0.0

    def report(self, vendor: Vendor, waiting: int, now: float) -> None:
        """Send the counts and begin anew."""
        self.due = now + REPORT_EVERY
        tags = {"vendor": vendor.name, "conn_id": self._conn_id}
        _compat.gauge("waiting", waiting, tags)
        for name, count in self.counts.items():
            _compat.incr(name, tags, count)
        self.counts.clear()
