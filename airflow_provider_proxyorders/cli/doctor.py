"""``proxyorders doctor CONN_ID``: check a connection and the ledger, and advise on every broken part. It only reads.

Exit status: 0 nothing is broken, 1 something is broken, 2 the arguments are wrong.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.hooks.settings import ledger_url, refuse_unshared

_MARK = {"ok": "ok      ", "note": "note    ", "broken": "BROKEN  ", "skipped": "-       "}
_VENDOR_CHECKS = ("auth", "ordering", "balance", "list", "webhook", "caps", "clock")


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="check a connection and the ledger, and advise on every broken part",
        description="Reads only. Checks key, permission, balance, list, webhook secret, limits, clock and ledger.",
        epilog="Exit status: 0 nothing is broken, 1 something is broken, 2 the arguments are wrong.",
    )
    parser.add_argument("conn_id", metavar="CONN_ID", help="id of an Airflow connection")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, clock: Callable[[], float] = time.time) -> int:
    """Check a connection and print the report."""
    report = examine(arguments.conn_id, clock)
    print(json.dumps(report, indent=2) if arguments.json else describe(report))
    return 0 if report["good"] else 1


def examine(conn_id: str, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """The report without secrets: ``conn_id, vendor, wallet, at, good`` and ``checks``.

    Each check has ``name, state, text, advice``.
    """
    from airflow_provider_proxyorders.doctor.checkup import Check, Checkup, check_ledger, now_utc
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    _compat.act_as_airflow_command()
    hook = ProxyOrdersHook(conn_id)
    vendor = wallet = None
    try:
        account = hook.vendor.account
        vendor, wallet = hook.vendor.title, account.wallet
        hook.http  # noqa: B018 - raises ConfigError for an invalid base URL
    except Exception as error:  # ours, or an error of Airflow's secrets backends
        ours = isinstance(error, ProxyOrdersError)
        why = str(error) if ours else f"connection {conn_id!r} cannot be looked up: {type(error).__name__}: {error}"
        advice = "Correct it on Airflow's page, or with: airflow connections edit/add. The fields are in the README."
        checks = [Check("connection", "broken", why, advice)]
        checks += [Check(name, "skipped", "unknown without the connection") for name in _VENDOR_CHECKS]
    else:
        try:
            vendor_checks = Checkup(hook.vendor, hook.http, clock).checks()
        finally:
            hook.http.close()
        checks = [Check("connection", "ok", f"{conn_id}: {vendor} at {account.base_url}"), *vendor_checks]
    checks.append(check_ledger(ledger_url(), wallet, refuse_unshared))
    redact = hook.vendor.account.redact if vendor else str
    redacted = [{**asdict(check), "text": redact(check.text), "advice": redact(check.advice)} for check in checks]
    good = all(check.state != "broken" for check in checks)
    return {"conn_id": conn_id, "vendor": vendor, "wallet": wallet, "at": now_utc(clock), "good": good, "checks": redacted}


def describe(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = []
    for check in report["checks"]:
        head = f"{_MARK[check['state']]}{check['name']:<11}"
        lines += textwrap.wrap(check["text"], 118, initial_indent=head, subsequent_indent=" " * 19, break_long_words=False)
        if check["advice"]:
            lines += textwrap.wrap(check["advice"], 118, initial_indent=" " * 19 + "-> ", subsequent_indent=" " * 22)
    broken = [check["name"] for check in report["checks"] if check["state"] == "broken"]
    lines.append(f"{report['conn_id']}: " + (f"broken: {', '.join(broken)}" if broken else "nothing is broken"))
    return "\n".join(lines)
