"""Alarms of wallets: low or ok, since when, and the last confirmed crossing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "proxyorders_alarms",
        sa.Column("wallet", sa.String(300), primary_key=True),
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("since", sa.String(40), nullable=False),
        sa.Column("balance", sa.Text),
        sa.Column("crossing", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("held_until", sa.String(40)),
    )
