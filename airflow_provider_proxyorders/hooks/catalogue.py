"""The catalogue of a vendor that offers it as a file, for hooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.catalogue.local_copy import Catalogue

if TYPE_CHECKING:
    from airflow_provider_proxyorders.vendors import Vendor

#: In AIRFLOW_HOME; one folder for all connections of a host.
FOLDER = "proxyorders-catalogues"


def catalogue_of(vendor: Vendor, log: Any) -> Catalogue | None:
    """The vendor's catalogue; ``None`` where it is no file.

    :param log: of the hook.
    """
    if vendor.catalogue_file is None:
        return None
    return Catalogue(vendor.catalogue_file(vendor), Path(_compat.airflow_home(), FOLDER), log)
