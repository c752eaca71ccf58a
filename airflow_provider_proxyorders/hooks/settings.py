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

#: Defaults: for how many days a webhook is kept, and how many webhooks a second one connection may send to one receiver.
RETENTION, RATE = 30.0, 500.0
_USE_POSTGRESQL = (
    "Point [proxyorders] ledger_url at a PostgreSQL database, for example "
    "AIRFLOW__PROXYORDERS__LEDGER_URL=postgresql+psycopg://user:password@host/proxyorders"
)


def ledger_url() -> str:
    """``[proxyorders] ledger_url``; by default a SQLite file beside Airflow's own files."""
    return _address("ledger_url") or f"sqlite:///{os.path.join(_compat.airflow_home(), 'proxyorders.db')}"


def listen_url() -> str:
    """``[proxyorders] ledger_listen_url``: an address of the ledger past a pooler, to listen at; "" for the same address."""
    return _address("ledger_listen_url")


def _address(name: str) -> str:
    """An address, also by ``NAME_cmd`` or ``NAME_secret``.

    :raises LedgerError: the command or the secrets backend fails.
    """
    from airflow.sdk import conf

    try:
        return (conf.get("proxyorders", name, fallback="") or "").strip()
    except Exception as error:  # a text of theirs may hold the address
        raise LedgerError(
            f"[proxyorders] {name} is unreadable: its _cmd or _secret failed ({type(error).__name__}). Nothing was bought."
        ) from None


def webhook_retention() -> float:
    """``[proxyorders] webhook_retention``, in days."""
    return _at_least_one("webhook_retention", RETENTION)


def webhook_rate() -> float:
    """``[proxyorders] webhook_rate``, in deliveries a second."""
    return _at_least_one("webhook_rate", RATE)


def _at_least_one(name: str, default: float) -> float:
    """A number >= 1. A mistake is logged and the default counts: a receiver that refuses to start would lose deliveries."""
    from airflow.sdk import conf

    configured = (conf.get("proxyorders", name, fallback="") or "").strip()
    try:
        number = float(configured) if configured else default
    except ValueError:
        number = 0.0
    if 1 <= number < float("inf"):
        return number
    log.error("[proxyorders] %s must be a number >= 1, got %r; %g is used", name, configured, default)
    return default


def ledger() -> Ledger:
    """The ledger of all workers of this Airflow.

    :raises LedgerError: it cannot be opened or shared. Nothing was bought.
    """
    from airflow_provider_proxyorders.ledger import open_ledger

    return open_ledger(shared_ledger_url())


def shared_ledger_url() -> str:
    """:func:`ledger_url`, for the parts of Airflow that must use the same ledger.

    :raises LedgerError: the workers could not share it. Nothing was bought.
    """
    url = ledger_url()
    refuse_unshared(url)
    return url


def refuse_unshared(url: str) -> None:
    """Refuse a ledger that the workers could not share.

    :raises LedgerError: with a setting that works. Nothing was bought.
    """
    if not url.lower().startswith("sqlite"):
        return
    if not os.path.isabs(url.partition("///")[2].partition("?")[0]):
        raise LedgerError(
            "the ledger must be a file with an absolute path: any other path would be another ledger in every process, and "
            "a second purchase could slip through. Nothing was bought. Write [proxyorders] ledger_url as "
            "sqlite:////absolute/path/proxyorders.db, with four slashes",
            retry="never",
        )
    if variable := _compat.container_of_a_task():
        raise LedgerError(
            f"the ledger is a SQLite file in a container that serves one task ({variable} is set), and the next try gets another "
            f"container, so a second purchase could slip through. Nothing was bought. {_USE_POSTGRESQL}",
            retry="never",
        )
    spread = [name for name in _compat.executors() if not _compat.runs_on_one_host(name)]
    if spread:
        raise LedgerError(
            f"the ledger is a SQLite file, but {spread[0]} spreads tasks over several hosts, so a second "
            f"purchase could slip through. Nothing was bought. {_USE_POSTGRESQL}",
            retry="never",
        )
