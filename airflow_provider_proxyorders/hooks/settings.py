"""Settings of the package in ``airflow.cfg``, section ``[proxyorders]``."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import LedgerError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger import Ledger

log = logging.getLogger(__name__)

#: Days that a webhook delivery is kept, and deliveries a second that one connection may send to one receiver.
RETENTION, RATE = 30.0, 500.0
#: Executors whose tasks all run on the scheduler's host and so see the same SQLite file.
ONE_HOST = ("LocalExecutor", "SequentialExecutor", "DebugExecutor")


def ledger_url() -> str:
    """``[proxyorders] ledger_url``; by default a SQLite file beside Airflow's own files."""
    from airflow.sdk import conf

    configured = conf.get("proxyorders", "ledger_url", fallback="") or ""
    return configured.strip() or f"sqlite:///{os.path.join(_compat.airflow_home(), 'proxyorders.db')}"


def webhook_retention() -> float:
    """``[proxyorders] webhook_retention``, in days."""
    return _from_one_on("webhook_retention", RETENTION)


def webhook_rate() -> float:
    """``[proxyorders] webhook_rate``, in deliveries a second."""
    return _from_one_on("webhook_rate", RATE)


def _from_one_on(name: str, default: float) -> float:
    """A number from 1 on. A mistake is said and not fatal: a receiver that does not start loses deliveries."""
    from airflow.sdk import conf

    configured = (conf.get("proxyorders", name, fallback="") or "").strip()
    try:
        number = float(configured) if configured else default
    except ValueError:
        number = 0.0
    if 1 <= number < float("inf"):
        return number
    log.error("[proxyorders] %s must be a number from 1 on, not %r; %g is used", name, configured, default)
    return default


def ledger() -> Ledger:
    """The ledger that all workers of this Airflow share.

    :raises LedgerError: when they could not share it, or when it cannot be opened. Nothing was bought.
    """
    from airflow_provider_proxyorders.ledger import open_ledger

    url = ledger_url()
    refuse_unshared(url)
    return open_ledger(url)


def refuse_unshared(url: str) -> None:
    """Refuse a ledger that workers would not share.

    :raises LedgerError: with what to write instead. Nothing was bought.
    """
    if not url.lower().startswith("sqlite"):
        return
    if not os.path.isabs(url.partition("///")[2].partition("?")[0]):
        raise LedgerError(
            "the ledger must be a file with an absolute path: any other would be another ledger in every process, and "
            "nothing could stop a second purchase. Nothing was bought. Write [proxyorders] ledger_url as "
            "sqlite:////absolute/path/proxyorders.db, with four slashes",
            retry="never",
        )
    spread = [name for name in _compat.executors() if not any(local in name for local in ONE_HOST)]
    if spread:
        raise LedgerError(
            f"the ledger is a SQLite file, but {spread[0]} spreads tasks over hosts that do not share it, so nothing could "
            "stop a second purchase. Nothing was bought. Point [proxyorders] ledger_url at a PostgreSQL database, for "
            "example AIRFLOW__PROXYORDERS__LEDGER_URL=postgresql+psycopg://user:password@host/proxyorders",
            retry="never",
        )
