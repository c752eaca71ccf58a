"""The ledger as one worker sees it: the real one, with switch points around every call and a database that can fail.

One rule: a call can fail before its commit (nothing changed) or after it (changed, and nobody was told), as with a database
at the other end of a network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import Engine

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import Ledger, open_ledger, schema

from .clockwork import Worker
from .scenario import Weather

READS = (
    "find", "get", "owned_by_another", "last_step", "sent_after", "order_ids_of_reference", "maybe_refunded",
    "freeze_reason", "purchases", "looks_at_last_sending", "check_alone", "place_in_line",
    "is_outdated", "get_and_former_names",
)  # fmt: skip
WRITES = (
    "decide_once", "put", "intend", "claim", "record", "release", "freeze", "add_look", "cut_sending", "cut_turn",
    "line_up", "renew_ticket", "leave_line",
)  # fmt: skip


@cache
def memory() -> Engine:
    """The process's SQLite, in memory: one connection, since no worker gives way inside a transaction."""
    return open_ledger("sqlite://").engine


def emptied() -> Engine:
    """The same, with nothing in it."""
    engine = memory()
    with engine.begin() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(table.delete())
    return engine


class Books(Ledger):
    """:param written: called with the worker, the call and what it gave back after every commit."""

    def __init__(self, engine: Engine, worker: Worker, weather: Weather, written: Callable[[Worker, str, Any, Any], None]):
        super().__init__(engine, worker.clock)
        self.worker, self.weather, self.written = worker, weather, written
        #: unix seconds of the last intent of this worker, after which evidence is read
        self.intended_at = 0.0

    def _call(self, name: str, real: Callable[..., Any], arguments: Any, options: Any) -> Any:
        worker, chance = self.worker, self.worker.clockwork.chance
        worker.pause(chance.choice((0.0, 0.0, 0.004)), f"before {name}")
        failing = 0.0
        if not worker.calm and worker.clockwork.now < self.weather.until and chance.random() < self.weather.unwritten:
            failing = chance.random()
        if 0 < failing < 0.5 or (failing and name in READS):
            worker.say(f"*** the ledger cannot {name}")
            raise LedgerError("the ledger cannot be used: gone for a moment")
        result = real(self, *arguments, **options)
        if name == "intend":
            self.intended_at = worker.clockwork.now
        changed = result[0] if name == "add_look" else result
        if name in WRITES and (not arguments or changed is not arguments[0]):  # some calls may find nothing to change
            self.written(worker, name, changed, arguments)
        worker.pause(chance.choice((0.0, 0.0, 0.004)), f"after {name}")
        if failing:
            worker.say(f"*** the ledger did {name}, but did not say so")
            raise LedgerError("the ledger cannot be used: the answer to a commit was lost")
        return result


def _wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Books, *arguments: Any, **options: Any) -> Any:
        return self._call(name, real, arguments, options)

    return call


for _name in (*READS, *WRITES):
    setattr(Books, _name, _wrapped(_name, getattr(Ledger, _name)))
