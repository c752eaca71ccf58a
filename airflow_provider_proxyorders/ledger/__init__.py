"""The ledger: the durable record of purchases, and the only package with SQL.

- ``ledger``: :class:`Ledger`, to find and list purchases, and :func:`open_ledger`.
- ``writes``: intend, claim, record, release and freeze, one transaction each.
- ``keys``: order keys belong to a wallet.
- ``corrections``: what looked settled and is not: reopen, disown, ask and answer.
- ``ownership``: one creation owns an order id. ``questions``: orders of late answers that wait for a decision.
- ``accounts``: which account is which wallet. ``joining`` makes one wallet of two.
- ``looks``: looks at unresolved purchases, judged where they are appended.
- ``freezes``: the history of a wallet, a row for each freeze and each end of one.
- ``turns``: the row of a wallet with its lock, its freeze and its turn.
- ``leases``: rights that end by themselves.
- ``evidence``: other events on the wallet while a purchase was under way.
- ``spending``: limits by day and month.
- ``facts``: single values under a name, one function for each.
- ``rows``: rows and values, such as ``Intent``, ``History`` and ``StaleClaim``.
- ``bulk``: purchases of thousands of orders at once.
- ``inbox``: webhooks. ``listening`` hears of new ones, and ``pruning`` deletes old ones.
- ``alarms``: crossings of wallets into low and back.
- ``schema``: tables and upgrades. ``migrations/`` holds the versions.
- ``engine``: connections to SQLite and PostgreSQL. ``clock`` is its time.
  ``database``, ``dialect`` and ``inspect`` build on it.

The names below are loaded at their first use. Two threads of a triggerer may import this package at the same moment, one by its
own name and one by a module's name. Loading all modules at once would fail there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger.ledger import (
        History,
        Intent,
        KeyTaken,
        Ledger,
        OutdatedEvidence,
        OwnedElsewhere,
        StaleClaim,
        open_ledger,
    )

__all__ = ["History", "Intent", "KeyTaken", "Ledger", "OutdatedEvidence", "OwnedElsewhere", "StaleClaim", "open_ledger"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_proxyorders.ledger import ledger

    return getattr(ledger, name)
