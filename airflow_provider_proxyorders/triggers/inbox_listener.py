"""One listener to the inbox of webhooks per triggerer: a webhook wakes every trigger of its order.

Two rules. A webhook is a hint; its only effect is an immediate look at its order. Without the ledger the waiting goes on, only
slower.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from airflow_provider_proxyorders.domain.errors import LedgerError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox

log = logging.getLogger(__name__)

#: With PostgreSQL, which notifies: look this often even without a notification, in seconds.
LOOK_EVERY = 30.0
#: Seconds until the ledger is tried again after a failure, at first and at most: a new primary is found within seconds.
SOON, AGAIN = 1.0, 15.0


class HintTaker(Protocol):
    """A receiver of hints."""

    def hint(self, hint: Hint) -> None:
        """A verified webhook came."""


class InboxListener:
    """Passes new webhooks on, in the order of their arrival.

    :param url: gives the ledger's address.
    :param listen_url: gives another address of the same database to listen at, or "".
    :param retention: gives the age limit of webhooks, in days. The listener deletes older ones while it runs.
    """

    def __init__(self, url: Callable[[], str], retention: Callable[[], float], listen_url: Callable[[], str] = str):
        self._url, self._retention, self._listen_url = url, retention, listen_url
        self._takers: set[HintTaker] = set()
        self._task: asyncio.Task[None] | None = None
        self._last: int | None = None

    def join(self, taker: HintTaker) -> None:
        """Begin to pass new webhooks on to a taker."""
        self._takers.add(taker)
        if self._task is None:
            self._last = None
            self._task = asyncio.get_running_loop().create_task(self._run(), name="proxyorders inbox")

    async def pin_start(self) -> None:
        """Return as soon as the start is fixed: every webhook stored from then on will be passed on.

        :raises LedgerError: when the ledger cannot be read.
        """
        if self._last is None:
            newest = await asyncio.to_thread(lambda: self._open().newest())
            if self._last is None:  # still: another caller may have been quicker
                self._last = newest

    async def leave(self, taker: HintTaker) -> None:
        """Stop passing webhooks on to a taker; the listener ends with the last one."""
        self._takers.discard(taker)
        if not self._takers and self._task is not None:
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
        said, pause = "", SOON
        while True:
            began = time.monotonic()
            try:
                await self.pin_start()
                await self._pass_on(await asyncio.to_thread(self._open))
            except LedgerError as error:
                level = logging.DEBUG if str(error) == said else logging.WARNING  # a wrong setting stays as it is
                log.log(level, "The inbox of webhooks failed, waiting tasks are polled as usual: %s", error)
                said = str(error)
            except Exception:  # a mistake of ours must not end the listening for as long as this triggerer runs
                log.exception("The inbox of webhooks failed, waiting tasks are polled as usual")
            pause = min(SOON if time.monotonic() - began > AGAIN else 2 * pause, AGAIN)
            await asyncio.sleep(pause)

    def _open(self) -> Inbox:
        from airflow_provider_proxyorders.ledger.inbox import open_inbox

        return open_inbox(self._url())

    async def _pass_on(self, inbox: Inbox) -> None:
        from airflow_provider_proxyorders.ledger.listening import arrivals

        async for _ in arrivals(self._url(), LOOK_EVERY, self._listen_url()):
            while hints := await asyncio.to_thread(inbox.since, self._last or 0):
                for hint in hints:
                    self._last = hint.number
                    for taker in list(self._takers):
                        taker.hint(hint)


_listeners: dict[asyncio.AbstractEventLoop, InboxListener] = {}


def inbox_listener() -> InboxListener:
    """The listener of this event loop."""
    from airflow_provider_proxyorders.hooks.settings import listen_url, shared_ledger_url, webhook_retention

    loop = asyncio.get_running_loop()
    for closed in [other for other in _listeners if other.is_closed()]:
        del _listeners[closed]
    return _listeners.setdefault(loop, InboxListener(shared_ledger_url, webhook_retention, listen_url))
