"""Verified webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "proxyorders_deliveries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("conn_id", sa.String(250), nullable=False),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("order_id", sa.String(200), nullable=False),
        sa.Column("reference", sa.String(200)),
        sa.Column("status", sa.String(100), nullable=False),
        sa.Column("received_at", sa.String(40), nullable=False),
        sa.Column("last_at", sa.String(40), nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
    )
    op.create_index("proxyorders_deliveries_reference", "proxyorders_deliveries", ["wallet", "reference"])
    op.create_index("proxyorders_deliveries_order", "proxyorders_deliveries", ["wallet", "order_id"])
    op.create_index("proxyorders_deliveries_last", "proxyorders_deliveries", ["last_at"])
