"""Vendors: one file each, no I/O, found through the entry-point group ``airflow_provider_proxyorders.vendors``."""

from __future__ import annotations

from airflow_provider_proxyorders.vendors.base import Capabilities, Filters, Polling, Prepared, Setting, Vendor
from airflow_provider_proxyorders.vendors.registry import vendor_class, vendor_names

__all__ = ["Capabilities", "Filters", "Polling", "Prepared", "Setting", "Vendor", "vendor_class", "vendor_names"]
