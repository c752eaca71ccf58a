"""Triggers for wallets: one waits for a top-up, one starts DAGs when a wallet gets low.

Three rules. The row and the log of a trigger hold ids, amounts and moments only. At the vendor it only reads. It claims a
crossing in the ledger, so each crossing is one event over restarts and triggerers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    ConfigError,
    InvalidParameter,
    OrderingNotPermitted,
    ProxyOrdersError,
)
from airflow_provider_proxyorders.domain.inputs import (
    amount_of,
    conn_id_of,
    ids_of,
    is_given,
    required_amount,
    required_moment,
    seconds_of,
    text_of,
)
from airflow_provider_proxyorders.domain.levels import Levels, judge
from airflow_provider_proxyorders.triggers import subscription
from airflow_provider_proxyorders.triggers.balance import balances
from airflow_provider_proxyorders.triggers.gate import KEY_LOOKED_UP, KEY_REFUSED
from airflow_provider_proxyorders.triggers.poller import waiting_on

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.account import Account
    from airflow_provider_proxyorders.domain.model import Money
    from airflow_provider_proxyorders.ledger.alarms import Crossing
    from airflow_provider_proxyorders.triggers.gate import Gate

#: Characters of a key: the ledger's column.
LONGEST_KEY = 500
#: Seconds between two readings of a balance; money arrives by hand.
INTERVAL = 60.0
#: The same for a trigger of events, in seconds.
EVENT_INTERVAL = 300.0
#: Airflow stores an event within a second or two. A trigger alive so many seconds later has delivered it and confirms the
#: crossing. After an earlier death its successor reports the crossing again.
STORED_AFTER = 8.0


class WalletLevelTrigger(BaseTrigger):
    """Fires when a wallet holds enough, when its reads fail for good, or at the deadline.

    The event is ``{"outcome": "reached" | "deadline" | "unreadable", "reason": ..., "at": ...}``. ``reason`` is the bare name of
    an error, and ``at`` the unix time of the event.

    :param at_least: amount as text.
    :param deadline: ISO time with zone; a moment, so it means the same after a restart.
    :param poll_interval: seconds between two readings.
    """

    def __init__(self, *, conn_id: str, at_least: str, deadline: str, poll_interval: float = INTERVAL):
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id_of(conn_id)
        self.at_least = f"{required_amount('at_least', at_least):f}"
        self.deadline = required_moment("deadline", deadline, "UTC").isoformat()
        self.poll_interval = seconds_of("poll_interval", poll_interval, INTERVAL)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "conn_id": self.conn_id,
                "at_least": self.at_least,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        began = asyncio.get_running_loop().time()
        left = max(0.0, subscription.loop_deadline(self.deadline) - began)
        try:
            outcome, reason = await asyncio.wait_for(self._wait(), left)
        except asyncio.TimeoutError:
            outcome, reason = "deadline", None
        await asyncio.sleep(max(0.0, began + subscription.EARLIEST - asyncio.get_running_loop().time()))
        event: Any = {"outcome": outcome, "reason": reason, "at": time.time()}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> tuple[str, str | None]:
        enough = Decimal(self.at_least)
        async with waiting_on(self.conn_id) as poller, aclosing(balances(poller.gate, self.poll_interval)) as readings:
            async for balance in readings:
                if isinstance(balance, ProxyOrdersError):
                    self.log.info("%s", balance)
                    if not balance.passing:
                        return "unreadable", type(balance).__name__
                elif not balance.comparable(poller.gate.vendor.account.currency):
                    self.log.info("The wallet holds %s, the connection has another currency", balance)
                    return "unreadable", ConfigError.__name__  # the worker reads once more and fails with the sentence
                elif balance.amount >= enough:
                    self.log.info("The wallet holds %s", balance)
                    return "reached", None
                else:
                    self.log.info("The wallet holds %s, waiting for %s", balance, self.at_least)
        raise AssertionError("balances() goes on for ever")


class WalletBalanceTrigger(BaseEventTrigger):
    """Fires once when a wallet gets low, for ``AssetWatcher``: "money runs out" then starts a DAG.

    The event is ``{"key": ..., "state": "low" | "ok", "conn_id": ..., "wallet": ..., "since": ..., "balance": ...,
    "currency": ..., "low_balance": ..., "recovered_at": ..., "crossing": ...}``. Its ``key`` names the crossing. A second event
    of a crossing, after a crash, has the same key. A purchase with this key in its ``order_key`` is made once.

    The trigger goes on for ever, since Airflow would start an ended one again every second. The vendor sees a refused key again
    as soon as the connection holds another one, or after an hour: a refusal may be a firewall's, and pass.

    :param low_balance: as text, in the wallet's currency; a balance below it, or an empty wallet, is low.
    :param recovered_at: as text; by default a tenth above ``low_balance``.
    :param on: the crossings to report: ``low``, ``ok`` (recovered), or both.
    :param poll_interval: seconds between two readings.
    :param name: triggers with the same name share a crossing. By default the levels are the name, so a change of a level begins
        a new alert with a key of its own. Set a name if your DAG buys for an event.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        low_balance: str,
        recovered_at: str | None = None,
        on: Sequence[str] = ("low",),
        poll_interval: timedelta | float | str = EVENT_INTERVAL,
        name: str | None = None,
    ):
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id, self.name = conn_id_of(conn_id), text_of("name", name)
        low, recovered = required_amount("low_balance", low_balance), amount_of("recovered_at", recovered_at)
        self.low_balance, self.recovered_at = f"{low:f}", None if recovered is None else f"{recovered:f}"
        self.on = ["low"] if not is_given(on) else ids_of("on", on) or []
        self.poll_interval = seconds_of("poll_interval", poll_interval, EVENT_INTERVAL)
        self.levels = Levels.of(low, recovered)
        if not self.on or not set(self.on) <= {"low", "ok"}:
            raise InvalidParameter("on", "must name low, ok or both", ["low"], got=on)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "conn_id": self.conn_id,
                "low_balance": self.low_balance,
                "recovered_at": self.recovered_at,
                "on": self.on,
                "poll_interval": self.poll_interval,
                "name": self.name,
            },
        )

    def verify_events(self, events: Iterable[Any]) -> list[dict[str, Any]]:
        """The crossings behind asset events, each once, by the ledger. Call it in a task that acts on them.

        Everybody with the right to create asset events can write one by hand. A crossing that the ledger does not know is left
        out with a warning, and of a known one nothing but its key counts.

        :param events: as in ``triggering_asset_events``.
        :returns: objects with ``key, state, conn_id, wallet, low_balance, recovered_at, crossing``.
        :raises LedgerError: the ledger cannot be read.
        """
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
        from airflow_provider_proxyorders.triggers.events import payload_of

        account = ProxyOrdersHook(self.conn_id).vendor.account
        crossings = {crossing.key: crossing for crossing in _past_crossings(account, self._alert)}
        verified = []
        for key in dict.fromkeys(str(payload_of(event).get("key"))[:LONGEST_KEY] for event in events):
            crossing = crossings.get(key)
            if crossing is not None and crossing.state in self.on:
                verified.append(self._known_event(crossing))
            else:
                self.log.warning("An event with the key %r is left out: the ledger knows no such crossing", key)
        return verified

    @property
    def _alert(self) -> str:
        return self.name or f"event: {self.levels}"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async with waiting_on(self.conn_id) as poller, aclosing(balances(poller.gate, self.poll_interval)) as readings:
            async for balance in readings:
                try:
                    if isinstance(balance, ProxyOrdersError):
                        raise balance
                    crossing = await self._claim_crossing(poller.gate, balance)
                except (AuthenticationFailed, OrderingNotPermitted) as error:
                    self.log.error("Connection %s: %s It is asked again with another key, or in an hour.", self.conn_id, error)
                    await poller.gate.wait_for_other_key(KEY_LOOKED_UP, KEY_REFUSED)
                    continue
                except ProxyOrdersError as error:
                    self.log.warning("The wallet of connection %s is read again later: %s", self.conn_id, error)
                    continue
                except Exception:  # a mistake of ours, or a database library's: the watch goes on
                    logging.getLogger(__name__).exception("Wallet of connection %s", self.conn_id)
                    continue
                if crossing is None:
                    continue
                if crossing.state in self.on:
                    yield TriggerEvent(self._event(crossing, balance))  # type: ignore[no-untyped-call]
                    await asyncio.sleep(STORED_AFTER)
                await self._confirm(crossing)

    async def _claim_crossing(self, gate: Gate, balance: Money) -> Crossing | None:
        """The crossing at this balance, unless another trigger has it.

        :raises LedgerError: when the ledger cannot be used; the next reading shows the crossing again.
        """
        vendor = await gate.open()
        account = vendor.account
        if not balance.comparable(account.currency):
            raise ConfigError(f"wallet {account.wallet!r} holds {balance}, the connection says {account.currency}")
        state = judge(self.levels, balance.amount)
        return await asyncio.to_thread(_observe, account, self._alert, state, str(balance))

    async def _confirm(self, crossing: Crossing) -> None:
        try:
            await asyncio.to_thread(_confirm, crossing)
        except ProxyOrdersError as error:
            self.log.warning("Crossing %s may be reported twice: %s", crossing.key, error)

    def _event(self, crossing: Crossing, balance: Money) -> dict[str, Any]:
        return {
            **self._known_event(crossing),
            "since": crossing.since.isoformat(),
            "balance": f"{balance.amount:f}",
            "currency": balance.currency,
        }

    def _known_event(self, crossing: Crossing) -> dict[str, Any]:
        return {
            "key": crossing.key,
            "state": crossing.state,
            "conn_id": self.conn_id,
            "wallet": crossing.wallet,
            "low_balance": self.low_balance,
            "recovered_at": f"{self.levels.recovered_at:f}",
            "crossing": crossing.crossing,
        }


def _past_crossings(account: Account, name: str) -> list[Crossing]:
    """All crossings of an alert so far."""
    from airflow_provider_proxyorders.hooks.settings import ledger
    from airflow_provider_proxyorders.hooks.wallets import look_up_wallet
    from airflow_provider_proxyorders.ledger.alarms import Alarms

    look_up_wallet(account)
    return Alarms(ledger().engine).past_crossings(account.wallet, name)


def _observe(account: Account, name: str, state: Any, balance: str) -> Crossing | None:
    from airflow_provider_proxyorders.hooks.settings import ledger
    from airflow_provider_proxyorders.hooks.wallets import look_up_wallet
    from airflow_provider_proxyorders.ledger.alarms import Alarms

    alarms = Alarms(ledger().engine)
    look_up_wallet(account)
    return alarms.observe(account.wallet, name, state, balance=balance)


def _confirm(crossing: Crossing) -> None:
    from airflow_provider_proxyorders.hooks.settings import ledger
    from airflow_provider_proxyorders.ledger.alarms import Alarms

    Alarms(ledger().engine).confirm(crossing)


__all__ = ["WalletBalanceTrigger", "WalletLevelTrigger"]
