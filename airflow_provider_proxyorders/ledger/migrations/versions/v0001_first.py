"""The first ledger: purchases, their steps, wallets, spending by day, single values (anchors)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_purchases()
    _create_steps()
    _create_wallets()


def _create_purchases() -> None:
    op.create_table(
        "proxyorders_purchases",
        sa.Column("order_key", sa.String(500), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("vendor", sa.String(100), nullable=False),
        sa.Column("conn_id", sa.String(250), nullable=False),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("step", sa.String(20), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("target", sa.String(200)),
        sa.Column("order_id", sa.String(200)),
        sa.Column("subaccount", sa.String(200)),
        sa.Column("vendor_status", sa.String(200)),
        sa.Column("currency", sa.String(10)),
        sa.Column("reserved", sa.Text, nullable=False),
        sa.Column("price", sa.Text),
        sa.Column("counted", sa.BigInteger, nullable=False),
        sa.Column("counted_on", sa.String(10), nullable=False),
        sa.Column("expires_at", sa.String(40)),
        sa.Column("delivered", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("ambiguous", sa.Boolean, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.String(40)),
        sa.Column("sent_until", sa.String(40)),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("updated_at", sa.String(40), nullable=False),
    )
    op.create_index("proxyorders_purchases_open", "proxyorders_purchases", ["wallet", "step", "updated_at"])
    op.create_index("proxyorders_purchases_order", "proxyorders_purchases", ["wallet", "order_id"])
    op.create_index("proxyorders_purchases_wallet", "proxyorders_purchases", ["wallet", "updated_at"])
    op.create_index("proxyorders_purchases_step", "proxyorders_purchases", ["step", "updated_at"])
    op.create_index("proxyorders_purchases_updated", "proxyorders_purchases", ["updated_at"])


def _create_steps() -> None:
    op.create_table(
        "proxyorders_steps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("order_key", sa.String(500), sa.ForeignKey("proxyorders_purchases.order_key"), nullable=False),
        sa.Column("step", sa.String(20), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("dag_id", sa.String(250)),
        sa.Column("run_id", sa.String(250)),
        sa.Column("task_id", sa.String(250)),
        sa.Column("map_index", sa.Integer, nullable=False),
        sa.Column("try_number", sa.Integer, nullable=False),
        sa.Column("host", sa.String(250), nullable=False),
    )
    op.create_index("proxyorders_steps_key", "proxyorders_steps", ["order_key", "id"])


def _create_wallets() -> None:
    op.create_table(
        "proxyorders_wallets",
        sa.Column("wallet", sa.String(300), primary_key=True),
        sa.Column("frozen", sa.Text),
        sa.Column("lane_key", sa.String(500)),
        sa.Column("lane_until", sa.String(40)),
    )
    op.create_table(
        "proxyorders_spending",
        sa.Column("wallet", sa.String(300), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("counted", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "proxyorders_anchors",
        sa.Column("name", sa.String(700), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
    )
