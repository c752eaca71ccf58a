"""One poller per connection and triggerer: it knows who waits for what, and asks for all of them.

Four rules: everybody who waits on a connection shares one look-up of it, one HTTP client, one login, one pace, and the
patience with the vendor; a waiter is told only what is news to it; trouble with one order is not trouble of the others, nor
is trouble with one connection; and the loop, which belongs to all triggers, is never held for long.

Many orders are asked for in one call where the vendor can, else one by one as they are due. Airflow's own shared streams
would do for this as well; a future per waiter is less: no queue for each, and no copy of every event for everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    ConfigError,
    OrderingNotPermitted,
    OrderNotFound,
    ProxyOrdersError,
    Throttled,
    UnreadableAnswer,
    VendorUnavailable,
)
from airflow_provider_proxyorders.purchase.polling import Backoff, look_pause, trouble_pause
from airflow_provider_proxyorders.triggers.inbox_listener import inbox_listener
from airflow_provider_proxyorders.triggers.schedule import PollSchedule
from airflow_provider_proxyorders.triggers.subscription import Subscription, Update

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import VendorOrder
    from airflow_provider_proxyorders.ledger.inbox import Hint
    from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
    from airflow_provider_proxyorders.vendors.base import Vendor
    from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

T = TypeVar("T")

#: Airflow 3.3 may mark a task failed that is resumed while it is still being put aside; so nobody is told sooner, in seconds.
EARLIEST = 2.0
#: Calls to one vendor at the same time.
IN_FLIGHT = 8
#: Orders that are due within this part of the vendor's shortest pause are asked for together with those that are due now.
TOGETHER = 0.25
NEVER = float("inf")
#: Looks begin at moments that are this part of the vendor's shortest pause apart.
TICK = 0.1
#: Seconds between two reports of our measures.
SHOWN_EVERY = 1.0
#: Waiters that are told at the same time. Each writes a line into its task's log, and Airflow warns of a loop that is held.
TOLD_AT_ONCE = 50
#: With more who wait, lines that only say what is usual are left out: an order is pending at first, and then ended. A triggerer's
#: supervisor reads a handful of lines between two rounds of database work, and starts the next triggers no sooner.
QUIET_ABOVE = 500
#: Lines that are written at the same time, each by a thread that the whole triggerer shares.
WRITING = 2


class _Held(Exception):
    """A request did not go out: something was learned after its call had begun."""


class Poller:
    """Looks at all orders that somebody waits for on one connection."""

    def __init__(self, conn_id: str):
        self.conn_id = conn_id
        self.loop = asyncio.get_running_loop()
        self.vendor: Vendor | None = None
        self.backoff: Backoff | None = None
        self.users = 0
        self.count = 0
        self._http: AsyncHttp | None = None
        self._left: list[AsyncHttp] = []
        self._opening, self._entry = asyncio.Lock(), asyncio.Lock()
        self.writing = asyncio.Semaphore(WRITING)
        self._refusal: tuple[float, Exception] | None = None
        self._turned_away: Vendor | None = None
        self._waiting: dict[str, list[Subscription]] = {}
        self._schedule = PollSchedule()
        self._known: dict[Any, tuple[int, Any]] = {}
        self._unread: dict[str, int] = {}
        self._deadlines: list[tuple[float, int, Subscription]] = []
        self._number = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._timer: asyncio.TimerHandle | None = None
        self._counts: Counter[str] = Counter()
        self._shown_at = 0.0

    # -- the connection --------------------------------------------------------------------------------------------

    async def open(self) -> Vendor:
        """Look the connection up, once for all who wait on it.

        :raises ConfigError: when it is missing something, or is missing.
        """
        asked = self.loop.time()
        async with self._opening:
            if self.vendor is None:
                if self._refusal is not None and self._refusal[0] >= asked:
                    raise self._refusal[1]  # somebody else found out while we stood in line
                try:
                    self._use(await self._look_up())
                except Exception as error:
                    self._refusal = (self.loop.time(), error)
                    raise
        assert self.vendor is not None
        return self.vendor

    async def _look_up(self) -> Vendor:
        from airflow_provider_proxyorders.hooks.connection import vendor_for

        try:
            connection = await BaseHook.aget_connection(self.conn_id)
        except Exception as error:  # whatever the secrets backend raises
            raise ConfigError(f"connection {self.conn_id!r} cannot be looked up: {type(error).__name__}") from None
        vendor = vendor_for(connection)
        _compat.mask_secret(vendor.account.secret)
        return vendor

    def _use(self, vendor: Vendor) -> None:
        from airflow_provider_proxyorders.transport.triggerer import AsyncHttp

        # refuses an address that is none
        http = AsyncHttp(vendor.account, connections=IN_FLIGHT, tries=1, sleep=partial(self._in_pace, vendor))
        if self._http is not None:
            self._left.append(self._http)  # calls may be under way in it; closed at the end
        self.vendor, self._http, self._known = vendor, http, {}  # another account may read an answer in another way
        self.backoff = Backoff(vendor.capabilities.polling, IN_FLIGHT)
        if vendor.webhook is not None and vendor.account.settings.get("webhook_secret"):
            inbox_listener().join(self)

    @property
    def many_waiting(self) -> bool:
        """Whether more wait than the triggerer's log has room for."""
        return self.count > QUIET_ABOVE

    # -- coming and going ------------------------------------------------------------------------------------------

    def enter(self, subscription: Subscription) -> None:
        """Begin to look at a waiter's order."""
        assert self.vendor is not None, "open() comes first"
        self.count += 1
        self._waiting.setdefault(subscription.order_id, []).append(subscription)
        first = max(EARLIEST, min(self.vendor.capabilities.polling.first - subscription.age, subscription.ceiling or NEVER))
        self._schedule.plan(subscription.order_id, subscription.began + first)
        heapq.heappush(
            self._deadlines, (max(subscription.deadline, subscription.began + EARLIEST), next(self._number), subscription)
        )
        self._arm()

    async def read(self, order_id: str) -> VendorOrder:
        """Read one order outside of the plan, as soon as the vendor may be asked; see :meth:`ask`."""
        return await self.ask(lambda vendor: vendor.get(order_id))

    async def ask(self, what: Callable[[Vendor], Flow[T]]) -> T:
        """Ask for something beside orders, as soon as the vendor may be asked; the patience with it is everybody's here.

        :raises AuthenticationFailed, OrderingNotPermitted: the key is refused, and the connection holds no other one by now.
        :raises ProxyOrdersError: when it cannot be read; in trouble the next call waits as long as the vendor needs.
        """
        from airflow_provider_proxyorders.transport.flow import arun

        await self.open()
        while True:
            vendor, backoff, http = self.vendor, self.backoff, self._http
            assert vendor is not None and backoff is not None and http is not None
            while (pause := backoff.until - self.loop.time()) > 0:
                await asyncio.sleep(pause)
            began = self.loop.time()
            backoff.asking(began)
            try:
                send = await self._sender(vendor, http, began)
                found = await arun(what(vendor), send)
            except _Held:
                async with self._opening:  # where the key was refused, the connection is being looked up
                    continue
            except (AuthenticationFailed, OrderingNotPermitted):
                backoff.refused(self.loop.time())
                if not await self.renewed(vendor):
                    raise
            except (Throttled, VendorUnavailable) as error:  # an answer that is not understood is trouble with that alone
                backoff.failed(error, self.loop.time())
                raise
            else:
                backoff.well(began)
                return found

    async def _sender(self, vendor: Vendor, http: AsyncHttp, began: float) -> Callable[[Request], Awaitable[Response]]:
        """Log in where that is needed, once for all calls; returns what sends the requests of a call begun at this moment.

        :raises _Held: here or there; see :meth:`_check`.
        """

        async def send(request: Request) -> Response:
            self._check(vendor, began)
            return await http.asend(request)

        if vendor.renews_login:
            async with self._entry:
                self._check(vendor, began)
                await http.arun(vendor.login())
        self._check(vendor, began)
        return send

    async def _in_pace(self, vendor: Vendor, seconds: float) -> None:
        """Let a request wait for its place in the pace."""
        began = self.loop.time()
        await asyncio.sleep(seconds)
        self._check(vendor, began)

    def _check(self, vendor: Vendor, began: float) -> None:
        """Whether what was begun at this moment may still go out.

        :raises _Held: the vendor wants to be left alone since, the key was refused, or the connection holds another one.
        """
        assert self.backoff is not None
        if self.vendor is not vendor or not self.backoff.allows(began, self.loop.time()):
            raise _Held

    async def renewed(self, refused: Vendor) -> bool:
        """Whether the connection holds another key than one that was refused; then that is used. Asks Airflow, not the vendor.

        Other settings count as another key: they may decide how it is shown.
        """
        async with self._opening:
            return await self._renewed(refused)

    async def other_key(self, every: float, at_most: float = NEVER) -> None:
        """Wait until the connection holds another key than the one that was refused last; asks Airflow only.

        :param every: seconds between two look-ups.
        :param at_most: seconds after which the wait ends all the same.
        """
        refused, end = self._turned_away or await self.open(), self.loop.time() + at_most
        while self.loop.time() < end and not await self.renewed(refused):
            await asyncio.sleep(min(every, at_most))

    async def _renewed(self, refused: Vendor) -> bool:
        if self.vendor is refused:
            with contextlib.suppress(ProxyOrdersError):
                now = await self._look_up()
                if _shown(now) != _shown(refused):
                    self._use(now)
        self._turned_away = refused
        return self.vendor is not refused

    def hint(self, hint: Hint) -> None:
        """A verified webhook: look at its order now, if anybody waits for it. What it says is not believed."""
        subscriptions = self._waiting.get(hint.order_id)
        if subscriptions and self.vendor is not None and hint.wallet == self.vendor.account.wallet:
            for subscription in subscriptions:
                subscription.hinted = self.loop.time()
            self._schedule.plan(
                hint.order_id, max(self.loop.time(), min(subscription.began for subscription in subscriptions) + EARLIEST)
            )
            self._arm()

    def leave(self, subscription: Subscription) -> None:
        """Forget a waiter, and its order when nobody else waits for that."""
        if subscription.gone:
            return
        subscription.gone = True
        self.count -= 1
        subscriptions = self._waiting[subscription.order_id]
        subscriptions.remove(subscription)
        if not subscriptions:
            del self._waiting[subscription.order_id]
            self._unread.pop(subscription.order_id, None)
            self._schedule.forget(subscription.order_id)
        if len(self._deadlines) > 2 * self.count + 64:  # deadlines can be days away: do not keep who has left until then
            self._deadlines = [entry for entry in self._deadlines if not entry[2].gone]
            heapq.heapify(self._deadlines)

    async def close(self) -> None:
        await inbox_listener().leave(self)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for http in (*self._left, self._http):
            if http is not None:
                await http.aclose()
        self._show()

    # -- when to ask -----------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Come back when there is something to do."""
        assert self.backoff is not None
        moment = self._deadlines[0][0] if self._deadlines else float("inf")
        if self._calls < self.backoff.calls:  # else a call that ends brings us back
            moment = min(moment, self._on_tick(max(self._schedule.next, self.backoff.until)))
        if self._timer is not None:
            if self._timer.when() <= moment:
                return
            self._timer.cancel()
            self._timer = None
        if moment < float("inf"):
            self._timer = self.loop.call_at(moment, self._on_time)

    def _on_tick(self, moment: float) -> float:
        """The moment, or a little later: looks that come in small groups take half the CPU of looks that come one by one."""
        assert self.vendor is not None
        tick = TICK * self.vendor.capabilities.polling.fastest
        return math.ceil(moment / tick) * tick if tick and moment < NEVER else moment

    def _on_time(self) -> None:
        self._timer = None
        self._pump()

    def _pump(self) -> None:
        """Tell those whose time is up, and ask for what is due as far as the vendor may be asked now."""
        now = self.loop.time()
        self._pass_deadlines(now)
        while batch := self._take(now):
            self._calls += 1
            self.begin(self._looks(batch)).add_done_callback(self._landed)
        if now >= self._shown_at + SHOWN_EVERY:
            self._show()
        self._arm()

    def _take(self, now: float, mine: int = 0) -> list[str]:
        """The orders of the next call; none while nothing is due or the vendor may not be asked.

        :param mine: 1 when it is for a call that has just ended, and counts.
        """
        assert self.vendor is not None and self.backoff is not None
        if self._calls - mine >= self.backoff.calls or now < self.backoff.until or self._schedule.next > now:
            return []
        self.backoff.asking(now)
        most, fastest = self.vendor.capabilities.ids_per_read, self.vendor.capabilities.polling.fastest
        return self._schedule.take(now + TOGETHER * fastest if most > 1 else now, max(1, most))

    def begin(self, work: Any) -> asyncio.Task[None]:
        """Let something happen beside; it ends with the poller at the latest."""
        task: asyncio.Task[None] = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _landed(self, call: asyncio.Task[None]) -> None:
        self._calls -= 1
        if not call.cancelled():
            self._pump()

    def _pass_deadlines(self, now: float) -> None:
        for _ in range(TOLD_AT_ONCE):  # the rest in the next turn of the loop
            if not self._deadlines or self._deadlines[0][0] > now:
                return
            subscription = heapq.heappop(self._deadlines)[2]
            if not subscription.gone:
                subscription.tell(
                    Update(
                        "deadline", f"Order {subscription.order_id} was asked about {subscription.looks} times until the deadline"
                    )
                )

    # -- one call --------------------------------------------------------------------------------------------------

    async def _looks(self, batch: list[str]) -> None:
        """One call after the other, as long as something is due."""
        while batch:
            await self._look(batch)
            batch = self._take(self.loop.time(), mine=1)
            if batch:
                self._pump()

    async def _look(self, batch: list[str]) -> None:
        """Ask for some orders and tell who waits for them. Whatever goes wrong, they are looked at again or told so."""
        vendor, http, backoff, began = self.vendor, self._http, self.backoff, self.loop.time()
        assert vendor is not None and http is not None and backoff is not None
        try:
            send = await self._sender(vendor, http, began)
            self._counts["polls"] += 1
            found = await self._read(vendor, send, batch)
            backoff.well(began)
            self._seen(batch, found)
        except _Held:
            await self._put_back(vendor, batch, began)
        except OrderNotFound as error:
            backoff.well(began)
            if len(batch) > 1:  # it says so of the call, and may mean any of them
                await self._give_up(batch, error, str(error))
            else:
                self._missing(batch, alone=True)
        except (AuthenticationFailed, OrderingNotPermitted) as error:
            await self._refused(vendor, batch, error, began)
        except (Throttled, VendorUnavailable, UnreadableAnswer) as error:
            await self._in_trouble(batch, error)
        except ProxyOrdersError as error:
            await self._give_up(batch, error, str(error))
        except Exception as error:
            # A mistake of ours or of a vendor's package: nobody waits for nothing, and those of other orders go on.
            logging.getLogger(__name__).exception("Poller of connection %s", self.conn_id)
            await self._give_up(batch, error, f"{type(error).__name__} while looking")

    async def _read(
        self, vendor: Vendor, send: Callable[[Request], Awaitable[Response]], batch: list[str]
    ) -> Mapping[str, VendorOrder]:
        """The orders of one call; those that the vendor does not know are missing, or raise where it was asked for one."""
        from airflow_provider_proxyorders.transport.answer_cache import arun_cached

        most = max(1, vendor.capabilities.ids_per_read)
        if len(self._known) > 16 + 2 * self.count // most:  # mostly of calls that are not made again
            self._known.clear()
        if len(batch) > 1:
            return await arun_cached(vendor.get_many(batch), send, self._known, tuple(batch))
        return {batch[0]: await arun_cached(vendor.get(batch[0]), send, self._known, batch[0])}

    def _seen(self, batch: list[str], found: Mapping[str, VendorOrder]) -> None:
        now, spread, waiting = self.loop.time(), random.random(), self._waiting
        groups: dict[int, list[str]] = {}  # orders with about the same pause are planned together, and so stay together
        pauses: dict[int, float] = {}
        missing = []
        for order_id in batch:
            order = found.get(order_id)
            if order is None:
                missing.append(order_id)
                continue
            if self._unread:
                self._unread.pop(order_id, None)
            if order_id not in waiting:
                continue  # they left while the vendor was asked
            pause = min([self._shown_to(subscription, order, now, spread) for subscription in waiting[order_id]])
            if pause < NEVER:
                about = int(pause)
                groups.setdefault(about, []).append(order_id)
                pauses[about] = min(pause, pauses.get(about, NEVER))
        for about, order_ids in groups.items():
            self._schedule.plan_together(order_ids, now + pauses[about])
        if missing:
            self._missing(missing, alone=len(batch) == 1)

    def _shown_to(self, subscription: Subscription, order: VendorOrder, now: float, spread: float) -> float:
        """Show a waiter its order as just read; returns the seconds until it wants to see it again."""
        subscription.looks += 1
        if subscription.final(order):
            text = f"Order {order.order_id} is {order.vendor_status}" if not self.many_waiting else ""
            subscription.tell(Update("final", text, status=order.status))
            return NEVER
        pause = self._pause(subscription, now, spread)
        if order.vendor_status != subscription.status:
            usual, subscription.status = subscription.status is None and self.many_waiting, order.vendor_status
            if not usual:
                subscription.tell(Update(None, f"Order {order.order_id} is {order.vendor_status}"))
        elif (waited := now - subscription.began) >= subscription.still:
            subscription.still = 2 * waited
            text = f"Order {order.order_id} is still {order.vendor_status}, asked {subscription.looks} times"
            subscription.tell(Update(None, f"{text}, next look in {pause:.0f} s"))
        return pause

    def _pause(self, subscription: Subscription, now: float, spread: float) -> float:
        assert self.vendor is not None
        if subscription.backstop is not None:
            pause = subscription.backstop * (0.9 + 0.1 * spread)
            if subscription.hinted is None:
                return pause
            # its vendor reported something that this read does not show yet: soon again, and then less and less often
            return min(pause, max(now - subscription.hinted, self.vendor.capabilities.polling.fastest))
        return look_pause(
            self.vendor.capabilities.polling, subscription.age + now - subscription.began, subscription.ceiling, lambda: spread
        )

    def _missing(self, order_ids: Iterable[str], alone: bool) -> None:
        """Orders that the vendor does not know: a new one may not show up yet, for an old one that is final.

        :param alone: it was asked for this one only; what a list does not show is asked for alone before anybody is told.
        """
        now = self.loop.time()
        for order_id in order_ids:
            for subscription in self._waiting.get(order_id, ()):
                subscription.looks += 1
                if subscription.age_at(now) < self._settle:
                    self._schedule.plan(order_id, now + self._pause(subscription, now, random.random()))
                elif alone:
                    subscription.tell(Update("unreadable", f"The vendor does not know order {order_id}", "OrderNotFound"))
                else:
                    self._schedule.plan_alone((order_id,))

    @property
    def _settle(self) -> float:
        assert self.vendor is not None
        own = self.vendor.account.settings.get("settle")
        return float(own) if own is not None else self.vendor.capabilities.settle

    # -- when it goes wrong ----------------------------------------------------------------------------------------

    async def _in_trouble(self, batch: list[str], error: ProxyOrdersError) -> None:
        """Leave the vendor alone for a while, and an order that is the cause of it for longer than the others."""
        assert self.vendor is not None and self.backoff is not None
        now, backoff = self.loop.time(), self.backoff
        before = backoff.trouble
        quiet = backoff.failed(error, now)
        if isinstance(error, Throttled):
            self._counts["throttled"] += 1
        for order_id in self._waited_for(batch):
            again = now
            if not isinstance(error, Throttled):
                self._unread[order_id] = self._unread.get(order_id, 0) + 1
                again += trouble_pause(self.vendor.capabilities.polling, self._unread[order_id], random.random)
            self._schedule.plan(order_id, again)
        if backoff.trouble > before and (backoff.trouble in (1, 3, 6) or backoff.trouble % 12 == 0):
            text = f"{self.vendor.title} cannot be asked ({type(error).__name__}), next try in {quiet:.0f} s"
            if self.many_waiting:
                self._note(text)
            else:
                self.begin(self._tell(list(self._waiting), Update(None, text)))

    async def _refused(self, asked: Vendor, batch: list[str], error: ProxyOrdersError, began: float) -> None:
        """The key is not accepted: perhaps it was changed in the connection meanwhile, else everybody is told at once."""
        assert self.backoff is not None
        self.backoff.refused(self.loop.time())
        async with self._opening:
            judged = self._refusal is not None and self._refusal[0] >= began  # by another call that was under way
            if not judged:
                await self._renewed(asked)
            if self.vendor is not asked:
                self._schedule.plan_together(self._waited_for(batch), self.loop.time())
                return
            self._refusal = (self.loop.time(), error)
        if not judged:
            self._schedule = PollSchedule()  # of those who wait now nobody is looked at again
            text = str(error)
            if self.many_waiting:
                self._note(text)
                text = ""
            await self._tell(list(self._waiting), Update("unreadable", text, type(error).__name__))

    async def _put_back(self, asked: Vendor, batch: list[str], began: float) -> None:
        """Plan the orders of a call anew that was begun at this moment and was held, unless all who wait have been told."""
        async with self._opening:  # where the key was refused, the connection is being looked up
            judged = self._refusal is not None and self._refusal[0] >= began
            if self.vendor is not asked or not judged:
                self._schedule.plan_together(self._waited_for(batch), self.loop.time())

    async def _give_up(self, batch: list[str], error: Exception, text: str) -> None:
        """A look that cannot be made ends the wait; where it was for many, the one to blame is found by asking for each.

        Each of those calls is one like any other: it is made when the vendor may be asked, and where somebody still waits.
        """
        if len(batch) > 1:
            self._schedule.plan_alone(self._waited_for(batch))
        else:
            await self._tell(batch, Update("unreadable", f"Order {batch[0]} cannot be read: {text}", type(error).__name__))

    def _waited_for(self, batch: list[str]) -> list[str]:
        """Those of a call for whom somebody still waits now that it has ended."""
        return [order_id for order_id in batch if order_id in self._waiting]

    def _note(self, text: str) -> None:
        """A line in the triggerer's own log, in place of one for each of many; written by a thread, as theirs are."""
        write = partial(logging.getLogger(__name__).warning, "Connection %s: %s", self.conn_id, text)
        self.loop.run_in_executor(None, copy_context().run, write)

    async def _tell(self, order_ids: list[str], news: Update) -> None:
        """Tell all who wait for these orders, some at a time."""
        subscriptions = (subscription for order_id in order_ids for subscription in tuple(self._waiting.get(order_id, ())))
        while some := list(islice(subscriptions, TOLD_AT_ONCE)):
            for subscription in some:
                subscription.tell(news)
            await asyncio.sleep(0)

    # -- measures --------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        self._shown_at = self.loop.time()
        if self.vendor is not None:
            _compat.gauge("waiting", self.count, self._tags)
            for name, count in self._counts.items():
                _compat.incr(name, self._tags, count)
        self._counts.clear()

    @property
    def _tags(self) -> dict[str, Any]:
        assert self.vendor is not None
        return {"vendor": self.vendor.name, "conn_id": self.conn_id}


def _shown(vendor: Vendor) -> tuple[Any, ...]:
    """What decides whether a vendor takes a connection's key."""
    return vendor.account.secret, vendor.account.base_url, dict(vendor.account.settings)


_pollers: dict[tuple[asyncio.AbstractEventLoop, str], Poller] = {}


class waiting_on:
    """``async with``: the poller of a connection in this event loop; it ends when the last who waits has left."""

    __slots__ = ("_key", "_poller")  # there is one for each who waits, as long as he waits

    def __init__(self, conn_id: str):
        self._key = (asyncio.get_running_loop(), conn_id)

    async def __aenter__(self) -> Poller:
        self._poller = _pollers.get(self._key) or _pollers.setdefault(self._key, Poller(self._key[1]))
        self._poller.users += 1
        return self._poller

    async def __aexit__(self, *error: object) -> None:
        self._poller.users -= 1
        if not self._poller.users:
            del _pollers[self._key]
            await self._poller.close()
