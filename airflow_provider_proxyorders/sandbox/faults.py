"""Faults on demand: each rule names a request, a moment, and the fault.

Two rules. ``before``: the fault comes before the vendor's work, so the order is neither taken nor charged; ``after``: the work is
done and only its answer suffers. A delayed or paused request goes on at its time even after the buyer hung up, as at a vendor.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from aiohttp import web  # noqa: TID253 - a server, imported by no DAG

from airflow_provider_proxyorders.sandbox.vendor_base import Answer

Moment = Literal["before", "after"]
Action = Literal["delay", "pause", "hang", "reset", "close", "truncate", "status", "body", "empty"]

_LOOK = 0.01
_DEFAULT_SECONDS: Mapping[str, float] = {"delay": 1.0, "hang": 60.0, "pause": 300.0}


@dataclass
class Rule:
    """One fault.

    :param vendor: a vendor's name, or ``*``.
    :param operation: as the book counts it, or ``*``: ``balance``, ``create`` and ``get`` everywhere; ``subaccounts`` and
        ``delivery`` at ProxyScrape; ``token`` at Voodoo; ``list``, ``quote``, ``extend``, ``set_auto_extend``, ``products`` and
        ``cards`` at IPRoyal; ``unknown`` for a path that does not exist.
    :param when: before the vendor works on the request, or after.
    :param action: ``delay`` and go on; ``pause`` until :meth:`release` and go on; ``hang`` and never answer;
        ``reset`` the connection (TCP RST); ``close`` it without an answer; ``truncate`` the body below its announced length;
        answer with another ``status``; answer with another ``body``; answer with an ``empty`` body.
    :param nth: only the nth matching request, counted from 1.
    :param times: at most so often; None = every time.
    :param seconds: how long a delay lasts (1), and the longest a hang (60) or a pause (300) can last.
    :param status: of the answer, 200 for ``body`` and ``empty`` and 503 for ``status`` unless given.
    :param headers: added to the answer, e.g. ``Retry-After``.
    :param body: text of the answer.
    """

    vendor: str = "*"
    operation: str = "*"
    when: Moment = "before"
    action: Action = "status"
    nth: int | None = None
    times: int | None = None
    seconds: float | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None

    #: filled in by the sandbox
    number: int = field(default=0, init=False)
    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    _hit: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _released: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.when not in get_args(Moment):
            raise ValueError(f"when is one of {', '.join(get_args(Moment))}; got {self.when!r}")
        if self.action not in get_args(Action):
            raise ValueError(f"action is one of {', '.join(get_args(Action))}; got {self.action!r}")
        if self.seconds is not None:
            self.seconds = float(self.seconds)  # over HTTP a fraction comes as Decimal

    @classmethod
    def parse(cls, rule: Any) -> Rule:
        """:raises ValueError: for an invalid rule, with the reason."""
        names = {item.name for item in fields(cls) if item.init}
        if not isinstance(rule, Mapping) or set(rule) - names:
            raise ValueError(f"a fault is an object of {', '.join(sorted(names))}; got {rule!r}")
        return cls(**rule)

    def wait(self, timeout: float = 10.0) -> bool:
        """Wait, outside of the server's thread, until a request meets the fault.

        :returns: ``False`` after the timeout.
        """
        return self._hit.wait(timeout)

    def release(self) -> None:
        """End the rule: let go of what it holds back, and let later requests pass."""
        self._released.set()

    @property
    def over(self) -> bool:
        return self._released.is_set()

    def fires(self, vendor: str, operation: str, when: Moment) -> bool:
        """Whether this request meets the fault; counts it."""
        if when != self.when or self.over:
            return False
        if self.vendor not in ("*", vendor) or self.operation not in ("*", operation):
            return False
        self.seen += 1
        if (self.nth is not None and self.seen != self.nth) or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        self._hit.set()
        return True

    def as_dict(self) -> dict[str, Any]:
        shown = {item.name: getattr(self, item.name) for item in fields(self) if item.repr}
        return {**shown, "headers": dict(self.headers), "released": self.over}


class Faults:
    """All rules, asked in the order in which they were made. Safe from any thread."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> Rule:
        with self._lock:
            rule.number = next(self._numbers)
            self._rules.append(rule)
        return rule

    def all(self) -> list[Rule]:
        with self._lock:
            return list(self._rules)

    def clear(self) -> None:
        """End and forget all rules."""
        with self._lock:
            for rule in self._rules:
                rule.release()
            self._rules.clear()

    def meet(self, vendor: str, operation: str, when: Moment) -> Iterator[Rule]:
        """The rules that this request meets, each counted when it is reached."""
        if self._rules:
            for rule in self.all():
                with self._lock:
                    fires = rule.fires(vendor, operation, when)
                if fires:
                    yield rule


# ---------------------------------------------------------------------------------------------- what happens


async def act(rule: Rule, request: web.BaseRequest, answer: Answer | None) -> web.StreamResponse | None:
    """Let the fault happen.

    :param answer: what the vendor would have said, None before it worked on the request.
    :returns: None when the request goes on, else what ends it.
    """
    seconds = _DEFAULT_SECONDS.get(rule.action, 0.0) if rule.seconds is None else rule.seconds
    if rule.action in ("delay", "pause"):
        await _until(lambda: rule.over, seconds)
        return None
    if rule.action == "hang":
        await _until(lambda: rule.over or gone(request), seconds)
        return drop(request)
    if rule.action in ("reset", "close"):
        return drop(request, reset=rule.action == "reset")
    body = rule.body
    if rule.action == "truncate":
        whole = body.encode() if body is not None else answer.body if answer else b'{"success": true, "data": "'
        status = rule.status or (answer.status if answer else 200)
        return _truncated(request, status, answer.content_type if answer else "application/json", whole)
    status = rule.status or (503 if rule.action == "status" else 200)
    if rule.action == "empty" or not body:
        body = ""
    headers = {"Content-Type": _guess(body), **rule.headers}
    return web.Response(status=status, body=body.encode(), headers=headers)


def gone(request: web.BaseRequest) -> bool:
    """Whether the buyer has hung up."""
    return request.transport is None or request.transport.is_closing()


def drop(request: web.BaseRequest, *, reset: bool = False) -> web.StreamResponse:
    """Close the connection without an answer, after what was written already.

    :param reset: let the buyer's system see a TCP RST instead of an orderly end.
    :returns: a response that goes nowhere, since the server wants one.
    """
    transport = request.transport
    if transport is not None:
        if reset:
            with contextlib.suppress(OSError):  # the buyer may have hung up first
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
    return web.Response()


def _truncated(request: web.BaseRequest, status: int, content_type: str, whole: bytes) -> web.StreamResponse:
    if request.transport is not None:
        announced = max(len(whole), 2)
        head = f"HTTP/1.1 {status} Sandbox\r\nContent-Type: {content_type}\r\nContent-Length: {announced}\r\n\r\n"
        request.transport.write(head.encode() + whole[: announced // 2])
    return drop(request)


async def _until(done: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not done() and (left := end - loop.time()) > 0:
        await asyncio.sleep(min(_LOOK, left))


def _guess(body: str) -> str:
    start = body.lstrip()[:1]
    if start == "<":
        return "text/html; charset=utf-8"
    return "application/json" if start in ("{", "[", '"') else "text/plain; charset=utf-8"
