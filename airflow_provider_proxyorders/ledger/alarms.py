"""Crossings of wallets into low and back. Of all observers, exactly one gets each crossing and reports it.

Three rules. The database hands a crossing out by a compare-and-set, so DAGs, hosts and triggerers agree without contact. Its
taker holds the crossing while it notifies people, and confirms it afterwards. A crossing without a confirmation is handed out
again when the hold is over, so a failed alert arrives late instead of being lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, and_, bindparam, or_, select, update

from airflow_provider_proxyorders.domain.levels import State
from airflow_provider_proxyorders.ledger import turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import insert_or_ignore, stamp
from airflow_provider_proxyorders.ledger.schema import alarms

#: Seconds for which a crossing belongs to its taker. The time limits of notifiers are well below it.
HOLD = 120.0

_IS_ALARM = and_(alarms.c.wallet == bindparam("_wallet"), alarms.c.name == bindparam("_name"))
_FIND_ALARM = select(alarms).where(_IS_ALARM)
_IS_FREE = or_(alarms.c.held_until.is_(None), alarms.c.held_until <= bindparam("_now"))
_HOLD_COLUMNS: dict[Any, Any] = {alarms.c.attempt: alarms.c.attempt + 1, alarms.c.held_until: bindparam("_until")}
#: Take a new crossing. It waits while another observer reports the crossing before, or "recovered" could arrive before "low".
_TAKE_NEW_CROSSING = (
    update(alarms)
    .where(_IS_ALARM, alarms.c.state != bindparam("_state"), or_(alarms.c.told == alarms.c.crossing, _IS_FREE))
    .values(
        {
            **_HOLD_COLUMNS,
            alarms.c.state: bindparam("_state"),
            alarms.c.since: bindparam("_now"),
            alarms.c.balance: bindparam("_balance"),
            alarms.c.crossing: alarms.c.crossing + 1,
        }
    )
    .returning(alarms)
)
#: Take the last crossing again, after a hold without a confirmation.
_TAKE_AGAIN = update(alarms).where(_IS_ALARM, alarms.c.told < alarms.c.crossing, _IS_FREE).values(_HOLD_COLUMNS).returning(alarms)
#: A hold that ends later than a hold is long was taken by a host with a fast clock: it is cut.
_CUT_HOLD = (
    update(alarms).where(_IS_ALARM, alarms.c.held_until > bindparam("_until")).values({alarms.c.held_until: bindparam("_until")})
)
#: An older confirmation leaves a newer one as it is.
_CONFIRM = (
    update(alarms)
    .where(_IS_ALARM, alarms.c.told < bindparam("_crossing"), alarms.c.crossing >= bindparam("_crossing"))
    .values({alarms.c.told: bindparam("_crossing")})
)
#: Only the present holder can give a crossing back.
_RELEASE = update(alarms).where(_IS_ALARM, alarms.c.attempt == bindparam("_attempt")).values({alarms.c.held_until: None})


@dataclass(frozen=True)
class Alarm:
    """One alert of one wallet as it stands.

    :param crossing: the number of the last crossing; 0 for a wallet that was ok from the start.
    :param balance: as read at the last crossing.
    """

    wallet: str
    name: str
    state: State
    since: datetime
    crossing: int
    balance: str | None


@dataclass(frozen=True)
class Crossing(Alarm):
    """A crossing that the caller alone has to report, and then to confirm.

    :param again: whether an earlier taker left it without a confirmation.
    :param missed: whether the crossing before it was left without a confirmation.
    """

    attempt: int = 0
    again: bool = False
    missed: bool = False

    @property
    def key(self) -> str:
        """Identity of the crossing: the same for all its repeats, and unique for ever."""
        return f"{self.wallet}/{self.name}#{self.crossing}"


class Alarms(Database):
    """The alerts in one ledger database."""

    def find(self, wallet: str, name: str) -> Alarm | None:
        """An alert as it stands, ``None`` before the first look."""
        row = self._row(wallet, name)
        return Alarm(**_columns_of(row)) if row is not None else None

    def past_crossings(self, wallet: str, name: str) -> list[Crossing]:
        """Every crossing of an alert so far, oldest first. An alert begins as ok, so each odd crossing is into low."""
        alarm = self.find(wallet, name)
        if alarm is None:
            return []
        states: tuple[State, State] = ("ok", "low")
        numbers = range(1, alarm.crossing + 1)
        return [Crossing(**{**vars(alarm), "crossing": number, "state": states[number % 2]}) for number in numbers]

    def observe(
        self, wallet: str, name: str, state: State | None, *, balance: str | None = None, hold: float = HOLD
    ) -> Crossing | None:
        """Record a look at the wallet; returns a crossing for the caller to report, mostly ``None``.

        :param state: ``None`` for a look between the levels; then only a crossing without a confirmation can come back.
        :param balance: as read, for people.
        :param hold: seconds for which the crossing belongs to the caller alone.
        :raises LedgerError: nothing was changed.
        """
        moment = self.clock()
        now = stamp(moment)
        row = self._row(wallet, name)
        if row is not None and row["told"] == row["crossing"] and state in (None, row["state"]):
            return None  # the usual case, without a write
        values = {"_wallet": wallet, "_name": name, "_now": now, "_until": stamp(moment + timedelta(seconds=hold))}
        with self.transaction() as connection:
            connection.execute(_CUT_HOLD, values)
            if row is None:
                new = {"wallet": wallet, "name": name, "state": "ok", "since": now, "crossing": 0, "told": 0, "attempt": 0}
                connection.execute(insert_or_ignore(connection, alarms), {**new, "balance": balance})
            if state is not None:
                crossed = {**values, "_state": state, "_balance": balance}
                taken = connection.execute(_TAKE_NEW_CROSSING, crossed).mappings().first()
                if taken is not None:
                    return _crossing(taken, again=False)
            taken = connection.execute(_TAKE_AGAIN, values).mappings().first()
            return _crossing(taken, again=True) if taken is not None else None

    def confirm(self, crossing: Crossing) -> None:
        """Note that people know of a crossing; it is over."""
        self._change(_CONFIRM, crossing, _crossing=crossing.crossing)

    def release(self, crossing: Crossing) -> None:
        """Give a crossing back after a failed report: the next look gets it at once."""
        self._change(_RELEASE, crossing, _attempt=crossing.attempt)

    def _change(self, statement: Any, crossing: Crossing, **values: int) -> None:
        with self.transaction() as connection:
            wallet = turns.live_name(connection, crossing.wallet)  # it may have been joined since the crossing was taken
            connection.execute(statement, {"_wallet": wallet, "_name": crossing.name, **values})

    def _row(self, wallet: str, name: str) -> RowMapping | None:
        with self.autocommit() as connection:
            return connection.execute(_FIND_ALARM, {"_wallet": wallet, "_name": name}).mappings().first()


def _columns_of(row: RowMapping) -> dict[str, Any]:
    return {
        "wallet": row["wallet"],
        "name": row["name"],
        "state": row["state"],
        "since": datetime.fromisoformat(row["since"]),
        "crossing": row["crossing"],
        "balance": row["balance"],
    }


def _crossing(row: RowMapping, *, again: bool) -> Crossing:
    return Crossing(**_columns_of(row), attempt=row["attempt"], again=again, missed=row["told"] < row["crossing"] - 1)
