"""What a person should see first: wallets, ends of orders, and webhooks about orders from elsewhere.

One rule: each query reads a bounded number of rows through an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import Integer, RowMapping, bindparam, exists, func, select, tuple_

from airflow_provider_proxyorders.domain.model import Money, Step
from airflow_provider_proxyorders.ledger import distinct, turns
from airflow_provider_proxyorders.ledger.database import Database
from airflow_provider_proxyorders.ledger.dialect import stamp
from airflow_provider_proxyorders.ledger.facts import FactStore, balance_mark
from airflow_provider_proxyorders.ledger.rows import price_of
from airflow_provider_proxyorders.ledger.schema import accounts, alarms, connections, purchases, wallets, webhooks
from airflow_provider_proxyorders.ledger.spending import amount_of

#: Rows of one look: ends of orders, purchases among which they are, and webhooks.
MOST_ENDS, SCANNED_ENDS, MOST_WEBHOOKS = 1_000, 5_000, 1_000
#: Ends for a list of the first fifty that still need something.
FEW_ENDS = 200

_LIMIT = bindparam("_limit", type_=Integer)
_WALLETS = select(wallets.c.wallet, wallets.c.frozen).where(wallets.c.joined.is_(None)).order_by(wallets.c.wallet).limit(_LIMIT)
_CONNECTIONS = select(connections.c.wallet, connections.c.name).order_by(connections.c.name)
_OF_CONNECTION = select(purchases.c.wallet).where(purchases.c.conn_id == bindparam("_conn_id"))
_WALLET_OF = _OF_CONNECTION.order_by(purchases.c.updated_at.desc()).limit(1)
_ACCOUNTS = select(accounts.c.vendor, accounts.c.digest).where(accounts.c.wallet == bindparam("_wallet"))
_ALARM = (
    select(alarms.c.balance, alarms.c.since)
    .where(alarms.c.wallet == bindparam("_wallet"), alarms.c.balance.is_not(None))
    .order_by(alarms.c.since.desc())
    .limit(1)
)
_WAITING_STEPS = [step.value for step in (Step.INTENDED, Step.SENT, Step.UNKNOWN, Step.QUARANTINED)]
_RESERVED = select(func.coalesce(func.sum(purchases.c.counted), 0)).where(
    purchases.c.wallet == bindparam("_wallet"), purchases.c.step.in_(_WAITING_STEPS)
)
_END_COLUMNS = [
    purchases.c[name] for name in ("order_key", "wallet", "vendor", "conn_id", "order_id", "expires_at", "price", "currency")
]
_IN_RANGE = purchases.c.expires_at >= bindparam("_now"), purchases.c.expires_at < bindparam("_until")
_SCANNED = bindparam("_scanned", type_=Integer)
#: Only the range of ends chooses the index: by their step or connection a database would sort every order that there ever was.
_NEXT_ENDS = select(*_END_COLUMNS, purchases.c.step).where(*_IN_RANGE).order_by(purchases.c.expires_at).limit(_SCANNED)
_MORE_ENDS = select(purchases.c.expires_at).where(*_IN_RANGE).order_by(purchases.c.expires_at).limit(1).offset(_SCANNED)
_ENDING_STEPS = [step.value for step in (Step.PLACED, Step.DELIVERED, Step.PARTIAL)]
_OF_ORDER = select(func.count(), func.coalesce(func.sum(webhooks.c.times), 0)).where(
    webhooks.c.wallet == bindparam("_wallet"), webhooks.c.order_id == bindparam("_order")
)


@dataclass(frozen=True)
class WalletState:
    """A wallet as the ledger knows it.

    :param conn_ids: the connections that pay from it.
    :param frozen: why it buys nothing, ``None`` for a wallet that may buy.
    """

    wallet: str
    conn_ids: tuple[str, ...]
    frozen: str | None


@dataclass(frozen=True)
class OrderEnd:
    """The last known end of an order.

    :param extended: whether an extension of it is under way.
    """

    order_key: str
    wallet: str
    vendor: str
    conn_id: str
    order_id: str
    at: datetime
    price: Money | None
    extended: bool


@dataclass(frozen=True)
class ReceivedWebhook:
    """A webhook of the inbox.

    :param matched: whether the ledger has a purchase with this order.
    """

    number: int
    conn_id: str
    wallet: str
    order_id: str
    status: str
    received_at: datetime
    last_at: datetime
    times: int
    matched: bool


class Attention(Database):
    """The overviews of one ledger database. It only reads."""

    def conn_ids(self) -> list[str]:
        """The connections of all purchases."""
        return distinct.values(self.engine, purchases.c.conn_id, 10_000)

    def dag_ids(self) -> list[str]:
        """The DAGs of all purchases, at most a few hundred."""
        return distinct.values(self.engine, purchases.c.dag_id)

    def wallets(self, most: int = 10_000) -> list[WalletState]:
        """The wallets by name."""
        buying = self.conn_ids()
        with self.autocommit() as connection:
            rows = connection.execute(_WALLETS, {"_limit": most}).all()
            conn_ids: dict[str, list[str]] = {}
            for row in connection.execute(_CONNECTIONS):
                conn_ids.setdefault(row.wallet, []).append(row.name)
            bound = {name for names in conn_ids.values() for name in names}
            for conn_id in buying:  # an older ledger binds a connection at its next use
                wallet = None if conn_id in bound else connection.execute(_WALLET_OF, {"_conn_id": conn_id}).scalar()
                if wallet is not None:
                    conn_ids.setdefault(wallet, []).append(conn_id)
        return [WalletState(row.wallet, tuple(conn_ids.get(row.wallet, ())), row.frozen) for row in rows]

    def names_of(self, wallet: str) -> tuple[str, ...]:
        """The present name of a wallet, and its former ones."""
        with self.autocommit() as connection:
            return (wallet, *turns.former_names(connection, wallet))

    def balances(self, wallet: str) -> list[str | None]:
        """The last balance mark of each of a wallet's accounts, as text; see ``purchase/balance_marks.py``."""
        store = FactStore(self.engine, self.clock)
        with self.autocommit() as connection:
            rows = connection.execute(_ACCOUNTS, {"_wallet": wallet}).all()
        return [balance_mark(store, wallet, row.vendor, row.digest).get() for row in rows]

    def alarm_balance(self, wallet: str) -> tuple[str, datetime] | None:
        """The balance at the last crossing of a level, and its moment."""
        with self.autocommit() as connection:
            row = connection.execute(_ALARM, {"_wallet": wallet}).first()
        return (row.balance, datetime.fromisoformat(row.since)) if row is not None else None

    def reserved(self, wallet: str) -> Decimal:
        """What the unfinished purchases of a wallet count for its limits."""
        with self.autocommit() as connection:
            return amount_of(int(connection.execute(_RESERVED, {"_wallet": wallet}).scalar_one()))

    def ends(
        self, now: datetime, until: datetime, conn_ids: frozenset[str] | None = None, most: int = MOST_ENDS
    ) -> tuple[list[OrderEnd], bool]:
        """The orders that end first, and whether there may be more of them.

        :param conn_ids: only orders through these connections; ``None``: through every connection.
        """
        values: dict[str, Any] = {"_now": stamp(now), "_until": stamp(until), "_limit": most, "_scanned": SCANNED_ENDS}
        with self.autocommit() as connection:
            query = _ends(of_connections=conn_ids is not None)
            rows = connection.execute(query, {**values, "_conn_ids": sorted(conn_ids or ())}).mappings().all()
            more = len(rows) >= most or connection.execute(_MORE_ENDS, values).first() is not None
        ends = {(row["wallet"], row["order_id"]): _end(row) for row in rows if row["order_id"] and not row["superseded"]}
        return sorted(ends.values(), key=lambda end: end.at), more

    def newest_webhooks(self, before: int | None = None, most: int = MOST_WEBHOOKS) -> list[ReceivedWebhook]:
        """The newest webhooks.

        :param before: only webhooks with a smaller number.
        """
        query = _webhooks(older=before is not None)
        with self.autocommit() as connection:
            return [_received(row) for row in connection.execute(query, {"_limit": most, "_before": before}).mappings()]

    def webhooks_of_order(self, wallet: str, order_id: str) -> tuple[int, int]:
        """How many webhooks an order has, and how many deliveries of them arrived."""
        with self.autocommit() as connection:
            webhooks_of, copies = connection.execute(_OF_ORDER, {"_wallet": wallet, "_order": order_id}).one()
        return int(webhooks_of), int(copies)


