"""The vendors of this package; how exchanges are replayed is in ``airflow_provider_proxyorders.testing.replay``."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_proxyorders.testing.replay import (
    FOLDER,
    SPENDING,
    TOKENS,
    Exchange,
    Played,
    drive,
    exchanges,
    flow_of,
    play,
    response_of,
    vendor_for,
    verify,
    view,
)
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.vendors.iproyal import IPRoyal
from airflow_provider_proxyorders.vendors.proxyscrape import ProxyScrape
from airflow_provider_proxyorders.vendors.voodoo import Voodoo

VENDORS: Mapping[str, type[Vendor]] = {"proxyscrape": ProxyScrape, "voodoo": Voodoo, "iproyal": IPRoyal}

__all__ = [
    "FOLDER",
    "SPENDING",
    "TOKENS",
    "VENDORS",
    "Exchange",
    "Played",
    "drive",
    "exchanges",
    "flow_of",
    "play",
    "response_of",
    "vendor_for",
    "verify",
    "view",
]
