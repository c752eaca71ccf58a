"""For vendor authors: check a vendor against its exchanges, and play the scenes that lose answers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_proxyorders.testing.replay import Exchange, exchanges, verify
    from airflow_provider_proxyorders.testing.scenes import SCENES, verify_never_twice

__all__ = ["SCENES", "Exchange", "exchanges", "verify", "verify_never_twice"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "scenes" if name in ("SCENES", "verify_never_twice") else "replay"
    return getattr(import_module(f"{__name__}.{room}"), name)
