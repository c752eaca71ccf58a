"""The row of a wallet: its lock while limits are checked, its freeze, and the purchase with the turn.

Two rules. Every writing transaction of the ledger locks this row first, so limits hold and deadlocks are impossible. Purchases
with evidence that fits several of them take turns: one goes out at a time, and the first in the line is next (see ``line``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, literal, select, update

from airflow_provider_proxyorders.domain.errors import CapExceeded, WalletHeld
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step
from airflow_provider_proxyorders.ledger import trips
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.rows import Intent
from airflow_provider_proxyorders.ledger.schema import facts, purchases, steps, tickets, wallets
from airflow_provider_proxyorders.ledger.trips import Read, Row, Rows

T = TypeVar("T", Purchase, Intent)

_WALLET = wallets.c.wallet == bindparam("_wallet")
_FIND_WALLET = select(wallets).where(_WALLET)
_LOCK_WALLET = _FIND_WALLET.with_for_update()
_SET_WALLET = update(wallets).where(_WALLET)
_LEAVE_TURN = update(wallets).where(_WALLET, wallets.c.turn_key == bindparam("_key")).values(turn_key=None, turn_until=None)

#: The newest step of all is at least the sending's own, and every later intent of the wallet has a greater number.
_NOTE_SENDING = _SET_WALLET.values(
    sent_key=bindparam("_key"), sent_step=select(func.coalesce(func.max(steps.c.id), 0)).scalar_subquery()
)

#: The fact of a ledger that was restored: the moment of its backup, as ISO text.
RESTORED = "restored from the backup of"
_BACKUP_OF, _WITHOUT = "this ledger is a backup of ", "; what was bought since is missing in it"
_WHY_RESTORED = (
    select(literal(_BACKUP_OF).concat(facts.c.value).concat(_WITHOUT)).where(facts.c.name == RESTORED).scalar_subquery()
)

#: Every former name points to the wallet of now, see ``joining``.
_FORMER_NAMES = select(wallets.c.wallet).where(wallets.c.joined == bindparam("_wallet")).order_by(wallets.c.wallet)

_UNRESOLVED_STEPS = [step.value for step in sorted(UNRESOLVED)]
_ANOTHER_PURCHASE = (
    select(purchases.c.order_key, purchases.c.step)
    .where(purchases.c.wallet == bindparam("_wallet"), purchases.c.order_key != bindparam("_key"))
    .limit(1)
)
#: Another purchase of the wallet whose outcome is unresolved.
_UNRESOLVED_PURCHASE = _ANOTHER_PURCHASE.where(purchases.c.step.in_(_UNRESOLVED_STEPS))
#: What keeps a purchase from the turn, in one read: the first living ticket, and an unresolved purchase. And its own ticket.
_living = select(tickets.c.order_key).where(tickets.c.wallet == bindparam("_wallet"), tickets.c.until > bindparam("_now"))
_IN_THE_WAY = select(
    _living.order_by(tickets.c.id).limit(1).scalar_subquery().label("first"),
    _UNRESOLVED_PURCHASE.with_only_columns(purchases.c.order_key).scalar_subquery().label("unresolved"),
    select(tickets.c.id)
    .where(tickets.c.wallet == bindparam("_wallet"), tickets.c.order_key == bindparam("_key"))
    .scalar_subquery()
    .label("ticket"),
)
_TAKE_TICKET = delete(tickets).where(tickets.c.id == bindparam("_ticket"))
#: Another extension of the same order. The order shows an accepted extension late, and it could pass for the next extension.
_EXTENSION_UNDER_WAY = _ANOTHER_PURCHASE.where(
    purchases.c.step.in_([*_UNRESOLVED_STEPS, Step.PLACED.value]),
    purchases.c.kind == "extend",
    purchases.c.target == bindparam("_target"),
)


def lock(connection: Connection, wallet: str) -> RowMapping:
    """Lock the row of a wallet until the transaction ends; a new wallet gets its row.

    :param wallet: its name, or a former one: the returned row has the name that counts now.
    """
    while (row := lock_row(connection, wallet))["joined"] is not None:
        wallet = row["joined"]
    return row


def lock_and_read(connection: Connection, wallet: str, reads: Callable[[str], Iterable[Read]]) -> tuple[Row, list[Rows]]:
    """Lock the row of a wallet, and read more under its lock in the same trip.

    :param reads: gives the reads for a name of the wallet.
    """
    rows, *answers = trips.together(connection, (_LOCK_WALLET, {"_wallet": wallet}), *reads(wallet))
    if rows and rows[0]["joined"] is None:
        return rows[0], answers
    row = lock(connection, wallet)
    return row, trips.together(connection, *reads(row["wallet"]))


def lock_row(connection: Connection, wallet: str) -> RowMapping:
    """Lock the row of this very name, also of a former one."""
    row = connection.execute(_LOCK_WALLET, {"_wallet": wallet}).mappings().first()
    if row is None:
        add(connection, wallet)
        row = connection.execute(_LOCK_WALLET, {"_wallet": wallet}).mappings().one()
    return row


def add(connection: Connection, wallet: str) -> None:
    """Make the row of a new wallet. In a restored ledger it begins frozen: the wallet may have bought since the backup."""
    connection.execute(insert_or_ignore(connection, wallets).values(wallet=wallet, frozen=_WHY_RESTORED))


def why_restored(moment: str) -> str:
    """Why each wallet of a restored ledger is frozen.

    :param moment: of the backup.
    """
    return f"{_BACKUP_OF}{moment}{_WITHOUT}"


def in_wallet(what: T, wallet: Row) -> T:
    """A purchase or an intent under the present name of its locked wallet, which may have been joined into another meanwhile."""
    return what if what.wallet == wallet["wallet"] else replace(what, wallet=wallet["wallet"])


def read(connection: Connection, wallet: str) -> RowMapping | None:
    """The row of a wallet without a lock, also under a former name."""
    row = connection.execute(_FIND_WALLET, {"_wallet": wallet}).mappings().first()
    return row if row is None or row["joined"] is None else read(connection, row["joined"])


def live_name(connection: Connection, wallet: str) -> str:
    """The present name of a wallet; of a name that no wallet has, the name itself."""
    row = read(connection, wallet)
    return str(row["wallet"]) if row is not None else wallet


def read_live(connection: Connection, wallet: str, reading: Callable[[str], Read]) -> tuple[str, Rows]:
    """The present name of a wallet and the rows of a read under it, in one trip.

    :param reading: gives the read for a name of the wallet.
    """
    row, rows = trips.together(connection, (_FIND_WALLET, {"_wallet": wallet}), reading(wallet))
    if not row or row[0]["joined"] is None:
        return wallet, rows
    live = live_name(connection, wallet)
    return live, trips.together(connection, reading(live))[0]


def former_names(connection: Connection, wallet: str) -> tuple[str, ...]:
    """The names that a wallet had before, and those of the wallets that were joined into it."""
    return tuple(connection.execute(_FORMER_NAMES, {"_wallet": wallet}).scalars())


def reading_former_names(wallet: str) -> Read:
    """The read of :func:`former_names`; each row has a name as ``wallet``."""
    return _FORMER_NAMES, {"_wallet": wallet}


def freeze(connection: Connection, wallet: str, why: str | None) -> None:
    """Stop all purchases from a locked wallet, or with ``None`` allow them again."""
    connection.execute(_SET_WALLET, {"frozen": why, "_wallet": wallet})


def refuse_frozen(wallet: Row) -> None:
    """:raises CapExceeded: the wallet is frozen. Nothing was bought."""
    if wallet["frozen"]:
        raise CapExceeded(
            f"wallet {wallet['wallet']!r} is frozen: {wallet['frozen']}. Nothing was bought. When the cause is clear, "
            f"a person lifts it: proxyorders ledger unfreeze {wallet['wallet']}"
        )


def reading_way(wallet: str, order_key: str, now: datetime) -> Read:
    """The read of what keeps a purchase from the turn; see :func:`take`."""
    return _IN_THE_WAY, {"_wallet": wallet, "_key": order_key, "_now": stamp(now)}


def take(
    connection: Connection,
    wallet: Row,
    intent: Intent,
    now: datetime,
    seconds: float,
    way: Row,
) -> None:
    """Give a purchase the turn on its locked wallet for so many seconds. Its ticket is used up.

    :param way: the row of :func:`reading_way`.
    :raises WalletHeld: another purchase has the turn, is before this one in the line, or is unresolved. Nothing was bought.
    """
    key, is_on = wallet["turn_key"], (wallet["turn_until"] or "") > stamp(now)
    if key and key != intent.order_key and is_on:
        raise under_way(key, intent.wallet)
    values = {"_wallet": intent.wallet, "_key": intent.order_key}
    if way["unresolved"]:
        _refuse_beside(connection.execute(_UNRESOLVED_PURCHASE, values).first(), intent)
    if way["first"] not in (None, intent.order_key) and not (key and is_on):
        raise WalletHeld(f"other purchases wait for wallet {intent.wallet!r}, {way['first']!r} first. Nothing was bought.")
    if way["ticket"] is not None:
        trips.write_later(connection, _TAKE_TICKET, {"_ticket": way["ticket"]})
    until = stamp(now + timedelta(seconds=seconds))
    turn = {"turn_key": intent.order_key, "turn_until": until}
    trips.write_later(connection, _SET_WALLET, {**turn, "_wallet": intent.wallet})


def under_way(key: str, wallet: str) -> WalletHeld:
    """The error while another purchase has the turn.

    :param key: its order key.
    """
    return WalletHeld(f"the purchase {key!r} is under way on wallet {wallet!r}; one at a time. Nothing was bought.", blocker=key)


def leave(connection: Connection, purchase: Purchase) -> None:
    """Give the turn back, if the purchase has it."""
    trips.write_later(connection, _LEAVE_TURN, {"_wallet": purchase.wallet, "_key": purchase.order_key})


def note_sending(connection: Connection, purchase: Purchase) -> None:
    """Keep in the locked wallet that this creation was sent just now. Evidence of others from before is outdated.

    It is the last statement of its transaction.
    """
    trips.execute_last(connection, _NOTE_SENDING, {"_wallet": purchase.wallet, "_key": purchase.order_key})


def refuse_second_extension(connection: Connection, intent: Intent) -> None:
    """:raises WalletHeld: another extension of the order is under way. Nothing was bought."""
    values = {"_wallet": intent.wallet, "_key": intent.order_key, "_target": intent.target}
    _refuse_beside(connection.execute(_EXTENSION_UNDER_WAY, values).first(), intent)


def _refuse_beside(blocker: Any, intent: Intent) -> None:
    if blocker:
        raise WalletHeld(
            f"the purchase {blocker.order_key!r} on wallet {intent.wallet!r} is {blocker.step}: until it is settled, "
            "evidence could mix it up with a new purchase. Nothing was bought. "
            f"See: proxyorders ledger show {blocker.order_key!r}",
            blocker=blocker.order_key,
        )
