"""The cells of the crash matrix: where a process is killed x how an answer is lost x what is bought x how it is waited for x
how the task comes back x whether reads show at once what was bought.

Two rules: a cell is a name that says all of it (``iproyal-extend:deferrable:two:sent:hang-after:current``), so that one cell can
be replayed; and the product is the plain product, with nothing left out but what cannot exist (no deferral while a worker waits)
and late reads where nothing is sent at the moment.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_proxyorders.sandbox.faults import ACTIONS
from tests.vendors import ROWS


def _operations() -> Iterator[tuple[str, tuple[str, str]]]:
    for name, row in ROWS.items():
        yield f"{name}-create", (name, "create")
        if row.vendor.webhook:
            yield f"{name}-create-webhook", (name, "create")
        if row.extension:
            yield f"{name}-extend", (name, "extend")


#: Every vendor operation that spends: (vendor, kind). A vendor with webhooks is tried once without and once with them.
OPERATIONS: Mapping[str, tuple[str, str]] = dict(_operations())

WAITS = ("worker", "deferrable")

#: How the task comes back: Airflow retries it; it fails and a person clears it, and clears it once more when it is done; two
#: workers run it at the same time, and each is retried; its process is not killed but frozen (SIGSTOP), Airflow gives it up and
#: tries again, and when that is over the frozen one goes on as if nothing had happened.
MODES = ("retry", "clear", "two", "frozen")

#: Where the process is killed (or frozen), in the order of a purchase's life.
POINTS: Mapping[str, str] = {
    "intent": "before the intent is written",
    "intended": "after the intent is written",
    "sent": "after SENT is written, before the purchase leaves",
    "taken": "after the vendor took the order, before its answer is read",
    "answered": "after the answer was read, or its loss was noticed",
    "unknown": "after UNKNOWN is written",
    "proven": "after it is written that it may be sent again",
    "placed": "after PLACED is written",
    "waiting": "before the order is looked at",
    "defer": "before the task defers",
    "trigger": "in the trigger, before it looks",
    "result": "before the result is returned",
}
ONLY: Mapping[str, str] = {"waiting": "worker", "defer": "deferrable", "trigger": "deferrable"}

#: How the answer to the first purchase that arrives is lost or is wrong, as rules of the sandbox. Those that can come at both
#: moments come before the vendor worked on it (nothing taken, nothing charged) and after it took the order.
FAULTS: Mapping[str, Mapping[str, Any]] = {
    "hang": {"action": "hang"},
    "reset": {"action": "reset"},
    "close": {"action": "close"},
    "truncated": {"action": "truncate"},
    "empty": {"action": "empty"},
    "text": {"action": "body", "body": "order taken, thank you"},
    "html": {"action": "html"},
    **{str(status): {"action": "status", "status": status} for status in (408, 409, 429, 500, 502, 503, 504)},
    # no answer of a vendor that bought nothing
    "cut": {"action": "cut"},
    "copy-refused": {"action": "repeat"},
    **{f"refused-{reason}": {"action": "refuse", "reason": reason, "when": "after"} for reason in ("balance", "duplicate")},
    "402": {"action": "refuse", "status": 402, "when": "after"},
    "missing-id": {"action": "another_id", "order": "missing"},
    "foreign-order": {"action": "another_order", "order": "foreign"},
    "doubled-id": {"action": "doubled_id", "order": "foreign"},
}
#: Nobody can connect for a while right before the purchase; the first connection takes a second.
SLOW = "slow-connect"


def _losses() -> Iterator[str]:
    for name, rule in FAULTS.items():
        moments = [rule["when"]] if "when" in rule else sorted(ACTIONS[rule["action"]].moments, reverse=True)
        yield from (f"{name}-{moment}" for moment in moments)


#: The fault column: no fault, a slow connection, and each fault at its moments.
LOSSES = ("none", SLOW, *_losses())

#: Those in which the vendor, or somebody in its name, refuses what it took.
REFUSED = [f"{name}-after" for name, rule in FAULTS.items() if rule["action"] in ("repeat", "refuse")]

#: Those in which a refusal of our own unique reference proves that it was taken.
LANDED = ("copy-refused-after", "refused-duplicate-after")

#: Whether reads show what was taken at once, or only after half of the settle time.
READS = ("current", "lagging")
#: Where it matters that they lag.
LAG_POINTS = ("sent", "taken", "unknown")

#: The last read before a purchase.
_LAST_READ: Mapping[tuple[str, str], str] = {
    ("iproyal", "create"): "products",
    ("iproyal", "extend"): "get",
    ("proxyscrape", "create"): "subaccounts",
    ("proxy6", "create"): "get",
    ("proxy6", "extend"): "get",
}


@dataclass(frozen=True, order=True)
class Cell:
    """One cell. Its fields are names from the tables above."""

    operation: str
    wait: str
    mode: str
    point: str
    loss: str
    reads: str = "current"

    def __str__(self) -> str:
        return ":".join((self.operation, self.wait, self.mode, self.point, self.loss, self.reads))

    @classmethod
    def parse(cls, name: str) -> Cell:
        """:raises ValueError: for a name that is no cell of the matrix."""
        parts = name.split(":")
        if len(parts) not in (5, 6) or (cell := cls(*parts)) not in _ALL:
            raise ValueError(f"{name!r} is no cell; one is {next(iter(_ALL))}")
        return cell

    @property
    def vendor(self) -> str:
        return OPERATIONS[self.operation][0]

    @property
    def kind(self) -> str:
        return OPERATIONS[self.operation][1]

    @property
    def webhook(self) -> bool:
        """Whether the vendor's webhooks are taken."""
        return self.operation.endswith("-webhook")

    @property
    def names_no_id(self) -> bool:
        """Whether the vendor refuses a repeat, and nothing tells the id of the order that it took."""
        return self.kind == "create" and ROWS[self.vendor].vendor.capabilities.repeats_safely("create") and not self.webhook

    @property
    def fails(self) -> bool:
        """Whether the first purchase that arrives gets no answer, or a wrong one."""
        return self.loss not in ("none", SLOW)

    @property
    def landed_unanswered(self) -> bool:
        """Whether the vendor takes the first purchase that arrives, and its answer or the worker that got it is lost."""
        return self.loss.endswith("-after") or (not self.fails and self.point in ("taken", "answered"))

    @property
    def gets_there(self) -> bool:
        """Whether a process reaches the moment at which it is to be killed: not every story has every moment."""
        if self.point == "unknown":
            return self.fails
        if self.point == "proven":  # a unique reference lets a purchase be sent again also after it landed
            return self.loss.endswith("-before") or (self.names_no_id and self.fails and self.loss not in LANDED)
        if self.names_no_id and self.point in ("placed", "waiting", "defer", "trigger", "result"):
            return not self.landed_unanswered  # a person is asked instead
        if self.point in ("waiting", "defer", "trigger"):  # else it is delivered by the time it is found
            if self.kind == "extend" and ROWS[self.vendor].extended_at_once:
                return False
            return not self.landed_unanswered
        return True

    @property
    def fault(self) -> dict[str, Any] | None:
        """The sandbox's rule for it, None without a fault."""
        if self.loss == "none":
            return None
        if self.loss == SLOW:
            last = _LAST_READ.get((self.vendor, self.kind), "balance")
            return {"vendor": self.vendor, "operation": last, "action": "slow_connect", "seconds": 0.3, "times": 2}
        fault, _, when = self.loss.rpartition("-")
        return {"vendor": self.vendor, "operation": self.kind, "when": when, "times": 1, **FAULTS[fault]}


