"""The stream of ended orders, as their webhooks come in. Of all listening triggers, one reports each order.

Three rules. An order comes back later until the vendor confirms its end. A trigger claims an order before its event and confirms
the event afterwards, so a triggerer's death delays the event and loses nothing: order events are delivered at least once. After
several events close together the last one comes once more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.domain.names import LONGEST_ID, name_rule
from airflow_provider_proxyorders.triggers.background import Background
from airflow_provider_proxyorders.triggers.inbox_listener import inbox_listener

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.ledger.facts import Fact
    from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
    from airflow_provider_proxyorders.triggers.gate import Gate

log = logging.getLogger(__name__)

#: An unconfirmed webhook comes back after 1, 2, 4 ... seconds, at most an hour apart, for about a day.
LONGEST, LOOKS = 3600.0, 34
#: The same for an order that the vendor does not know and this ledger did not buy: about two minutes. A new order shows up within
#: them, and the sender of a stolen secret can make any id up.
LOOKS_AT_UNKNOWN = 8
#: Seconds that a claim on an order lasts. Without a confirmation by then, the next trigger reports it again.
HOLD = 120.0
#: Airflow stores an event within a second or two. A trigger alive so many seconds later has delivered it.
STORED_AFTER = 8.0
#: Airflow 3.3 queues a run of a DAG at an event. An event that comes before the run is made stays behind, and only a later event
#: brings it along. So after several events within this time, in seconds, the last one is repeated as much later.
QUIET = 60.0
#: Orders of one read of the inbox, while the queue is empty.
PAGE = 500
#: Seconds until the inbox is read again after a failure.
AGAIN = 15.0


@dataclass(frozen=True)
class EndedOrder:
    """An order with a webhook about its end, and the right to report it to Airflow."""

    conn_id: str
    order_id: str
    wallet: str
    ledger: Ledger
    _come_back: Callable[[int], bool] = field(repr=False)
    _beside: Callable[[Coroutine[None, None, None]], None] = field(repr=False)

    async def come_back(self, *, unknown: bool = False) -> bool:
        """Have this order come back later; False when it has come back often enough and is given up.

        :param unknown: whether the vendor does not know it, or refuses its id for good.
        """
        own = not unknown or await asyncio.to_thread(self._is_own)
        return self._come_back(LOOKS if own else LOOKS_AT_UNKNOWN)

    async def state(self) -> Literal["reported", "claimed", "free"]:
        """Whether the order was reported, is claimed by another trigger, or has to be reported."""
        state = await asyncio.to_thread(self._next_claim)
        return state if isinstance(state, str) else "free"

    async def claim(self) -> bool:
        """Whether this trigger is the one to report the order; the ledger decides."""
        return await asyncio.to_thread(self._claim)

    def confirm(self) -> None:
        """Record Airflow's receipt of the event, as soon as it is certain."""
        self._beside(self._confirm())

    def _is_own(self) -> bool:
        """Whether this ledger bought the order, or cannot tell."""
        try:
            return self.ledger.owner_of(self.wallet, self.order_id) is not None
        except LedgerError:
            return True

    def _claim(self) -> bool:
        number = self._next_claim()
        mine = f"{uuid4().hex} {time.time():.0f}"
        return isinstance(number, int) and self._claim_of(number).decide_once(mine) == mine

    async def _confirm(self) -> None:
        await asyncio.sleep(STORED_AFTER)
        try:
            await asyncio.to_thread(self._reported.decide_once, "yes")
        except LedgerError as error:
            log.warning("The end of order %s may be reported twice: %s", self.order_id, error)

    def _next_claim(self) -> int | Literal["reported", "claimed"]:
        """The number of the next claim on the order, from 1."""
        if self._reported.get() is not None:
            return "reported"
        number = 1
        while (claim := self._claim_of(number).get()) is not None:
            if abs(time.time() - float(claim.split()[1])) < HOLD:  # one from far ahead is a wrong clock's, and counts for nothing
                return "claimed"
            number += 1
        return number

    def _claim_of(self, number: int) -> Fact:
        from airflow_provider_proxyorders.ledger import facts

        return facts.event_turn(self.ledger, self.conn_id, self.order_id, number)

    @property
    def _reported(self) -> Fact:
        from airflow_provider_proxyorders.ledger import facts

        return facts.event_reported(self.ledger, self.conn_id, self.order_id)


