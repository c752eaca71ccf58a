"""Sensors wait for an order or for a wallet, and only read. Each name loads when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain import names_from

if TYPE_CHECKING:
    from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor, ProxyOrderWebhookSensor
    from airflow_provider_proxyorders.sensors.wallet import WalletBalanceSensor

__all__ = ["ProxyOrderSensor", "ProxyOrderWebhookSensor", "WalletBalanceSensor"]

__getattr__ = names_from(
    __name__,
    {"ProxyOrderSensor": "orders", "ProxyOrderWebhookSensor": "orders", "WalletBalanceSensor": "wallet"},
)
