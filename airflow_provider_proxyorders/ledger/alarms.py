"""Crossings of wallets into low and back, each seen by exactly one of all who look.

Three rules: a crossing is taken by a compare-and-set in the database, so DAGs, hosts and triggerers agree without knowing of
each other; who took it holds it while telling people, and confirms it afterwards; one that nobody confirmed is handed out again
when its holder's time is over, so an alert that failed on its way is late and not lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, and_, bindparam, or_, select, update

from airflow_provider_proxyorders.domain.levels import State
from airflow_provider_proxyorders.ledger import schema
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.engine import engine_for, translated_errors
from airflow_provider_proxyorders.ledger.schema import alarms

#: Seconds that a crossing stays with who took it; notifiers have time limits of their own well below it.
HOLD = 120.0

_MINE = and_(alarms.c.wallet == bindparam("_wallet"), alarms.c.name == bindparam("_name"))
_FIND = select(alarms).where(_MINE)
_FREE = or_(alarms.c.held_until.is_(None), alarms.c.held_until <= bindparam("_now"))
_HOLD: dict[Any, Any] = {alarms.c.attempt: alarms.c.attempt + 1, alarms.c.held_until: bindparam("_until")}
#: While somebody tells of a crossing the next one waits, or "recovered" could arrive before "low".
_CROSS = (
    update(alarms)
    .where(_MINE, alarms.c.state != bindparam("_state"), or_(alarms.c.told == alarms.c.crossing, _FREE))
    .values(
        {
            **_HOLD,
            alarms.c.state: bindparam("_state"),
            alarms.c.since: bindparam("_now"),
            alarms.c.balance: bindparam("_balance"),
            alarms.c.crossing: alarms.c.crossing + 1,
        }
    )
    .returning(alarms)
)
_REPEAT = update(alarms).where(_MINE, alarms.c.told < alarms.c.crossing, _FREE).values(_HOLD).returning(alarms)
_CONFIRM = (
    update(alarms)
    .where(_MINE, alarms.c.told < bindparam("_crossing"), alarms.c.crossing >= bindparam("_crossing"))
    .values({alarms.c.told: bindparam("_crossing")})
)
_RELEASE = update(alarms).where(_MINE, alarms.c.attempt == bindparam("_attempt")).values({alarms.c.held_until: None})


@dataclass(frozen=True)
class Alarm:
    """One alert of one wallet as it stands.

    :param crossing: how often it has changed, which numbers the crossings; 0 for a wallet that was ok from the start.
    :param balance: as it was read at the last crossing.
    :param told: whether somebody was told of the last crossing.
    """

    wallet: str
    name: str
    state: State
    since: datetime
    crossing: int
    balance: str | None
    told: bool


@dataclass(frozen=True)
class Crossing(Alarm):
    """A crossing that the caller alone has to tell of, and then to confirm.

    :param again: whether somebody took it before and did not confirm it.
    :param missed: whether nobody was told of the crossing before it.
    """

    attempt: int = 0
    again: bool = False
    missed: bool = False

    @property
    def key(self) -> str:
        """Identity of the crossing: the same for every repeat of it, never used again."""
        return f"{self.wallet}/{self.name}#{self.crossing}"


class Alarms(Database):
    """The alerts in one ledger database."""

    def find(self, wallet: str, name: str) -> Alarm | None:
        """How an alert stands, None where nobody has looked yet."""
        row = self._row(wallet, name)
        return _alarm(row) if row is not None else None

    def observe(
        self, wallet: str, name: str, state: State | None, *, balance: str | None = None, hold: float = HOLD
    ) -> Crossing | None:
        """Tell what a look at the wallet showed; returns a crossing where the caller has to tell of one, else None.

        :param state: None where the look says nothing new; then only a crossing that nobody confirmed can come back.
        :param balance: as read, for people.
        :param hold: seconds for which nobody else gets the crossing.
        :raises LedgerError: nothing was changed.
        """
        moment = self.clock()
        now = stamp(moment)
        row = self._row(wallet, name)
        if row is not None and row["told"] == row["crossing"] and state in (None, row["state"]):
            return None  # as it almost always is: nothing to write
        values = {
            "_wallet": wallet,
            "_name": name,
            "_now": now,
            "_until": stamp(moment + timedelta(seconds=hold)),
        }
        with self.transaction() as connection:
            if row is None:
                new = {"wallet": wallet, "name": name, "state": "ok", "since": now, "crossing": 0, "told": 0, "attempt": 0}
                connection.execute(insert_or_ignore(connection, alarms), {**new, "balance": balance})
            if state is not None:
                taken = connection.execute(_CROSS, {**values, "_state": state, "_balance": balance}).mappings().first()
                if taken is not None:
                    return _crossing(taken, again=False)
            taken = connection.execute(_REPEAT, values).mappings().first()
            return _crossing(taken, again=True) if taken is not None else None

    def confirm(self, crossing: Crossing) -> None:
        """Somebody was told of it: it is not handed out again."""
        self._change(_CONFIRM, crossing, _crossing=crossing.crossing)

    def release(self, crossing: Crossing) -> None:
        """Nobody could be told: the next look gets it, without waiting for the end of the hold."""
        self._change(_RELEASE, crossing, _attempt=crossing.attempt)

    def _change(self, statement: Any, crossing: Crossing, **values: int) -> None:
        with self.transaction() as connection:
            connection.execute(statement, {"_wallet": crossing.wallet, "_name": crossing.name, **values})

    def _row(self, wallet: str, name: str) -> RowMapping | None:
        with self.autocommit() as connection:
            return connection.execute(_FIND, {"_wallet": wallet, "_name": name}).mappings().first()


def open_alarms(url: str, clock: Callable[[], datetime] | None = None) -> Alarms:
    """The alerts at a database address, brought to the version this code needs.

    :raises LedgerError: when it cannot be opened.
    """
    found = Alarms(engine_for(url), clock)
    with translated_errors(found.engine.url):
        schema.ensure(found.engine)
    return found


def _known(row: RowMapping) -> dict[str, Any]:
    return {
        "wallet": row["wallet"],
        "name": row["name"],
        "state": row["state"],
        "since": datetime.fromisoformat(row["since"]),
        "crossing": row["crossing"],
        "balance": row["balance"],
        "told": row["told"] == row["crossing"],
    }


def _alarm(row: RowMapping) -> Alarm:
    return Alarm(**_known(row))


def _crossing(row: RowMapping, *, again: bool) -> Crossing:
    return Crossing(**_known(row), attempt=row["attempt"], again=again, missed=row["told"] < row["crossing"] - 1)
