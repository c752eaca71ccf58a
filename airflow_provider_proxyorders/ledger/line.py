"""The line before the turn on a wallet: numbered tickets, first come, first served, over all hosts.

Three rules. A ticket keeps its number, so a living waiter is never overtaken. A ticket lives while its waiter renews it; after
its lease the line goes on without it. The turn passes to the first living ticket, in the transaction that intends its purchase
(see ``turns``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import RowMapping, Select, and_, bindparam, delete, func, select, update

from airflow_provider_proxyorders.ledger import leases, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import insert_into, moment_of, stamp
from airflow_provider_proxyorders.ledger.schema import purchases, tickets, wallets

#: Seconds after which a dead ticket is deleted. Until then a waiter that stood still gets its place back.
FORGOTTEN = 600.0

_OF_WALLET = tickets.c.wallet == bindparam("_wallet")
_OWN_TICKET = and_(_OF_WALLET, tickets.c.order_key == bindparam("_key"))
_FORGET_DEAD = delete(tickets).where(_OF_WALLET, tickets.c.until <= bindparam("_forgotten"))
_RENEW = update(tickets).where(_OWN_TICKET).values(until=bindparam("_until"))
_LEAVE = delete(tickets).where(_OWN_TICKET)


@cache
def _look() -> Select[Any]:
    """The row of a wallet with the place of one waiter. Made at the first wait, because most purchases never wait."""
    own, first, holder = tickets.alias(), tickets.alias(), purchases.alias()
    living = (first.c.wallet == wallets.c.wallet, first.c.until > bindparam("_now"), first.c.id < own.c.id)
    columns = {
        "own_until": own.c.until,
        "ahead": select(func.count()).where(*living).scalar_subquery(),
        "last_until": select(func.max(first.c.until)).where(*living).scalar_subquery(),
        "turn_fence": select(holder.c.fence).where(holder.c.order_key == wallets.c.turn_key).scalar_subquery(),
    }
    has_ticket = and_(own.c.wallet == wallets.c.wallet, own.c.order_key == bindparam("_key"))
    look = select(wallets, *(column.label(name) for name, column in columns.items()))
    return look.select_from(wallets.outerjoin(own, has_ticket)).where(wallets.c.wallet == bindparam("_wallet"))


@dataclass(frozen=True)
class Place:
    """A look at the line from one's own place in it.

    :param ahead: how many living tickets come first.
    :param left: seconds for which the own ticket lives; ``None`` without a ticket.
    :param turn_key: the purchase with the turn, ``None`` for a free turn.
    :param turn_fence: it grows with each sending of that purchase, and with each new try of it.
    :param frozen: whether the wallet is frozen.
    :param too_long: whether a right in the line ends later than any right should, by the clock of another host.
    """

    ahead: int
    left: float | None
    turn_key: str | None
    turn_fence: int | None
    frozen: bool
    too_long: bool

    def lets_go(self, order_key: str) -> bool:
        """Whether the purchase may be intended now: at its turn, or to be refused by a frozen wallet."""
        return self.frozen or (self.ahead == 0 and self.turn_key in (None, order_key))

    @property
    def movement(self) -> tuple[int, str | None, int | None]:
        """What changes when the line moves."""
        return self.ahead, self.turn_key, self.turn_fence


class LedgerLine(Database):
    """The part of a ledger about waiters."""

    def line_up(self, wallet: str, order_key: str) -> None:
        """Draw a ticket, behind all others. A waiter with a ticket keeps it."""
        now = self.clock()
        with self.transaction() as connection:  # under the lock of the wallet, the numbers come in the order of the commits
            name = turns.lock(connection, wallet)["wallet"]
            connection.execute(_FORGET_DEAD, {"_wallet": name, "_forgotten": stamp(now - timedelta(seconds=FORGOTTEN))})
            until = stamp(now + timedelta(seconds=leases.TICKET))
            insert = insert_into(connection, tickets).values(wallet=name, order_key=order_key, until=until)
            connection.execute(insert.on_conflict_do_update(index_elements=["wallet", "order_key"], set_={"until": until}))

    def place_in_line(self, wallet: str, order_key: str) -> Place:
        """Look at the line. One read, in one trip."""
        now = self.clock()
        with self.autocommit() as connection:
            row = None
            while row is None or row["joined"] is not None:
                values = {"_wallet": wallet if row is None else row["joined"], "_key": order_key, "_now": stamp(now)}
                row = connection.execute(_look(), values).mappings().one()
        return _place_of(row, now)

    def renew_ticket(self, wallet: str, order_key: str, seconds: float) -> None:
        """Let the own ticket live so many seconds from now. The statement locks no row but its own."""
        until = stamp(self.clock() + timedelta(seconds=seconds))
        with self.autocommit() as connection:
            name = turns.live_name(connection, wallet)
            connection.execute(_RENEW, {"_wallet": name, "_key": order_key, "_until": until})

    def leave_line(self, wallet: str, order_key: str) -> None:
        """Give the own ticket back."""
        with self.autocommit() as connection:
            connection.execute(_LEAVE, {"_wallet": turns.live_name(connection, wallet), "_key": order_key})


def _place_of(row: RowMapping, now: datetime) -> Place:
    until = moment_of(row["own_until"])
    has_turn = row["turn_key"] is not None and (row["turn_until"] or "") > stamp(now)
    latest = stamp(now + timedelta(seconds=leases.longest()))
    return Place(
        ahead=row["ahead"],
        left=(until - now).total_seconds() if until is not None else None,
        turn_key=row["turn_key"] if has_turn else None,
        turn_fence=row["turn_fence"] if has_turn else None,
        frozen=bool(row["frozen"]),
        too_long=any((moment or "") > latest for moment in (row["turn_until"], row["last_until"])),
    )
