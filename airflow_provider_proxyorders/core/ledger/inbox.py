"""The inbox: verified webhook deliveries, kept before the vendor is told "got it".

Two rules: one row for each distinct delivery, made so by the database, however many copies arrive at once; and a row holds
ids and the vendor's word only, never what was delivered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Engine, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from airflow_provider_proxyorders.core.errors import LedgerError
from airflow_provider_proxyorders.core.ledger import schema
from airflow_provider_proxyorders.core.ledger.engine import engine_for, reading, speaking_of
from airflow_provider_proxyorders.core.ledger.schema import deliveries, purchases

#: Channel on which PostgreSQL tells listeners that there is something new.
CHANNEL = "proxyorders_deliveries"

_NEWEST = select(func.coalesce(func.max(deliveries.c.id), 0))
_SINCE = select(deliveries).where(deliveries.c.id > bindparam("_after")).order_by(deliveries.c.id).limit(bindparam("_limit"))
_OF_REFERENCE = (
    select(deliveries.c.order_id)
    .where(deliveries.c.wallet == bindparam("_wallet"), deliveries.c.reference == bindparam("_reference"))
    .order_by(deliveries.c.id)
    .limit(1)
)


@dataclass(frozen=True)
class Hint:
    """One verified delivery: "look at this order now".

    :param digest: of connection and body; a copy has the same.
    :param status: the vendor's word, to be believed only after the order was read.
    :param number: place in the inbox, 0 before it is kept.
    :param times: how often it arrived.
    """

    digest: str
    conn_id: str
    wallet: str
    order_id: str
    reference: str | None
    status: str
    number: int = 0
    times: int = 1


def digest_of(wallet: str, body: bytes) -> str:
    """What makes a delivery distinct: whose it is, and every byte of it."""
    return hashlib.sha256(wallet.encode() + b"\n" + body).hexdigest()


class Inbox:
    """The deliveries in one ledger database.

    :param clock: gives the current time, aware; tests inject one.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime] | None = None):
        self.engine = engine
        self._reader = reading(engine)
        self.clock = clock or (lambda: datetime.now(timezone.utc))
        insert: Any = postgres_insert if engine.dialect.name == "postgresql" else sqlite_insert
        kept = insert(deliveries)
        self._keep = kept.on_conflict_do_update(
            index_elements=[deliveries.c.digest],
            set_={"times": deliveries.c.times + 1, "last_at": kept.excluded.last_at},
        )

    def keep(self, hints: Sequence[Hint]) -> None:
        """Keep deliveries, all in one commit; a copy of a known one is only counted.

        :raises LedgerError: nothing was kept.
        """
        now = self.clock().astimezone(timezone.utc).isoformat(timespec="microseconds")
        rows = [
            {
                "digest": hint.digest,
                "conn_id": hint.conn_id,
                "wallet": hint.wallet,
                "order_id": hint.order_id,
                "reference": hint.reference,
                "status": hint.status,
                "received_at": now,
                "last_at": now,
                "times": 1,
            }
            for hint in sorted(hints, key=lambda hint: hint.digest)  # one order of locks for everybody
        ]
        with speaking_of(self.engine.url), self.engine.begin() as connection:
            for row in rows:
                connection.execute(self._keep, row)
            if self.engine.dialect.name == "postgresql":
                connection.execute(text(f"NOTIFY {CHANNEL}"))

    def newest(self) -> int:
        """Number of the newest delivery."""
        with speaking_of(self.engine.url), self._reader.connect() as connection:
            return int(connection.execute(_NEWEST).scalar_one())

    def since(self, number: int, limit: int = 1000) -> list[Hint]:
        """Deliveries after a number, oldest first."""
        with speaking_of(self.engine.url), self._reader.connect() as connection:
            rows = connection.execute(_SINCE, {"_after": number, "_limit": limit}).mappings()
            return [
                Hint(
                    digest=row["digest"],
                    conn_id=row["conn_id"],
                    wallet=row["wallet"],
                    order_id=row["order_id"],
                    reference=row["reference"],
                    status=row["status"],
                    number=row["id"],
                    times=row["times"],
                )
                for row in rows
            ]

    def order_of(self, wallet: str, reference: str) -> str | None:
        """The vendor's id of the order that carries a reference of ours, where a delivery told it."""
        with speaking_of(self.engine.url), self._reader.connect() as connection:
            return connection.execute(_OF_REFERENCE, {"_wallet": wallet, "_reference": reference}).scalar()

    def strangers(self, wallet: str, limit: int = 100) -> list[Hint]:
        """Deliveries about orders that no purchase of the wallet knows, oldest first."""
        known = select(purchases.c.order_id).where(purchases.c.wallet == wallet, purchases.c.order_id.is_not(None))
        query = select(deliveries).where(deliveries.c.wallet == wallet, deliveries.c.order_id.not_in(known)).limit(limit)
        with speaking_of(self.engine.url), self._reader.connect() as connection:
            return [
                Hint(row["digest"], row["conn_id"], row["wallet"], row["order_id"], row["reference"], row["status"], row["id"])
                for row in connection.execute(query.order_by(deliveries.c.id)).mappings()
            ]

    def prune(self, days: float) -> int:
        """Forget deliveries that last arrived longer ago; senders retry for days, so keep at least some."""
        before = (self.clock() - timedelta(days=days)).astimezone(timezone.utc).isoformat(timespec="microseconds")
        with speaking_of(self.engine.url), self.engine.begin() as connection:
            gone: Any = connection.execute(delete(deliveries).where(deliveries.c.last_at < before))
            return int(gone.rowcount)


def open_inbox(url: str, clock: Callable[[], datetime] | None = None) -> Inbox:
    """The inbox at a database address, brought to the version this code needs.

    :raises LedgerError: when it cannot be opened.
    """
    inbox = Inbox(engine_for(url), clock)
    with speaking_of(inbox.engine.url):
        schema.ensure(inbox.engine)
    return inbox


async def news(url: str, patience: float, every: float = 0.5) -> AsyncIterator[None]:
    """Yields whenever there may be something new in the inbox: at once with PostgreSQL, else every half second.

    :param patience: with PostgreSQL, look at least this often all the same, in seconds.
    :raises LedgerError: when the database cannot be listened to.
    """
    engine = engine_for(url)
    if engine.dialect.name != "postgresql":
        while True:
            yield
            await asyncio.sleep(every)
    import psycopg

    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = await psycopg.AsyncConnection.connect(address, autocommit=True, connect_timeout=10)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            while True:
                yield
                async for _ in connection.notifies(timeout=patience, stop_after=1):
                    pass
    except psycopg.Error as error:
        raise LedgerError(f"the inbox cannot be listened to: {type(error).__name__}") from None
