"""The inbox: verified webhooks, durable before the vendor gets its answer.

Three rules. The database keeps one row for each distinct webhook, even if many copies arrive at once. A row holds ids and the
vendor's word only; deliveries (proxies, codes) stay out. Rows become visible in the order of their numbers, so a reader that
goes on from a number gets every later row.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, exists, func, select, text
from sqlalchemy.exc import DataError

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger import intake, schema, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.engine import engine_for, translated_errors
from airflow_provider_proxyorders.ledger.schema import purchases, wallets, webhooks

#: PostgreSQL notifies listeners on this channel of new webhooks.
CHANNEL = "proxyorders_deliveries"

_NEWEST_NUMBER = select(func.coalesce(func.max(webhooks.c.id), 0))
#: Webhooks after a number, a page at a time.
_PAGE_AFTER = select(webhooks).where(webhooks.c.id > bindparam("_after")).order_by(webhooks.c.id).limit(bindparam("_limit"))
_LATER = webhooks.alias("later")
#: Only the newest webhook of each of a wallet's orders. The wallet is written as an expression, because through its index SQLite
#: would read and sort all of the wallet's webhooks for each page.
_NEWEST_OF_ORDERS = _PAGE_AFTER.where(
    webhooks.c.wallet.concat("") == bindparam("_wallet"),
    ~exists().where(_LATER.c.wallet == webhooks.c.wallet, _LATER.c.order_id == webhooks.c.order_id, _LATER.c.id > webhooks.c.id),
)
_ORDER_IDS_OF_REFERENCE = (
    select(webhooks.c.order_id)
    .where(webhooks.c.wallet == bindparam("_wallet"), webhooks.c.reference == bindparam("_reference"))
    .order_by(webhooks.c.id)
)

_COLUMNS = [column.name for column in webhooks.c if column.name != "id"]
#: PostgreSQL's advisory lock for one writer at a time. A row gets its number before its commit, and readers that go on from a
#: greater number would miss a row that becomes visible late.
_WRITER_LOCK = 7_205_119_404
_LOCK_WRITERS = text(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
#: Webhooks pruned in one transaction. New webhooks wait for its end.
_PRUNED_AT_ONCE = 500
_INSERT = f"INSERT INTO {webhooks.name} ({', '.join(_COLUMNS)})"


def _stored(name: str, cell: str) -> str:
    """The value of a column: of a wallet its present name, since a receiver may not have heard of a join yet."""
    if name != "wallet":
        return cell
    return f"COALESCE((SELECT joined FROM {wallets.name} AS known WHERE known.wallet = {cell}), {cell})"


#: The count of copies stops here. PostgreSQL's integer ends here, and an overflow would fail the whole group.
_MOST_COPIES = 2**31 - 1
_COUNT_COPIES = f"""ON CONFLICT (digest) DO UPDATE SET last_at = excluded.last_at, times =
    CASE WHEN {webhooks.name}.times > {_MOST_COPIES} - excluded.times THEN {_MOST_COPIES}
    ELSE {webhooks.name}.times + excluded.times END"""
# One statement takes a group of any size, as one JSON array of arrays. With a statement for each row, the interpreter's lock
# around each statement would cost more than the rows.
_KEEP_IN_SQLITE = text(f"""
    {_INSERT} SELECT {", ".join(_stored(name, f"json_extract(value, '$[{place}]')") for place, name in enumerate(_COLUMNS))}
    FROM json_each(:rows) WHERE true {_COUNT_COPIES}
""")
_CELLS = [_stored(name, f"CAST(new ->> {place} AS {webhooks.c[name].type})") for place, name in enumerate(_COLUMNS)]
_KEEP_IN_POSTGRES = text(f"""
    WITH kept AS (
        {_INSERT} SELECT {", ".join(_CELLS)}
        FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS new {_COUNT_COPIES} RETURNING 1
    )
    SELECT pg_notify('{CHANNEL}', '') FROM (SELECT count(*) FROM kept) AS counted
