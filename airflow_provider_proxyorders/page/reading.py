"""The ledger as one request of the page reads it: within the rights of its user.

One rule: reading makes no ledger and upgrades none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.hooks.settings import ledger_url
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.attention import Attention, OrderEnd, ReceivedWebhook, WalletState
from airflow_provider_proxyorders.ledger.inspect import existing_engine
from airflow_provider_proxyorders.ledger.listing import ListedPurchase, Listing
from airflow_provider_proxyorders.page.rights import Rights

log = logging.getLogger(__name__)

Row = TypeVar("Row", Purchase, ListedPurchase, OrderEnd, ReceivedWebhook)


def hook_of(conn_id: str) -> ProxyOrdersHook:
    """The hook of a connection that can be read.

    :raises ConfigError: it cannot. An error of a secrets backend may name hosts and paths, so its text stays out.
    """
    hook = ProxyOrdersHook(conn_id)
    try:
        hook.vendor  # noqa: B018 - looks the connection up
    except ProxyOrdersError:
        raise
    except Exception as error:
        log.warning("The look-up of connection %s failed", conn_id, exc_info=True)
        raise ConfigError(f"the look-up of connection {conn_id!r} failed: {type(error).__name__}") from None
    return hook


class Reading:
    """The ledger for one request.

    :ivar ledger: the ledger, ``None`` before its first use or while its version is another one.
    """

    def __init__(self, rights: Rights):
        self.rights = rights
        engine = existing_engine(ledger_url())
        self.ledger = Ledger(engine) if engine is not None else None
        self._engine = engine

    @cached_property
    def listing(self) -> Listing:
        """The lists of the ledger."""
        assert self._engine is not None
        return Listing(self._engine)

    @cached_property
    def attention(self) -> Attention:
        """The overviews of the ledger."""
        assert self._engine is not None
        return Attention(self._engine)

    @cached_property
    def conn_ids(self) -> frozenset[str] | None:
        """The connections with purchases that the user may see; ``None``: all of them."""
        everything = self.attention.conn_ids()
        allowed = self.rights.allowed(everything)
        return None if len(allowed) == len(everything) else allowed

    def readable(self, rows: Iterable[Row]) -> list[Row]:
        """The rows through connections that the user may read."""
        return [row for row in rows if self.rights.may_read(row.conn_id)]

    def wallets(self) -> list[WalletState]:
        """The wallets with a connection that the user may read."""
        return [wallet for wallet in self.attention.wallets() if self.rights.allowed(wallet.conn_ids)] if self.ledger else []

    def may_unfreeze(self, wallet: WalletState) -> bool:
        """Whether the user may edit every connection of a wallet: they all buy from it afterwards."""
        return bool(wallet.conn_ids) and len(self.rights.allowed(wallet.conn_ids, "PUT")) == len({*wallet.conn_ids})

    def find(self, order_key: str) -> Purchase | None:
        """The purchase with this very key in the ledger; ``None`` if there is none that the user may see."""
        purchase = self.ledger.find(order_key) if self.ledger is not None else None
        return purchase if purchase is not None and self.rights.may_read(purchase.conn_id) else None

    def find_under(self, order_key: str) -> Purchase | None:
        """The same; else one that the user may see under this key of its task."""
        return next(iter(self.readable(self.ledger.under_key(order_key))), None) if self.ledger is not None else None
