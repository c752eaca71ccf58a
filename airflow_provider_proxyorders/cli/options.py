"""Shared by several commands: which ledger they read, arguments, and the question before a decision."""

from __future__ import annotations

import argparse
import os
from datetime import date
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli import screen
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.hooks.settings import ledger_url, refuse_unshared

if TYPE_CHECKING:
    from airflow_provider_proxyorders.ledger import Ledger


def ledger_option() -> argparse.ArgumentParser:
    """The parent parser of the commands with a ledger."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--ledger-url", help="database of the ledger; default: [proxyorders] ledger_url of this Airflow")
    return parent


def add_purchase(parser: argparse.ArgumentParser) -> None:
    """The arguments that name one purchase."""
    parser.add_argument("order_key")
    parser.add_argument("--wallet", help="its wallet, where several have this key: its name, or the id of a connection")


def ledger_address(arguments: argparse.Namespace) -> str:
    """The address of the ledger of the option, or of this Airflow.

    :raises ConfigError: its SQLite file is missing. A command makes no ledger, so a mistyped name stays an error.
    :raises LedgerError: the workers of this Airflow could not share it.
    """
    url: str | None = arguments.ledger_url
    if url is None:
        url = ledger_url()
        refuse_unshared(url)
    file = url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite") else ""
    if file and not os.path.exists(file):
        home = "" if arguments.ledger_url else f" It is the ledger of AIRFLOW_HOME={_compat.airflow_home()}."
        raise ConfigError(f"the ledger {file} is missing. Nothing was changed.{home}")
    return url


def open_to_read(arguments: argparse.Namespace) -> Ledger:
    """The ledger of the option, or of this Airflow, as it is; its place goes to stderr. Nothing is made or upgraded.

    :raises ConfigError: it is missing, empty, or of another version than this code.
    :raises LedgerError: it cannot be read.
    """
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.ledger.engine import engine_for
    from airflow_provider_proxyorders.ledger.inspect import version_at
    from airflow_provider_proxyorders.ledger.schema import HEAD

    engine = engine_for(ledger_address(arguments))
    place, version = place_of(engine), version_at(engine)
    if version is None:
        raise ConfigError(f"the database {place} holds no ledger yet: the first task that buys makes it. Nothing was changed.")
    if version != HEAD:
        raise ConfigError(
            f"the ledger {place} is of version {version}, and this package reads version {HEAD}. The first task of this version "
            "upgrades it, on every host. Nothing was changed."
        )
    screen.tell(f"ledger: {place}")
    return Ledger(engine)


def open_to_decide(arguments: argparse.Namespace) -> Ledger:
    """The ledger of the option, or of this Airflow, for a decision; its place goes to stderr.

    A ledger of an older version is upgraded, none is made.

    :raises ConfigError: it is missing.
    :raises LedgerError: it cannot be opened or upgraded.
    """
    from airflow_provider_proxyorders.ledger import open_ledger

    ledger = open_ledger(ledger_address(arguments))
    screen.tell(f"ledger: {place_of(ledger.engine)}")
    return ledger


def place_of(engine: Any) -> str:
    """The address of a ledger without its password."""
    from airflow_provider_proxyorders.ledger.address import without_password

    return without_password(engine.url)


def day_of(text: str) -> date:
    """A day as an argument."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a day such as 2026-12-31, got {text!r}") from None


def port_number(text: str) -> int:
    """A port, for argparse."""
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} must be a port from 0 to 65535")
    return int(text)


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
    except (EOFError, RuntimeError):  # the latter: stdin is closed
        return False
