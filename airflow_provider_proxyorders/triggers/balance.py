"""Readings of a wallet's balance in the triggerer, shared by all who watch it.

Three rules: however many watch one connection, its balance is read once in an interval; a failure is everybody's too, so a
refused key is shown to the vendor once for all who stand in line; and a balance that cannot be read is asked for less and less
often, whatever orders of the same connection say, and never sooner than the vendor allows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError, Throttled, UnreadableAnswer, VendorUnavailable
from airflow_provider_proxyorders.purchase.polling import trouble_pause

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Money
    from airflow_provider_proxyorders.triggers.poller import Poller

#: A reading that is younger than this part of the interval serves another watcher as well.
FRESH = 0.8


class Readings:
    """The last reading of one connection's balance, and why there was none.

    :ivar quiet: nobody asks before this moment of the loop's clock.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._last: tuple[float, Money] | None = None
        self._failure: tuple[float, ProxyOrdersError] | None = None
        self._trouble = 0
        self.quiet = 0.0

    async def read(self, poller: Poller, not_older: float) -> Money:
        """The balance as read at most so many seconds ago.

        :raises ProxyOrdersError: when it cannot be read; somebody else may have found out while we stood in line or before.
        """
        asked = poller.loop.time()
        async with self._lock:
            now = poller.loop.time()
            if self._failure is not None and (asked <= self._failure[0] or now < self.quiet):
                raise self._failure[1]
            if self._last is None or now - self._last[0] > not_older:
                try:
                    balance = await poller.ask(lambda vendor: vendor.balance())
                except ProxyOrdersError as error:
                    self._failed(poller, error)
                    raise
                self._last, self._failure, self._trouble = (poller.loop.time(), balance.available), None, 0
            return self._last[1]

    def _failed(self, poller: Poller, error: ProxyOrdersError) -> None:
        now = poller.loop.time()
        self._failure = (now, error)
        if isinstance(error, (Throttled, VendorUnavailable, UnreadableAnswer)):
            assert poller.vendor is not None, "it was asked"
            self._trouble += 1
            pause = trouble_pause(poller.vendor.capabilities.polling, self._trouble, random.random)
            self.quiet = now + max(pause, getattr(error, "retry_after", None) or 0.0)


_readings: WeakKeyDictionary[Poller, Readings] = WeakKeyDictionary()


async def balances(poller: Poller, interval: float) -> AsyncGenerator[Money | ProxyOrdersError, None]:
    """The balance, again and again, for ever: a reading, or why there is none.

    After passing trouble it goes on by itself, and with everything else too if it is asked to.

    :param interval: seconds between two readings; spread by a tenth both ways. In passing trouble they grow instead.
    """
    readings = _readings.setdefault(poller, Readings())
    while True:
        try:
            yield await readings.read(poller, FRESH * interval)
        except (Throttled, VendorUnavailable, UnreadableAnswer) as error:
            yield error
            await asyncio.sleep(readings.quiet - poller.loop.time())
            continue
        except ProxyOrdersError as error:
            yield error
        await asyncio.sleep(interval * (0.9 + 0.2 * random.random()))
