"""Other wallets of one vendor in this ledger: two connections of one account may pay from two of them. It only reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, bindparam, select

from airflow_provider_proxyorders.ledger.engine import autocommitting, translated_errors
from airflow_provider_proxyorders.ledger.schema import connections, owned_ids, purchases

_CONNECTIONS = (
    select(connections.c.name, connections.c.wallet)
    .where(connections.c.vendor == bindparam("_vendor"), connections.c.wallet != bindparam("_wallet"))
    .order_by(connections.c.name)
)
_OWNERS = (
    select(owned_ids.c.vendor_id, purchases.c.conn_id, purchases.c.wallet)
    .join(purchases, purchases.c.order_key == owned_ids.c.order_key)
    .where(
        owned_ids.c.vendor_id.in_(bindparam("_ids", expanding=True)),
        purchases.c.vendor == bindparam("_vendor"),
        purchases.c.wallet != bindparam("_wallet"),
    )
    .order_by(owned_ids.c.vendor_id)
)


@dataclass(frozen=True)
class Elsewhere:
    """A connection with another wallet.

    :param conn_id: its id.
    """

    conn_id: str
    wallet: str


def connections_elsewhere(engine: Engine, vendor: str, wallet: str) -> list[Elsewhere]:
    """The vendor's connections that this ledger knows by another wallet."""
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        return [Elsewhere(*row) for row in connection.execute(_CONNECTIONS, {"_vendor": vendor, "_wallet": wallet})]


def bought_elsewhere(engine: Engine, vendor: str, wallet: str, order_ids: Collection[str]) -> dict[str, Elsewhere]:
    """Orders of a vendor that this ledger bought from another wallet, each with the connection that bought it."""
    if not order_ids:
        return {}
    by_lower_case = {order_id.lower(): order_id for order_id in order_ids}
    values = {"_ids": sorted(by_lower_case), "_vendor": vendor, "_wallet": wallet}
    with translated_errors(engine.url), autocommitting(engine).connect() as connection:
        rows = connection.execute(_OWNERS, values).all()
    return {by_lower_case[row.vendor_id]: Elsewhere(row.conn_id, row.wallet) for row in rows}
