"""The receiver with Airflow's connections and the ledger of ``[proxyorders] ledger_url``."""

from __future__ import annotations

import socket

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.hooks.settings import shared_ledger_url, webhook_rate, webhook_retention
from airflow_provider_proxyorders.hooks.wallets import look_up_wallet
from airflow_provider_proxyorders.ledger.inbox import Inbox, open_inbox
from airflow_provider_proxyorders.vendors import Vendor
from airflow_provider_proxyorders.webhooks.receiver import Receiver
from airflow_provider_proxyorders.webhooks.senders import Senders


def receiver() -> Receiver:
    """A receiver for this Airflow's connections."""
    return Receiver(Senders(_vendor, wallet_of=_wallet), _inbox, rate=webhook_rate(), retention=webhook_retention())


def _vendor(conn_id: str) -> Vendor:
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    return ProxyOrdersHook(conn_id).vendor


def _wallet(vendor: Vendor) -> str:
    look_up_wallet(vendor.account)
    return vendor.account.wallet


def _inbox() -> Inbox:
    return open_inbox(shared_ledger_url())


def place(host: str, port: int) -> socket.socket:
    """The place where the receiver will answer, taken before it starts. Until then connections are refused.

    :raises ConfigError: the place cannot be taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = error.strerror or error
        raise ConfigError(f"the receiver cannot listen on {host}:{port}: {why}. Try another --port or --host.") from None
    return listener


def serve(listener: socket.socket) -> None:
    """Run the receiver by itself, until Ctrl-C or SIGTERM."""
    import uvicorn

    from airflow_provider_proxyorders.webhooks.server import config

    uvicorn.Server(config(receiver(), *listener.getsockname()[:2])).run(sockets=[listener])