class HintQueue:
    """The waiting hints of one wallet, and those that come back later."""

    def __init__(self, wallet: str):
        self.wallet = wallet
        self.waiting: asyncio.Queue[tuple[Hint, int] | None] = asyncio.Queue()
        self._timers: set[asyncio.TimerHandle] = set()

    def hint(self, hint: Hint) -> None:
        if hint.concerns(self.wallet):
            self.waiting.put_nowait((hint, 0))

    def come_back(self, hint: Hint, looks: int, most: int) -> bool:
        """Put a hint back later; False after too many looks.

        :param looks: how often its order was looked at.
        :param most: looks in all.
        """
        if looks >= most:
            return False

        def put_back() -> None:
            self._timers.discard(timer)
            self.waiting.put_nowait((hint, looks))

        timer = asyncio.get_running_loop().call_later(min(2.0 ** (looks - 1), LONGEST), put_back)
        self._timers.add(timer)
        return True

    def close(self) -> None:
        """Forget the hints that would come back."""
        for timer in self._timers:
            timer.cancel()


def payload_of(event: Any) -> dict[str, Any]:
    """The event of a trigger inside an asset event, or anything that somebody wrote in its place, as an object."""
    extra = getattr(event, "extra", None)
    payload = extra.get("payload", extra) if isinstance(extra, Mapping) else None
    return dict(payload) if isinstance(payload, Mapping) else {}


def was_reported(ledger: Ledger, conn_id: str, order_id: str) -> bool:
    """Whether a trigger has reported the end of an order, by the ledger. A made-up id may be text that no ledger takes."""
    from airflow_provider_proxyorders.ledger import facts

    return not name_rule(order_id, LONGEST_ID) and facts.event_turn(ledger, conn_id, order_id, 1).get() is not None


class Burst:
    """Events of one trigger, close together."""

    def __init__(self) -> None:
        self._last: dict[str, Any] | None = None
        self._at, self._several = float("-inf"), False

    def add(self, event: dict[str, Any]) -> None:
        """Note an event, just handed to Airflow."""
        now = time.monotonic()
        self._several = self._several or now - self._at < QUIET
        self._last, self._at = event, now

    def repeat(self) -> dict[str, Any] | None:
        """The last event, if it is time to repeat it."""
        now = time.monotonic()
        if not self._several or now - self._at < QUIET:
            return None
        self._several, self._at = False, now  # an event soon after the repeat may stay behind as well
        return self._last


async def ended_orders(conn_id: str, gate: Gate) -> AsyncIterator[EndedOrder | None]:
    """Orders of a connection that a webhook named: new ones, and a page at a time those of the inbox, oldest first.

    In between ``None``, where none came for a while.

    :raises ConfigError: the connection is incomplete.
    :raises LedgerError: when the ledger cannot be used.
    """
    from airflow_provider_proxyorders.hooks.settings import ledger as open_ledger
    from airflow_provider_proxyorders.hooks.wallets import look_up_wallet

    vendor = await gate.open()
    ledger = await asyncio.to_thread(open_ledger)
    await asyncio.to_thread(look_up_wallet, vendor.account)
    queue, listener, background = HintQueue(vendor.account.wallet), inbox_listener(), Background()
    listener.join(queue)
    try:
        await listener.pin_start()  # before the first page is read: a webhook in between is in one of the two
        inbox, last = await asyncio.to_thread(_open_inbox, ledger, conn_id)
        more = True
        while True:
            if more and queue.waiting.empty():
                try:
                    page = await asyncio.to_thread(inbox.newest_of_orders, queue.wallet, last, PAGE)
                except LedgerError as error:
                    log.warning(
                        "Connection %s: the inbox failed, orders that ended earlier are reported later: %s", conn_id, error
                    )
                    await asyncio.sleep(AGAIN)
                    continue
                for hint in page:
                    queue.hint(hint)
                    last = hint.number
                more = bool(page)
                continue
            tick = asyncio.get_running_loop().call_later(QUIET / 4, queue.waiting.put_nowait, None)
            item = await queue.waiting.get()
            tick.cancel()
            if item is None:
                yield None
                continue
            hint, looks = item
            come_back = partial(queue.come_back, hint, looks + 1)
            yield EndedOrder(conn_id, hint.order_id, queue.wallet, ledger, come_back, background.begin)
    finally:
        queue.close()
        await background.close()
        await listener.leave(queue)


def _open_inbox(ledger: Ledger, conn_id: str) -> tuple[Inbox, int]:
    """The inbox, and the number of its newest webhook when the events of this connection were first asked for."""
    from airflow_provider_proxyorders.ledger import facts
    from airflow_provider_proxyorders.ledger.inbox import Inbox

    inbox = Inbox(ledger.engine)
    return inbox, int(facts.events_begin_after(ledger, conn_id).decide_once(str(inbox.newest())))
