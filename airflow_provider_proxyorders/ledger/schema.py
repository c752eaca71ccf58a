"""The ledger's tables, and how a database gets them.

Two rules. Counted amounts are whole millionths of the currency unit, so a database adds them exactly. A database of an older
version is upgraded under a lock, and a database of a newer version is refused. Alembic keeps the version in
``proxyorders_schema``. A test compares the tables below with the result of the migrations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    inspect,
    text,
)
from sqlalchemy.types import TypeDecorator

from airflow_provider_proxyorders.domain.errors import LedgerError

#: The version of this code: the newest file in ``migrations/versions``.
HEAD = "0009"
#: Every version with an upgrade path to this code.
VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
VERSION_TABLE = "proxyorders_schema"
#: Any fixed number: the key of PostgreSQL's advisory lock for upgrades.
UPGRADE_LOCK = 7_205_119_403

metadata = MetaData()


class VendorText(TypeDecorator[str]):
    """Text from outside, above all from a vendor. An odd character must never keep a purchase from being written down.

    Characters beyond PostgreSQL or UTF-8 are replaced, and long text is cut. Ids pass a check of their own, see
    ``wire.reading.identifier``.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if not value.isascii():
            value = value.encode("utf-8", "replace").decode()
        return value.replace("\0", "?")[: self.impl_instance.length]  # type: ignore[attr-defined]


class ShortVendorText(VendorText):
    """The same in a column of limited length."""

    impl = String  # type: ignore[assignment]
    cache_ok = True


#: Purchases that may have been sent, as each database writes that in a query: only then a query uses their index.
_MAYBE_SENT: dict[str, Any] = {"sqlite_where": text("maybe_sent = 1"), "postgresql_where": text("maybe_sent")}
_UNDATED: dict[str, Any] = {"sqlite_where": text("expires_at IS NULL"), "postgresql_where": text("expires_at IS NULL")}

