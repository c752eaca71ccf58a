"""Finds vendors by entry point, so that another package can bring one."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import ConfigError

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Vendor

GROUP = "airflow_provider_proxyorders.vendors"


def vendor_names() -> list[str]:
    """The names of all installed vendors; each is also the connection type."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


@cache
def vendor_class(name: str) -> type[Vendor]:
    """The vendor of a connection type.

    :raises ConfigError: for a vendor without an installed package.
    """
    for entry in entry_points(group=GROUP, name=name):
        kind: type[Vendor] = entry.load()
        return kind
    raise ConfigError(f"no vendor named {name!r} is installed; there are: {', '.join(vendor_names()) or 'none'}")
