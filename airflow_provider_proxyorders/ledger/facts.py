"""Facts: single values under a name in the ledger, such as the expiry at the start of an extension.

Two rules. Every fact has one function here, so a name is spelled in one place. A fact of a wallet counts under all names that the
wallet had: it is looked for under each of them, and written under the present one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select

from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Actor
from airflow_provider_proxyorders.ledger import trips, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import insert_into, insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.schema import facts

_NAME = facts.c.name == bindparam("_name")
_GET = select(facts.c.value).where(_NAME)


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
        now = {"value": value, "at": stamp(self.clock())}
        insert = insert_into(self.engine, facts).values(name=name, **now)
        with self.autocommit() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=[facts.c.name], set_=now))

    def get(self, name: str) -> str | None:
        """The value of a name, ``None`` before the first."""
        with self.autocommit() as connection:
            return connection.execute(_GET, {"_name": name}).scalar()

    def get_and_former_names(self, name: str, wallet: str) -> tuple[str | None, list[str]]:
        """The value of a name, and the former names of a wallet, in one trip."""
        with self.autocommit() as connection:
            own, former = trips.together(connection, (_GET, {"_name": name}), turns.reading_former_names(wallet))
        return own[0]["value"] if own else None, [row["wallet"] for row in former]

    def advance(self, name: str, value: str) -> bool:
        """Keep a value if it sorts after the present value. True for the one caller with a change."""
        later = {"value": value, "at": stamp(self.clock())}
        insert = insert_into(self.engine, facts).values(name=name, **later)
        statement = insert.on_conflict_do_update(
            index_elements=[facts.c.name], set_=later, where=facts.c.value < insert.excluded.value
        )
        with self.autocommit() as connection:
            return bool(connection.execute(statement.returning(facts.c.name)).all())


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


@dataclass(frozen=True)
class WalletFact(Fact):
    """One fact of a wallet, which may have been written under a former name of the wallet.

    :param wallet: the present name.
    :param name_for: the name of the fact for a name of the wallet.
    """

    wallet: str
    name_for: Callable[[str], str]

    def get(self) -> str | None:
        """The value; that of a former name, where the present name has none."""
        value, former = self.store.get_and_former_names(self.name, self.wallet)
        if value is not None:
            return value
        return next((value for name in former if (value := self.store.get(self.name_for(name))) is not None), None)

    def decide_once(self, value: str) -> str:
        """The same as for every fact; a decision under a former name stays."""
        return self.get() or super().decide_once(value)


def _of_wallet(store: FactStore, wallet: str, name_for: Callable[[str], str]) -> WalletFact:
    return WalletFact(store, name_for(wallet), wallet, name_for)


# -- keyed hashes ----------------------------------------------------------------------------------------------------


def salt(store: FactStore) -> Fact:
    """The random key of the hashes that name accounts and requests, in hex; decided once for a ledger."""
    return Fact(store, "salt of accounts")


# -- renewal ---------------------------------------------------------------------------------------------------------


def extended_expiry(store: FactStore, wallet: str, order_id: str, actor: Actor) -> Fact:
    """The expiry at the start of a task's extension of an order: ISO text, the same for all tries and map indexes of a run."""

    # the map index is left out: the list of a mapped task can hold an order twice, and can shift when the task is cleared
    def name_for(wallet: str) -> str:
        task = dump_json([wallet, order_id, actor.dag_id, actor.task_id, actor.run_id])
        return f"expiry of {hashlib.sha256(task.encode()).hexdigest()}"  # the names together can be too long

    return _of_wallet(store, wallet, name_for)


def replaced_period(store: FactStore, wallet: str, order_id: str) -> Fact:
    """The period of an order that a new order replaces."""
    return _of_wallet(store, wallet, lambda wallet: f"period of {wallet}:{order_id}")


# -- order events ----------------------------------------------------------------------------------------------------


def events_begin_after(store: FactStore, conn_id: str) -> Fact:
    """The number of the inbox's newest webhook when the events of a connection were first asked for."""
    return Fact(store, f"events of {conn_id} begin after")


def event_turn(store: FactStore, conn_id: str, order_id: str, number: int) -> Fact:
    """The triggerer that has the turn to report an order's end: its random id and the unix second, from turn 1 on."""
    name = _event_of(conn_id, order_id)
    return Fact(store, name if number == 1 else f"{name}, try {number}")


