"""The balance of a connection's wallet, read in the triggerer for all triggers that watch it.

Three rules: however many triggers watch one connection, its balance is read once in an interval; a failure counts for all, so
a refused key is shown to the vendor once; and an unreadable balance is asked for less and less often, whatever orders of the
same connection say, and never sooner than the vendor allows.
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

    :ivar quiet_until: the next read begins at this moment of the loop's clock at the earliest.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._last: tuple[float, Money] | None = None
        self._failure: tuple[float, ProxyOrdersError] | None = None
        self._trouble = 0
        self.quiet_until = 0.0

    async def read(self, gate: Gate, not_older: float) -> Money:
        """The balance as read at most so many seconds ago.

        :raises ProxyOrdersError: when it cannot be read, by this watcher or by another one just now.
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
            self.quiet_until = now + max(pause, getattr(error, "retry_after", None) or 0.0)


#: A reader holds no gate itself, or neither would ever be freed.
_readers: WeakKeyDictionary[Gate, BalanceReader] = WeakKeyDictionary()


async def balances(gate: Gate, interval: float) -> AsyncGenerator[Money | ProxyOrdersError, None]:
    """Read the balance again and again, for ever; yields it, or the error in its place.

    The caller decides which errors end its wait.

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
