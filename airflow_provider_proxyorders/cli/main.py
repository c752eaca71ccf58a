"""The command ``proxyorders``: look a connection or the ledger over, decide what only a person can, run the sandbox or the demo.

Exit status: 0 done, 1 it could not be done and the message says why, 2 the arguments are wrong. No command spends.
"""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_proxyorders import __version__
from airflow_provider_proxyorders.cli import doctor
from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step, VendorOrder
    from airflow_provider_proxyorders.ledger import Ledger


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :returns: the exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["sandbox"]:  # has its own options and help
        from airflow_provider_proxyorders.sandbox.standalone import serve

        return serve(words[1:])
    arguments = _parser().parse_args(words)
    try:
        status: int = arguments.run(arguments)
    except ProxyOrdersError as error:
        print(f"proxyorders: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="proxyorders", description=__doc__.split("\n\n")[0])
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    commands.add_parser("sandbox", help="run the three vendors on localhost (see: proxyorders sandbox --help)", add_help=False)

    demo = commands.add_parser("demo", help="in a checkout: buy at every vendor of the sandbox, under a real Airflow")
    demo.add_argument("--keep", action="store_true", help="keep Airflow running afterwards, until Ctrl-C")
    demo.set_defaults(run=_demo)

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--ledger-url", help="database of the ledger; default: [proxyorders] ledger_url of this Airflow")

    webhooks = commands.add_parser("webhooks", help="take webhooks without Airflow's API server, and list what came")
    serving = webhooks.add_subparsers(required=True, metavar="VERB")
    serve = serving.add_parser("serve", help="run the receiver alone: POST /CONN_ID, signed as the connection says")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: put a TLS proxy in front)")
    serve.add_argument("--port", type=int, default=8095, help="port to listen on (default 8095)")
    serve.set_defaults(run=_serve)
    came = serving.add_parser("list", parents=[where], help="webhooks that were verified and kept, the newest first")
    came.add_argument("--unmatched", action="store_true", help="only those about orders that no purchase in the ledger has")
    came.add_argument("--limit", type=_count, default=50, help="how many at most (default 50)")
    came.set_defaults(run=_came)

    doctor.add_parser(commands)

    guarantees = commands.add_parser("guarantees", help="what is guaranteed per vendor, derived from what it offers")
    guarantees.set_defaults(run=_guarantees)

    ledger = commands.add_parser("ledger", help="look into the ledger, and decide what only a person can")
    verbs = ledger.add_subparsers(required=True, metavar="VERB")

    listing = verbs.add_parser("list", parents=[where], help="purchases, the most recently changed first")
    listing.add_argument("--open", action="store_true", help="only those whose outcome is not known")
    listing.add_argument("--limit", type=_count, default=50, help="how many at most (default 50)")
    listing.set_defaults(run=_list)

    show = verbs.add_parser("show", parents=[where], help="one purchase and its whole history")
    show.add_argument("order_key")
    show.set_defaults(run=_show)

    resolve = verbs.add_parser("resolve", parents=[where], help="say what became of a purchase that evidence could not decide")
    resolve.add_argument("order_key")
    verdict = resolve.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--adopt", metavar="ORDER_ID", help="it was taken; this is the vendor's id of it")
    verdict.add_argument("--absent", action="store_true", help="it was not taken; its task may send it again")
    resolve.add_argument("--unchecked", action="store_true", help="with --adopt: do not read the order at the vendor first")
    resolve.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    resolve.set_defaults(run=_resolve)

    unfreeze = verbs.add_parser("unfreeze", parents=[where], help="allow purchases from a frozen wallet again")
    unfreeze.add_argument("wallet")
    unfreeze.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    unfreeze.set_defaults(run=_unfreeze)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _demo(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders.cli.demo import run

    return run(keep=arguments.keep, out=sys.stdout)


def _serve(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders import _compat
    from airflow_provider_proxyorders.webhooks.app import serve

    _compat.act_as_airflow_command()
    print(f"taking webhooks at http://{arguments.host}:{arguments.port}/CONN_ID", flush=True)
    serve(arguments.host, arguments.port)
    return 0


def _came(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders.ledger.inbox import Inbox

    found = Inbox(_open(arguments).engine).newest_first(unmatched=arguments.unmatched, limit=arguments.limit)
    for kept in found:
        hint = kept.hint
        print(
            f"{kept.last_at:%Y-%m-%d %H:%M:%S}  {f'x{hint.times}':<5} {hint.conn_id:<20} {hint.status:<11} {hint.order_id:<38} "
            f"{hint.reference or '-'}"
        )
    if not found:
        print("every webhook is about an order of the ledger" if arguments.unmatched else "no webhook came")
    return 0


def _guarantees(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders.purchase.guarantees import table

    print(table())
    return 0


def _open(arguments: argparse.Namespace) -> Ledger:
    from airflow_provider_proxyorders.ledger import open_ledger

    url = arguments.ledger_url
    if url:
        file = url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite") else ""
        if file and not os.path.exists(file):  # else a mistyped name would make a new one
            raise ConfigError(f"there is no ledger at {file}. Nothing changed.")
        return open_ledger(url)
    from airflow_provider_proxyorders.hooks.settings import ledger

    return ledger()


def _list(arguments: argparse.Namespace) -> int:
    ledger, limit = _open(arguments), arguments.limit
    orders = ledger.unresolved(limit=limit) if arguments.open else ledger.purchases(limit=limit)
    for order in orders:
        price = order.price or order.reserved
        print(
            f"{order.updated_at:%Y-%m-%d %H:%M:%S}  {order.step.value:<11}  {order.vendor:<12} {order.kind:<7} "
            f"{order.order_id or '-':<38} {price!s:>12}{'' if order.price else '?'}  {order.order_key}"
        )
    if not orders:
        print("nothing is open" if arguments.open else "the ledger is empty")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders.domain.exact_json import dump_json

    ledger = _open(arguments)
    order = _find(ledger, arguments.order_key)
    for name, value in (
        ("order key", order.order_key),
        ("step", order.step.value),
        ("vendor", f"{order.vendor}, connection {order.conn_id}, wallet {order.wallet}"),
        ("order id", order.order_id or "not known"),
        ("extends", order.target),
        ("request", dump_json(order.request)),
        ("reserved", order.reserved),
        ("price", order.price or "not known"),
        ("vendor says", order.vendor_status),
        ("expires", order.expires_at),
        ("reason", order.reason),
        ("evidence", dump_json({k: v for k, v in order.evidence.items() if k != "looks"})),
        ("wallet frozen", ledger.freeze_reason(order.wallet)),
    ):
        if value:
            print(f"{name + ':':<15}{value}")
    print("history:")
    for row in ledger.history(order.order_key):
        print(f"  {row.at:%Y-%m-%d %H:%M:%S.%f} UTC  {row.step.value:<11}  {row.why}  [{row.actor}]")
    return 0


def _resolve(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders.domain.model import Step

    ledger = _open(arguments)
    order = _find(ledger, arguments.order_key)
    if order.step is Step.SENT and order.sent_until is not None and order.sent_until > ledger.clock():
        raise ConfigError(
            f"{order.order_key!r} is being sent right now, or was when it was last seen; look again after "
            f"{order.sent_until:%Y-%m-%d %H:%M:%S} UTC. Nothing changed."
        )
    if not order.unresolved:
        raise ConfigError(
            f"{order.order_key!r} is {order.step.value}; only what nobody knows the outcome of needs a person. Nothing changed."
        )
    seen: VendorOrder | None = None
    step = Step.INTENDED
    if arguments.adopt:
        _refuse_mix_up(ledger, order, arguments.adopt)
        seen, step = _adoptable(order, arguments.adopt, checked=not arguments.unchecked)
        what = f"{order.order_key!r} was taken as order {arguments.adopt} ({seen.vendor_status})"
    else:
        what = f"{order.order_key!r} was NOT taken, so its task may send it again"
    if not _confirmed(f"Write down for good that {what}?", arguments.yes):
        print("nothing changed")
        return 1
    if order.step is Step.SENT:
        order = ledger.record(order, Step.UNKNOWN, "its worker is gone and left no answer", _person())
    elif order.step in (Step.INTENDED, Step.REJECTED):  # no task may send it from here on
        order = ledger.reopen(order, "a person looks into it", _person())
    if seen is not None:
        ledger.record(order, step, "adopted by a person", _person(), vendor_order=seen)
    else:
        ledger.record(order, step, "declared absent by a person", _person(), maybe_sent=False)
    print(f"done: {what}. Clear its task to go on.")
    return 0


def _refuse_mix_up(ledger: Ledger, order: Purchase, order_id: str) -> None:
    """One order is one purchase: its id must not be given to a second one."""
    if order.kind == "extend":
        if order_id != order.target:
            raise ConfigError(f"{order.order_key!r} extends order {order.target}, not {order_id}. Nothing changed.")
        return
    for other in ledger.by_order_id(order.wallet, order_id):
        if other.kind == "create":
            raise ConfigError(f"order {order_id} belongs to order key {other.order_key!r} already. Nothing changed.")


def _adoptable(order: Purchase, order_id: str, *, checked: bool) -> tuple[VendorOrder, Step]:
    """The order as the vendor tells it, and where that puts the purchase."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    from airflow_provider_proxyorders import _compat
    from airflow_provider_proxyorders.domain.model import STEP_OF, OrderStatus, Step, VendorOrder
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    if not checked:
        return VendorOrder(order_id, OrderStatus.PENDING, "adopted unchecked"), Step.PLACED
    _compat.act_as_airflow_command()
    hook = ProxyOrdersHook(order.conn_id)
    try:
        if hook.vendor.account.wallet != order.wallet:
            raise ConfigError(f"it pays from wallet {hook.vendor.account.wallet!r} now, the purchase was from {order.wallet!r}.")
        seen = hook.get_order(order_id)
    except (ProxyOrdersError, AirflowNotFoundException) as error:
        raise ConfigError(
            f"order {order_id} cannot be read through connection {order.conn_id!r}: {str(error).rstrip('.')}. Nothing changed. "
            "If you are sure of the id, add --unchecked."
        ) from None
    step = STEP_OF[seen.status]
    if order.kind == "extend" and step is Step.DELIVERED and not hook.vendor.extended(order.evidence, seen):
        step = Step.PLACED  # the expiry has not grown yet; its task waits for that
    return seen, step


def _unfreeze(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders.domain.model import Step

    ledger = _open(arguments)
    why = ledger.freeze_reason(arguments.wallet)
    if why is None:
        print(f"wallet {arguments.wallet!r} is not frozen")
        return 0
    print(f"wallet {arguments.wallet!r} was frozen because {why}")
    for order in ledger.unresolved(wallet=arguments.wallet, limit=1000):
        if order.step is Step.REJECTED:  # its task would send it again, since a refusal proves that nothing was bought
            raise ConfigError(
                f"{order.order_key!r} was refused after an earlier sending that may have been taken. Say first what became of "
                f"that: proxyorders ledger resolve {order.order_key!r}, with --adopt ORDER_ID or --absent. Nothing changed."
            )
    if not _confirmed("Allow purchases from it again?", arguments.yes):
        print("nothing changed")
        return 1
    ledger.freeze(arguments.wallet, None)
    print("done")
    return 0


def _find(ledger: Ledger, order_key: str) -> Purchase:
    order = ledger.find(order_key)
    if order is None:
        raise ConfigError(f"the ledger has no order key {order_key!r}; see: proxyorders ledger list")
    return order


def _person() -> Actor:
    from airflow_provider_proxyorders.domain.model import Actor

    return Actor(host=f"{getpass.getuser()}@{socket.gethostname()}")


def _confirmed(question: str, yes: bool) -> bool:
    if yes:
        return True
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


if __name__ == "__main__":
    sys.exit(main())
