"""Vendors: one file each, no I/O, found through the entry-point group ``airflow_provider_proxyorders.vendors``.

What is named here is loaded when it is used, for the reason told in ``ledger/__init__.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Capabilities, Filters, Polling, Prepared, Setting, Vendor
    from airflow_provider_proxyorders.vendors.registry import vendor_class, vendor_names

__all__ = ["Capabilities", "Filters", "Polling", "Prepared", "Setting", "Vendor", "vendor_class", "vendor_names"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_proxyorders.vendors import base, registry

    return getattr(registry if name in ("vendor_class", "vendor_names") else base, name)
