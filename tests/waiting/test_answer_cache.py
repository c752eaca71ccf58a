"""A repeated answer is read once; a changed one is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OrderNotFound
from airflow_provider_proxyorders.transport.answer_cache import Answers, CachedAnswer
from airflow_provider_proxyorders.transport.flow import arun
from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
from airflow_provider_proxyorders.vendors.iproyal import lists as iproyal_reading
from airflow_provider_proxyorders.vendors.proxyscrape import reads as proxyscrape_reading
from tests.hooks.connections import Shops

from .room import finish, seed

MANY = 100
Ask = Callable[[Any, Any], Awaitable[Any]]


def asking(shops: Shops, vendor: str, story: Callable[[Any, Ask], Awaitable[None]], **extra: Any) -> None:
    """Tell a story with the vendor of a connection, and with a function that asks it and remembers."""

    async def main() -> None:
        hook, answers = shops.hook(vendor, extra=extra), Answers()
        http = AsyncHttp(hook.vendor.account)
        try:
            await story(hook.vendor, lambda flow, question: arun(flow, http.asend, CachedAnswer(answers, question)))
        finally:
            await http.aclose()

    asyncio.run(main())


def counted(patch: pytest.MonkeyPatch, module: Any) -> list[Any]:
    """The orders read by a vendor from now on."""
    read, real = list[Any](), module.read_order

    def read_order(row: Any, *rest: Any) -> Any:
        read.append(row)
        return real(row, *rest)

    patch.setattr(module, "read_order", read_order)
    return read


@pytest.mark.parametrize("page_size", [100, 40, 1000])
def test_a_list(shops: Shops, monkeypatch: pytest.MonkeyPatch, page_size: int) -> None:
    read, order_ids = counted(monkeypatch, iproyal_reading), seed(shops, "iproyal", MANY)
    again = MANY if page_size < MANY else 0  # a first page that is the same says nothing of the next one

    async def story(vendor: Any, ask: Ask) -> None:
        async def words() -> list[str]:
            read.clear()
            orders = await ask(vendor.get_many(order_ids), tuple(order_ids))
            return [orders[order_id].vendor_status for order_id in order_ids]

        assert await words() == ["in-progress"] * MANY and len(read) == MANY
        assert await words() == ["in-progress"] * MANY and len(read) == again
        finish(shops, "iproyal", order_ids[-1:])  # of the last page
        assert await words() == ["in-progress"] * (MANY - 1) + ["confirmed"] and len(read) == MANY
        assert await words() == ["in-progress"] * (MANY - 1) + ["confirmed"] and len(read) == again
        finish(shops, "iproyal", order_ids[:50])
        assert await words() == ["confirmed"] * 50 + ["in-progress"] * (MANY - 51) + ["confirmed"]

    asking(shops, "iproyal", story, page_size=page_size)


def test_one_order(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    read, (first, other) = counted(monkeypatch, proxyscrape_reading), seed(shops, "proxyscrape", 2)

    async def story(vendor: Any, ask: Ask) -> None:
        async def word(order_id: str) -> str:
            read.clear()
            order = await ask(vendor.get(order_id), order_id)
            assert order.order_id == order_id
            return str(order.vendor_status)

        assert await word(first) == "paid" and len(read) == 1
        assert await word(other) == "paid" and len(read) == 1
        assert await word(first) == "paid" and not read
        shops.box.fault("proxyscrape", action="status", status=404, times=1)
        with pytest.raises(OrderNotFound):
            await word(first)
        assert await word(first) == "paid" and not read
        finish(shops, "proxyscrape", [first])
        assert await word(first) == "processed" and len(read) == 1  # with its overview, a second call; nobody waits any more
        assert await word(other) == "paid" and not read

    asking(shops, "proxyscrape", story)
