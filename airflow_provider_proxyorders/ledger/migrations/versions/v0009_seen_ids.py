"""Ids seen at a vendor have rows of their own. Until now each purchase, and a fact of each wallet, held all of them."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_PREFIX, _SUFFIX = "seen by ", " at proxyscrape"


def upgrade() -> None:
    table = op.create_table(
        "proxyorders_seen_ids",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("vendor", sa.String(100), nullable=False),
        sa.Column("vendor_id", sa.String(200), nullable=False),
    )
    op.create_index("proxyorders_seen_ids_id", "proxyorders_seen_ids", ["wallet", "vendor", "vendor_id"], unique=True)
    facts = sa.table("proxyorders_facts", sa.column("name", sa.String), sa.column("value", sa.Text))
    connection = op.get_bind()
    of_lists = facts.c.name.like(f"{_PREFIX}%{_SUFFIX}")
    for name, value in connection.execute(sa.select(facts.c.name, facts.c.value).where(of_lists)).all():
        wallet = _present_name(connection, name[len(_PREFIX) : -len(_SUFFIX)])
        of_wallet = sa.select(table.c.vendor_id).where(table.c.wallet == wallet)
        already = set(connection.execute(of_wallet).scalars())  # of another former name of the wallet
        new = sorted(set(json.loads(value).get("subaccounts") or ()) - already)
        if new:
            rows = [{"wallet": wallet, "vendor": "proxyscrape", "vendor_id": each} for each in new]
            connection.execute(table.insert(), rows)
    connection.execute(sa.delete(facts).where(of_lists))


def _present_name(connection: sa.Connection, wallet: str) -> str:
    wallets = sa.table("proxyorders_wallets", sa.column("wallet", sa.String), sa.column("joined", sa.String))
    return connection.execute(sa.select(wallets.c.joined).where(wallets.c.wallet == wallet)).scalar() or wallet
