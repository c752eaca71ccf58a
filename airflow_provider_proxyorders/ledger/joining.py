"""Joins a wallet into another one, for two names that turn out to be one balance.

Three rules. Everything of the wallet moves in one transaction, under the locks of both. The former name keeps its row and points
to the present one, so a worker that still uses it counts in the right place. Every unfinished purchase gets a new fence: a
conclusion from before, without the purchases of the other name, can no longer be written down.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, literal, select, update

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import facts, spending, turns
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore
from airflow_provider_proxyorders.ledger.schema import (
    accounts,
    alarms,
    connections,
    owned_ids,
    purchases,
    questions,
    tickets,
    wallet_steps,
    wallets,
    webhooks,
)
from airflow_provider_proxyorders.ledger.schema import spending as days

#: Tables with a wallet in each row and without a rule about two rows of one wallet.
_PLAIN = (purchases, webhooks, questions, accounts, connections, wallet_steps, tickets)
#: Tables with one row of a wallet for each of these names. The row of the present name stays.
_KEYED = ((owned_ids, "vendor_id"), (alarms, "name"))
_UNFINISHED = [step.value for step in (Step.INTENDED, Step.UNKNOWN, Step.QUARANTINED, Step.REJECTED)]


def join(connection: Connection, former: str, wallet: str, now: str) -> None:
    """Make one wallet of two. Afterwards limits, turns, freezes and ids of both count together.

    :param former: the name that ends; afterwards it means the other wallet.
    :param wallet: the name that stays.
    :param now: the moment, in the order of ``turn_until``.
    """
    for pointing in turns.former_names(connection, former):  # as a waiting worker does: former names first
        turns.lock_row(connection, pointing)
    old, row = turns.lock_row(connection, former), turns.lock_row(connection, wallet)
    connection.execute(_RAISE_FENCES, {"_wallets": [former, wallet]})
    doubt = _doubly_owned(connection, former, wallet)
    connection.execute(_DROP_SECOND_TICKETS, {"_former": former, "_wallet": wallet})
    for table in _PLAIN:
        connection.execute(update(table).where(table.c.wallet == former).values(wallet=wallet))
    for table, name in _KEYED:
        _move_keyed(connection, table, name, former, wallet)
    for day, counted in connection.execute(select(days.c.day, days.c.counted).where(days.c.wallet == former)).all():
        spending.add(connection, wallet, day, counted)
    connection.execute(delete(days).where(days.c.wallet == former))
    for name in (former, wallet):
        facts.forget_balance(connection, name)  # it was compared with the purchases of one name
    reasons = dict.fromkeys(reason for reason in (row["frozen"], old["frozen"], doubt) if reason)
    holder = row if row["turn_key"] and (row["turn_until"] or "") > now else old
    last = max(row, old, key=lambda each: each["sent_step"] or 0)
    values = {name: holder[name] for name in ("turn_key", "turn_until")} | {
        name: last[name] for name in ("sent_key", "sent_step")
    }
    values["frozen"] = "; and ".join(reasons) or None
    connection.execute(update(wallets).where(wallets.c.wallet == wallet).values(joined=None, **values))
    ended = {"joined": wallet, "frozen": None, "turn_key": None, "turn_until": None}
    connection.execute(update(wallets).where((wallets.c.wallet == former) | (wallets.c.joined == former)).values(ended))


_RAISE_FENCES = (
    update(purchases)
    .where(purchases.c.wallet.in_(bindparam("_wallets", expanding=True)), purchases.c.step.in_(_UNFINISHED))
    .values(fence=purchases.c.fence + 1)
)
#: Of two tickets for one key, that in the line of the present name stays.
_DROP_SECOND_TICKETS = delete(tickets).where(
    tickets.c.wallet == bindparam("_former"),
    tickets.c.order_key.in_(select(tickets.c.order_key).where(tickets.c.wallet == bindparam("_wallet"))),
)


def _doubly_owned(connection: Connection, former: str, wallet: str) -> str | None:
    """Why the joined wallet must stand still: each of the two has a purchase with the same order. ``None``: there is none."""
    ours, theirs = owned_ids.alias(), owned_ids.alias()
    both = select(ours.c.vendor_id, ours.c.order_key, theirs.c.order_key.label("other")).where(
        ours.c.wallet == wallet, theirs.c.wallet == former, theirs.c.vendor_id == ours.c.vendor_id
    )
    first = connection.execute(both.order_by(ours.c.vendor_id).limit(1)).first()
    if first is None:
        return None
    return f"order {first.vendor_id} stands in the ledger for two purchases, {first.order_key!r} and {first.other!r}"


def _move_keyed(connection: Connection, table: Table, name: str, former: str, wallet: str) -> None:
    columns = [column for column in table.c if column.name != "wallet"]
    moved: Any = select(literal(wallet), *columns).where(table.c.wallet == former)
    insert = insert_or_ignore(connection, table).from_select(["wallet", *(column.name for column in columns)], moved)
    connection.execute(insert)
    connection.execute(delete(table).where(table.c.wallet == former))
