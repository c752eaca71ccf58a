"""Kills or freezes the process it is armed in, at one moment of a purchase's life.

Two rules: it is a signal to oneself right before or after a named call of the real code, whose arguments, result and decisions
stay as they are; and it hits one process of a cell, the first that gets there (a file that can be made only once says so).
"""

from __future__ import annotations

import functools
import os
import select
import signal
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

#: How long an answer is waited for to be sure that the vendor worked on the purchase, in seconds.
TAKEN_WITHIN = 0.3


def arm(point: str, token: Path, number: int = signal.SIGKILL) -> None:
    """Have this process die at a kill point, unless another one of the cell did.

    :param token: the file that is made by the one that dies.
    :param number: the signal; SIGSTOP freezes it.
    """
    from airflow.sdk import BaseOperator

    from airflow_provider_proxyorders.domain.model import TAKEN, Step
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker
    from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
    from airflow_provider_proxyorders.transport.worker import Http

    def die(_: Any = None) -> None:
        try:
            os.close(os.open(token, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), number)

    def die_if(condition: Callable[[Any], bool]) -> Callable[[Any], None]:
        return lambda order: die() if condition(order) else None

    def may_be_sent_again() -> None:
        after(Ledger, "record", die_if(lambda order: order.step is Step.INTENDED))
        after(Ledger, "add_look", die_if(lambda judged: judged[0].step is Step.INTENDED))

    points: dict[str, Callable[[], None]] = {
        "intent": lambda: before(Ledger, "intend", die),
        "intended": lambda: after(Ledger, "intend", die),
        "sent": lambda: after(Ledger, "claim", die),
        "taken": lambda: before_the_answer_is_read(die),
        "answered": lambda: whatever_comes(Http, "_spend", die),
        "unknown": lambda: after(Ledger, "record", die_if(lambda order: order.step is Step.UNKNOWN)),
        "proven": may_be_sent_again,
        "placed": lambda: after(Ledger, "record", die_if(lambda order: order.step in TAKEN)),
        "waiting": lambda: before(OrderTracker, "refresh", die),
        "defer": lambda: before(BaseOperator, "defer", die),
        "trigger": lambda: before(AsyncHttp, "asend", die),
        "result": lambda: after(OrderTracker, "require_usable", die),
    }
    points[point]()


def before(owner: type, name: str, act: Callable[[], None]) -> None:
    """Act right before every call of a method."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        act()
        return real(*args, **kwargs)

    setattr(owner, name, call)


def after(owner: type, name: str, act: Callable[[Any], None]) -> None:
    """Act right after every call of a method that returned, on what it returned."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        act(result)
        return result

    setattr(owner, name, call)


def whatever_comes(owner: type, name: str, act: Callable[[], None]) -> None:
    """Act right after every call of a method, whether it returned or raised."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return real(*args, **kwargs)
        finally:
            act()

    setattr(owner, name, call)


def before_the_answer_is_read(act: Callable[[], None]) -> None:
    """Act when the purchase is written to its connection and the answer is there, or has not come in time."""
    from airflow_provider_proxyorders.transport.worker import Http

    spending = False
    spend, getresponse = Http._spend, HTTPConnection.getresponse

    @functools.wraps(spend)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal spending
        spending = True
        try:
            return spend(*args, **kwargs)
        finally:
            spending = False

    @functools.wraps(getresponse)
    def answer(connection: HTTPConnection, *args: Any, **kwargs: Any) -> Any:
        if spending:
            select.select([connection.sock], [], [], TAKEN_WITHIN)
            act()
        return getresponse(connection, *args, **kwargs)

    Http._spend = call  # type: ignore[method-assign]
    HTTPConnection.getresponse = answer  # type: ignore[assignment,method-assign]
