"""Faults on demand: each rule names a request, a moment, and the fault.

Two rules. ``before``: the fault comes before the vendor's work, so the order is neither taken nor charged; ``after``: the work is
done and only its answer suffers. A delayed or paused request goes on at its time even after the buyer hung up, as at a vendor.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from airflow_provider_proxyorders.domain.model import decimal

Moment = Literal["before", "after"]


class Action(NamedTuple):
    """What a fault does.

    :param words: for people.
    :param moments: when it can happen, the usual one first.
    :param needs: parameters that it cannot do without.
    """

    words: str
    moments: Sequence[Moment] = ("before", "after")
    needs: Sequence[str] = ()


#: Every fault.
ACTIONS: Mapping[str, Action] = {
    # what travels late, or not at all
    "delay": Action("go on after `seconds` (1): before = the vendor works late, after = its first byte comes late"),
    "pause": Action("go on when the rule is released, at the latest after `seconds` (300)"),
    "hang": Action("never answer; hang up after `seconds` (60)"),
    "reset": Action("break the connection (TCP RST)"),
    "close": Action("close the connection without an answer"),
    "slow_connect": Action("answer and hang up; nobody can connect for `seconds` (3)", ("after",)),
    # what comes in place of the answer
    "truncate": Action("end the answer below the length that it announced"),
    "cut": Action("give the answer no length (HTTP/1.0) and end it after `keep` bytes (half)", ("after",)),
    "status": Action("answer with `status` (503), with `headers` such as Retry-After, and `body`"),
    "body": Action("answer 200 with `body`"),
    "empty": Action("answer 200 with nothing"),
    "html": Action("answer 200 with a firewall's page"),
    "refuse": Action("refuse in the vendor's words, for the `reason` balance (usual), duplicate, forbidden or invalid"),
    "repeat": Action("an inner proxy sends the request twice; the refusal of the copy comes back", ("after",)),
    # an answer that names another order: `order` is previous (usual), foreign, missing, or an id
    "another_order": Action("answer with another `order`", ("after",)),
    "another_id": Action("answer with the id of another `order`", ("after",)),
    "doubled_id": Action("answer with the id twice: its own, then that of another `order`", ("after",)),
    # what the vendor does
    "lag": Action("read what was true `seconds` ago: balance, orders, lists, sub-accounts, expiries", ("before",), ("seconds",)),
    "unseen": Action("read as before the first order: an empty list, 404 for every order", ("before",)),
    "charge": Action("charge `amount`, whatever was quoted", ("before",), ("amount",)),
    "float": Action("write the balance as a binary float: 468.25000000000006", ("after",)),
    "clock": Action("tell times, and the Date of the answer, `seconds` ahead (negative: behind)", ("after",), ("seconds",)),
}


@dataclass
class Rule:
    """One fault.

    :param vendor: a vendor's name, or ``*``.
    :param operation: as the book counts it, or ``*``: ``balance``, ``create`` and ``get`` everywhere; ``subaccounts`` and
        ``delivery`` at ProxyScrape; ``token`` at Voodoo; ``list``, ``quote``, ``extend``, ``set_auto_extend``, ``products`` and
        ``cards`` at IPRoyal; ``unknown`` for a path that does not exist.
    :param when: before the vendor works on the request, or after; "" is the action's usual moment.
    :param action: one of :data:`ACTIONS`.
    :param nth: only the nth matching request, counted from 1.
    :param times: at most so often; None = every time.
    :param seconds: how long a delay lasts, and the longest a hang or a pause can last; how far behind a read or a clock is.
    :param status: of the answer, 200 for ``body``, ``empty`` and ``html`` and 503 for ``status`` unless given.
    :param headers: added to the answer, e.g. ``Retry-After``.
    :param body: text of the answer.
    :param keep: bytes of an answer that is cut.
    :param reason: of a refusal, see :attr:`SandboxVendor.refusals`.
    :param order: which other order an answer names.
    :param amount: what is charged.
    """

    vendor: str = "*"
    operation: str = "*"
    when: Literal["", "before", "after"] = ""
    action: str = "status"
    nth: int | None = None
    times: int | None = None
    seconds: float | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    keep: int | None = None
    reason: str = "balance"
    order: str = "previous"
    amount: Decimal | None = None

    #: filled in by the sandbox
    number: int = field(default=0, init=False)
    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    _hit: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _released: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        action = ACTIONS.get(self.action)
        if action is None:
            raise ValueError(f"action is one of {', '.join(ACTIONS)}; got {self.action!r}")
        self.when = self.when or action.moments[0]
        if self.when not in action.moments:
            raise ValueError(f"when is one of {', '.join(action.moments)} for {self.action}; got {self.when!r}")
        missing = [name for name in action.needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.action} needs {', '.join(missing)}")
        if self.seconds is not None:
            self.seconds = float(self.seconds)  # over HTTP a fraction comes as Decimal
        if self.amount is not None:
            self.amount = decimal(self.amount)

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
        amount = None if self.amount is None else f"{self.amount:f}"
        return {**shown, "headers": dict(self.headers), "amount": amount, "released": self.over}


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
