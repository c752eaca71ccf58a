"""Order keys belong to a wallet: two wallets may each have a purchase under one key.

Three rules. Each purchase has an order key of its own in the ledger: that of its task or, where another wallet has that key, the
same with an ending. Under one key, a wallet has one purchase. The tries of one task, and the purchases through one connection,
are one purchase under their key, whichever wallet the connection leads to by now: what may have been bought from one wallet is
not bought from another one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from itertools import count
from typing import Any

from sqlalchemy import Connection, bindparam, func, or_, select

from airflow_provider_proxyorders.domain.errors import OrderKeyConflict
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step
from airflow_provider_proxyorders.ledger import turns
from airflow_provider_proxyorders.ledger.accounts import folded
from airflow_provider_proxyorders.ledger.fingerprints import LedgerFingerprints
from airflow_provider_proxyorders.ledger.rows import Intent, KeyTaken, conflict_text, purchase_of
from airflow_provider_proxyorders.ledger.schema import looks, purchases, steps
from airflow_provider_proxyorders.ledger.trips import Read, Row, Rows

#: Characters of a key before its ending, and of the ending.
LONGEST_STEM, ENDING = 480, 12

_KEY: Any = bindparam("_key")
_UNDER_KEY = select(purchases).where(or_(purchases.c.order_key == _KEY, purchases.c.task_key == _KEY))
#: The first purchase under a key: who locks it decides about the key alone.
_LOCK_KEY = select(purchases.c.order_key).where(purchases.c.order_key == _KEY).with_for_update(key_share=True)
_IN_USE = select(purchases.c.order_key).where(purchases.c.order_key == _KEY)
#: The same task of a DAG intended a purchase, in any run.
_INTENDED_BY = (
    select(steps.c.id)
    .where(
        steps.c.order_key == _KEY,
        steps.c.step == Step.INTENDED.value,
        steps.c.dag_id == bindparam("_dag"),
        steps.c.task_id == bindparam("_task"),
        steps.c.map_index == bindparam("_map_index"),
    )
    .limit(1)
)
_LOOKS = select(func.count()).select_from(looks).where(looks.c.order_key == _KEY)


class LedgerKeys(LedgerFingerprints):
    """The part of a ledger that finds purchases by the keys of their tasks."""

    def under_key(self, order_key: str) -> list[Purchase]:
        """The purchases of all wallets under a key; first the one with this very key."""
        with self.autocommit() as connection:
            rows = connection.execute(_UNDER_KEY, {"_key": order_key}).mappings()
            return sorted(map(purchase_of, rows), key=lambda purchase: (purchase.order_key != order_key, purchase.order_key))

    def of_wallet(self, purchases_under_key: Iterable[Purchase], wallet: str, actor: Actor) -> list[Purchase]:
        """Those of a wallet. There are several only after wallets were joined; then the one of this task is first.

        :param wallet: its name, or a former one.
        """
        with self.autocommit() as connection:
            name = turns.live_name(connection, wallet)
            own = [purchase for purchase in purchases_under_key if purchase.wallet == name]
            return sorted(own, key=lambda each: not _is_of_task(connection, each.order_key, actor)) if len(own) > 1 else own

    def free_key(self, order_key: str, wallet: str) -> str:
        """The order key of a wallet's first purchase under a task's key. Its ending is unpredictable."""
        with self.autocommit() as connection:
            if connection.execute(_IN_USE, {"_key": order_key}).first() is None:
                return order_key
            for number in count():
                text = dump_json([order_key, wallet, number])
                ending = hmac.new(bytes.fromhex(self.salt), text.encode(), hashlib.sha256).hexdigest()[:ENDING]
                key = f"{order_key[:LONGEST_STEM]}@{ending}"
                if connection.execute(_IN_USE, {"_key": key}).first() is None:
                    return key
        raise AssertionError("the numbers never end")


# -- inside a transaction --------------------------------------------------------------------------------------------


def locking_reads(intent: Intent) -> tuple[Read, Read]:
    """The reads for :func:`own_row`, under the lock of the wallet. They lock the key: only one is intended under it at a time."""
    key = {"_key": intent.task_key or intent.order_key}
    return (_LOCK_KEY, key), (_UNDER_KEY, key)


def own_row(connection: Connection, intent: Intent, actor: Actor, rows: Rows) -> Row | None:
    """The row of a purchase that is about to be intended.

    :param intent: under the present name of its locked wallet.
    :param rows: of :func:`locking_reads`: all purchases under its key.
    :returns: ``None`` for a new purchase.
    :raises KeyTaken: the key is in use by now, or an unsent purchase of the same buyer comes first. Nothing was bought.
    :raises OrderKeyConflict: the same task or connection has, or may have, bought it from another wallet. Nothing was sent.
    """
    key = intent.task_key or intent.order_key
    mine = [row for row in rows if row["wallet"] == intent.wallet]
    own = next((row for row in mine if row["order_key"] == intent.order_key), None)
    if own is None or own["step"] in (Step.INTENDED.value, Step.REJECTED.value):
        for row in rows:
            if row not in mine and _is_same_buyer(connection, row, intent, actor):
                _refuse_beside(row, intent)
    if own is None and (mine or any(row["order_key"] == intent.order_key for row in rows)):
        raise KeyTaken(f"order key {key!r} came into use just now. This try bought nothing.")
    return own


def may_be_replaced(connection: Connection, purchase: Purchase) -> bool:
    """Whether a purchase stands in the way of no other request: it provably never reached the vendor, or was refused."""
    if purchase.step is Step.REJECTED:
        return True
    unsent = purchase.step is Step.INTENDED and not purchase.maybe_sent
    return unsent and connection.execute(_LOOKS, {"_key": purchase.order_key}).scalar_one() == 0


def conflict(purchase: Purchase, intent: Intent) -> OrderKeyConflict:
    """The error for a key that stands for another request. It shows nothing of another connection's purchase."""
    if _is_same_connection(purchase.vendor, purchase.conn_id, intent):
        return OrderKeyConflict(conflict_text(purchase, intent))
    return OrderKeyConflict(
        f"order key {intent.task_key or intent.order_key!r} stands for a purchase through another connection. Nothing was sent. "
        "Give the task another order_key."
    )


