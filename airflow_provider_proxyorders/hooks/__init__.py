"""The hooks: an Airflow connection becomes an account, and the account a buyer. Each name loads when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain import names_from

if TYPE_CHECKING:
    from airflow_provider_proxyorders.hooks.proxyorders import (
        IPRoyalHook,
        Proxy6Hook,
        ProxyOrdersHook,
        ProxyScrapeHook,
        VoodooHook,
    )

__all__ = ["IPRoyalHook", "Proxy6Hook", "ProxyOrdersHook", "ProxyScrapeHook", "VoodooHook"]

__getattr__ = names_from(__name__, dict.fromkeys(__all__, "proxyorders"))
