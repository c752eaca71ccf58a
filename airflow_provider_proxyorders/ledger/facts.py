"""Facts: single values under a name in the ledger, such as the expiry at the start of an extension.

One rule: every fact has one function here, so a name is spelled in one place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Actor
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import insert_into, insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.schema import facts

_NAME = facts.c.name == bindparam("_name")
_GET = select(facts.c.value).where(_NAME)
_PUT = update(facts).where(_NAME)


class FactStore(Database):
    """The facts in one ledger database."""

    def decide_once(self, name: str, value: str) -> str:
        """Decide a value once: the first caller's value stays, and every caller gets it."""
        row = {"name": name, "value": value, "at": stamp(self.clock())}
        with self.transaction() as connection:
            connection.execute(insert_or_ignore(connection, facts).values(row))
            return str(connection.execute(_GET, {"_name": name}).scalar_one())

    def put(self, name: str, value: str) -> None:
        """Keep a value under a name, in place of the value before it."""
        row = {"name": name, "value": value, "at": stamp(self.clock())}
        with self.transaction() as connection:
            connection.execute(insert_or_ignore(connection, facts).values(row))
            connection.execute(_PUT, {"_name": name, "value": row["value"], "at": row["at"]})

    def get(self, name: str) -> str | None:
        """The value of a name, ``None`` before the first."""
        with self.autocommit() as connection:
            return connection.execute(_GET, {"_name": name}).scalar()

    def advance(self, name: str, value: str) -> bool:
        """Keep a value if it sorts after the present value. True for the one caller with a change."""
        later = {"value": value, "at": stamp(self.clock())}
        insert = insert_into(self.engine, facts).values(name=name, **later)
        statement = insert.on_conflict_do_update(
            index_elements=[facts.c.name], set_=later, where=facts.c.value < insert.excluded.value
        )
        with self.transaction() as connection:
            return connection.execute(statement.returning(facts.c.name)).first() is not None


@dataclass(frozen=True)
class Fact:
    """One fact of a ledger, read and written by its name."""

    store: FactStore
    name: str

    def get(self) -> str | None:
        """See :meth:`FactStore.get`."""
        return self.store.get(self.name)

    def put(self, value: str) -> None:
        """See :meth:`FactStore.put`."""
        self.store.put(self.name, value)

    def decide_once(self, value: str) -> str:
        """See :meth:`FactStore.decide_once`."""
        return self.store.decide_once(self.name, value)

    def advance(self, value: str) -> bool:
        """See :meth:`FactStore.advance`."""
        return self.store.advance(self.name, value)


# -- renewal ---------------------------------------------------------------------------------------------------------


def extended_expiry(store: FactStore, wallet: str, order_id: str, actor: Actor) -> Fact:
    """The expiry at the start of a task's extension of an order: ISO text, the same for all tries and map indexes of a run."""
    # the map index is left out: the list of a mapped task can hold an order twice, and can shift when the task is cleared
    task = dump_json([wallet, order_id, actor.dag_id, actor.task_id, actor.run_id])
    return Fact(store, f"expiry of {hashlib.sha256(task.encode()).hexdigest()}")  # the names together can be too long


def replaced_period(store: FactStore, wallet: str, order_id: str) -> Fact:
    """The period of an order that a new order replaces."""
    return Fact(store, f"period of {wallet}:{order_id}")


# -- order events ----------------------------------------------------------------------------------------------------


def events_begin_after(store: FactStore, conn_id: str) -> Fact:
    """The number of the inbox's newest webhook when the events of a connection were first asked for."""
    return Fact(store, f"events of {conn_id} begin after")


def event_turn(store: FactStore, conn_id: str, order_id: str, number: int) -> Fact:
    """The triggerer that has the turn to report an order's end: its random id and the unix second, from turn 1 on."""
    name = f"event of {conn_id}: {order_id}"
    return Fact(store, name if number == 1 else f"{name}, try {number}")


def event_reported(store: FactStore, conn_id: str, order_id: str) -> Fact:
    """``"yes"`` as soon as Airflow has an order's event for certain."""
    return Fact(store, f"event of {conn_id}: {order_id}, told")


# -- reconciling -----------------------------------------------------------------------------------------------------


def orders_at_start(store: FactStore, wallet: str) -> Fact:
    """The vendor's ids at the first comparison of a wallet, as a JSON list: they are older than the ledger."""
    return Fact(store, f"known from the start at {wallet}")


def foreign_order_reported(store: FactStore, wallet: str, order_id: str) -> Fact:
    """The vendor's status of a foreign order at its report. Each order is reported once."""
    return Fact(store, f"reported at {wallet}: {order_id}")


def order_inconclusive(store: FactStore, wallet: str, order_id: str) -> Fact:
    """The order key of an unresolved purchase, beside a new order at the vendor that may be its own."""
    return Fact(store, f"not told apart at {wallet}: {order_id}")


def reconciled_balance(store: FactStore, wallet: str) -> Fact:
    """The balance at the last comparison and the ledger's spending up to then, as a JSON object."""
    return Fact(store, f"balance of {wallet}")


# -- upkeep ----------------------------------------------------------------------------------------------------------


def webhooks_pruned_on(store: FactStore) -> Fact:
    """The last day on which old webhooks were pruned, ``YYYY-MM-DD`` in UTC."""
    return Fact(store, "webhooks pruned on")
