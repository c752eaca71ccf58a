"""The shops and buyers of ``tests/purchase``, for tests that look at one purchase under a magnifying glass."""

from __future__ import annotations

from ..purchase.conftest import box, ledger, shop, shop_of

__all__ = ["box", "ledger", "shop", "shop_of"]
