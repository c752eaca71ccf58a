"""One poller per connection and triggerer: it knows who waits for what, and asks for all of them.

Three rules: everybody who waits on a connection shares one look-up of it, one HTTP client, one login, one pace, and the
vendor's patience; a waiter is told only what is news to it; and trouble with one connection is nobody else's.

Many orders are asked for in one call where the vendor can, else one by one as they are due. A vendor in trouble is left
alone for a growing time and then asked once, not by everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.sdk import BaseHook

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.core.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    OrderNotFound,
    ProxyOrdersError,
    Throttled,
    UnreadableAnswer,
    VendorUnavailable,
)
from airflow_provider_proxyorders.core.waiting import look_pause, trouble_pause

if TYPE_CHECKING:
    from airflow_provider_proxyorders.core.model import VendorOrder
    from airflow_provider_proxyorders.core.transport import AsyncHttp
    from airflow_provider_proxyorders.vendors.base import Memo, Vendor

#: Airflow 3.3 may mark a task failed that is resumed while it is still being put aside; so nobody is told sooner, in seconds.
EARLIEST = 2.0
#: Calls to one vendor at the same time.
IN_FLIGHT = 8
#: A waiter is told that it still waits after this many seconds, then after twice as many, and so on.
STILL = 300.0
#: Orders that are due within this part of their pause are asked for together with those that are due now.
TOGETHER = 0.25


class News(NamedTuple):
    """What a waiter is told.

    :param outcome: ``final``, ``deadline`` or ``unreadable``; None for a line in the log only.
    :param text: for the log.
    :param reason: name of the error that ended the wait.
    """

    outcome: str | None
    text: str
    reason: str | None = None


class Waiter:
    """One trigger that waits for one order.

    :param deadline: seconds of the loop's clock.
    :param final: decides whether an order as read ends the wait.
    :param age: seconds since the order was placed, when the wait began.
    """

    __slots__ = (
        *("_news", "age", "began", "ceiling", "deadline", "final", "gone", "looks"),
        *("loop", "order_id", "pending", "status", "still"),
    )

    def __init__(
        self,
        order_id: str,
        *,
        deadline: float,
        ceiling: float | None,
        age: float,
        final: Callable[[VendorOrder], bool],
    ):
        self.loop = asyncio.get_running_loop()
        self.order_id, self.deadline, self.ceiling, self.age, self.final = order_id, deadline, ceiling, age, final
        self.began = self.loop.time()
        self.looks = 0
        self.gone = False
        self.status: str | None = None
        self.still = STILL
        self.pending: list[News] | None = None
        self._news: asyncio.Future[None] | None = None

    def tell(self, news: News) -> None:
        """Hand on news; what was not picked up yet is kept, in order."""
        self.pending = [*(self.pending or ()), news]
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def news(self) -> News:
        """The next news."""
        while not self.pending:
            self._news = self.loop.create_future()
            await self._news
            self._news = None
        first, *rest = self.pending
        self.pending = rest or None
        return first


class Poller:
    """Looks at all orders that somebody waits for on one connection."""

    def __init__(self, conn_id: str):
        self.conn_id = conn_id
        self.loop = asyncio.get_running_loop()
        self.vendor: Vendor | None = None
        self._http: AsyncHttp | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[str, list[Waiter]] = {}
        self._due: list[tuple[float, int, str]] = []
        self._when: dict[str, float] = {}
        self._memo: Memo = {}
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._number = itertools.count()
        self._wake = asyncio.Event()
        self._flights: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._trouble = 0
        self._quiet_until = 0.0
        self._left: list[AsyncHttp] = []
        self.count = 0
        self.users = 0

    # -- coming and going ------------------------------------------------------------------------------------------

    async def open(self) -> Vendor:
        """Look the connection up, once for all who wait on it.

        :raises ConfigError: when it is missing something.
        """
        async with self._opening:
            if self.vendor is None:
                self._use(await self._look_up())
        assert self.vendor is not None
        return self.vendor

    async def _look_up(self) -> Vendor:
        from airflow_provider_proxyorders.hooks.connection import vendor_for

        vendor = vendor_for(await BaseHook.aget_connection(self.conn_id))
        _compat.mask_secret(vendor.account.secret)
        return vendor

    def _use(self, vendor: Vendor) -> None:
        from airflow_provider_proxyorders.core.transport import AsyncHttp

        if self._http is not None:
            self._left.append(self._http)  # calls may be under way in it; closed at the end
        self.vendor, self._http = vendor, AsyncHttp(vendor.account, connections=IN_FLIGHT, tries=1)

    def enter(self, waiter: Waiter) -> None:
        """Begin to look at a waiter's order."""
        assert self.vendor is not None, "open() comes first"
        self.count += 1
        self._waiting.setdefault(waiter.order_id, []).append(waiter)
        first = max(EARLIEST, min(self.vendor.capabilities.polling.first, waiter.ceiling or float("inf")))
        self._schedule(waiter.order_id, self.loop.time() + first)
        heapq.heappush(self._deadlines, (max(waiter.deadline, waiter.began + EARLIEST), next(self._number), waiter))
        self._gauge()
        self._wake.set()
        if self._task is None:
            self._task = self.loop.create_task(self._run(), name=f"proxyorders poller of {self.conn_id}")

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter; what hangs on it in the queues is skipped when its time comes."""
        if waiter.gone:
            return
        waiter.gone = True
        waiters = self._waiting[waiter.order_id]
        waiters.remove(waiter)
        if not waiters:
            del self._waiting[waiter.order_id]
            self._memo.pop(waiter.order_id, None)
        self.count -= 1
        self._gauge()
        if len(self._deadlines) > 2 * self.count + 64:  # deadlines can be days away: do not keep who has left until then
            self._deadlines = [entry for entry in self._deadlines if not entry[2].gone]
            heapq.heapify(self._deadlines)

    async def close(self) -> None:
        tasks = [task for task in (self._task, *self._flights) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for http in (*self._left, self._http):
            if http is not None:
                await http.aclose()

    # -- the loop --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            now = self.loop.time()
            self._pass_deadlines(now)
            wait = self._until_next(now)
            if wait > 0:
                self._wake.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
                continue
            batch = self._take(now)
            if batch:
                flight = self.loop.create_task(self._look(batch))
                self._flights.add(flight)
                flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._wake.set()
        if not flight.cancelled() and (error := flight.exception()) is not None:
            # A mistake of ours must not leave anybody waiting for nothing.
            logging.getLogger(__name__).error("poller of %s", self.conn_id, exc_info=error)
            self._tell_all(News("unreadable", f"{type(error).__name__} while looking at orders", type(error).__name__))

    def _until_next(self, now: float) -> float:
        """Seconds until something is to be done; 0 when orders can be asked for now."""
        while self._due and not self._stands(self._due[0]):
            heapq.heappop(self._due)
        until_deadline = self._deadlines[0][0] - now if self._deadlines else 3600.0
        if not self._due or len(self._flights) >= (1 if self._trouble else IN_FLIGHT):
            return max(until_deadline, 0.001)
        return min(max(self._due[0][0], self._quiet_until) - now, max(until_deadline, 0.001))

    def _take(self, now: float) -> list[str]:
        """The orders to ask for in the next call."""
        assert self.vendor is not None
        most = self.vendor.capabilities.ids_per_read
        fastest = self.vendor.capabilities.polling.fastest
        batch: dict[str, None] = {}
        while self._due and len(batch) < most and self._due[0][0] <= now + (TOGETHER * fastest if most > 1 else 0.0):
            entry = heapq.heappop(self._due)
            if self._stands(entry):
                del self._when[entry[2]]
                batch[entry[2]] = None
        return list(batch)

    def _schedule(self, order_id: str, moment: float) -> None:
        """Look at an order at this moment, or earlier where that is planned already."""
        if moment < self._when.get(order_id, float("inf")):
            self._when[order_id] = moment
            heapq.heappush(self._due, (moment, next(self._number), order_id))

    def _stands(self, entry: tuple[float, int, str]) -> bool:
        """Whether a planned look is still to be done: somebody waits, and it was not replaced by an earlier one."""
        if entry[2] not in self._waiting:
            if self._when.get(entry[2]) == entry[0]:
                del self._when[entry[2]]
            return False
        return self._when.get(entry[2]) == entry[0]

    def _pass_deadlines(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            waiter = heapq.heappop(self._deadlines)[2]
            if not waiter.gone:
                waiter.tell(News("deadline", f"Order {waiter.order_id} was asked about {waiter.looks} times until the deadline"))

    # -- one call --------------------------------------------------------------------------------------------------

    async def _look(self, batch: list[str]) -> None:
        vendor, http = self.vendor, self._http
        assert vendor is not None and http is not None
        self._incr("polls")
        try:
            if vendor.capabilities.ids_per_read > 1:
                found = await http.arun(vendor.get_many(batch, self._memo))
            else:
                found = {batch[0]: await http.arun(vendor.get(batch[0]))}
        except (AuthenticationFailed, OrderingNotPermitted) as error:
            await self._refused(vendor, batch, error)
        except OrderNotFound as error:
            self._well()
            self._missing(batch, error)
        except (Throttled, VendorUnavailable, UnreadableAnswer) as error:
            self._in_trouble(batch, error)
        except ProxyOrdersError as error:
            for order_id in batch:
                self._tell(order_id, News("unreadable", f"Order {order_id} cannot be read: {error}", type(error).__name__))
        else:
            self._well()
            self._missing([order_id for order_id in batch if order_id not in found], None)
            for order in found.values():
                self._seen(order)

    def _seen(self, order: VendorOrder) -> None:
        now = self.loop.time()
        pauses: list[float] = []
        for waiter in list(self._waiting.get(order.order_id, ())):
            waiter.looks += 1
            if waiter.final(order):
                waiter.tell(News("final", f"Order {order.order_id} is {order.vendor_status}"))
                continue
            pause = self._pause(waiter, now)
            pauses.append(pause)
            waited = now - waiter.began
            if order.vendor_status != waiter.status:
                waiter.status = order.vendor_status
                waiter.tell(News(None, f"Order {order.order_id} is {order.vendor_status}"))
            elif waited >= waiter.still:
                waiter.still = 2 * waited
                text = f"Order {order.order_id} is still {order.vendor_status}, asked {waiter.looks} times"
                waiter.tell(News(None, f"{text}, next look in {pause:.0f} s"))
        if pauses:
            self._schedule(order.order_id, now + min(pauses))

    def _pause(self, waiter: Waiter, now: float) -> float:
        assert self.vendor is not None
        return look_pause(self.vendor.capabilities.polling, waiter.age + now - waiter.began, waiter.ceiling, random.random)

    def _missing(self, order_ids: list[str], error: ProxyOrdersError | None) -> None:
        """Orders that the vendor does not know: a new one may not show up yet, an old one is final."""
        now = self.loop.time()
        for order_id in order_ids:
            young = [w for w in self._waiting.get(order_id, ()) if w.age + now - w.began < self._settle]
            if young:
                self._schedule(order_id, now + min(self._pause(waiter, now) for waiter in young))
            for waiter in self._waiting.get(order_id, ()):
                if waiter not in young:
                    waiter.tell(News("unreadable", f"The vendor does not know order {order_id}", "OrderNotFound"))

    @property
    def _settle(self) -> float:
        assert self.vendor is not None
        own = self.vendor.account.settings.get("settle")
        return float(own) if own is not None else self.vendor.capabilities.settle

    def _well(self) -> None:
        self._trouble = 0

    def _in_trouble(self, batch: list[str], error: ProxyOrdersError) -> None:
        """Leave the vendor alone for a while: as long as it asks, else for a growing time."""
        assert self.vendor is not None
        now = self.loop.time()
        if now >= self._quiet_until:  # calls that were under way together fail together, and count once
            self._trouble += 1
        asked = error.retry_after if isinstance(error, Throttled) and error.retry_after else 0.0
        pause = max(trouble_pause(self.vendor.capabilities.polling, self._trouble, random.random), asked)
        if isinstance(error, Throttled):
            self._incr("throttled")
        self._quiet_until = max(self._quiet_until, now + pause)
        for order_id in batch:
            self._schedule(order_id, now)
        if self._trouble in (1, 3, 6) or self._trouble % 12 == 0:
            text = f"{self.vendor.title} cannot be asked ({type(error).__name__}), next try in {self._quiet_until - now:.0f} s"
            self._tell_all(News(None, text))

    async def _refused(self, asked: Vendor, batch: list[str], error: ProxyOrdersError) -> None:
        """The key is not accepted: perhaps it was changed in the connection meanwhile, else everybody is told at once."""
        async with self._opening:
            if self.vendor is asked:
                with contextlib.suppress(ProxyOrdersError):
                    now = await self._look_up()
                    if (now.account.secret, now.account.base_url) != (asked.account.secret, asked.account.base_url):
                        self._use(now)
            if self.vendor is not asked:
                for order_id in batch:
                    self._schedule(order_id, self.loop.time())
                return
        self._tell_all(News("unreadable", str(error), type(error).__name__))

    # -- telling ---------------------------------------------------------------------------------------------------

    def _tell(self, order_id: str, news: News) -> None:
        for waiter in list(self._waiting.get(order_id, ())):
            waiter.tell(news)

    def _tell_all(self, news: News) -> None:
        for order_id in list(self._waiting):
            self._tell(order_id, news)

    def _gauge(self) -> None:
        if self.vendor is not None:
            _compat.gauge("waiting", self.count, self._tags())

    def _incr(self, name: str) -> None:
        _compat.incr(name, self._tags())

    def _tags(self) -> Mapping[str, Any]:
        assert self.vendor is not None
        return {"vendor": self.vendor.name, "conn_id": self.conn_id}


_pollers: dict[tuple[int, str], Poller] = {}


@contextlib.asynccontextmanager
async def waiting_on(conn_id: str) -> AsyncIterator[Poller]:
    """The poller of a connection in this event loop; it ends when the last who waits has left."""
    key = (id(asyncio.get_running_loop()), conn_id)
    poller = _pollers.get(key) or _pollers.setdefault(key, Poller(conn_id))
    poller.users += 1
    try:
        yield poller
    finally:
        poller.users -= 1
        if not poller.users:
            del _pollers[key]
            await poller.close()


def loop_deadline(deadline: str) -> float:
    """A moment in ISO form as seconds of the running loop's clock."""
    left = (datetime.fromisoformat(deadline) - datetime.now(timezone.utc)).total_seconds()
    return asyncio.get_running_loop().time() + left


def seconds_since(moment: str | None) -> float:
    """Age of a moment in ISO form, in seconds; 0 without one."""
    return max(0.0, time.time() - datetime.fromisoformat(moment).timestamp()) if moment else 0.0