def product() -> list[Cell]:
    """Every cell."""
    cells = itertools.starmap(Cell, itertools.product(OPERATIONS, WAITS, MODES, POINTS, LOSSES, READS))
    return [cell for cell in cells if ONLY.get(cell.point, cell.wait) == cell.wait and _reads_matter(cell)]


def _reads_matter(cell: Cell) -> bool:
    """A refusal is compared with one read. What that read does not show yet, the next try finds: a person clears the task."""
    return cell.reads == "current" or (cell.point in LAG_POINTS and (cell.loss not in REFUSED or cell.mode == "clear"))


_ALL = dict.fromkeys(product())


def core() -> list[Cell]:
    """The whole product for a task that waits in its worker and is retried."""
    return [cell for cell in product() if (cell.wait, cell.mode) == ("worker", "retry")]


def bounded(most: int, seed: int) -> list[Cell]:
    """At most so many cells in which every value occurs, and as many pairs of values as fit; in each a process is killed.

    Greedy: of a few dozen drawn cells the one that shows most pairs not seen yet is taken, again and again.
    """
    chance = random.Random(seed)
    cells = [cell for cell in _ALL if cell.gets_there]
    values = {value for cell in cells for value in _values(cell)}
    pairs: set[tuple[tuple[int, str], ...]] = set()
    chosen: list[Cell] = []
    while len(chosen) < most:
        drawn = chance.sample(cells, 60)
        missing = values - {value for cell in chosen for value in _values(cell)}
        if missing:  # single values first, so that a small number of cells still shows them all
            wanted = chance.choice(sorted(missing))
            drawn = [cell for cell in cells if wanted in _values(cell)]
            drawn = chance.sample(drawn, min(60, len(drawn)))
        best = max(drawn, key=lambda cell: len(_pairs(cell) - pairs) + 3 * len(missing & _values(cell)))
        pairs |= _pairs(best)
        chosen.append(best)
    return list(dict.fromkeys(chosen))


def shuffled(cells: Iterable[Cell], seed: int | None) -> list[Cell]:
    """In the order of the tables, or in one that the seed decides."""
    listed = list(cells)
    if seed is not None:
        random.Random(seed).shuffle(listed)
    return listed


def unseen(cells: Sequence[Cell]) -> set[str]:
    """Values of the matrix that occur in none of these cells."""
    return {name for _, name in _domain()} - {name for cell in cells for _, name in _values(cell)}


def _domain() -> Iterator[tuple[int, str]]:
    for place, names in enumerate((OPERATIONS, WAITS, MODES, POINTS, LOSSES, READS)):
        yield from ((place, name) for name in names)


def _values(cell: Cell) -> frozenset[tuple[int, str]]:
    return frozenset(enumerate((cell.operation, cell.wait, cell.mode, cell.point, cell.loss, cell.reads)))


def _pairs(cell: Cell) -> frozenset[tuple[tuple[int, str], ...]]:
    return frozenset(itertools.combinations(sorted(_values(cell)), 2))
