"""The balance of a connection's wallet, read in the triggerer for all its watchers.

Three rules. All watchers of a connection share one read per interval. They share a failure too, so the vendor sees a refused
key once. The pauses between failed reads grow, independently of the connection's orders, and respect the vendor's own wish.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.purchase.polling import trouble_pause

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Money
    from airflow_provider_proxyorders.triggers.gate import Gate

#: A balance that is younger than this part of the interval serves another watcher as well.
FRESH = 0.8


class BalanceReader:
    """The last balance of one connection, or the error in its place.

    :ivar quiet_until: the earliest moment of the next read, in seconds of the loop's clock.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._last: tuple[float, Money] | None = None
        self._failure: tuple[float, ProxyOrdersError] | None = None
        self._trouble = 0
        self.quiet_until = 0.0

    async def read(self, gate: Gate, not_older: float) -> Money:
        """The balance as read at most so many seconds ago.

        :raises ProxyOrdersError: this read failed, or that of another watcher just now.
        """
        clock = gate.loop.time
        asked_at = clock()
        async with self._lock:
            now = clock()
            if self._failure is not None and (asked_at <= self._failure[0] or now < self.quiet_until):
                raise self._failure[1]
            if self._last is None or now - self._last[0] > not_older:
                try:
                    balance = await gate.ask(lambda vendor: vendor.balance())
                except ProxyOrdersError as error:
                    self._fail(gate, error, clock())
                    raise
                self._last, self._failure, self._trouble = (clock(), balance.available), None, 0
            return self._last[1]

    def _fail(self, gate: Gate, error: ProxyOrdersError, now: float) -> None:
        self._failure = (now, error)
        if error.passing:
            self._trouble += 1
            pause = trouble_pause(gate.vendor.capabilities.polling, self._trouble, random.random)
            self.quiet_until = now + max(pause, error.retry_after or 0.0)


#: The readers hold no reference to their gates, so that both are freed together.
_readers: WeakKeyDictionary[Gate, BalanceReader] = WeakKeyDictionary()


async def balances(gate: Gate, interval: float) -> AsyncGenerator[Money | ProxyOrdersError, None]:
    """Read the balance again and again, for ever; yields it, or the error in its place.

    The caller decides about the end of its wait.

    :param interval: seconds between two reads, spread by a tenth both ways. In passing trouble the pauses grow instead.
    """
    reader = _readers.setdefault(gate, BalanceReader())
    while True:
        try:
            yield await reader.read(gate, FRESH * interval)
        except ProxyOrdersError as error:
            yield error
            if error.passing:
                await asyncio.sleep(reader.quiet_until - gate.loop.time())
                continue
        await asyncio.sleep(interval * (0.9 + 0.2 * random.random()))
