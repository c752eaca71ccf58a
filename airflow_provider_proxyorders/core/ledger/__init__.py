"""The ledger: our durable record of what was intended, sent and learned.

Only this package knows SQL. ``schema`` holds the tables and brings a database to the version the code needs,
``store`` reads and writes, ``spending`` keeps the limits.
"""

from __future__ import annotations

from airflow_provider_proxyorders.core.ledger.store import History, Intent, Ledger, StaleClaim, open_ledger

__all__ = ["History", "Intent", "Ledger", "StaleClaim", "open_ledger"]
