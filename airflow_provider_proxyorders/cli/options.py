"""Shared by several commands: the option for another ledger, whole numbers, and the question before a decision."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.hooks.settings import ledger

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger import Ledger


def ledger_option() -> argparse.ArgumentParser:
    """The parent parser of the commands with a ledger."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--ledger-url", help="database of the ledger; default: [proxyorders] ledger_url of this Airflow")
    return parent


def open_ledger_of(arguments: argparse.Namespace) -> Ledger:
    """The ledger of the option, or of this Airflow. A mistyped file name must stay an error, so a missing file is one.

    :raises ConfigError: the SQLite file is missing.
    :raises LedgerError: opening the ledger failed.
    """
    from airflow_provider_proxyorders.ledger import open_ledger

    url = arguments.ledger_url
    if url:
        file = url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite") else ""
        if file and not os.path.exists(file):
            raise ConfigError(f"the ledger {file} is missing. Nothing was changed.")
        return open_ledger(url)

    return ledger()


def whole_number(text: str) -> int:
    """A count as an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text!r}")
    return int(text)


def confirmed(question: str, yes: bool) -> bool:
    """Ask before a decision; the end of the input means no.

    :param yes: the option ``--yes``, an answer in advance.
    """
    if yes:
        return True
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
