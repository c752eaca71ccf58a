"""Identities of renewals: the order keys of extensions and replacements, and the period that each of them pays for.

Two rules: all tasks for the same period get the same key; and the ledger decides the period once, so it stays the same for all
tries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.purchase.buyer import Buyer


def default_key(buyer: Buyer, key_for: Callable[[str], str]) -> str:
    """A default order key of a wallet. A purchase from a former name of the wallet keeps the key that it has.

    :param key_for: gives the key for a name of the wallet.
    """
    account = buyer.account
    if account.former_wallets:
        for wallet in account.wallet_names:
            if buyer.keys.find(key_for(wallet)) is not None:
                return key_for(wallet)
    return key_for(account.wallet)


def extension_key(wallet: str, order_id: str, expiry: datetime, part: str = "") -> str:
    """Identity of the extension of an order from this expiry on, the same for all DAGs.

    :param expiry: of the order, aware UTC.
    :param part: what of the order is extended, see :meth:`Vendor.part_of`.
    """
    return f"extend:{wallet}:{order_id}:{expiry.isoformat()}{':' if part else ''}{part}"


def default_extension_key(buyer: Buyer, order_id: str, expiry: datetime, part: str = "") -> str:
    """See :func:`extension_key` and :func:`default_key`."""
    return default_key(buyer, lambda wallet: extension_key(wallet, order_id, expiry, part))


def expiry_to_extend(buyer: Buyer, order_id: str) -> datetime:
    """The expiry an extension starts from. Inside a task it is read once and kept for all tries of the task.

    A mapped task counts as one task: in one run it extends an order once, for all its map indexes.

    :raises ConfigError: the order has no expiry. Nothing was sent.
    """
    fact = facts.extended_expiry(buyer.ledger, buyer.account.wallet, order_id, buyer.actor) if buyer.actor.task_id else None
    kept = fact.get() if fact else None
    if kept:
        return datetime.fromisoformat(kept)
    expiry = buyer.read_order(order_id).expires_at
    if expiry is None:
        raise ConfigError(
            f"order {order_id} has no expiry at {buyer.vendor.title} yet, and an extension starts from one. Nothing was "
            "sent. Wait for the order first, or give the extension an order_key of its own."
        )
    return datetime.fromisoformat(fact.decide_once(expiry.isoformat())) if fact else expiry


def replacement_key(wallet: str, order_id: str, period: str) -> str:
    """Identity of the purchase of a new order in the place of an old one.

    :param period: of the old order, see :func:`period_of`.
    """
    return f"reorder:{wallet}:{order_id}:{period}"


def default_replacement_key(buyer: Buyer, order_id: str, period: str) -> str:
    """See :func:`replacement_key` and :func:`default_key`."""
    return default_key(buyer, lambda wallet: replacement_key(wallet, order_id, period))


def period_of(expires_at: datetime | None, began: datetime) -> str:
    """The paid period of an order: it ends at the vendor's expiry. If the vendor reports none, it begins with the purchase.

    A term of the user would be no identity: the next run may give another one.
    """
    return f"until {expires_at.isoformat()}" if expires_at else f"from {began.isoformat()}"


def period_to_replace(buyer: Buyer, order_id: str, creation: Purchase | None, ends: datetime | None) -> str:
    """The paid period of an order as the first replacement saw it: such an order has one period only.

    :param creation: the purchase of the order, ``None`` if it was bought elsewhere.
    :param ends: the end as the user gives it.
    :raises InvalidParameter: the period is unknown to both ledger and user. Nothing was sent.
    """
    if creation is not None:
        period = period_of(creation.expires_at, creation.sent_at or creation.created_at)
    elif ends is not None:
        period = period_of(ends, ends)
    else:
        raise InvalidParameter(
            "expires_at",
            f"is needed: order {order_id} was bought outside of this ledger and {buyer.vendor.title} reports no end",
            "2026-12-31T12:00:00+00:00",
        )
    return facts.replaced_period(buyer.ledger, buyer.account.wallet, order_id).decide_once(period)
