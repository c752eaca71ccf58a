"""One poller per connection and triggerer: it looks at the orders of all waiting triggers.

Three rules. All triggers of an order share its looks and hear only news. Trouble with one order or one connection leaves the
others alone. All triggers share one event loop, so every step in it is short.

One call asks for many orders if the vendor offers that, else for one order as it is due.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    OrderingNotPermitted,
    ProxyOrdersError,
    Throttled,
)
from airflow_provider_proxyorders.purchase.polling import is_miss, trouble_pause
from airflow_provider_proxyorders.triggers.background import Background
from airflow_provider_proxyorders.triggers.gate import NEVER, Access, CallHeld, Gate
from airflow_provider_proxyorders.triggers.inbox_listener import inbox_listener
from airflow_provider_proxyorders.triggers.missing import MissingOrders
from airflow_provider_proxyorders.triggers.schedule import PollSchedule
from airflow_provider_proxyorders.triggers.subscribers import Subscribers
from airflow_provider_proxyorders.triggers.subscription import Subscription, Update
from airflow_provider_proxyorders.triggers.telling import Lines, Measures

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import VendorOrder
    from airflow_provider_proxyorders.ledger.inbox import Hint
    from airflow_provider_proxyorders.transport.answer_cache import Answers
    from airflow_provider_proxyorders.vendors.base import Vendor

log = logging.getLogger(__name__)

#: Orders that are due within this part of the vendor's shortest pause join a call that is due now.
TOGETHER = 0.25
#: Looks begin at moments this far apart, as a part of the vendor's shortest pause.
TICK = 0.1


class Poller:
    """Looks at the orders of one connection.

    Callers make the calls: each takes a batch of due orders, asks, and takes the next batch. With every batch it starts another
    caller, as long as orders are due and the backoff allows more calls. The last one sets the timer.

    :ivar users: the open uses through :class:`waiting_on`.
    """

    def __init__(self, conn_id: str):
        self.conn_id = conn_id
        self.loop = asyncio.get_running_loop()
        self.users = 0
        self.gate = Gate(conn_id, self._opened)
        self.subscribers = Subscribers()
        self._background = Background()
        self.lines = Lines(conn_id, self._background)
        self._measures = Measures(conn_id)
        self._schedule = PollSchedule()
        self._answers: Answers = {}
        self._unreadable: dict[str, int] = {}
        self._missing = MissingOrders(self.gate, self.subscribers, self._schedule)
        self._callers = 0
        self._timer: asyncio.TimerHandle | None = None

    # -- coming and going ------------------------------------------------------------------------------------------

    def enter(self, subscription: Subscription) -> None:
        """Begin to look at a subscription's order; the gate is open by now."""
        self.subscribers.add(subscription)
        self._schedule.plan((subscription.order_id,), subscription.first_look(self.gate.vendor.capabilities.polling))
        self._wake()

    def leave(self, subscription: Subscription) -> None:
        """Forget a subscription, and its order with the last one."""
        if not subscription.gone and self.subscribers.remove(subscription):
            self._unreadable.pop(subscription.order_id, None)
            self._missing.forget(subscription.order_id)
            self._schedule.forget(subscription.order_id)

    def hint(self, hint: Hint) -> None:
        """A verified webhook: look at its order now, if a trigger waits for it. Only the order id of a webhook counts."""
        subscriptions = self.subscribers.by_order.get(hint.order_id)
        if not subscriptions or not hint.concerns(self.gate.vendor.account.wallet):
            return
        now = self.loop.time()
        for subscription in subscriptions:
            subscription.hinted = now
        self._schedule.plan((hint.order_id,), max(now, min(subscription.earliest for subscription in subscriptions)))
        self._wake()

    async def close(self) -> None:
        await inbox_listener().leave(self)
        if self._timer is not None:
            self._timer.cancel()
        self.subscribers.close()
        await self._background.close()
        await self.gate.close()
        if self.gate.is_open:
            self._measures.report(self.gate.vendor, self.subscribers.count, self.loop.time())

    def _opened(self, vendor: Vendor) -> None:
        self._answers = {}  # another account may read an answer in another way
        if vendor.webhook is not None and vendor.account.takes_webhooks:
            inbox_listener().join(self)

    # -- the loop --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Start a caller if an order is due and another call is allowed, else come back at the next moment."""
        backoff = self.gate.access.backoff
        if self._callers >= backoff.calls:
            return  # the end of a caller leads back here
        moment = max(self._schedule.next, backoff.until)
        if moment <= self.loop.time():
            self._callers += 1
            self._background.begin(self._make_calls())
        elif moment < NEVER:
            self._set_timer(moment)

    def _set_timer(self, moment: float) -> None:
        """Come back at this moment or a little later: looks in small groups take half the CPU of looks one by one."""
        tick = TICK * self.gate.access.vendor.capabilities.polling.fastest
        if tick:
            moment = math.ceil(moment / tick) * tick
        if self._timer is not None:
            if self._timer.when() <= moment:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(moment, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._wake()

    async def _make_calls(self) -> None:
        """Make one call after another while orders are due. Only this loop takes orders from the schedule."""
        batch: list[str] = []
        try:
            while batch := self._take():
                await self._look(batch)
        except Exception:  # a mistake of ours: the wait goes on, with a long pause
            log.exception("Poller of connection %s", self.conn_id)
            pause = self.gate.vendor.capabilities.polling.slowest
            self._schedule.plan(self.subscribers.still_waiting(batch), self.loop.time() + pause)
        self._callers -= 1
        self._wake()

    def _take(self) -> list[str]:
        """The orders of the next call; empty until an order is due and the vendor may be asked."""
        now, access = self.loop.time(), self.gate.access
        if now >= self._measures.due:
            self._measures.report(access.vendor, self.subscribers.count, now)
        backoff, capabilities = access.backoff, access.vendor.capabilities
        if self._callers > backoff.calls or now < backoff.until:
            return []
        if capabilities.ids_per_read > 1:
            batch = self._schedule.take(now, capabilities.ids_per_read, TOGETHER * capabilities.polling.fastest)
        else:
            batch = self._schedule.take(now, 1)
        if batch:
            if backoff.gap:
                backoff.begin(now)
            if self._callers < backoff.calls:
                self._wake()
        return batch

    # -- one call --------------------------------------------------------------------------------------------------

    async def _look(self, batch: list[str]) -> None:
        """Ask for some orders and tell the waiting triggers. After any failure they hear of it, or a new look is planned."""
        from airflow_provider_proxyorders.transport.answer_cache import CachedAnswer

        access, began = self.gate.access, self.loop.time()
        if len(self._answers) > 16 + 2 * self.subscribers.count // max(1, access.vendor.capabilities.ids_per_read):
            self._answers.clear()  # most of them belong to calls of the past
        try:
            if len(batch) > 1:
                many: CachedAnswer[dict[str, VendorOrder]] = CachedAnswer(self._answers, tuple(batch))
                orders = await self.gate.call(access, access.vendor.get_many(batch), many)
            else:
                single: CachedAnswer[VendorOrder] = CachedAnswer(self._answers, batch[0])
                orders = {batch[0]: await self.gate.call(access, access.vendor.get(batch[0]), single)}
            self._record(batch, orders)
        except CallHeld:
            if await self.gate.may_ask_again(access.vendor, began):
                self._schedule.plan(self.subscribers.still_waiting(batch), self.loop.time())
            return
        except Exception as error:
            await self._handle(error, access, batch, began)
        self._measures.counts["polls"] += 1

    def _record(self, batch: list[str], orders: Mapping[str, VendorOrder]) -> None:
        """Show each order to its subscriptions, and plan its next look."""
        now, spread, polling = self.loop.time(), random.random(), self.gate.access.vendor.capabilities.polling
        by_order, quiet = self.subscribers.by_order, self.subscribers.many_waiting
        groups: dict[int, list[str]] = {}  # orders with about the same pause are planned together, and so stay together
        pauses: dict[int, float] = {}
        missing = []
        for order_id in batch:
            order = orders.get(order_id)
            if order is None:
                missing.append(order_id)
                continue
            if self._unreadable:
                self._unreadable.pop(order_id, None)
            self._missing.forget(order_id)
            pause = NEVER
            for subscription in by_order.get(order_id, ()):  # all may have left during the call
                pause = min(pause, subscription.show(order, polling, now, spread, quiet))
            if pause < NEVER:
                about = int(pause)
                groups.setdefault(about, []).append(order_id)
                pauses[about] = min(pause, pauses.get(about, NEVER))
        for about, order_ids in groups.items():
            self._schedule.plan(order_ids, now + pauses[about])
        if missing:
            self._missing.note(missing, alone=len(batch) == 1)

    # -- when it goes wrong ----------------------------------------------------------------------------------------

    async def _handle(self, error: Exception, access: Access, batch: list[str], began: float) -> None:
        """Act on a failed call."""
        if isinstance(error, ProxyOrdersError) and is_miss(error) and len(batch) == 1:
            self._missing.note(batch, True, error)
        elif isinstance(error, (AuthenticationFailed, OrderingNotPermitted)):
            await self._handle_refusal(error, access, batch, began)
        elif isinstance(error, ProxyOrdersError) and error.passing:
            self._handle_trouble(error, batch)
        elif isinstance(error, ProxyOrdersError):
            await self._give_up(batch, error, str(error))
        else:  # a mistake of ours or of a vendor's package ends the wait of this order, and the others go on
            log.error("Poller of connection %s", self.conn_id, exc_info=error)
            await self._give_up(batch, error, f"{type(error).__name__} while looking")

    async def _handle_refusal(self, error: ProxyOrdersError, access: Access, batch: list[str], began: float) -> None:
        """The key is refused: go on with the connection's new key, or end the wait of all."""
        refusal = await self.gate.judge_refusal(access.vendor, error, began)
        if refusal == "renewed":
            self._schedule.plan(self.subscribers.still_waiting(batch), self.loop.time())
        elif refusal == "final":
            self._schedule = self._missing.schedule = PollSchedule()  # no order is looked at again for those who wait now
            text = str(error)
            if self.subscribers.many_waiting:
                self.lines.warn_once(text)
                text = ""
            await self.subscribers.tell(list(self.subscribers.by_order), Update("unreadable", text, type(error).__name__))

    def _handle_trouble(self, error: ProxyOrdersError, batch: list[str]) -> None:
        """Leave the vendor alone for a while, and a troublesome order for longer."""
        now, vendor, backoff = self.loop.time(), self.gate.vendor, self.gate.access.backoff
        before = backoff.trouble
        quiet = backoff.fail(error, now)
        throttled = isinstance(error, Throttled)
        if throttled:
            self._measures.counts["throttled"] += 1
        for order_id in self.subscribers.still_waiting(batch):
            pause = 0.0
            if not throttled:
                self._unreadable[order_id] = times = self._unreadable.get(order_id, 0) + 1
                pause = trouble_pause(vendor.capabilities.polling, times, random.random)
            self._schedule.plan((order_id,), now + pause)
        if backoff.trouble > before and (backoff.trouble in (1, 3, 6) or backoff.trouble % 12 == 0):
            text = f"Reading from {vendor.title} failed ({type(error).__name__}), next try in {quiet:.0f} s"
            if self.subscribers.many_waiting:
                self.lines.warn_once(text)
            else:
                self._background.begin(self.subscribers.tell(list(self.subscribers.by_order), Update(None, text)))

    async def _give_up(self, batch: list[str], error: Exception, text: str) -> None:
        """End the wait for an unreadable order; after a call for many, ask for each alone to find the cause."""
        if len(batch) > 1:
            self._schedule.plan_alone(self.subscribers.still_waiting(batch))
        else:
            update = Update("unreadable", f"Reading order {batch[0]} failed: {text}", type(error).__name__)
            await self.subscribers.tell(batch, update)


_pollers: dict[tuple[asyncio.AbstractEventLoop, str], Poller] = {}


class waiting_on:
    """``async with``: the poller of a connection in this event loop. It ends with its last user."""

    __slots__ = ("_key", "_poller")  # each waiting trigger keeps one

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