@cache
def _webhooks(*, older: bool) -> Any:
    """A page of webhooks, each with the fact whether its order is the ledger's."""
    page: Any = select(webhooks).order_by(webhooks.c.id.desc()).limit(_LIMIT)
    if older:
        page = page.where(webhooks.c.id < bindparam("_before"))
    page = page.subquery()
    own = (purchases.c.wallet == page.c.wallet) & (purchases.c.order_id == page.c.order_id)
    return select(page, exists().where(own).label("matched")).order_by(page.c.id.desc())


@cache
def _ends(*, of_connections: bool) -> Any:
    """The orders that end first, each with the facts whether a later end is known, and whether an extension is under way."""
    scanned = _NEXT_ENDS.subquery()
    wanted = select(scanned).where(scanned.c.step.in_(_ENDING_STEPS)).order_by(scanned.c.expires_at).limit(_LIMIT)
    if of_connections:
        wanted = wanted.where(scanned.c.conn_id.in_(bindparam("_conn_ids", expanding=True)))
    ends = wanted.subquery()
    later, extension = purchases.alias(), purchases.alias()
    superseded = exists().where(
        later.c.wallet == ends.c.wallet, later.c.order_id == ends.c.order_id, later.c.expires_at > ends.c.expires_at
    )
    under_way = select(extension.c.wallet, extension.c.target).where(
        extension.c.step.in_([*_WAITING_STEPS, Step.PLACED.value]), extension.c.kind == "extend"
    )
    extended = tuple_(ends.c.wallet, ends.c.order_id).in_(under_way)  # read once, and not for each end
    return select(ends, superseded.label("superseded"), extended.label("extended"))


def _end(row: RowMapping) -> OrderEnd:
    moment = datetime.fromisoformat(row["expires_at"])
    return OrderEnd(
        row["order_key"],
        row["wallet"],
        row["vendor"],
        row["conn_id"],
        row["order_id"],
        moment,
        price_of(row),
        bool(row["extended"]),
    )


def _received(row: RowMapping) -> ReceivedWebhook:
    return ReceivedWebhook(
        number=row["id"],
        conn_id=row["conn_id"],
        wallet=row["wallet"],
        order_id=row["order_id"],
        status=row["status"],
        received_at=datetime.fromisoformat(row["received_at"]),
        last_at=datetime.fromisoformat(row["last_at"]),
        times=row["times"],
        matched=bool(row["matched"]),
    )


__all__ = ["Attention", "OrderEnd", "ReceivedWebhook", "WalletState"]
