"""Operators: the tasks that buy and extend, deliver, watch a wallet and compare the ledger. Each name loads when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain import names_from

if TYPE_CHECKING:
    from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator, read_delivery
    from airflow_provider_proxyorders.operators.extend import ExtendProxyOrderOperator
    from airflow_provider_proxyorders.operators.find_expiring import FindExpiringOrdersOperator
    from airflow_provider_proxyorders.operators.ledger import ReconcileLedgerOperator
    from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
    from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator

__all__ = [
    "CheckWalletOperator",
    "CreateProxyOrderOperator",
    "DeliverProxiesOperator",
    "ExtendProxyOrderOperator",
    "FindExpiringOrdersOperator",
    "ReconcileLedgerOperator",
    "read_delivery",
]

__getattr__ = names_from(
    __name__,
    {
        "CheckWalletOperator": "wallet",
        "CreateProxyOrderOperator": "orders",
        "DeliverProxiesOperator": "delivery",
        "ExtendProxyOrderOperator": "extend",
        "FindExpiringOrdersOperator": "find_expiring",
        "ReconcileLedgerOperator": "ledger",
        "read_delivery": "delivery",
    },
)