def event_reported(store: FactStore, conn_id: str, order_id: str) -> Fact:
    """``"yes"`` as soon as Airflow has an order's event for certain."""
    return Fact(store, f"{_event_of(conn_id, order_id)}, told")


def _event_of(conn_id: str, order_id: str) -> str:
    """The common part of the names; an id from a made-up event may end like one of them."""
    return f"event of {conn_id}: {dump_json(order_id) if ', ' in order_id else order_id}"


# -- reconciling -----------------------------------------------------------------------------------------------------


def orders_at_start(store: FactStore, wallet: str) -> Fact:
    """The vendor's ids at the first comparison of a wallet, as a JSON list: they are older than the ledger."""
    return _of_wallet(store, wallet, lambda wallet: f"known from the start at {wallet}")


def foreign_order_reported(store: FactStore, wallet: str, order_id: str) -> Fact:
    """The vendor's status of a foreign order at its report. Each order is reported once."""
    return _of_wallet(store, wallet, lambda wallet: f"reported at {wallet}: {order_id}")


def missing_orders(store: FactStore, wallet: str) -> Fact:
    """A JSON list of order ids that the vendor's reads do not show, though they were asked for again."""
    return _of_wallet(store, wallet, lambda wallet: f"missing at {wallet}")


def order_inconclusive(store: FactStore, wallet: str, order_id: str) -> Fact:
    """The order key of an unresolved purchase, beside a new order at the vendor that may be its own."""
    return _of_wallet(store, wallet, lambda wallet: f"not told apart at {wallet}: {order_id}")


# -- evidence --------------------------------------------------------------------------------------------------------


def balance_mark(store: FactStore, wallet: str, vendor: str, account: str) -> Fact:
    """The last balance that was read and later reads are compared with; see ``purchase.checkpoint``.

    A wallet may pay from several accounts, so each has a mark of its own, whichever connection reads; see also
    :func:`forget_balance`.
    """
    return Fact(store, f"{_balances_of(wallet)}{vendor}:{account}")


def forget_balance(connection: Connection, wallet: str) -> None:
    """Drop all balance marks of a wallet, in the transaction of a join or of an unfreeze. The next read is the new mark."""
    prefix = _balances_of(wallet)
    connection.execute(delete(facts).where(func.substr(facts.c.name, 1, len(prefix)) == prefix))


def _balances_of(wallet: str) -> str:
    return f"balance of {wallet} at "


def vendor_marks(store: FactStore, wallet: str, vendor: str) -> Fact:
    """What the reads before earlier purchases of a wallet saw at the vendor, as a JSON object; see ``Vendor.with_marks``."""
    return _of_wallet(store, wallet, lambda wallet: f"seen by {wallet} at {vendor}")


def unwatched_orders(store: FactStore, wallet: str) -> Fact:
    """When a later purchase read an order that nobody waits for, by order key, as a JSON object of unix seconds."""
    return Fact(store, f"unwatched at {wallet}")


def renewed_by_vendor(store: FactStore, wallet: str) -> Fact:
    """``"yes"`` as soon as the vendor was asked to renew an order of this wallet by itself."""
    return _of_wallet(store, wallet, lambda wallet: f"renewed by the vendor at {wallet}")


# -- backups ---------------------------------------------------------------------------------------------------------

#: The names of :func:`reconciled` begin with this.
RECONCILED = "reconciled after the restore: "


def restored_from(store: FactStore) -> Fact:
    """The moment of the backup that this ledger was restored from, as ISO text."""
    return Fact(store, turns.RESTORED)


def reconciled(store: FactStore, wallet: str, account: str) -> Fact:
    """When an account of a wallet in a restored ledger was first compared with its vendor as a whole.

    :param account: the keyed hash that names it.
    """
    return _of_wallet(store, wallet, lambda wallet: f"{RECONCILED}{wallet} {account}")


def last_backup(store: FactStore) -> Fact:
    """The moment and the file of the last backup by ``proxyorders ledger backup``, as JSON."""
    return Fact(store, "last backup")


# -- the vendor's wishes ---------------------------------------------------------------------------------------------


def no_request_before(store: FactStore, wallet: str) -> Fact:
    """The end of the pause that the vendor asked for, and its length in seconds."""
    return _of_wallet(store, wallet, lambda wallet: f"no request of {wallet} before")


# -- upkeep ----------------------------------------------------------------------------------------------------------


def webhooks_pruned_on(store: FactStore) -> Fact:
    """The last day on which old webhooks were pruned, ``YYYY-MM-DD`` in UTC."""
    return Fact(store, "webhooks pruned on")
