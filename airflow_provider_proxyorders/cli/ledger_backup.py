"""``proxyorders ledger backup``, ``restored`` and ``reconcile``: a copy of the ledger, and the way back after a restore."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli.options import confirmed, ledger_address, open_to_decide, open_to_read, place_of
from airflow_provider_proxyorders.cli.screen import HelpByLines, show, tell
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.text import utc

STEPS = """After a restore:
  1. put the file in the place of the ledger, with Airflow stopped; delete a -wal and a -shm of the old ledger beside it
  2. start Airflow: every wallet is frozen, so nothing is bought
  3. reconcile each wallet: proxyorders ledger reconcile CONN_ID, or a task with ReconcileLedgerOperator
  4. look at each order that it names: it was bought after the backup, so clear no task that bought one of them
  5. proxyorders ledger unfreeze WALLET"""


def add_parsers(verbs: Any, ledger: argparse.ArgumentParser) -> None:
    """Add the commands to ``proxyorders ledger``."""
    backup = verbs.add_parser(
        "backup",
        parents=[ledger],
        help="write a consistent copy of a SQLite ledger to a new file, while Airflow runs",
        epilog=STEPS,
        formatter_class=HelpByLines,
    )
    backup.add_argument("file", metavar="FILE", help="a new file; an old one is never replaced")
    backup.set_defaults(run=back_up_ledger)

    restored = verbs.add_parser(
        "restored",
        parents=[ledger],
        help="after a restore by other means (pg_restore, a plain copy): freeze every wallet until it was reconciled",
    )
    restored.add_argument("--yes", action="store_true", help="skip the confirmation")
    restored.set_defaults(run=mark_ledger)

    reconcile = verbs.add_parser("reconcile", parents=[ledger], help="compare a wallet with its vendor; it sends reads only")
    reconcile.add_argument("conn_id", metavar="CONN_ID", help="a connection that pays from the wallet")
    reconcile.set_defaults(run=reconcile_wallet)


def back_up_ledger(arguments: argparse.Namespace) -> int:
    """Copy the ledger, and note the copy for the doctor."""
    from airflow_provider_proxyorders.ledger import facts
    from airflow_provider_proxyorders.ledger.backup import back_up
    from airflow_provider_proxyorders.ledger.engine import engine_for

    engine = engine_for(ledger_address(arguments))
    backup = back_up(engine, arguments.file)
    show(f"{backup.file}: {backup.purchases} purchases, as of {utc(backup.at, 'seconds')}")
    if backup.marked:
        facts.last_backup(open_to_decide(arguments)).put(dump_json({"at": backup.at.isoformat(), "file": backup.file}))
    else:
        tell(f"ledger: {place_of(engine)}")
        show("This ledger is of an older version. After a restore also run: proxyorders ledger restored")
    show(STEPS)
    return 0


def mark_ledger(arguments: argparse.Namespace) -> int:
    """Freeze every wallet of a ledger that came out of a backup."""
    from airflow_provider_proxyorders.ledger.backup import mark_restored, newest_moment

    ledger = open_to_decide(arguments)
    if not confirmed("Freeze every wallet of this ledger until it was reconciled?", arguments.yes):
        show("nothing was changed")
        return 1
    mark_restored(ledger.engine, newest_moment(ledger.engine))
    show("done: every wallet is frozen. Next: proxyorders ledger reconcile CONN_ID, then proxyorders ledger unfreeze WALLET")
    return 0


def reconcile_wallet(arguments: argparse.Namespace) -> int:
    """Compare, and print every finding."""
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.wallet.reconcile import reconcile

    _compat.act_as_airflow_command()
    hook = ProxyOrdersHook(arguments.conn_id)
    hook.ledger = open_to_read(arguments)  # the hook's own way would make a ledger, or upgrade one
    buyer = hook.buyer(say=lambda line: None)
    report, wallet = reconcile(buyer), buyer.account.wallet
    for line in report.lines():
        show(line)
    frozen = buyer.ledger.freeze_reason(wallet)
    show(f"wallet {wallet}: " + ("ledger and vendor agree" if report.clean else "a person should look at the lines above"))
    if frozen:
        show(f"It is frozen: {frozen}. To buy from it again: proxyorders ledger unfreeze {wallet}")
    return 0 if report.clean else 1
