"""``proxyorders ledger``: list and show purchases, record the outcome of an unresolved purchase, unfreeze a wallet."""

from __future__ import annotations

import argparse
import getpass
import socket
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli.options import confirmed, ledger_option, open_ledger_of, whole_number
from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Actor, Purchase
from airflow_provider_proxyorders.domain.text import utc

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.purchase.resolving import TakenOrder


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser = commands.add_parser("ledger", help="list and show purchases, resolve a purchase, unfreeze a wallet")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    ledger = ledger_option()

    listing = verbs.add_parser("list", parents=[ledger], help="purchases, the most recently changed first")
    listing.add_argument("--unresolved", action="store_true", help="only unresolved purchases")
    listing.add_argument("--open", dest="unresolved", action="store_true", help=argparse.SUPPRESS)  # the name before
    listing.add_argument("--limit", type=whole_number, default=50, help="most lines (default 50)")
    listing.set_defaults(run=list_purchases)

    show = verbs.add_parser("show", parents=[ledger], help="one purchase and its whole history")
    show.add_argument("order_key")
    show.set_defaults(run=show_purchase)

    resolve = verbs.add_parser("resolve", parents=[ledger], help="record the outcome of an unresolved purchase")
    resolve.add_argument("order_key")
    outcome = resolve.add_mutually_exclusive_group(required=True)
    outcome.add_argument("--adopt", metavar="ORDER_ID", help="the vendor took it, as the order with this id")
    outcome.add_argument("--absent", action="store_true", help="the vendor has no such order; its task may send it again")
    resolve.add_argument("--unchecked", action="store_true", help="with --adopt: skip the reading of the order at the vendor")
    resolve.add_argument("--yes", action="store_true", help="skip the confirmation")
    resolve.set_defaults(run=resolve_purchase)

    unfreeze = verbs.add_parser("unfreeze", parents=[ledger], help="allow purchases from a frozen wallet again")
    unfreeze.add_argument("wallet")
    unfreeze.add_argument("--yes", action="store_true", help="skip the confirmation")
    unfreeze.set_defaults(run=unfreeze_wallet)


def list_purchases(arguments: argparse.Namespace) -> int:
    """One line for each purchase. A question mark behind the amount means: reserved, the price is still open."""
    ledger, limit = open_ledger_of(arguments), arguments.limit
    purchases = ledger.unresolved(limit=limit) if arguments.unresolved else ledger.purchases(limit=limit)
    for purchase in purchases:
        price = purchase.price or purchase.reserved
        print(
            f"{purchase.updated_at:%Y-%m-%d %H:%M:%S}  {purchase.step.value:<11}  {purchase.vendor:<12} {purchase.kind:<7} "
            f"{purchase.order_id or '-':<38} {price!s:>12}{'' if purchase.price else '?'}  {purchase.order_key}"
        )
    if not purchases:
        print("every purchase is resolved" if arguments.unresolved else "the ledger is empty")
    return 0


def show_purchase(arguments: argparse.Namespace) -> int:
    """Everything about one purchase."""
    ledger = open_ledger_of(arguments)
    purchase = _find(ledger, arguments.order_key)
    for name, value in (
        ("order key", purchase.order_key),
        ("step", purchase.step.value),
        ("vendor", f"{purchase.vendor}, connection {purchase.conn_id}, wallet {purchase.wallet}"),
        ("order id", purchase.order_id or "unknown"),
        ("extends", purchase.target),
        ("request", dump_json(purchase.request)),
        ("reserved", purchase.reserved),
        ("price", purchase.price or "unknown"),
        ("vendor says", purchase.vendor_status),
        ("expires", purchase.expires_at),
        ("reason", purchase.reason),
        ("evidence", dump_json({name: value for name, value in purchase.evidence.items() if name != "looks"})),
        ("wallet frozen", ledger.freeze_reason(purchase.wallet)),
    ):
        if value:
            print(f"{name + ':':<15}{value}")
    print("history:")
    for entry in ledger.history(purchase.order_key):
        print(f"  {utc(entry.at, 'microseconds')}  {entry.step.value:<11}  {entry.why}  [{entry.actor}]")
    return 0


def resolve_purchase(arguments: argparse.Namespace) -> int:
    """Check, ask, and record the outcome for good."""
    from airflow_provider_proxyorders.purchase import resolving

    ledger = open_ledger_of(arguments)
    purchase = _find(ledger, arguments.order_key)
    resolving.check_resolvable(ledger, purchase)
    taken: TakenOrder | None = None
    if arguments.adopt:
        resolving.check_order_id(ledger, purchase, arguments.adopt)
        read = resolving.unread_taken_order(arguments.adopt) if arguments.unchecked else _read_order(purchase, arguments.adopt)
        taken, outcome = read, f"{purchase.order_key!r} was taken as order {arguments.adopt} ({read.vendor_order.vendor_status})"
    else:
        outcome = f"{purchase.order_key!r} was NOT taken, so its task may send it again"
    if not confirmed(f"Record for good that {outcome}?", arguments.yes):
        print("nothing was changed")
        return 1
    if taken is not None:
        resolving.resolve_as_taken(ledger, purchase, taken, _person())
    else:
        resolving.resolve_as_absent(ledger, purchase, _person())
    print(f"done: {outcome}. Clear its task to go on.")
    return 0


def _read_order(purchase: Purchase, order_id: str) -> TakenOrder:
    """Read an order through the connection of its purchase."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.purchase.resolving import read_taken_order

    _compat.act_as_airflow_command()
    hook = ProxyOrdersHook(purchase.conn_id)
    try:
        return read_taken_order(hook.vendor, hook.http, purchase, order_id)
    except (ProxyOrdersError, AirflowNotFoundException) as error:
        raise ConfigError(
            f"order {order_id} cannot be read through connection {purchase.conn_id!r}: {str(error).rstrip('.')}. "
            "Nothing was changed. If you are sure of the id, add --unchecked."
        ) from None


def unfreeze_wallet(arguments: argparse.Namespace) -> int:
    """Show why a wallet is frozen, ask, and allow purchases again."""
    from airflow_provider_proxyorders.purchase import resolving

    ledger, wallet = open_ledger_of(arguments), arguments.wallet
    why = ledger.freeze_reason(wallet)
    if why is None:
        print(f"wallet {wallet!r} is not frozen")
        return 0
    print(f"wallet {wallet!r} was frozen because {why}")
    resolving.check_unfreezable(ledger, wallet)
    if not confirmed("Allow purchases from it again?", arguments.yes):
        print("nothing was changed")
        return 1
    resolving.unfreeze(ledger, wallet)
    print("done")
    return 0


def _find(ledger: Ledger, order_key: str) -> Purchase:
    purchase = ledger.find(order_key)
    if purchase is None:
        raise ConfigError(f"order key {order_key!r} is missing in the ledger; see: proxyorders ledger list")
    return purchase


def _person() -> Actor:
    return Actor(host=f"{getpass.getuser()}@{socket.gethostname()}")