""")


@dataclass(frozen=True)
class Hint:
    """The verified content of a webhook: "look at this order now".

    :param digest: of wallet and body; a copy has the same digest.
    :param status: the vendor's word. Only a reading of the order proves it.
    :param former_wallets: names that the wallet had before, known once the webhook is stored.
    :param number: place in the inbox, 0 before the webhook is stored.
    :param times: copies that arrived.
    """

    digest: str
    conn_id: str
    wallet: str
    order_id: str
    reference: str | None
    status: str
    number: int = 0
    times: int = 1
    former_wallets: tuple[str, ...] = ()

    def concerns(self, wallet: str) -> bool:
        """Whether it is about an order of this wallet, under its present name or a former one."""
        return wallet == self.wallet or wallet in self.former_wallets


@dataclass(frozen=True)
class StoredWebhook:
    """A webhook in the inbox.

    :param last_at: arrival of its last copy.
    """

    hint: Hint
    last_at: datetime


class InboxFull(LedgerError):
    """A wallet has the most new rows of a day."""

    def __init__(self) -> None:
        super().__init__(f"more than {intake.MOST_A_DAY} different webhooks of one wallet in a day")


def digest_of(wallet: str, body: bytes) -> str:
    """The identity of a webhook: its wallet, and every byte of its body."""
    return hashlib.sha256(wallet.encode() + b"\n" + body).hexdigest()


class Inbox(Database):
    """The webhooks in one ledger database."""

    def keep(self, hints: Sequence[Hint]) -> frozenset[str]:
        """Store webhooks, all in one commit. Copies of a stored webhook are counted.

        :returns: the digests of webhooks that are left out: their wallets have the most new rows of a day, see ``intake``.
        :raises LedgerError: none of them was stored.
        """
        now = stamp(self.clock())
        copies, first_of = Counter(hint.digest for hint in hints), {hint.digest: hint for hint in hints}
        rows = [
            (hint.digest, hint.conn_id, hint.wallet, hint.order_id, hint.reference, hint.status, now, now, copies[hint.digest])
            for hint in first_of.values()
        ]
        if not rows:
            return frozenset()
        statement = _KEEP_IN_POSTGRES if self.engine.dialect.name == "postgresql" else _KEEP_IN_SQLITE
        with self._writing() as connection:
            beyond = intake.beyond_limit(connection, [(hint.wallet, hint.digest) for hint in first_of.values()], now[:10])
            newest = connection.execute(_NEWEST_NUMBER).scalar_one()
            connection.execute(statement, {"rows": json.dumps([row for row in rows if row[0] not in beyond])})
            intake.add_new_rows(connection, newest, now)
        return beyond

    def keep_each(self, hints: Sequence[Hint]) -> list[LedgerError | None]:
        """Store webhooks, all in one commit. If the database refuses a value, only the webhook with it fails.

        :returns: the error of each webhook, ``None`` for a stored one; :class:`InboxFull` beyond the limit of a day.
        :raises LedgerError: the database fails.
        """
        try:
            beyond = self.keep(hints)
        except LedgerError as error:
            if not isinstance(error.__cause__, DataError):
                raise
            if len(hints) == 1:
                return [error]
            middle = len(hints) // 2
            return [*self.keep_each(hints[:middle]), *self.keep_each(hints[middle:])]
        return [InboxFull() if hint.digest in beyond else None for hint in hints]

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction beside which no other one writes webhooks. With SQLite each transaction is alone."""
        with self.transaction() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(_LOCK_WRITERS)
            yield connection

    def newest(self) -> int:
        """The number of the newest webhook, 0 for an empty inbox."""
        with self.autocommit() as connection:
            return int(connection.execute(_NEWEST_NUMBER).scalar_one())

    def since(self, number: int, limit: int = 1000) -> list[Hint]:
        """Webhooks after a number, oldest first."""
        with self.autocommit() as connection:
            rows = connection.execute(_PAGE_AFTER, {"_after": number, "_limit": limit}).mappings().all()
            former = {name: turns.former_names(connection, name) for name in {row["wallet"] for row in rows}}
            return [_hint(row, former[row["wallet"]]) for row in rows]

    def newest_of_orders(self, wallet: str, number: int, limit: int = 1000) -> list[Hint]:
        """The newest webhook of each of a wallet's orders, after a number; oldest first."""
        with self.autocommit() as connection:
            wallet = turns.live_name(connection, wallet)
            former = turns.former_names(connection, wallet)
            values = {"_wallet": wallet, "_after": number, "_limit": limit}
            return [_hint(row, former) for row in connection.execute(_NEWEST_OF_ORDERS, values).mappings()]

    def order_ids_of_reference(self, wallet: str, reference: str) -> list[str]:
        """The vendor's ids of all orders that webhooks name with a reference of ours, in the order of arrival."""
        with self.autocommit() as connection:
            order_ids = connection.execute(_ORDER_IDS_OF_REFERENCE, {"_wallet": wallet, "_reference": reference}).scalars()
            return list(dict.fromkeys(order_ids))

    def newest_first(self, *, wallet: str | None = None, unmatched: bool = False, limit: int = 100) -> list[StoredWebhook]:
        """Webhooks, the newest first.

        :param wallet: only webhooks of this wallet.
        :param unmatched: only webhooks about orders outside of the ledger.
        """
        query = select(webhooks).order_by(webhooks.c.id.desc()).limit(limit)
        if wallet is not None:
            query = query.where(webhooks.c.wallet == wallet)
        if unmatched:
            own = (purchases.c.wallet == webhooks.c.wallet) & (purchases.c.order_id == webhooks.c.order_id)
            query = query.where(~exists().where(own))
        with self.autocommit() as connection:
            return [
                StoredWebhook(_hint(row), datetime.fromisoformat(row["last_at"])) for row in connection.execute(query).mappings()
            ]

    def prune(self, days: float) -> int:
        """Delete webhooks with their last copy older than so many days. Senders repeat a webhook for days, so keep a few days.

        :returns: the number of deleted webhooks.
        """
        old = (
            select(webhooks.c.id)
            .where(webhooks.c.last_at < stamp(self.clock() - timedelta(days=days)))
            .order_by(webhooks.c.last_at)
            .limit(_PRUNED_AT_ONCE)
        )
        deleted = 0
        while True:
            with self._writing() as connection:
                result: Any = connection.execute(delete(webhooks).where(webhooks.c.id.in_(old)))
            deleted += result.rowcount
            if result.rowcount < _PRUNED_AT_ONCE:
                return int(deleted)


def _hint(row: RowMapping, former_wallets: tuple[str, ...] = ()) -> Hint:
    columns = {name: row[name] for name in ("digest", "conn_id", "wallet", "order_id", "reference", "status", "times")}
    return Hint(**columns, number=row["id"], former_wallets=former_wallets)


def open_inbox(url: str, clock: Callable[[], datetime] | None = None) -> Inbox:
    """The inbox at a database address, upgraded to the version of this code.

    :raises LedgerError: it cannot be opened.
    """
    inbox = Inbox(engine_for(url), clock)
    with translated_errors(inbox.engine.url):
        schema.ensure(inbox.engine)
    return inbox
