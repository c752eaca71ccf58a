"""The stream of orders that ended, as their webhooks come in; each is told by one of all who listen.

Two rules: a report that the vendor does not confirm yet, or that cannot be checked now, comes back later; and who tells of an
order holds it and confirms afterwards that it was told, so that the event of a triggerer that dies is late and not lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.triggers.inbox_listener import inbox_listener

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.ledger.facts import Fact
    from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
    from airflow_provider_proxyorders.triggers.poller import Poller

log = logging.getLogger(__name__)

#: An unconfirmed report comes back after 1, 2, 4 ... seconds, at most an hour apart, for about a day.
LONGEST, LOOKS = 3600.0, 34
#: Seconds that an order stays with who tells of it; one that was not confirmed by then is told again.
HOLD = 120.0
#: Airflow stores an event within a second or two. A trigger that lives so much longer has told it, in seconds.
STORED_AFTER = 8.0
#: Orders that are read from the inbox at once, when nothing else is to be worked on.
PAGE = 500
#: Seconds until the inbox is read again after it could not be.
AGAIN = 15.0


@dataclass(frozen=True)
class Ending:
    """One reported end of an order."""

    conn_id: str
    order_id: str
    reference: str | None
    ledger: Ledger
    _come_back: Callable[[], bool] = field(repr=False)
    _afterwards: Callable[[Coroutine[None, None, None]], None] = field(repr=False)

    def later(self) -> bool:
        """Have this report come back later; False when it has come back often enough and is given up."""
        return self._come_back()

    async def standing(self) -> Literal["told", "held", "free"]:
        """Whether the order was told of, is with somebody else who tells of it, or has to be told of."""
        found = await asyncio.to_thread(self._next_turn)
        return found if isinstance(found, str) else "free"

    async def claim(self) -> bool:
        """Whether this caller is to tell of the order; decided by the ledger."""
        return await asyncio.to_thread(self._claim)

    def confirm(self) -> None:
        """The event was handed to Airflow: note that it was told, as soon as that is certain."""
        self._afterwards(self._confirm())

    def _claim(self) -> bool:
        turn = self._next_turn()
        mine = f"{uuid4().hex} {time.time():.0f}"
        return isinstance(turn, int) and self._turn(turn).decide_once(mine) == mine

    async def _confirm(self) -> None:
        await asyncio.sleep(STORED_AFTER)
        try:
            await asyncio.to_thread(self._reported.decide_once, "yes")
        except LedgerError as error:
            log.warning("The end of order %s may be told twice: %s", self.order_id, error)

    def _next_turn(self) -> int | Literal["told", "held"]:
        """The number of the next try to tell of the order."""
        if self._reported.get() is not None:
            return "told"
        turn = 1
        while (taken := self._turn(turn).get()) is not None:
            if time.time() < float(taken.split()[1]) + HOLD:
                return "held"
            turn += 1
        return turn

    def _turn(self, number: int) -> Fact:
        from airflow_provider_proxyorders.ledger import facts

        return facts.event_turn(self.ledger, self.conn_id, self.order_id, number)

    @property
    def _reported(self) -> Fact:
        from airflow_provider_proxyorders.ledger import facts

        return facts.event_reported(self.ledger, self.conn_id, self.order_id)


class _Queue:
    """Keeps hints of one wallet until they are worked on."""

    def __init__(self, wallet: str):
        self.wallet = wallet
        self.waiting: asyncio.Queue[tuple[Hint, int]] = asyncio.Queue()
        self._timers: set[asyncio.TimerHandle] = set()

    def hint(self, hint: Hint) -> None:
        if hint.wallet == self.wallet:
            self.waiting.put_nowait((hint, 0))

    def again(self, hint: Hint, looks: int) -> bool:
        """Put a hint back later that was looked at so many times."""
        if looks >= LOOKS:
            return False

        def back() -> None:
            self._timers.discard(timer)
            self.waiting.put_nowait((hint, looks))

        timer = asyncio.get_running_loop().call_later(min(2.0 ** (looks - 1), LONGEST), back)
        self._timers.add(timer)
        return True

    def close(self) -> None:
        """Forget what would come back."""
        for timer in self._timers:
            timer.cancel()


async def endings(conn_id: str, poller: Poller) -> AsyncIterator[Ending]:
    """Orders of a connection that were reported: new ones, and a page at a time those of the inbox, oldest first.

    :raises ConfigError: when the connection is missing something.
    :raises LedgerError: when the ledger cannot be used.
    """
    from airflow_provider_proxyorders.hooks.settings import ledger

    vendor = await poller.open()
    book = await asyncio.to_thread(ledger)
    queue = _Queue(vendor.account.wallet)
    watch = inbox_listener()
    watch.join(queue)
    tasks: set[asyncio.Task[None]] = set()

    def afterwards(work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        await watch.begun()  # before the first page is read: what comes between is in one of the two
        inbox, last = await asyncio.to_thread(_beginning, book, conn_id)
        more = True
        while True:
            if more and queue.waiting.empty():
                try:
                    page = await asyncio.to_thread(inbox.newest_of_orders, queue.wallet, last, PAGE)
                except LedgerError as error:
                    log.warning("Connection %s: orders that ended before cannot be told of right now: %s", conn_id, error)
                    await asyncio.sleep(AGAIN)
                    continue
                for hint in page:
                    queue.hint(hint)
                    last = hint.number
                more = bool(page)
                continue
            hint, looks = await queue.waiting.get()
            yield Ending(conn_id, hint.order_id, hint.reference, book, partial(queue.again, hint, looks + 1), afterwards)
    finally:
        queue.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await watch.leave(queue)


def _beginning(book: Ledger, conn_id: str) -> tuple[Inbox, int]:
    """The inbox, and the number after which came what came since the events of this connection were first asked for."""
    from airflow_provider_proxyorders.ledger import facts
    from airflow_provider_proxyorders.ledger.inbox import Inbox

    inbox = Inbox(book.engine)
    return inbox, int(facts.events_begin_after(book, conn_id).decide_once(str(inbox.newest())))
