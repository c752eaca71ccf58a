"""The ledger's tables, and how a database gets them.

Two rules: amounts are whole millionths of the currency unit, so that a database can add them exactly; and a database
whose version is not exactly ours is upgraded under a lock or refused, never half used. The version lives in
``proxyorders_schema`` and is Alembic's; the tables below must equal what the migrations build (there is a test).
"""

from __future__ import annotations

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
    inspect,
    text,
)
from sqlalchemy.types import TypeDecorator

from airflow_provider_proxyorders.domain.errors import LedgerError

#: The migration this code needs; the newest file in ``migrations/versions``.
HEAD = "0004"
#: Every version this code can upgrade from.
KNOWN = ("0001", "0002", "0003", "0004")
VERSION_TABLE = "proxyorders_schema"
#: Any fixed number: the key of PostgreSQL's advisory lock for upgrades.
UPGRADE_LOCK = 7_205_119_403

metadata = MetaData()


class VendorText(TypeDecorator[str]):
    """What somebody else said, above all a vendor: a purchase must not fail to be written down for a sign in it.

    What PostgreSQL or UTF-8 cannot hold is replaced, and what is too long is cut; ids are not such text, see ``wire.identifier``.
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
    """The same in a column of a certain length."""

    impl = String  # type: ignore[assignment]
    cache_ok = True


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
    Column("counted", BigInteger, nullable=False),
    Column("counted_on", String(10), nullable=False),
    Column("expires_at", String(40)),
    Column("delivered", Integer),
    Column("reason", VendorText, nullable=False),
    Column("evidence", VendorText, nullable=False),
    Column("maybe_sent", Boolean, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("sent_at", String(40)),
    Column("sent_until", String(40)),
    Column("created_at", String(40), nullable=False),
    Column("updated_at", String(40), nullable=False),
    # every list is of the newest first, so each index ends in the order of its list and none is read as a whole
    Index("proxyorders_purchases_open", "wallet", "step", "updated_at"),
    Index("proxyorders_purchases_order", "wallet", "order_id"),
    Index("proxyorders_purchases_wallet", "wallet", "updated_at"),
    Index("proxyorders_purchases_step", "step", "updated_at"),
    Index("proxyorders_purchases_updated", "updated_at"),
)

#: Append-only: one row for every step and every look, with who, when and why.
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

#: One row a wallet: the row that is locked while limits are checked, and whose turn it is.
wallets = Table(
    "proxyorders_wallets",
    metadata,
    Column("wallet", String(300), primary_key=True),
    Column("frozen", VendorText),
    Column("turn_key", String(500)),
    Column("turn_until", String(40)),
)

#: What a wallet's purchases of one day count for, so that limits are checked without adding up orders.
spending = Table(
    "proxyorders_spending",
    metadata,
    Column("wallet", String(300), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("counted", BigInteger, nullable=False),
)

#: Values that are decided once, by whoever comes first: for example which expiry a task extends from.
facts = Table(
    "proxyorders_facts",
    metadata,
    Column("name", String(700), primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", String(40), nullable=False),
)

#: Verified webhook deliveries, one row for each distinct one; what was delivered (codes) is never in it.
deliveries = Table(
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

#: One row for each wallet and alert: low or not, the number of the last crossing, and of the last one that somebody was told.
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


def ensure(engine: Engine) -> None:
    """Bring the database to the version this code needs; costs one small read when it is there already.

    :raises LedgerError: when the database belongs to a newer package, or cannot be upgraded. Nothing was bought.
    """
    with engine.connect() as connection:
        version = version_of(connection)
    if version == HEAD:
        return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            for limit in ("lock_timeout", "idle_in_transaction_session_timeout"):  # an upgrade of a large ledger takes its time
                connection.execute(text(f"SET LOCAL {limit} = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        version = version_of(connection)  # somebody else may have upgraded while this process waited for the lock
        if version == HEAD:
            return
        if version is not None and version not in KNOWN:
            raise LedgerError(
                f"the ledger has schema version {version!r}, which this version of airflow-provider-proxyorders does not "
                f"know (it needs {HEAD!r}). Install the newer package on every host.",
                retry="never",
            )
        _upgrade(connection)


def version_of(connection: Connection) -> str | None:
    """Version of the schema in a database, None without one."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return str(found) if found is not None else None


def _upgrade(connection: Connection) -> None:
    from pathlib import Path

    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