#: Times are ISO text in UTC with microseconds, which sorts as it reads and is the same on both databases.
purchases = Table(
    "proxyorders_purchases",
    metadata,
    Column("order_key", String(500), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("vendor", String(100), nullable=False),
    Column("conn_id", String(250), nullable=False),
    Column("wallet", String(300), nullable=False),
    Column("step", String(20), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("target", String(200)),
    Column("order_id", String(200)),
    Column("subaccount", String(200), key="handle"),  # the vendor's second id, see VendorOrder.handle
    Column("vendor_status", ShortVendorText(200)),
    Column("currency", ShortVendorText(10)),
    Column("reserved", Text, nullable=False),
    Column("price", Text),
    Column("refund", Text),
    Column("counted", BigInteger, nullable=False),
    Column("counted_on", String(10), nullable=False),
    Column("expires_at", String(40)),
    Column("delivered", Integer),
    Column("reason", VendorText, nullable=False),
    Column("evidence", VendorText, nullable=False),
    Column("maybe_sent", Boolean, nullable=False),
    #: Whether a read has shown the order under its id. Before that, only the answer to the purchase named it.
    Column("confirmed", Boolean, nullable=False, server_default=false()),
    Column("fence", Integer, nullable=False),
    Column("sent_at", String(40)),
    Column("sent_until", String(40)),
    Column("created_at", String(40), nullable=False),
    Column("updated_at", String(40), nullable=False),
    #: The task that intended the purchase, for lists and links.
    Column("dag_id", String(250)),
    Column("run_id", String(250)),
    Column("task_id", String(250)),
    Column("map_index", Integer, nullable=False, server_default="-1"),
    #: The key as its task gave it, where another wallet has a purchase with that key; see ``keys``.
    Column("task_key", String(500)),
    # every list begins with the newest row, so each index ends in the order of its list, and a list reads its own rows only
    Index("proxyorders_purchases_open", "wallet", "step", "updated_at"),
    Index("proxyorders_purchases_order", "wallet", "order_id"),
    Index("proxyorders_purchases_wallet", "wallet", "updated_at"),
    Index("proxyorders_purchases_step", "step", "updated_at"),
    Index("proxyorders_purchases_updated", "updated_at"),
    Index("proxyorders_purchases_conn", "conn_id", "updated_at"),
    Index("proxyorders_purchases_dag", "dag_id", "updated_at"),
    Index("proxyorders_purchases_created", "created_at"),
    Index("proxyorders_purchases_expires", "expires_at"),
    Index("proxyorders_purchases_task_key", "task_key"),
    Index("proxyorders_purchases_undated", "wallet", "kind", "step", "sent_at", **_UNDATED),
    Index("proxyorders_purchases_doubtful", "step", "updated_at", **_MAYBE_SENT),
)

#: Append-only: one row for every step and every look, with actor, time and reason.
steps = Table(
    "proxyorders_steps",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("order_key", String(500), ForeignKey("proxyorders_purchases.order_key"), nullable=False),
    Column("step", String(20), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("at", String(40), nullable=False),
    Column("why", VendorText, nullable=False),
    Column("dag_id", String(250)),
    Column("run_id", String(250)),
    Column("task_id", String(250)),
    Column("map_index", Integer, nullable=False),
    Column("try_number", Integer, nullable=False),
    Column("host", String(250), nullable=False),
    Index("proxyorders_steps_key", "order_key", "id"),
)

#: One row for each wallet: locked while limits are checked; it also holds the freeze and the turn. A wallet that was joined
#: into another one keeps its row: ``joined`` names that other wallet, and the name counts for it.
wallets = Table(
    "proxyorders_wallets",
    metadata,
    Column("wallet", String(300), primary_key=True),
    Column("frozen", VendorText),
    Column("turn_key", String(500)),
    Column("turn_until", String(40)),
    Column("joined", String(300)),
    #: The creation at its turn that was sent last, and a step: not before its own, and before every later intent.
    Column("sent_key", String(500)),
    Column("sent_step", BigInteger),
)

#: The line before the turn on a wallet, in the order of the numbers; see ``line``.
tickets = Table(
    "proxyorders_tickets",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("wallet", String(300), nullable=False),
    Column("order_key", String(500), nullable=False),
    Column("until", String(40), nullable=False),
    Index("proxyorders_tickets_key", "wallet", "order_key", unique=True),
)

#: Append-only: one row for each freeze of a wallet and each end of one, with person, time and reason.
wallet_steps = Table(
    "proxyorders_wallet_steps",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("wallet", String(300), nullable=False),
    Column("at", String(40), nullable=False),
    Column("what", String(20), nullable=False),
    Column("why", VendorText, nullable=False),
    Column("host", ShortVendorText(250), nullable=False),
    Index("proxyorders_wallet_steps_wallet", "wallet", "id"),
)

#: The amount of a wallet's purchases by day, so a limit check adds up at most 31 rows.
spending = Table(
    "proxyorders_spending",
    metadata,
    Column("wallet", String(300), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("counted", BigInteger, nullable=False),
)

#: Single values under a name, for example the expiry that a task extends from; see ``facts``.
facts = Table(
    "proxyorders_facts",
    metadata,
    Column("name", String(700), primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", String(40), nullable=False),
)

#: Verified webhooks, one row for each distinct webhook. Deliveries (proxies, codes) stay out.
webhooks = Table(
    "proxyorders_deliveries",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("conn_id", String(250), nullable=False),
    Column("wallet", String(300), nullable=False),
    Column("order_id", String(200), nullable=False),
    Column("reference", String(200)),
    Column("status", String(100), nullable=False),
    Column("received_at", String(40), nullable=False),
    Column("last_at", String(40), nullable=False),
    Column("times", Integer, nullable=False),
    Index("proxyorders_deliveries_reference", "wallet", "reference"),
    Index("proxyorders_deliveries_order", "wallet", "order_id"),
    Index("proxyorders_deliveries_last", "last_at"),
)

#: One row for each wallet and alert: its state, the number of the last crossing, and of the last confirmed crossing (``told``).
alarms = Table(
    "proxyorders_alarms",
    metadata,
    Column("wallet", String(300), primary_key=True),
    Column("name", String(300), primary_key=True),
    Column("state", String(10), nullable=False),
    Column("since", String(40), nullable=False),
    Column("balance", Text),
    Column("crossing", Integer, nullable=False),
    Column("told", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("held_until", String(40)),
)

#: One creation owns an id of the vendor: that of its order, and each other name of the order.
owned_ids = Table(
    "proxyorders_owned_ids",
    metadata,
    Column("wallet", String(300), primary_key=True),
    Column("vendor_id", String(200), primary_key=True),
    Column("order_key", String(500), nullable=False),
    Index("proxyorders_owned_ids_key", "order_key"),
)

#: Ids that reads before purchases saw at a vendor, in the order of the reads; see ``seen``.
seen_ids = Table(
    "proxyorders_seen_ids",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("wallet", String(300), nullable=False),
    Column("vendor", String(100), nullable=False),
    Column("vendor_id", String(200), nullable=False),
    Index("proxyorders_seen_ids_id", "wallet", "vendor", "vendor_id", unique=True),
)

#: Append-only: one row for every look at an unresolved purchase. ``sending`` is the fence of the sending that was looked for.
looks = Table(
    "proxyorders_looks",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("order_key", String(500), nullable=False),
    Column("sending", Integer, nullable=False),
    Column("at", String(40), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("detail", VendorText, nullable=False),
    Index("proxyorders_looks_key", "order_key", "id"),
)

#: The wallet of each account. ``digest`` is a keyed hash of vendor, host and key.
accounts = Table(
    "proxyorders_accounts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("vendor", String(100), nullable=False),
    Column("wallet", String(300), nullable=False),
    Column("conn_id", String(250), nullable=False),
    Column("at", String(40), nullable=False),
)

#: The wallet of each connection, which keeps it when its key changes. ``conn_id`` is in lower case, ``name`` is the id as it is
#: written. ``named`` is the wallet that the connection's own setting names.
connections = Table(
    "proxyorders_connections",
    metadata,
    Column("vendor", String(100), primary_key=True),
    Column("conn_id", String(500), primary_key=True),
    Column("name", String(250), nullable=False),
    Column("wallet", String(300), nullable=False),
    Column("named", String(300)),
    Index("proxyorders_connections_wallet", "wallet"),
)

#: The order of an answer that came too late to be recorded: a question for a person, open while ``answered_at`` is empty.
questions = Table(
    "proxyorders_questions",
    metadata,
    Column("order_key", String(500), primary_key=True),
    Column("order_id", String(200), primary_key=True),
    Column("wallet", String(300), nullable=False),
    Column("why", VendorText, nullable=False),
    Column("at", String(40), nullable=False),
    Column("answer", VendorText),
    Column("answered_at", String(40)),
    Index("proxyorders_questions_wallet", "wallet", "answered_at"),
)


def ensure(engine: Engine) -> None:
    """Upgrade the database to the version of this code. An up-to-date database costs one small read.

    :raises LedgerError: the database belongs to a newer package, or the upgrade failed. Nothing was bought.
    """
    with engine.connect() as connection:
        version = version_of(connection)
    if version == HEAD:
        return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            for limit in ("lock_timeout", "idle_in_transaction_session_timeout"):  # a large ledger takes longer
                connection.execute(text(f"SET LOCAL {limit} = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        version = version_of(connection)  # another process may have upgraded it while this one waited for the lock
        if version == HEAD:
            return
        if version is not None and version not in VERSIONS:
            raise LedgerError(
                f"the ledger has schema version {version!r}; this airflow-provider-proxyorders knows versions up to {HEAD!r}. "
                "Install the newer package on every host.",
                retry="never",
            )
        _upgrade(connection)


def version_of(connection: Connection) -> str | None:
    """The version of a database, ``None`` without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return str(version) if version is not None else None


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
