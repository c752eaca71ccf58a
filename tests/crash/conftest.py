"""The shops and desks of ``tests/desk``, for tests that look at one purchase under a magnifying glass."""

from __future__ import annotations

from ..desk.conftest import box, ledger, shop, shop_of

__all__ = ["box", "ledger", "shop", "shop_of"]
