"""``proxyorders doctor CONN_ID``: check a connection and the ledger, and advise on every broken part. It only reads.

Exit status: 0 nothing is broken, 1 something is broken, 2 the arguments are wrong.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli import screen

_MARK = {"ok": "ok      ", "note": "note    ", "broken": "BROKEN  ", "skipped": "-       "}


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        parents=[screen.output_option()],
        help="check a connection and the ledger, and advise on every broken part",
        description="Reads only. Checks key, permission, balance, list, webhook secret, limits, clock and ledger.",
        epilog="Exit status: 0 nothing is broken, 1 something is broken, 2 the arguments are wrong.",
    )
    parser.add_argument("conn_id", metavar="CONN_ID", help="id of an Airflow connection")
    parser.add_argument("--json", action="store_true", help="the same as -o json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, clock: Callable[[], float] = time.time) -> int:
    """Check a connection and print the report."""
    from airflow_provider_proxyorders.doctor.examination import examine

    _compat.act_as_airflow_command()
    report = examine(arguments.conn_id, clock)
    output = "json" if arguments.json else arguments.output
    if output in ("json", "yaml"):
        screen.show_data(report, output)
    elif output == "plain":
        screen.show_rows(report["checks"], "plain", columns={name: name for name in ("name", "state", "text", "advice")})
    else:
        screen.show(describe(report))
    return 0 if report["good"] else 1


def describe(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = []
    for check in report["checks"]:
        head = f"{_MARK[check['state']]}{check['name']:<11}"
        lines += textwrap.wrap(check["text"], 118, initial_indent=head, subsequent_indent=" " * 19, break_long_words=False)
        if check["advice"]:
            lines += textwrap.wrap(check["advice"], 118, initial_indent=" " * 19 + "-> ", subsequent_indent=" " * 22)
    lines.append(f"{report['conn_id']}: {report['summary']}")
    return "\n".join(lines)
