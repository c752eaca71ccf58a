"""The consequences of a look at a wallet: a crossing into low or back, the facts for the task's result, and the alert.

The ledger keeps each alert, so several DAGs and hosts send one alert for a crossing together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_proxyorders.domain.levels import Levels
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.alarms import Alarms, Crossing
from airflow_provider_proxyorders.wallet.check import WalletCheck

#: Facts of the task's result that an alert leaves out, or names in its own way.
_NOT_IN_ALERTS = ("renewals", "error", "alert", "state", "text")


def alert_name_of(name: str | None, levels: Levels | None, horizon: timedelta | None, *, dag_id: str | None, heard: bool) -> str:
    """The name of a wallet's alert: tasks with one name send one alert for a crossing together.

    :param name: as the DAG gives it; ``None``: levels, horizon and DAG, so a DAG takes no alert away from another one.
    :param heard: whether the task has notifiers. One without never takes an alert away from one with notifiers.
    """
    if name is None:
        name = default_alert_name(levels, horizon) + (f", of {dag_id}"[:200] if dag_id else "")
    return name if heard else f"{name}, in the log"


def default_alert_name(levels: Levels | None, horizon: timedelta | None) -> str:
    """The alert of a wallet by its levels and its horizon."""
    parts = [str(levels)] if levels is not None else []
    if horizon is not None:
        parts.append(f"runway of {horizon.total_seconds():.0f} s")
    return f"alert: {', '.join(parts)}"


@dataclass(frozen=True)
class WalletState:
    """A wallet after one look at it.

    :param facts: the task's result for this wallet; text, numbers and nulls.
    :param crossing: the change for this task to announce; ``None`` without a change, or if another task announces it.
    """

    facts: dict[str, Any]
    crossing: Crossing | None
    alarms: Alarms

    def announce(self, send: Callable[[dict[str, Any]], None]) -> None:
        """Send the alert of a crossing. If sending fails, the next look gets the crossing again."""
        if self.crossing is None:
            return
        try:
            send(self._alert(self.crossing))
        except BaseException:
            self.alarms.release(self.crossing)
            raise
        self.alarms.confirm(self.crossing)

    def _alert(self, crossing: Crossing) -> dict[str, Any]:
        """The alert as notifiers get it."""
        balance = f"{self.facts['balance']} {self.facts['currency'] or ''}".rstrip()
        change = "is low" if crossing.state == "low" else "has recovered"
        text = self.facts["text"]
        if crossing.again:
            text += f" (Since {utc(crossing.since)}; an earlier try to send this alert failed.)"
        elif crossing.missed:
            text += " (The alert of the change before this one reached no notifier.)"
        return {
            **{name: value for name, value in self.facts.items() if name not in _NOT_IN_ALERTS},
            "state": crossing.state,
            "subject": f"Wallet {crossing.wallet} {change}: {balance}",
            "text": text,
            "crossing": crossing.crossing,
            "key": crossing.key,
        }


def record_check(ledger: Ledger, check: WalletCheck, levels: Levels | None, name: str, *, with_runway: bool) -> WalletState:
    """Record a look at a wallet, and find out whether the wallet crossed a level.

    :param levels: ``None`` if only the runway counts.
    :param name: of the alert; alerts of the same wallet and name are one.
    :raises LedgerError: the ledger cannot be used, and the alert is unchanged.
    """
    wallet = check.account.wallet
    alarms = Alarms(ledger.engine, ledger.clock)
    crossing = alarms.observe(wallet, name, check.judge(levels, with_runway=with_runway), balance=check.balance_text)
    alarm = crossing or alarms.find(wallet, name)
    assert alarm is not None
    facts = {
        **check.facts(),
        "state": alarm.state,
        "since": alarm.since.isoformat(),
        "alert": None if crossing is None else ("low" if crossing.state == "low" else "recovered"),
        "text": check.describe(levels),
        "error": None,
    }
    return WalletState(facts, crossing, alarms)
