"""Triggers wait in the triggerer and only read; a client without the right to spend makes their calls.

Read the room in this order:

- ``subscription.py``, ``subscribers.py``: one waiting trigger, and all waiting triggers of a connection.
- ``backoff.py``, ``gate.py``: the pauses of a vendor in trouble, and the only way to ask a vendor.
- ``schedule.py``, ``missing.py``, ``poller.py``: the order of the looks, orders that reads do not show, and the loop behind them.
- ``telling.py``, ``background.py``: logs, measures, and work beside the loop.
- ``orders.py``, ``wallet.py``: the triggers themselves. ``events.py``, ``balance.py``, ``inbox_listener.py``: their sources.

The package offers the triggers for your DAG files; each loads when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain import names_from

if TYPE_CHECKING:
    from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger, ProxyOrderTrigger
    from airflow_provider_proxyorders.triggers.wallet import WalletBalanceTrigger

__all__ = ["OrderEventTrigger", "ProxyOrderTrigger", "WalletBalanceTrigger"]

__getattr__ = names_from(
    __name__,
    {"OrderEventTrigger": "orders", "ProxyOrderTrigger": "orders", "WalletBalanceTrigger": "wallet"},
)
