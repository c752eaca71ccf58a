"""Indexes of few rows: purchases without a known end by their sending, and purchases that may have been sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    dated, sent = sa.text("expires_at IS NULL"), sa.text("maybe_sent")
    op.create_index(
        "proxyorders_purchases_undated",
        "proxyorders_purchases",
        ["wallet", "kind", "step", "sent_at"],
        sqlite_where=dated,
        postgresql_where=dated,
    )
    op.create_index(
        "proxyorders_purchases_doubtful",
        "proxyorders_purchases",
        ["step", "updated_at"],
        sqlite_where=sa.text("maybe_sent = 1"),
        postgresql_where=sent,
    )
