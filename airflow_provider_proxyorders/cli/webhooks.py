"""``proxyorders webhooks``: run the receiver by itself, and list the webhooks in the inbox."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli.options import ledger_option, open_ledger_of, whole_number


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser = commands.add_parser("webhooks", help="receive webhooks without Airflow's API server, and list them")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    server = verbs.add_parser("serve", help="run the receiver by itself: POST /CONN_ID, signed as the connection says")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: put a TLS proxy in front)")
    server.add_argument("--port", type=int, default=8095, help="port to listen on (default 8095)")
    server.set_defaults(run=serve)

    listing = verbs.add_parser("list", parents=[ledger_option()], help="verified webhooks, the newest first")
    listing.add_argument("--unmatched", action="store_true", help="only webhooks about orders outside of the ledger")
    listing.add_argument("--limit", type=whole_number, default=50, help="most lines (default 50)")
    listing.set_defaults(run=list_webhooks)


def serve(arguments: argparse.Namespace) -> int:
    """Receive webhooks until Ctrl-C."""
    from airflow_provider_proxyorders.webhooks import app

    _compat.act_as_airflow_command()
    print(f"receiving webhooks at http://{arguments.host}:{arguments.port}/CONN_ID", flush=True)
    app.serve(arguments.host, arguments.port)
    return 0


def list_webhooks(arguments: argparse.Namespace) -> int:
    """One line for each webhook: when its last copy came, how many came, connection, status, order, our reference."""
    from airflow_provider_proxyorders.ledger.inbox import Inbox

    inbox = Inbox(open_ledger_of(arguments).engine)
    webhooks = inbox.newest_first(unmatched=arguments.unmatched, limit=arguments.limit)
    for webhook in webhooks:
        hint = webhook.hint
        print(
            f"{webhook.last_at:%Y-%m-%d %H:%M:%S}  {f'x{hint.times}':<5} {hint.conn_id:<20} {hint.status:<11} "
            f"{hint.order_id:<38} {hint.reference or '-'}"
        )
    if not webhooks:
        print("every webhook is about an order of the ledger" if arguments.unmatched else "no webhook came")
    return 0
