"""An order key belongs to a wallet: a purchase under a key that another wallet has keeps the key of its task."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("proxyorders_purchases", sa.Column("task_key", sa.String(500)))
    op.create_index("proxyorders_purchases_task_key", "proxyorders_purchases", ["task_key"])
