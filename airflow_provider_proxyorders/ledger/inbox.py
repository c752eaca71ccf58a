"""The inbox: verified webhook deliveries, kept before the vendor is told "got it".

Three rules: one row for each distinct delivery, made so by the database, however many copies arrive at once; a row holds ids and
the vendor's word only, never what was delivered; and rows become visible in the order of their numbers, so that who reads on
from a number misses none.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, bindparam, delete, exists, func, select, text

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import schema
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.engine import engine_for, translated_errors
from airflow_provider_proxyorders.ledger.schema import deliveries, purchases

#: Channel on which PostgreSQL tells listeners that there is something new.
CHANNEL = "proxyorders_deliveries"

_NEWEST = select(func.coalesce(func.max(deliveries.c.id), 0))
_SINCE = select(deliveries).where(deliveries.c.id > bindparam("_after")).order_by(deliveries.c.id).limit(bindparam("_limit"))
_LATER = deliveries.alias("later")
# the wallet as an expression: by its index SQLite would read and sort all of the wallet's deliveries for each page
_NEWEST_OF_ORDERS = _SINCE.where(
    deliveries.c.wallet.concat("") == bindparam("_wallet"),
    ~exists().where(
        _LATER.c.wallet == deliveries.c.wallet, _LATER.c.order_id == deliveries.c.order_id, _LATER.c.id > deliveries.c.id
    ),
)
_OF_REFERENCE = (
    select(deliveries.c.order_id)
    .where(deliveries.c.wallet == bindparam("_wallet"), deliveries.c.reference == bindparam("_reference"))
    .order_by(deliveries.c.id)
)

_COLUMNS = [column.name for column in deliveries.c if column.name != "id"]
#: One writer at a time until its commit: a number is taken before the commit, and one that came to light late would be missed.
_ONE_WRITER = 7_205_119_404
#: Deliveries that are forgotten in one go, so that new ones need not wait for long.
_BITE = 500
_INSERT = f"INSERT INTO {deliveries.name} ({', '.join(_COLUMNS)})"
#: More copies than this are not counted: PostgreSQL's integer ends here, and one that overflows would fail its whole group.
_MOST_TIMES = 2**31 - 1
_COUNT = f"""ON CONFLICT (digest) DO UPDATE SET last_at = excluded.last_at, times =
    CASE WHEN {deliveries.name}.times > {_MOST_TIMES} - excluded.times THEN {_MOST_TIMES}
    ELSE {deliveries.name}.times + excluded.times END"""
# One statement for a group of any size, given as one JSON array of arrays: with a statement a row, taking and giving up the
# interpreter's lock around each would cost more than the rows.
_KEEP_IN_SQLITE = text(f"""
    {_INSERT} SELECT {", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(_COLUMNS)))}
    FROM json_each(:rows) WHERE true {_COUNT}
""")
_CELLS = [f"CAST(new ->> {place} AS {deliveries.c[name].type})" for place, name in enumerate(_COLUMNS)]
_KEEP_IN_POSTGRES = text(f"""
    WITH alone AS MATERIALIZED (SELECT pg_advisory_xact_lock({_ONE_WRITER})),
    kept AS (
        {_INSERT} SELECT {", ".join(_CELLS)}
        FROM alone, jsonb_array_elements(CAST(:rows AS jsonb)) AS new {_COUNT} RETURNING 1
    )
    SELECT pg_notify('{CHANNEL}', '') FROM (SELECT count(*) FROM kept) AS counted
""")


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


@dataclass(frozen=True)
class StoredWebhook:
    """A delivery as the inbox has it.

    :param last_at: when its last copy came.
    """

    hint: Hint
    received_at: datetime
    last_at: datetime


def digest_of(wallet: str, body: bytes) -> str:
    """What makes a delivery distinct: whose it is, and every byte of it."""
    return hashlib.sha256(wallet.encode() + b"\n" + body).hexdigest()


class Inbox(Database):
    """The deliveries in one ledger database."""

    def keep(self, hints: Sequence[Hint]) -> None:
        """Keep deliveries, all in one commit; a copy of a known one is only counted.

        :raises LedgerError: nothing was kept.
        """
        now = stamp(self.clock())
        copies = Counter(hint.digest for hint in hints)
        rows = [
            (hint.digest, hint.conn_id, hint.wallet, hint.order_id, hint.reference, hint.status, now, now, copies[hint.digest])
            for hint in {hint.digest: hint for hint in hints}.values()
        ]
        if not rows:
            return
        keep = _KEEP_IN_POSTGRES if self.engine.dialect.name == "postgresql" else _KEEP_IN_SQLITE
        # a single statement is a transaction of its own, in one trip
        with self.autocommit() as connection:
            connection.execute(keep, {"rows": json.dumps(rows)})

    def newest(self) -> int:
        """Number of the newest delivery."""
        with self.autocommit() as connection:
            return int(connection.execute(_NEWEST).scalar_one())

    def since(self, number: int, limit: int = 1000) -> list[Hint]:
        """Deliveries after a number, oldest first."""
        with self.autocommit() as connection:
            rows = connection.execute(_SINCE, {"_after": number, "_limit": limit}).mappings()
            return [_hint(row) for row in rows]

    def newest_of_orders(self, wallet: str, number: int, limit: int = 1000) -> list[Hint]:
        """The newest delivery of each of a wallet's orders, where it came after a number; oldest first."""
        with self.autocommit() as connection:
            rows = connection.execute(_NEWEST_OF_ORDERS, {"_wallet": wallet, "_after": number, "_limit": limit}).mappings()
            return [_hint(row) for row in rows]

    def order_ids_of_reference(self, wallet: str, reference: str) -> list[str]:
        """The vendor's ids of all orders that deliveries named with a reference of ours, in the order in which they came."""
        with self.autocommit() as connection:
            told = connection.execute(_OF_REFERENCE, {"_wallet": wallet, "_reference": reference}).scalars()
            return list(dict.fromkeys(told))

    def newest_first(self, *, wallet: str | None = None, unmatched: bool = False, limit: int = 100) -> list[StoredWebhook]:
        """Deliveries, the newest first.

        :param wallet: only those of one wallet.
        :param unmatched: only those about orders that no purchase in the ledger has as its own.
        """
        query = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
        if wallet is not None:
            query = query.where(deliveries.c.wallet == wallet)
        if unmatched:
            own = (purchases.c.wallet == deliveries.c.wallet) & (purchases.c.order_id == deliveries.c.order_id)
            query = query.where(~exists().where(own))
        with self.autocommit() as connection:
            return [
                StoredWebhook(_hint(row), datetime.fromisoformat(row["received_at"]), datetime.fromisoformat(row["last_at"]))
                for row in connection.execute(query).mappings()
            ]

    def prune(self, days: float) -> int:
        """Forget deliveries that last arrived longer ago; senders retry for days, so keep at least some.

        :returns: how many were forgotten.
        """
        old = (
            select(deliveries.c.id)
            .where(deliveries.c.last_at < stamp(self.clock() - timedelta(days=days)))
            .order_by(deliveries.c.last_at)
            .limit(_BITE)
        )
        forgotten = 0
        while True:
            with self.transaction() as connection:
                if self.engine.dialect.name == "postgresql":
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_WRITER})"))
                gone: Any = connection.execute(delete(deliveries).where(deliveries.c.id.in_(old)))
            forgotten += gone.rowcount
            if gone.rowcount < _BITE:
                return int(forgotten)


def _hint(row: RowMapping) -> Hint:
    named = {name: row[name] for name in ("digest", "conn_id", "wallet", "order_id", "reference", "status", "times")}
    return Hint(**named, number=row["id"])


def open_inbox(url: str, clock: Callable[[], datetime] | None = None) -> Inbox:
    """The inbox at a database address, brought to the version this code needs.

    :raises LedgerError: when it cannot be opened.
    """
    inbox = Inbox(engine_for(url), clock)
    with translated_errors(inbox.engine.url):
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
