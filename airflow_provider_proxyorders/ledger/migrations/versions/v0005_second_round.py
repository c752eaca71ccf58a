"""Whose order an id is, which account a wallet is, looks as rows, open questions, refunds, keyed fingerprints."""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from alembic import op

from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.ledger.fingerprints import keyed

revision = "0005"
down_revision = "0004"

#: One creation owns an id, in lower case. Where an older ledger has an id twice, the older purchase keeps it.
_OWN = """
INSERT INTO proxyorders_owned_ids (wallet, vendor_id, order_key)
SELECT wallet, vendor_id, order_key FROM (
    SELECT wallet, LOWER({column}) AS vendor_id, order_key,
           ROW_NUMBER() OVER (PARTITION BY wallet, LOWER({column}) ORDER BY created_at, order_key) AS place
    FROM proxyorders_purchases WHERE kind = 'create' AND {column} IS NOT NULL AND {column} <> ''
) AS owners
WHERE place = 1 AND NOT EXISTS (
    SELECT 1 FROM proxyorders_owned_ids AS owned WHERE owned.wallet = owners.wallet AND owned.vendor_id = owners.vendor_id
)
"""


def upgrade() -> None:
    op.add_column("proxyorders_purchases", sa.Column("confirmed", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("proxyorders_purchases", sa.Column("refund", sa.Text))
    op.execute("UPDATE proxyorders_purchases SET confirmed = TRUE WHERE order_id IS NOT NULL")  # as older code took them
    op.create_table(
        "proxyorders_owned_ids",
        sa.Column("wallet", sa.String(300), primary_key=True),
        sa.Column("vendor_id", sa.String(200), primary_key=True),
        sa.Column("order_key", sa.String(500), nullable=False),
    )
    op.create_index("proxyorders_owned_ids_key", "proxyorders_owned_ids", ["order_key"])
    for column in ("order_id", "subaccount"):
        op.execute(_OWN.format(column=column))
    op.create_table(
        "proxyorders_looks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("order_key", sa.String(500), nullable=False),
        sa.Column("sending", sa.Integer, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("proxyorders_looks_key", "proxyorders_looks", ["order_key", "id"])
    _move_looks()
    _key_fingerprints()
    op.create_table(
        "proxyorders_accounts",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("vendor", sa.String(100), nullable=False),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("conn_id", sa.String(250), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_table(
        "proxyorders_connections",
        sa.Column("vendor", sa.String(100), primary_key=True),
        sa.Column("conn_id", sa.String(500), primary_key=True),
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("named", sa.String(300)),
    )
    op.create_index("proxyorders_connections_wallet", "proxyorders_connections", ["wallet"])
    op.add_column("proxyorders_wallets", sa.Column("joined", sa.String(300)))
    op.create_table(
        "proxyorders_questions",
        sa.Column("order_key", sa.String(500), primary_key=True),
        sa.Column("order_id", sa.String(200), primary_key=True),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("answered_at", sa.String(40)),
    )
    op.create_index("proxyorders_questions_wallet", "proxyorders_questions", ["wallet", "answered_at"])
    _note_freezes()
    _name_tasks()


def _note_freezes() -> None:
    """The history of wallets, which begins with the freezes of now."""
    op.create_table(
        "proxyorders_wallet_steps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("wallet", sa.String(300), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("what", sa.String(20), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("host", sa.String(250), nullable=False),
    )
    op.create_index("proxyorders_wallet_steps_wallet", "proxyorders_wallet_steps", ["wallet", "id"])
    copied = "SELECT wallet, :at, 'frozen', frozen, '' FROM proxyorders_wallets WHERE frozen IS NOT NULL"
    insert = f"INSERT INTO proxyorders_wallet_steps (wallet, at, what, why, host) {copied}"
    op.get_bind().execute(sa.text(insert), {"at": datetime.now(timezone.utc).isoformat(timespec="microseconds")})


#: The first step of a purchase that a task wrote.
_FIRST_STEP_OF_TASK = """
(SELECT {column} FROM proxyorders_steps AS step
 WHERE step.order_key = proxyorders_purchases.order_key AND step.task_id IS NOT NULL ORDER BY step.id LIMIT 1)
"""


def _name_tasks() -> None:
    """Give each purchase the task that intended it, and the indexes of the lists by task, connection and end."""
    for name in ("dag_id", "run_id", "task_id"):
        op.add_column("proxyorders_purchases", sa.Column(name, sa.String(250)))
        op.execute(f"UPDATE proxyorders_purchases SET {name} = {_FIRST_STEP_OF_TASK.format(column=name)}")
    op.add_column("proxyorders_purchases", sa.Column("map_index", sa.Integer, nullable=False, server_default="-1"))
    first_index = _FIRST_STEP_OF_TASK.format(column="map_index")
    op.execute(f"UPDATE proxyorders_purchases SET map_index = COALESCE({first_index}, -1)")
    for name, columns in (
        ("conn", ["conn_id", "updated_at"]),
        ("dag", ["dag_id", "updated_at"]),
        ("created", ["created_at"]),
        ("expires", ["expires_at"]),
    ):
        op.create_index(f"proxyorders_purchases_{name}", "proxyorders_purchases", columns)


#: Verdicts in ledgers before schema 0004.
_OLD_WORDS = {"blind": "not visible", "undecided": "inconclusive"}
_WITH_LOOKS = """
SELECT order_key, evidence, (
    SELECT COALESCE(MAX(fence), 0) FROM proxyorders_steps AS sent
    WHERE sent.order_key = purchase.order_key AND sent.step = 'sent'
) AS sending
FROM proxyorders_purchases AS purchase WHERE evidence LIKE '%"looks"%'
"""


def _move_looks() -> None:
    """Move the looks out of the evidence of each purchase, so that no look of an upgraded purchase is lost."""
    connection = op.get_bind()
    looks: list[dict[str, Any]] = []
    for row in connection.execute(sa.text(_WITH_LOOKS)).mappings().all():
        evidence = json.loads(row["evidence"], parse_float=Decimal)
        noted = evidence.pop("looks", None)
        if not isinstance(noted, list):
            continue
        looks += [
            {"order_key": row["order_key"], "sending": row["sending"], "at": look["at"], "detail": look["seen"]}
            | {"verdict": _OLD_WORDS.get(look["verdict"], look["verdict"])[:20]}
            for look in noted
        ]
        kept = {"key": row["order_key"], "evidence": dump_json(evidence)}
        connection.execute(sa.text("UPDATE proxyorders_purchases SET evidence = :evidence WHERE order_key = :key"), kept)
    if looks:
        names = "order_key, sending, at, verdict, detail"
        values = ":order_key, :sending, :at, :verdict, :detail"
        connection.execute(sa.text(f"INSERT INTO proxyorders_looks ({names}) VALUES ({values})"), looks)


_WITH_SECRETS = "SELECT order_key, fingerprint FROM proxyorders_purchases WHERE request LIKE '%\"***\"%'"


def _key_fingerprints() -> None:
    """Key the fingerprints of requests with masked secrets: the plain hash would give a short secret away."""
    connection = op.get_bind()
    rows = connection.execute(sa.text(_WITH_SECRETS)).mappings().all()
    if not rows:
        return
    salt = {"value": secrets.token_hex(32), "at": datetime.now(timezone.utc).isoformat(timespec="microseconds")}
    connection.execute(sa.text("INSERT INTO proxyorders_facts (name, value, at) VALUES ('salt of accounts', :value, :at)"), salt)
    for row in rows:
        kept = {"key": row["order_key"], "fingerprint": keyed(salt["value"], row["fingerprint"])}
        connection.execute(sa.text("UPDATE proxyorders_purchases SET fingerprint = :fingerprint WHERE order_key = :key"), kept)
