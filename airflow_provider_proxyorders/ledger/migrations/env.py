"""Runs migrations on the connection it is handed; the caller holds the lock and the transaction."""

from __future__ import annotations

from alembic import context

from airflow_provider_proxyorders.ledger.schema import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
context.run_migrations()
