"""The whole check of a connection and of the ledger, as a report without secrets: for the command line and the page.

One rule: it only reads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from airflow_provider_proxyorders.doctor import around
from airflow_provider_proxyorders.doctor.checkup import Check, Checkup, check_ledger, now_utc
from airflow_provider_proxyorders.domain.errors import LedgerError, ProxyOrdersError
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.hooks.reading import key_of
from airflow_provider_proxyorders.hooks.settings import ledger_url, refuse_unshared
from airflow_provider_proxyorders.hooks.wallets import look_up_wallet
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.inspect import existing_engine

_VENDOR_CHECKS = ("auth", "ordering", "balance", "list", "webhook", "caps", "clock")


def _everyone(_conn_id: str) -> bool:
    return True


def examine(
    conn_id: str,
    clock: Callable[[], float] = time.time,
    *,
    brief: bool = False,
    may_name: Callable[[str], bool] = _everyone,
) -> dict[str, Any]:
    """The report without secrets: ``conn_id, vendor, wallet, at, good, summary`` and ``checks``.

    Each check has ``name, state, text, advice``.

    :param brief: name an error of a secrets backend by its type only; its text may name hosts and paths.
    :param may_name: whether the reader may see this connection; another one stays without its name.
    """
    hook = ProxyOrdersHook(conn_id)
    vendor = wallet = None
    try:
        account = hook.vendor.account
        vendor = hook.vendor.title
        with contextlib.suppress(LedgerError):  # the check of the ledger tells it
            look_up_wallet(account)
        wallet = account.wallet
        hook.http  # noqa: B018 - raises ConfigError for an invalid base URL
    except Exception as error:  # ours, or an error of Airflow's secrets backends
        ours = isinstance(error, ProxyOrdersError)
        why = (
            str(error)
            if ours
            else f"connection {conn_id!r} cannot be looked up: {type(error).__name__}{'' if brief else f': {error}'}"
        )
        advice = "Correct it on Airflow's page, or with: airflow connections edit/add. docs/connect.md has the fields."
        checks = [Check("connection", "broken", why, advice)]
        checks += [Check(name, "skipped", "unknown without the connection") for name in _VENDOR_CHECKS]
    else:
        checkup, ledger = Checkup(hook.vendor, hook.http, clock), _existing_ledger()
        try:
            vendor_checks = checkup.checks()
        finally:
            hook.http.close()
        connection = Check("connection", "ok", f"{conn_id}: {vendor} at {account.base_url}")
        checks = [around.check_connection(connection, account, ledger, key_of, may_name), *vendor_checks]
        checks = [
            around.check_orders(check, account, ledger, checkup.order_ids, may_name) if check.name == "list" else check
            for check in checks
        ]
    checks.append(check_ledger(ledger_url(), wallet, refuse_unshared, may_name))
    triggerer = around.check_triggerer()
    checks += [triggerer] if triggerer else []
    redact = hook.vendor.account.redact if vendor else str
    redacted = [{**asdict(check), "text": redact(check.text), "advice": redact(check.advice)} for check in checks]
    good = all(check.state != "broken" for check in checks)
    head = {"conn_id": conn_id, "vendor": vendor, "wallet": wallet, "at": now_utc(clock)}
    return {**head, "good": good, "summary": summary(checks), "checks": redacted}


def summary(checks: Sequence[Check]) -> str:
    """The report in one line: the broken parts, else those with a note."""
    broken = [check.name for check in checks if check.state == "broken"]
    notes = [check.name for check in checks if check.state == "note"]
    well = f"it works; look at: {', '.join(notes)}" if notes else "nothing is broken"
    return f"broken: {', '.join(broken)}" if broken else well


def _existing_ledger() -> Ledger | None:
    """The ledger as it stands; ``None`` where it is missing, of another version, or out of reach: its own check tells."""
    with contextlib.suppress(LedgerError):
        engine = existing_engine(ledger_url())
        return Ledger(engine) if engine is not None else None
    return None
