"""One watcher of the inbox per triggerer: a delivery wakes who waits for its order, wherever it waits.

Two rules: a delivery is a hint, so all it does is that its order is looked at now; and without the ledger waiting goes on,
only slower.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from airflow_provider_proxyorders.domain.errors import LedgerError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox

log = logging.getLogger(__name__)

#: With PostgreSQL: look this often even when nothing was notified, in seconds.
PATIENCE = 30.0
#: Seconds until the ledger is tried again after it could not be read.
AGAIN = 15.0


class Listener(Protocol):
    """Somebody who wants to know of deliveries."""

    def hint(self, hint: Hint) -> None:
        """A delivery came."""


class InboxListener:
    """Tells listeners of new deliveries, in the order of their arrival.

    :param url: gives the ledger's address.
    :param retention: gives the days that a delivery is kept; while somebody listens, older ones are forgotten.
    """

    def __init__(self, url: Callable[[], str], retention: Callable[[], float]):
        self._url, self._retention = url, retention
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._last: int | None = None

    def join(self, listener: Listener) -> None:
        """Begin to tell a listener; what came before is not told."""
        self._listeners.add(listener)
        if self._task is None:
            self._last = None
            self._task = asyncio.get_running_loop().create_task(self._run(), name="proxyorders inbox")

    async def begun(self) -> None:
        """Return when it is known where the watch begins: whatever is kept from then on will be told.

        :raises LedgerError: when the ledger cannot be read.
        """
        if self._last is None:
            newest = await asyncio.to_thread(lambda: self._open().newest())
            if self._last is None:  # nobody was quicker
                self._last = newest

    async def leave(self, listener: Listener) -> None:
        """Stop telling a listener; the watch ends with the last one."""
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        from airflow_provider_proxyorders.ledger.pruning import keep_pruned

        pruning = asyncio.create_task(keep_pruned(self._open, self._retention()), name="proxyorders pruning")
        try:
            await self._listen()
        finally:
            pruning.cancel()
            await asyncio.gather(pruning, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                await self.begun()
                await self._watch(await asyncio.to_thread(self._open))
            except LedgerError as error:
                log.warning("Webhooks cannot wake waiting tasks right now, polling goes on: %s", error)
            except Exception:  # a mistake of ours must not end the watch for as long as this triggerer runs
                log.exception("Webhooks cannot wake waiting tasks right now, polling goes on")
            await asyncio.sleep(AGAIN)

    def _open(self) -> Inbox:
        from airflow_provider_proxyorders.ledger.inbox import open_inbox

        return open_inbox(self._url())

    async def _watch(self, inbox: Inbox) -> None:
        from airflow_provider_proxyorders.ledger.inbox import news

        async for _ in news(self._url(), PATIENCE):
            while hints := await asyncio.to_thread(inbox.since, self._last or 0):
                for hint in hints:
                    self._last = hint.number
                    for listener in list(self._listeners):
                        listener.hint(hint)


_watches: dict[asyncio.AbstractEventLoop, InboxListener] = {}


def inbox_listener() -> InboxListener:
    """The watch of this event loop."""
    from airflow_provider_proxyorders.hooks.settings import ledger_url, webhook_retention

    loop = asyncio.get_running_loop()
    for gone in [old for old in _watches if old.is_closed()]:
        del _watches[gone]
    return _watches.setdefault(loop, InboxListener(ledger_url, webhook_retention))
