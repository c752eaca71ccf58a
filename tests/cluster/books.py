"""Judges a wave by the vendors' own books: what was intended, bought, bought twice, and lost.

Three rules: an entry of a book counts, whatever a task or the ledger says; each entry is owned by at most one purchase of the
ledger; and an entry that nobody owns and that is not one too many is lost, unless the ledger shows a purchase that waits for
a person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_proxyorders.domain.model import TAKEN

from .plan import Order

#: how the ledger names an order that it recognised by its second id
ADOPTED = "subaccount:"


@dataclass(frozen=True)
class Result:
    """A wave after its end.

    :param twice: entries beyond what was intended.
    :param lost: entries that no purchase of the ledger owns, and purchases that own none.
    :param asked: purchases that wait for a person.
    :param unfinished: runs that did not succeed.
    :param first: seconds from the strike until the next task started.
    :param recovered: seconds from the strike until the last run had ended.
    :param tries: number of tries -> tasks.
    :param hosts: where tasks ran.
    """

    disturbance: str
    intended: int
    bought: int
    twice: int
    lost: int
    asked: int
    unfinished: int = 0
    first: float | None = None
    recovered: float = 0.0
    tries: Counter[int] | None = None
    hosts: frozenset[str] = frozenset()

    @property
    def is_broken(self) -> bool:
        return bool(self.twice or self.lost or self.asked or self.unfinished or self.bought != self.intended)


def judge(
    disturbance: str,
    orders: Mapping[Order, Any],
    entries: Sequence[Any],
    *,
    handles: Mapping[str, Mapping[str, str]],
    targets: Mapping[Order, str],
    **seen: Any,
) -> Result:
    """Compare a wave's entries with the ledger.

    :param orders: each intended order -> its purchase in the ledger, or None.
    :param entries: what the books gained in the wave.
    :param handles: vendor -> second id of an order -> its id in the book.
    :param targets: extension -> the order that it extends.
    """
    charges = [entry for entry in entries if entry.kind in ("create", "extend")]
    intended = Counter(_group(order.vendor, order.kind, targets.get(order)) for order in orders)
    bought = Counter(_group(entry.vendor, entry.kind, entry.order_id) for entry in charges)
    twice = sum((bought - intended).values())
    free = Counter((entry.vendor, entry.kind, entry.order_id) for entry in charges)
    unowned = asked = 0
    for order, purchase in orders.items():
        if purchase is None:
            continue
        if purchase.unresolved:
            asked += 1
        elif purchase.step in TAKEN:
            order_id = str(purchase.order_id)
            entry = (order.vendor, order.kind, handles.get(order.vendor, {}).get(order_id.removeprefix(ADOPTED), order_id))
            if free[entry]:
                free[entry] -= 1
            else:
                unowned += 1
    lost = unowned + max(0, sum(free.values()) - twice - asked)
    return Result(disturbance, len(orders), len(charges), twice, lost, asked, **seen)


def _group(vendor: str, kind: str, order_id: str | None) -> tuple[str, str, str]:
    return vendor, kind, (order_id or "") if kind == "extend" else ""


HEAD = [
    "disturbance",
    "waves",
    "intended",
    "bought",
    "twice",
    "lost",
    "asked",
    "failed",
    "next start s",
    "all ended after s",
    "tries",
]


def table(results: Sequence[Result], words: Mapping[str, str]) -> str:
    """One row for each disturbance, in Markdown."""
    rows = [HEAD, ["---", *["--:"] * 9, "---"]]
    for disturbance in [*words, ""]:
        chosen = [result for result in results if disturbance in ("", result.disturbance)]
        if chosen:
            rows.append(_row(words.get(disturbance, "**all**"), chosen))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(name: str, results: Sequence[Result]) -> list[str]:
    counts = [
        sum(getattr(result, field) for result in results)
        for field in ("intended", "bought", "twice", "lost", "asked", "unfinished")
    ]
    tries: Counter[int] = sum((result.tries or Counter() for result in results), Counter())
    return [
        name,
        str(len(results)),
        *map(str, counts),
        _range([result.first for result in results if result.first is not None]),
        _range([result.recovered for result in results]),
        ", ".join(f"{number} x {tasks}" for number, tasks in sorted(tries.items())),
    ]


def _range(seconds: Sequence[float]) -> str:
    """Least and most, or the only one."""
    return "–".join(dict.fromkeys(f"{each:.0f}" for each in (min(seconds), max(seconds)))) if seconds else ""
