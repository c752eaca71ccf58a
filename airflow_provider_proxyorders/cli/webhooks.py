"""``proxyorders webhooks``: run the receiver by itself, and list the webhooks in the inbox."""

from __future__ import annotations

import argparse
import time
from typing import Any
from urllib.parse import quote

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli import screen
from airflow_provider_proxyorders.cli.options import ledger_option, open_to_read, port_number, whole_number
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.hooks.signing import signed_sample
from airflow_provider_proxyorders.transport.knock import knock

_HEADINGS = ("LAST (UTC)", "TIMES", "CONNECTION", "STATUS", "ORDER", "REFERENCE")
_COLUMNS = dict(zip(("last_at", "times", "conn_id", "status", "order_id", "reference"), _HEADINGS, strict=True))
#: What the receiver's answers mean.
_MEANINGS = {
    401: "it refuses the signature: it reads another webhook_secret or webhook_scheme than this host",
    404: "the connection is unknown to it or lacks webhooks, or the path is wrong",
    429: "it gets more deliveries than [proxyorders] webhook_rate, or than one wallet may have in a day",
    503: "it cannot store deliveries or look the connection up; its log tells why",
}


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser = commands.add_parser("webhooks", help="receive webhooks without Airflow's API server, and list them")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    server = verbs.add_parser("serve", help="run the receiver by itself: POST /CONN_ID, signed as the connection says")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: put a TLS proxy in front)")
    server.add_argument("--port", type=port_number, default=8095, help="port to listen on (8095); 0 takes a free one")
    server.set_defaults(run=serve, talks=True)

    listing = verbs.add_parser(
        "list", parents=[ledger_option(), screen.output_option()], help="verified webhooks, the newest first"
    )
    listing.add_argument("--unmatched", action="store_true", help="only webhooks about orders outside of the ledger")
    listing.add_argument("--limit", type=whole_number, default=50, help="most lines (default 50)")
    listing.set_defaults(run=list_webhooks)

    test = verbs.add_parser(
        "send-test",
        help="send a signed delivery to the receiver, and see whether it is accepted",
        epilog="The delivery is about an order that nobody has. It stays in the inbox among the webhooks that match no order.",
    )
    test.add_argument("conn_id", metavar="CONN_ID", help="id of the connection with the webhook_secret")
    test.add_argument("--url", help="address of the receiver; default: this Airflow's, by [api] base_url")
    test.set_defaults(run=send_test)


def serve(arguments: argparse.Namespace) -> int:
    """Receive webhooks until Ctrl-C."""
    from airflow_provider_proxyorders.webhooks import app

    _compat.act_as_airflow_command()
    with app.place(arguments.host, arguments.port) as listener:
        print(f"receiving webhooks at http://{arguments.host}:{listener.getsockname()[1]}/CONN_ID", flush=True)
        app.serve(listener)
    return 0


def list_webhooks(arguments: argparse.Namespace) -> int:
    """One line for each webhook: when its last copy came, how many came, connection, status, order, our reference."""
    from airflow_provider_proxyorders.ledger.inbox import Inbox

    inbox = Inbox(open_to_read(arguments).engine)
    rows = [
        {
            "last_at": f"{webhook.last_at:%Y-%m-%d %H:%M:%S}",
            "times": f"x{webhook.hint.times}" if arguments.output == "table" else webhook.hint.times,
            "conn_id": webhook.hint.conn_id,
            "status": webhook.hint.status,
            "order_id": webhook.hint.order_id,
            "reference": webhook.hint.reference,
        }
        for webhook in inbox.newest_first(unmatched=arguments.unmatched, limit=arguments.limit)
    ]
    nothing = "every webhook is about an order of the ledger" if arguments.unmatched else "no webhook came"
    screen.show_rows(rows, arguments.output, columns=_COLUMNS, nothing=nothing)
    return 0


def send_test(arguments: argparse.Namespace) -> int:
    """Sign a delivery as the vendor does, send it, and say what the receiver makes of it."""
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    _compat.act_as_airflow_command()
    vendor = ProxyOrdersHook(arguments.conn_id).vendor
    if vendor.webhook is None:
        raise ConfigError(f"{vendor.title} lacks webhooks; its orders are polled. Nothing was sent.")
    order_id, body, headers = signed_sample(vendor, time.time)
    url = arguments.url or f"{_compat.base_url()}/proxyorders/webhooks/{quote(arguments.conn_id, safe='')}"
    status = knock(url, body, headers)
    if status == 200:
        screen.show(f"accepted and stored: {url} took a delivery about order {order_id}")
        return 0
    screen.show(f"{url} answered {status}: {_MEANINGS.get(status, 'another program answered, or changed the answer')}")
    return 1
