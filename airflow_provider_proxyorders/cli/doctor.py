"""``proxyorders doctor CONN_ID``: what works of a connection, what does not, and how to mend it. It only reads.

Exit status: 0 nothing is broken, 1 something is, 2 the arguments are wrong.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError

_MARK = {"ok": "ok      ", "note": "note    ", "broken": "BROKEN  ", "skipped": "-       "}
_OF_THE_VENDOR = ("auth", "ordering", "balance", "list", "webhook", "caps", "clock")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``proxyorders``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="look a connection over: what works, what does not, how to mend it",
        description="Reads only. Looks at key, permission, balance, list, webhook secret, limits, clock and ledger.",
        epilog="Exit status: 0 nothing is broken, 1 something is, 2 the arguments are wrong.",
    )
    parser.add_argument("conn_id", metavar="CONN_ID", help="id of an Airflow connection")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, clock: Callable[[], float] = time.time) -> int:
    """Look a connection over and print what was found."""
    report = examine(arguments.conn_id, clock)
    print(json.dumps(report, indent=2) if arguments.json else told(report))
    return 0 if report["good"] else 1


def examine(conn_id: str, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """The report: ``conn_id, vendor, wallet, at, good`` and ``checks``, each with ``name, state, text, advice``. No secrets."""
    from dataclasses import asdict

    from airflow_provider_proxyorders.doctor.checkup import Check, Checkup, check_ledger, now_utc
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.hooks.settings import ledger_url, refuse_unshared

    _compat.act_as_airflow_command()
    hook = ProxyOrdersHook(conn_id)
    vendor = wallet = None
    try:
        account = hook.vendor.account
        vendor, wallet = hook.vendor.title, account.wallet
        hook.http  # noqa: B018 - refuses an address that is none
    except Exception as error:  # ours, or whatever Airflow's secrets backends raise
        known = isinstance(error, ProxyOrdersError)
        why = str(error) if known else f"connection {conn_id!r} cannot be looked up: {type(error).__name__}: {error}"
        advice = "Correct it in Airflow's page, or: airflow connections edit/add; the fields are in the README."
        checks = [Check("connection", "broken", why, advice)]
        checks += [Check(name, "skipped", "not known without the connection") for name in _OF_THE_VENDOR]
    else:
        try:
            found = Checkup(hook.vendor, hook.http, clock).checks()
        finally:
            hook.http.close()
        checks = [Check("connection", "ok", f"{conn_id}: {vendor} at {account.base_url}"), *found]
    checks.append(check_ledger(ledger_url(), wallet, refuse_unshared))
    redact = hook.vendor.account.redact if vendor else str
    shown = [{**asdict(check), "text": redact(check.text), "mend": redact(check.advice)} for check in checks]
    good = all(check.state != "broken" for check in checks)
    return {"conn_id": conn_id, "vendor": vendor, "wallet": wallet, "at": now_utc(clock), "good": good, "checks": shown}


def told(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = []
    for check in report["checks"]:
        head = f"{_MARK[check['state']]}{check['name']:<11}"
        lines += textwrap.wrap(check["text"], 118, initial_indent=head, subsequent_indent=" " * 19, break_long_words=False)
        if check["mend"]:
            lines += textwrap.wrap(check["mend"], 118, initial_indent=" " * 19 + "-> ", subsequent_indent=" " * 22)
    broken = [check["name"] for check in report["checks"] if check["state"] == "broken"]
    lines.append(f"{report['conn_id']}: " + (f"broken: {', '.join(broken)}" if broken else "nothing is broken"))
    return "\n".join(lines)
