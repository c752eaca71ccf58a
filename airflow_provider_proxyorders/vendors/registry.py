"""Finds vendors by entry point, so that another package can bring one.

One rule: a package that is broken is named and left out. All other vendors work on.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.text import one_line

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors.base import Vendor

_log = logging.getLogger(__name__)

GROUP = "airflow_provider_proxyorders.vendors"


def vendor_names() -> list[str]:
    """The names of all installed vendors; each is also the connection type."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


@cache
def vendor_class(name: str) -> type[Vendor]:
    """The vendor of a connection type.

    :raises ConfigError: for a vendor without an installed package, with a broken one, or with two.
    """
    entries = list(entry_points(group=GROUP, name=name))
    if not entries:
        raise ConfigError(f"no vendor named {name!r} is installed; there are: {', '.join(vendor_names()) or 'none'}")
    if len({entry.value for entry in entries}) > 1:
        raise _broken(name, entries, "it is brought by two packages")
    try:
        kind: type[Vendor] = entries[0].load()
    except (Exception, SystemExit) as error:  # the code of another package
        raise _broken(name, entries, f"its package is broken: {type(error).__name__}: {one_line(error)}") from error
    if getattr(kind, "name", None) != name:
        raise _broken(name, entries, f"{entries[0].value} must be a class with name = {name!r}")
    return kind


def usable_vendors() -> list[type[Vendor]]:
    """The vendors by name. The log names each one that is left out, and why."""
    vendors = []
    for name in vendor_names():
        try:
            vendors.append(vendor_class(name))
        except ConfigError as error:
            _log.warning("%s It is left out.", error)
    return vendors


def _broken(name: str, entries: list[EntryPoint], why: str) -> ConfigError:
    packages = sorted({entry.dist.name for entry in entries if entry.dist})
    return ConfigError(f"vendor {name!r} is out of use: {why}. Nothing was sent. Mend or uninstall {' or '.join(packages)}.")
