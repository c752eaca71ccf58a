"""The stream of orders that ended, as their webhooks come in; each is claimed once, over restarts and triggerers.

A report that the vendor does not confirm yet, or that cannot be checked now, comes back later: an event is late rather than lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from airflow_provider_proxyorders.triggers.inbox_watch import inbox_watch

if TYPE_CHECKING:
    from airflow_provider_proxyorders.core.ledger import Ledger
    from airflow_provider_proxyorders.core.ledger.inbox import Hint, Inbox
    from airflow_provider_proxyorders.triggers.poller import Poller


#: An unconfirmed report comes back after 1, 2, 4 ... seconds, at most an hour apart, for about a day.
LONGEST, LOOKS = 3600.0, 34


@dataclass(frozen=True)
class Ending:
    """One reported end of an order."""

    conn_id: str
    order_id: str
    reference: str | None
    ledger: Ledger
    _come_back: Callable[[], bool] = field(repr=False)

    def later(self) -> bool:
        """Have this report come back later; False when it has come back often enough and is given up."""
        return self._come_back()

    async def claimed(self) -> bool:
        """Whether the order was reported already, so that nobody need ask the vendor about it."""
        return await asyncio.to_thread(self.ledger.fixed, self._name) is not None

    async def claim(self) -> bool:
        """Whether this caller is the first to report the order; decided by the ledger."""
        mine = uuid4().hex
        return await asyncio.to_thread(self.ledger.fix, self._name, mine) == mine

    @property
    def _name(self) -> str:
        return f"event of {self.conn_id}: {self.order_id}"


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
    """Orders of a connection that were reported, oldest first: those of the inbox that nobody claimed, then new ones.

    :raises ConfigError: when the connection is missing something.
    :raises LedgerError: when the ledger cannot be used.
    """
    from airflow_provider_proxyorders.hooks.settings import ledger

    vendor = await poller.open()
    book = await asyncio.to_thread(ledger)
    queue = _Queue(vendor.account.wallet)
    watch = inbox_watch()
    watch.join(queue)
    try:
        for hint in await asyncio.to_thread(_kept, book, conn_id):
            queue.hint(hint)
        while True:
            hint, looks = await queue.waiting.get()
            yield Ending(conn_id, hint.order_id, hint.reference, book, partial(queue.again, hint, looks + 1))
    finally:
        queue.close()
        await watch.leave(queue)


def _kept(book: Ledger, conn_id: str) -> list[Hint]:
    """What came since the events of this connection were first asked for."""
    from airflow_provider_proxyorders.core.ledger.inbox import Inbox

    inbox: Inbox = Inbox(book.engine)
    first = int(book.fix(f"events of {conn_id} begin after", str(inbox.newest())))
    found: list[Hint] = []
    while page := inbox.since(found[-1].number if found else first):
        found += page
    return found
