"""``proxyorders ledger spending``: what was spent, by day, month, wallet or DAG, with sums."""

from __future__ import annotations

import argparse
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.cli import screen
from airflow_provider_proxyorders.cli.options import day_of, open_to_read
from airflow_provider_proxyorders.domain.text import amount

_HEADINGS = {"day": "DAY", "month": "MONTH", "wallet": "WALLET", "dag": "DAG"}
#: Days that are shown without ``--since``; a year of months.
_DAYS, _MONTHS = 31, 366


def add_parser(verbs: Any, ledger: argparse.ArgumentParser) -> None:
    """Add the command to ``proxyorders ledger``."""
    parser = verbs.add_parser(
        "spending",
        parents=[ledger, screen.output_option()],
        help="what was spent, by day, month, wallet or DAG",
        epilog="Sums are of what the limits count: open and unresolved purchases are reserved, a refund is taken off.",
    )
    parser.add_argument("--by", choices=tuple(_HEADINGS), default="day", help="the groups (default day)")
    parser.add_argument("--since", type=day_of, help="first day, YYYY-MM-DD (default: 31 days; with --by month a year)")
    parser.add_argument("--until", type=day_of, help="last day, YYYY-MM-DD")
    parser.add_argument("--wallet", help="only this wallet: its name, or the id of a connection that pays from it")
    parser.set_defaults(run=show_spending)


def show_spending(arguments: argparse.Namespace) -> int:
    """One line for each group, and a sum for each currency."""
    from airflow_provider_proxyorders.ledger.accounts import Accounts
    from airflow_provider_proxyorders.ledger.sums import sums

    ledger = open_to_read(arguments)
    wallet = Accounts(ledger.engine).require(arguments.wallet) if arguments.wallet else None
    since = arguments.since or _first_day(arguments.by)
    groups = sums(ledger.engine, arguments.by, since=since, until=arguments.until, wallet=wallet)
    rows = [
        {
            arguments.by: each.name,
            **({} if arguments.by in ("wallet", "dag") else {"wallet": each.wallet}),
            "purchases": each.purchases,
            "spent": amount(each.spent),
            "reserved": amount(each.reserved),
            "currency": each.currency,
        }
        for each in groups
    ]
    totals = _totals(rows)
    if arguments.output in ("json", "yaml"):
        screen.show_data({"by": arguments.by, "since": since.isoformat(), "rows": rows, "sums": totals}, arguments.output)
        return 0
    columns = {arguments.by: _HEADINGS[arguments.by], "wallet": "WALLET", "purchases": "PURCHASES", "spent": "SPENT"}
    columns |= {"reserved": "RESERVED", "currency": "CURRENCY"}
    if arguments.by == "dag":
        del columns["wallet"]
    lines = [_sentence(since, each) for each in totals]
    screen.show_rows(rows, arguments.output, columns=columns, nothing=f"nothing was spent since {since}", sums=lines)
    return 0


def _first_day(by: str) -> date:
    today = datetime.now(timezone.utc).date()
    return today - timedelta(days=_MONTHS if by == "month" else _DAYS)


def _totals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sum of each currency."""
    groups: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["currency"]].append(row)
    return [
        {
            "currency": currency,
            "purchases": sum(row["purchases"] for row in each),
            "spent": amount(sum((Decimal(row["spent"]) for row in each), Decimal(0))),
            "reserved": amount(sum((Decimal(row["reserved"]) for row in each), Decimal(0))),
        }
        for currency, each in groups.items()
    ]


def _sentence(since: date, total: dict[str, Any]) -> str:
    spent = f"{total['spent']} {total['currency'] or ''}".rstrip()
    return f"Sum since {since}: {spent} spent, {total['reserved']} reserved, {total['purchases']} purchases"
