"""The ledger: our durable record of what was intended, sent and learned.

Only this package knows SQL. ``schema`` holds the tables and brings a database to the version the code needs,
``ledger`` reads and writes, ``spending`` keeps the limits.

What is named here is loaded when it is used: a package that loads its own modules at once cannot be loaded by two threads of a
triggerer at the same moment, one by its own name and one by a module's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger.ledger import History, Intent, Ledger, StaleClaim, open_ledger

__all__ = ["History", "Intent", "Ledger", "StaleClaim", "open_ledger"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_proxyorders.ledger import ledger

    return getattr(ledger, name)
