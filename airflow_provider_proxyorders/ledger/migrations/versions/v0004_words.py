"""The words of the package: *turn*, *maybe sent* and *facts* in place of *lane*, *ambiguous* and *anchors*."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # both databases know this form, which keeps every index and constraint
    op.execute("ALTER TABLE proxyorders_purchases RENAME COLUMN ambiguous TO maybe_sent")
    op.execute("ALTER TABLE proxyorders_wallets RENAME COLUMN lane_key TO turn_key")
    op.execute("ALTER TABLE proxyorders_wallets RENAME COLUMN lane_until TO turn_until")
    op.execute("ALTER TABLE proxyorders_anchors RENAME TO proxyorders_facts")
