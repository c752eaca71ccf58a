"""The vendor's own book: one line for everything that moved money there, written at the moment it did.

Two rules: lines are only appended, by the vendor's process alone; and the oracle reads them from the file, so it depends on
nothing that the package keeps or says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One purchase that the vendor took.

    :param key: of the task whose request it was, as the worker's marker told; the vendor itself makes nothing of it.
    :param pid: the process that sent it, and ``sent``: when its first byte left, on the machine's monotonic clock.
    :param at: when it was taken, on the same clock.
    :param amount: what was charged, and ``quoted``: what it costs by the price list.
    :param names: every name by which a worker may know what it bought.
    :param fault: what was done to its answer, "" for nothing.
    """

    wallet: int
    key: str
    pid: int
    sent: float
    at: float
    kind: str
    order_id: str
    amount: str
    quoted: str
    target: str = ""
    names: tuple[str, ...] = ()
    fault: str = ""

    @property
    def charged(self) -> Decimal:
        return Decimal(self.amount)

    @property
    def dear(self) -> bool:
        """Whether more was charged than the price list says."""
        return self.charged > Decimal(self.quoted)


@dataclass
class Book:
    """The book as read at the end: purchases, and how often each fault was played.

    :param late: the longest time for which the vendor's process stood still, in seconds.
    :param senders: the process of each purchase that arrived, taken or not, by key.
    :param harmed: keys of which a purchase met a fault.
    """

    entries: list[Entry] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    story: list[tuple[float, str]] = field(default_factory=list)
    senders: dict[str, list[int]] = field(default_factory=dict)
    harmed: set[str] = field(default_factory=set)
    late: float = 0.0


class Pen:
    """Appends to the book."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def take(self, entry: Entry) -> None:
        self._write({"taken": asdict(entry)})

    def arrive(self, at: float, key: str, pid: int, what: str) -> None:
        """A purchase arrived."""
        self._write({"arrived": key, "at": at, "pid": pid, "what": what})

    def play(self, at: float, fault: str, what: str, key: str = "") -> None:
        """A fault is played.

        :param key: of the purchase it is played on, "" for a read.
        """
        self._write({"fault": fault, "at": at, "what": what, "key": key})

    def lag(self, seconds: float) -> None:
        self._write({"late": seconds})

    def _write(self, line: Mapping[str, Any]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read(path: Path) -> Book:
    """The book of a run."""
    book = Book()
    for text in path.read_text().splitlines() if path.exists() else ():
        line = json.loads(text)
        if "taken" in line:
            entry = Entry(**{**line["taken"], "names": tuple(line["taken"]["names"])})
            book.entries.append(entry)
            dear = f" (price list: {entry.quoted})" if entry.dear else ""
            book.story.append((entry.at, f"VENDOR takes {entry.kind} {entry.order_id} for {entry.key}: {entry.amount}{dear}"))
        elif "fault" in line:
            book.faults[line["fault"]] = book.faults.get(line["fault"], 0) + 1
            book.harmed.add(line["key"])
            book.story.append((line["at"], f"vendor plays {line['fault']} on {line['what']}"))
        elif "arrived" in line:
            book.senders.setdefault(line["arrived"], []).append(line["pid"])
            book.story.append((line["at"], f"vendor gets {line['what']} for {line['arrived']}"))
        else:
            book.late = max(book.late, line["late"])
    return book
