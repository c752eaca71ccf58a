"""Airflow provider that buys, extends and watches prepaid proxy orders, and never spends the same money twice."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__", "get_provider_info"]


def get_provider_info() -> dict[str, object]:
    """What Airflow reads about this package, without importing any of its hooks or operators."""
    from airflow_provider_proxyorders.provider_info import provider_info

    return provider_info()
