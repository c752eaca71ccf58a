"""What a task tells: the lines of its log about its purchase, and the metrics of Airflow.

The log has one sentence a line, what happened first, and the order key once. An error says what happened, what became of money
and what to do, each on a line of its own, before Airflow's traceback.

Two rules for metrics. They are sent when the purchase is over for this try or waits for a person, so they cannot slow it, and
their own trouble is only logged. What the ledger knows is a gauge of that, so a retry or a Clear counts no money twice.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import OrderPending, OutcomeUnknown, ProxyOrdersError, Quarantined
from airflow_provider_proxyorders.domain.model import Step

if TYPE_CHECKING:
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

Method = TypeVar("Method", bound=Callable[..., Any])

log = logging.getLogger(__name__)

_OF_A_KEY = re.compile(r"""Order key (?P<key>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"): (?P<rest>.+)""", re.DOTALL)
#: Where a sentence ends and another one begins.
_BETWEEN = re.compile(r"(?<=[.!?]) +(?=[A-Z])")


def sentences(text: str) -> list[str]:
    """A text by its sentences."""
    return _BETWEEN.split(" ".join(text.split()))


class Story:
    """Writes the story of a purchase into the log of its task.

    :param log: a logger.
    """

    def __init__(self, log: Any):
        self._log = log
        self._keys: list[str] = []

    def __call__(self, line: str) -> None:
        matched = _OF_A_KEY.fullmatch(line)
        if matched is None:
            self._write(line)
            return
        key, rest = matched["key"], matched["rest"]
        if key not in self._keys:
            self._keys.append(key)
            self._write(f"{rest[:1].upper()}{rest[1:]}")
            self._log.info("Order key: %s", key)
        else:
            other = "" if key == self._keys[0] else f" (order key {key})"
            self._write(f"{rest[:1].upper()}{rest[1:]}{other}")

    def _write(self, text: str) -> None:
        for sentence in sentences(text):
            self._log.info("%s", sentence)


@contextmanager
def explained(log: Any) -> Iterator[None]:
    """Write an error of this package into the log, a sentence a line, before Airflow writes it with its traceback."""
    try:
        yield
    except ProxyOrdersError as error:
        for sentence in sentences(str(error)):
            log.error("%s", sentence)
        raise


def explaining(method: Method) -> Method:
    """The same around a method of a task that only reads."""

    @functools.wraps(method)
    def explain(task: Any, *args: Any, **kwargs: Any) -> Any:
        with explained(task.log):
            return method(task, *args, **kwargs)

    return cast(Method, explain)


#: The most unresolved purchases that are counted.
MOST_COUNTED = 1000
#: In place of an outcome: the task waits for the answer of a person.
_WAITS = ""
#: Facts of a wallet that are numbers, and the names of their metrics.
WALLET_FACTS = {
    "balance": "balance",
    "spendable": "spendable",
    "days_left": "runway_days",
    "renewals_due": "renewals_due",
    "short": "renewals_short",
}


class Buying(Protocol):
    """A task that buys, as far as its metrics go."""

    conn_id: str

    @property
    def hook(self) -> ProxyOrdersHook: ...


@contextmanager
def counted(task: Buying) -> Iterator[None]:
    """Count how a try of a task that buys ends. A task that waits has not ended; the wallet tells that it waits for a person."""
    outcome: str | None = "usable"
    try:
        yield
    except ProxyOrdersError as error:
        outcome = _outcome_of(error)
        raise
    except BaseException as ended:  # it waits, is skipped, or is ended from outside
        outcome = _WAITS if _compat.is_waiting_for_answer(ended) else None
        raise
    finally:
        if outcome is not None:
            _report(task, outcome)


def _outcome_of(error: ProxyOrdersError) -> str:
    if isinstance(error, Quarantined):
        return "quarantined"
    if isinstance(error, OutcomeUnknown):
        return "unresolved"
    if isinstance(error, OrderPending):
        return "pending"
    return {"untouched": "refused", "charged": "failed", "unknown": "unresolved"}[error.money]


def _report(task: Buying, outcome: str) -> None:
    try:
        if not _compat.has_metrics():
            return
        hook = task.hook
        if outcome != _WAITS:
            _compat.incr("purchases", {"vendor": hook.vendor.name, "conn_id": task.conn_id, "outcome": outcome})
        _report_ledger(hook, task.conn_id)
    except Exception:  # nothing of a purchase depends on it
        log.debug("metrics", exc_info=True)


def report_ledger(hook: ProxyOrdersHook) -> None:
    """What the ledger says of the wallet of a connection, where a task looked at it or compared it."""
    try:
        if _compat.has_metrics():
            _report_ledger(hook, hook.conn_id)
    except Exception:  # nothing of the task depends on it
        log.debug("metrics", exc_info=True)


def _report_ledger(hook: ProxyOrdersHook, conn_id: str) -> None:
    from airflow_provider_proxyorders.ledger import spending

    ledger, account = hook.ledger, hook.vendor.account
    tags = {"vendor": hook.vendor.name, "conn_id": conn_id, "wallet": account.wallet}
    unresolved = ledger.unresolved(wallet=account.wallet, limit=MOST_COUNTED)
    _compat.gauge("unresolved", len(unresolved), tags)
    _compat.gauge("quarantined", sum(purchase.step is Step.QUARANTINED for purchase in unresolved), tags)
    today = spending.day_of(ledger.clock(), account.timezone)
    by_day = spending.by_day(ledger.engine, account.wallet, f"{today[:7]}-01")
    _compat.gauge("spent_today", float(by_day.get(today, 0)), tags)
    _compat.gauge("spent_this_month", float(sum(by_day.values())), tags)


def report_wallet(facts: Mapping[str, Any], vendor: str) -> None:
    """What a look at a wallet saw.

    :param facts: the task's result for the wallet.
    """
    try:
        if not _compat.has_metrics():
            return
        tags = {"vendor": vendor, "conn_id": facts["conn_id"], "wallet": facts["wallet"]}
        _compat.gauge("wallet_low", facts["state"] == "low", tags)
        for fact, name in WALLET_FACTS.items():
            if facts.get(fact) is not None:
                _compat.gauge(name, float(facts[fact]), tags)
    except Exception:  # the alert does not depend on it
        log.debug("metrics", exc_info=True)
