"""For vendor authors: check a vendor against its exchanges, and play the scenes that lose answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain import names_from

if TYPE_CHECKING:
    from airflow_provider_proxyorders.testing.replay import Exchange, exchanges, verify
    from airflow_provider_proxyorders.testing.scenes import SCENES, verify_never_twice

__all__ = ["SCENES", "Exchange", "exchanges", "verify", "verify_never_twice"]

__getattr__ = names_from(
    __name__,
    {"SCENES": "scenes", "Exchange": "replay", "exchanges": "replay", "verify": "replay", "verify_never_twice": "scenes"},
)