def _refuse_beside(row: Row, intent: Intent) -> None:
    """Refuse a purchase beside that of the same buyer from another wallet, unless that one provably bought nothing."""
    purchase = purchase_of(row)
    if purchase.step is Step.REJECTED and not purchase.maybe_sent and row["counted"] == 0:
        return
    if purchase.step is Step.INTENDED and not purchase.maybe_sent:
        raise KeyTaken("its own purchase from another wallet is unsent and comes first. This try bought nothing.", purchase)
    raise OrderKeyConflict(
        f"order key {intent.task_key or intent.order_key!r}: this task or connection has a purchase under it from wallet "
        f"{purchase.wallet!r} ({purchase.step.value}), and pays from {intent.wallet!r} now. Nothing was sent. To buy from this "
        "wallet as well, give the task another order_key."
    )


def _is_same_buyer(connection: Connection, row: Row, intent: Intent, actor: Actor) -> bool:
    """Whether a purchase is of the task or of the connection of an intent."""
    return _is_same_connection(row["vendor"], row["conn_id"], intent) or _is_of_task(connection, row["order_key"], actor)


def _is_same_connection(vendor: str, conn_id: str, intent: Intent) -> bool:
    return (vendor, folded(conn_id)) == (intent.vendor, folded(intent.conn_id))


def _is_of_task(connection: Connection, order_key: str, actor: Actor) -> bool:
    if actor.task_id is None:
        return False
    task = {"_dag": actor.dag_id, "_task": actor.task_id, "_map_index": actor.map_index}
    return connection.execute(_INTENDED_BY, {"_key": order_key, **task}).first() is not None
