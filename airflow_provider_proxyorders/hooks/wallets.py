"""Where a connection and the ledger meet: the account of a connection gets the wallet that the ledger knows it by.

One rule: only a worker that may spend decides about a wallet. Whoever only reads takes the decision as it stands, and neither
makes a ledger nor upgrades one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import LedgerError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.account import Account
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.ledger.accounts import Wallet


def resolve_wallet(account: Account, ledger: Ledger) -> None:
    """Give an account its wallet, which the ledger decides at the first use of the account.

    :raises ConfigError: another connection of the account names another wallet. Nothing was bought.
    :raises LedgerError: the ledger cannot be used. Nothing was bought.
    """
    from airflow_provider_proxyorders.ledger.accounts import Accounts

    try:
        _set(account, Accounts(ledger.engine, ledger.clock).resolve(account))
    except LedgerError as error:
        error.tell("This try bought nothing.")
        raise


def look_up_wallet(account: Account, url: str | None = None) -> None:
    """Give an account the wallet that the ledger knows it by; reads only. Without a ledger it keeps the connection's name.

    :param url: address of the ledger, ``None`` = of ``[proxyorders] ledger_url``.
    :raises LedgerError: the ledger cannot be read.
    """
    from airflow_provider_proxyorders.hooks.settings import ledger_url
    from airflow_provider_proxyorders.ledger.inspect import existing_engine

    engine = existing_engine(url or ledger_url())
    if engine is not None:
        from airflow_provider_proxyorders.ledger.accounts import Accounts

        _set(account, Accounts(engine).look_up(account))


def look_up_wallet_in(account: Account, ledger: Ledger) -> None:
    """Give an account the wallet that this open ledger knows it by; reads only."""
    from airflow_provider_proxyorders.ledger.accounts import Accounts

    _set(account, Accounts(ledger.engine, ledger.clock).look_up(account))


def _set(account: Account, wallet: Wallet) -> None:
    account.wallet, account.former_wallets, account.digest = wallet.name, wallet.former, wallet.account
