"""Readings of a wallet's balance in the triggerer, shared by all who watch it.

Two rules: however many watch one connection, its balance is read once in an interval; and a vendor in trouble is left alone as
the connection's poller says, which is as long as the vendor asks for, or growing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_proxyorders.core.errors import ProxyOrdersError, Throttled, UnreadableAnswer, VendorUnavailable

if TYPE_CHECKING:
    from airflow_provider_proxyorders.core.model import Money
    from airflow_provider_proxyorders.triggers.poller import Poller

#: A reading that is younger than this part of the interval serves another watcher as well.
FRESH = 0.8


class Readings:
    """The last reading of one connection's balance."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._last: tuple[float, Money] | None = None

    async def read(self, poller: Poller, not_older: float) -> Money:
        """The balance as read at most so many seconds ago.

        :raises ProxyOrdersError: when it cannot be read.
        """
        async with self._lock:
            now = poller.loop.time()
            if self._last is None or now - self._last[0] > not_older:
                balance = await poller.ask(lambda vendor: vendor.balance())
                self._last = (poller.loop.time(), balance.available)
            return self._last[1]


_readings: WeakKeyDictionary[Poller, Readings] = WeakKeyDictionary()


async def balances(poller: Poller, interval: float) -> AsyncGenerator[Money | ProxyOrdersError, None]:
    """The balance, again and again, for ever: a reading, or why there is none.

    After passing trouble it goes on by itself, and with everything else too if it is asked to.

    :param interval: seconds between two readings; spread by a tenth both ways.
    """
    readings = _readings.setdefault(poller, Readings())
    while True:
        try:
            yield await readings.read(poller, FRESH * interval)
        except (Throttled, VendorUnavailable, UnreadableAnswer) as error:
            yield error
            continue  # the poller knows when it may ask again
        except ProxyOrdersError as error:
            yield error
        await asyncio.sleep(interval * (0.9 + 0.2 * random.random()))
