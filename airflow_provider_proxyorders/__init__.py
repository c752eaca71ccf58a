"""Airflow provider that buys, extends and watches prepaid proxy orders, and never spends the same money twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

__all__ = ["__version__", "get_provider_info"]


def get_provider_info() -> dict[str, object]:
    """The metadata in ``provider.json``.

    Every Airflow process calls this, so it reads one file and imports no other module of the package. ``provider_info.py``
    writes the file.
    """
    info: dict[str, object] = json.loads(Path(__file__).with_name("provider.json").read_text(encoding="utf-8"))
    return info


def __getattr__(name: str) -> Any:
    if not name[:1].isupper():  # a probe of Python or of a tool loads nothing
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_proxyorders.domain import missing_name

    raise missing_name(__name__, name)
