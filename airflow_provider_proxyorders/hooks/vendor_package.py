"""The provider info and the hook of a package with vendors of its own, made when Airflow asks for them.

Such a package names this module in its entry point, as in ``airflow_provider_proxyorders.hooks.vendor_package:info_acme_orders``
for the package ``acme-orders``. Airflow runs the entry point in every process and ends if it fails, so nothing of the other
package runs here unguarded: a broken vendor is named in the log and left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from airflow_provider_proxyorders.provider_info import connection_type
from airflow_provider_proxyorders.vendors.registry import GROUP, vendor_class

_log = logging.getLogger(__name__)
_INFO, _HOOK = "info_", "hook_"


def __getattr__(name: str) -> Any:
    if name.startswith(_INFO):
        return partial(package_info, name.removeprefix(_INFO))
    if name.startswith(_HOOK):
        return hook_class(name.removeprefix(_HOOK))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def package_info(package: str) -> dict[str, Any]:
    """What Airflow reads about a package: the connection form of each of its vendors.

    :param package: its name; ``acme_orders`` is ``acme-orders``.
    """
    name = _canonical(package)
    forms = []
    for vendor_name in _vendors_of(name):
        form = _guarded(_form, vendor_name)
        if form is not None:
            forms.append(form)
    return {
        "package-name": name,
        "name": ", ".join(form["hook-name"] for form in forms) or name,
        "description": f"Proxy orders at {', '.join(form['hook-name'] for form in forms) or 'a vendor that is left out'}.",
        "connection-types": forms,
    }


def hook_class(vendor_name: str) -> type:
    """The hook of a vendor's connection type.

    :raises ConfigError: there is no such vendor, or its package is broken.
    """
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    vendor = vendor_class(vendor_name)
    fields = {
        "conn_type": vendor_name,
        "hook_name": vendor.title,
        "__doc__": f"Orders at {vendor.title}.",
        "__module__": __name__,
    }
    return type(f"{_HOOK}{vendor_name}", (ProxyOrdersHook,), fields)


def _form(vendor_name: str) -> dict[str, Any]:
    return connection_type(vendor_class(vendor_name), f"{__name__}.{_HOOK}{vendor_name}")


def _vendors_of(package: str) -> list[str]:
    return sorted({entry.name for entry in entry_points(group=GROUP) if entry.dist and _canonical(entry.dist.name) == package})


def _guarded(form: Callable[[str], dict[str, Any]], vendor_name: str) -> dict[str, Any] | None:
    try:
        return form(vendor_name)
    except Exception as error:  # one vendor of another package; Airflow and all other vendors work on
        _log.warning("Connection type %r is left out. %s", vendor_name, error)
        return None


def _canonical(name: str) -> str:
    """A name of a package as Airflow compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
