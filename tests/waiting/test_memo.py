"""An answer that is the same to the letter is not read anew; whatever changed is."""

from __future__ import annotations

import pytest

from airflow_provider_proxyorders.vendors import iproyal_reading
from airflow_provider_proxyorders.vendors.base import Memo
from tests.hooks.connections import Shops

from .room import finish, seed

MANY = 150


@pytest.mark.parametrize("page_size", [100, 40, 1000])
def test_only_what_changed_is_read(shops: Shops, monkeypatch: pytest.MonkeyPatch, page_size: int) -> None:
    read, real = [], iproyal_reading.read_order

    def counted(row: object, zone: str) -> object:
        read.append(row)
        return real(row, zone)

    monkeypatch.setattr(iproyal_reading, "read_order", counted)
    hook, order_ids = shops.hook("iproyal", extra={"page_size": page_size}), seed(shops, "iproyal", MANY)
    memo: Memo = {}
    paged = page_size < 50  # both calls take several pages, and one that is the same says nothing of the next

    def words() -> list[str]:
        read.clear()
        found = hook.http.run(hook.vendor.get_many(order_ids, memo))
        return [found[order_id].vendor_status for order_id in order_ids]

    assert words() == ["in-progress"] * MANY and len(read) == MANY
    assert words() == ["in-progress"] * MANY and len(read) == (MANY if paged else 0)
    finish(shops, "iproyal", order_ids[99:100])  # the last one of its call, and of the last page
    assert words() == ["in-progress"] * 99 + ["confirmed"] + ["in-progress"] * 50 and len(read) == (MANY if paged else 100)
    finish(shops, "iproyal", order_ids[120:])
    assert words() == ["in-progress"] * 99 + ["confirmed"] + ["in-progress"] * 20 + ["confirmed"] * 30
