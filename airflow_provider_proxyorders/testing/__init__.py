"""For authors of vendors: replay exchanges against a vendor's flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.testing.replay import Exchange, exchanges, verify

__all__ = ["Exchange", "exchanges", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_proxyorders.testing import replay

    return getattr(replay, name)
