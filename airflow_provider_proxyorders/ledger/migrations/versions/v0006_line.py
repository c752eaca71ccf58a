"""The line before the turn on a wallet, and the creation that was sent last from it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "proxyorders_tickets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("order_key", sa.String(500), nullable=False),
        sa.Column("until", sa.String(40), nullable=False),
    )
    op.create_index("proxyorders_tickets_key", "proxyorders_tickets", ["wallet", "order_key"], unique=True)
    op.add_column("proxyorders_wallets", sa.Column("sent_key", sa.String(500)))
    op.add_column("proxyorders_wallets", sa.Column("sent_step", sa.BigInteger))
    # whoever intended before the upgrade intends anew: older code noted no sending
    last_step = "(SELECT COALESCE(MAX(id), 0) FROM proxyorders_steps)"
    op.execute(f"UPDATE proxyorders_wallets SET sent_key = 'another purchase', sent_step = {last_step}")
