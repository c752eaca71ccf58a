"""``proxyorders ledger resolve`` and ``unfreeze``: a person's decisions, checked first and kept with who, when and why."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli.options import add_purchase, confirmed, open_to_decide
from airflow_provider_proxyorders.cli.screen import show
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.purchase import decision


def add_parsers(verbs: Any, ledger: argparse.ArgumentParser) -> None:
    """Add the commands to ``proxyorders ledger``."""
    resolve = verbs.add_parser("resolve", parents=[ledger], help="record the outcome of an unresolved purchase")
    add_purchase(resolve)
    outcome = resolve.add_mutually_exclusive_group(required=True)
    outcome.add_argument("--adopt", metavar="ORDER_ID", help="the vendor took it, as the order with this id")
    outcome.add_argument(
        "--absent",
        dest="word",
        action="store_const",
        const="absent",
        help="the vendor lacks such an order; its task may send it again. Vendor and inbox are looked at first",
    )
    outcome.add_argument(
        "--foreign",
        metavar="ORDER_ID",
        help="the order of a late answer does not count for this purchase: it was paid back, or is another buyer's",
    )
    outcome.add_argument(
        "--give-up",
        dest="word",
        action="store_const",
        const="give up",
        help="it is still unsent: its reservation ends. A retry or a Clear of its task still buys",
    )
    resolve.add_argument("--unchecked", action="store_true", help="with --adopt and --absent: skip the reading at the vendor")
    resolve.add_argument("--because", metavar="TEXT", default="", help="your reason, for the history")
    resolve.add_argument("--yes", action="store_true", help="skip the confirmation")
    resolve.set_defaults(run=resolve_purchase)

    unfreeze = verbs.add_parser("unfreeze", parents=[ledger], help="allow purchases from a frozen wallet again")
    unfreeze.add_argument("wallet", help="name of the wallet, or id of a connection that pays from it")
    unfreeze.add_argument("--because", metavar="TEXT", default="", help="your reason, for the history of the wallet")
    unfreeze.add_argument(
        "--gone",
        metavar="CONN_ID",
        action="append",
        default=[],
        help="after a restore: this connection is gone for good, so nothing is reconciled through it; can be given several times",
    )
    unfreeze.add_argument("--yes", action="store_true", help="skip the confirmation")
    unfreeze.set_defaults(run=unfreeze_wallet)


def resolve_purchase(arguments: argparse.Namespace) -> int:
    """Check, ask, and record the outcome for good."""
    from airflow_provider_proxyorders.hooks import deciding

    _compat.act_as_airflow_command()
    ledger = open_to_decide(arguments)
    order_id = arguments.adopt or arguments.foreign or ""
    word: decision.Word = (
        "adopt" if arguments.adopt is not None else "foreign" if arguments.foreign is not None else arguments.word
    )
    answer = decision.Answer(word, order_id, arguments.because, arguments.unchecked)
    key = deciding.find_of_person(ledger, arguments.order_key, arguments.wallet).order_key
    checked = deciding.check(ledger, key, answer)
    for line in checked.seen:
        show(line)
    if not confirmed(f"Record for good that {checked.outcome}?", arguments.yes):
        show("nothing was changed")
        return 1
    purchase = deciding.decide(ledger, key, answer, deciding.person(), checked=checked)
    next_step = "Clear its task to go on."
    if word == "foreign":
        next_step = f"To buy from the wallet again: proxyorders ledger unfreeze {purchase.wallet}"
    if word == "give up":
        next_step = "Mark its task as failed, or it buys when it runs again; its key may stand for another request then."
    show(f"done: {checked.outcome}. {next_step}")
    return 0


def unfreeze_wallet(arguments: argparse.Namespace) -> int:
    """Show why a wallet is frozen, ask, and allow purchases again."""
    from airflow_provider_proxyorders.hooks import deciding
    from airflow_provider_proxyorders.ledger.accounts import Accounts

    _compat.act_as_airflow_command()
    ledger = open_to_decide(arguments)
    wallet = Accounts(ledger.engine).require(arguments.wallet)
    if ledger.freeze_reason(wallet) is None:
        show(f"wallet {wallet!r} is not frozen")
        return 0
    frozen = deciding.check_unfreeze(ledger, wallet, arguments.gone)
    since = f" since {utc(frozen.since, 'seconds')}" if frozen.since else ""
    show(f"wallet {wallet!r} is frozen{since} because {frozen.why}")
    if not confirmed("Allow purchases from it again?", arguments.yes):
        show("nothing was changed")
        return 1
    deciding.unfreeze(ledger, wallet, deciding.person(), arguments.because, why=frozen.why, gone=arguments.gone)
    show("done")
    return 0
