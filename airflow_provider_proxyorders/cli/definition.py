"""The command ``airflow proxyorders``, the same as ``proxyorders``; the section ``cli`` of the provider's metadata names it.

One rule: each ``airflow`` process loads this file, so it imports nothing else of the package before the command runs.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from airflow.cli.cli_config import ActionCommand, Arg

from airflow_provider_proxyorders.cli.main import main

_DESCRIPTION = """\
Prepaid proxy orders: what was bought, what waits for a decision, and whether a connection works.

  airflow proxyorders doctor CONN_ID                          check a connection and the ledger
  airflow proxyorders catalogue CONN_ID                       what the vendor sells, with the values for request
  airflow proxyorders guarantees                              what is promised for each vendor
  airflow proxyorders ledger list|show|spending               purchases, one purchase, sums
  airflow proxyorders ledger resolve|unfreeze                 decide
  airflow proxyorders ledger backup|restored|reconcile        copy the ledger, and go on after a restore
  airflow proxyorders webhooks serve|list|send-test           webhooks
  airflow proxyorders new-vendor NAME                         write a package with a vendor of your own
  airflow proxyorders sandbox|demo                            try it without money

Each of them explains itself: airflow proxyorders ledger list --help"""


def get_cli_commands() -> list[ActionCommand]:
    """The command for Airflow's parser. All words behind it go to the parser of ``proxyorders``."""
    words = Arg(  # type: ignore[no-untyped-call]
        ("words",), nargs=argparse.REMAINDER, metavar="COMMAND ...", help="a command and its arguments, as above"
    )
    return [
        ActionCommand(
            name="proxyorders",
            help="Prepaid proxy orders: the ledger, the doctor, decisions",
            description=_DESCRIPTION,
            func=run,
            args=(words,),
        )
    ]


def run(arguments: argparse.Namespace) -> NoReturn:
    """Run ``proxyorders`` with the words; its exit status is that of ``airflow``."""
    sys.exit(main(arguments.words or ["--help"], prog="airflow proxyorders"))
