"""Renewals against the sandbox, with a real ledger; tasks run in this process, without a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.hooks import connections
from tests.hooks.connections import Shops

PLAN = {"product_plan_id": 22}  # thirty days, 3.00 for each proxy


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    yield from connections.shops(tmp_path, monkeypatch)


@pytest.fixture
def now() -> datetime:
    """To the second, as the vendor writes its times."""
    return datetime.now(timezone.utc).replace(microsecond=0)


@pytest.fixture
def vendor_has(shops: Shops, now: datetime) -> Callable[..., str]:
    """Puts an order at IPRoyal that was bought before; returns its id."""

    def put(number: int, ends_in: timedelta | None = timedelta(days=1), **fields: Any) -> str:
        order = {"id": number, "product_id": 9, "product_plan_id": 22, "status": "confirmed", **fields}
        if ends_in is not None:
            order.setdefault("expire_date", written(now + ends_in))
        shops.box.control({"vendor": "iproyal", "order": order})
        return str(number)

    return put


def written(moment: datetime) -> str:
    """A time as IPRoyal writes it, in the sandbox's zone, which is UTC."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
