"""The vendors of this package; how exchanges are replayed is in ``airflow_provider_proxyorders.testing.replay``."""

from __future__ import annotations

from airflow_provider_proxyorders.testing.replay import (
    FOLDER,
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
from tests.vendors import VENDORS

#: Operations that may hold a spending request; all others only read.
SPENDING = ("create", "extend")

__all__ = [
    "FOLDER",
    "SPENDING",
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


def named(name: str) -> Exchange:
    return next(exchange for exchange in exchanges() if exchange.name == name)
