"""Where a connection and the ledger meet: the account of a connection gets the wallet that the ledger knows it by.

One rule: only a worker that may spend decides about a wallet. Whoever only reads takes the decision as it stands, and neither
makes a ledger nor upgrades one.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import LedgerError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.account import Account
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.ledger.accounts import Wallet
    from airflow_provider_proxyorders.ledger.elsewhere import Elsewhere


def resolve_wallet(account: Account, ledger: Ledger) -> bool:
    """Give an account its wallet, which the ledger decides at the first use of the account.

    :returns: whether this was the first use, or the first one after a change of the connection.
    :raises ConfigError: another connection of the account names another wallet. Nothing was bought.
    :raises LedgerError: the ledger cannot be used. Nothing was bought.
    """
    from airflow_provider_proxyorders.ledger.accounts import Accounts

    try:
        wallet = Accounts(ledger.engine, ledger.clock).resolve(account)
    except LedgerError as error:
        error.tell("This try bought nothing.")
        raise
    _set(account, wallet)
    return wallet.is_new


def same_key_elsewhere(account: Account, ledger: Ledger, key_of: Callable[[str], str | None]) -> Elsewhere | None:
    """Another connection with the key of an account and another wallet. Keys are compared by a keyed hash and never shown.

    :param key_of: the key of another connection, ``None`` where it cannot be read.
    """
    from airflow_provider_proxyorders.ledger.elsewhere import connections_elsewhere

    salt = secrets.token_bytes(32)

    def digest(key: str) -> bytes:
        return hmac.digest(salt, key.encode("utf-8", "surrogatepass"), "sha256")

    for other in connections_elsewhere(ledger.engine, account.vendor, account.wallet):
        key = key_of(other.conn_id) if other.conn_id != account.conn_id else None
        if key is not None and hmac.compare_digest(digest(key), digest(account.secret)):
            return other
    return None


def describe_same_key(account: Account, other: Elsewhere, *, named: bool = True) -> tuple[str, str]:
    """What two connections with one key and two wallets mean, and the advice.

    :param named: whether the reader may see the other connection.
    """
    who = f"connection {other.conn_id!r}" if named else "another connection"
    wallet = f"wallet {other.wallet!r}" if named else "another wallet"
    text = (
        f"{who} holds the same key and pays from {wallet}, not from {account.wallet!r}: "
        "the limits of one balance count twice, and orders of one look foreign to the other"
    )
    return text, f"Set the same 'wallet' in {account.conn_id!r} and {repr(other.conn_id) if named else who}."


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
