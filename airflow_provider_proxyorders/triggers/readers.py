"""One reader per connection and triggerer: one connection look-up, one kept HTTP client, one login for all that wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeVar

from airflow.sdk import BaseHook

from airflow_provider_proxyorders import _compat

if TYPE_CHECKING:
    from airflow_provider_proxyorders.core.transport import AsyncHttp
    from airflow_provider_proxyorders.core.wire import Flow
    from airflow_provider_proxyorders.vendors import Vendor

T = TypeVar("T")


class Reader:
    """Reads through one connection for everybody in this event loop who waits on it."""

    def __init__(self, conn_id: str):
        self.conn_id = conn_id
        self.users = 0
        self._opening = asyncio.Lock()
        self._opened: tuple[Vendor, AsyncHttp] | None = None

    async def open(self) -> Vendor:
        """Look the connection up, once.

        :raises ConfigError: when it is missing something.
        """
        async with self._opening:
            if self._opened is None:
                from airflow_provider_proxyorders.core.transport import AsyncHttp
                from airflow_provider_proxyorders.hooks.connection import vendor_for

                vendor = vendor_for(await BaseHook.aget_connection(self.conn_id))
                _compat.mask_secret(vendor.account.secret)
                self._opened = vendor, AsyncHttp(vendor.account)
        return self._opened[0]

    async def read(self, flow: Flow[T]) -> T:
        """Run a reading flow.

        :raises SpendRefused: when it would move money; nothing was sent.
        """
        assert self._opened is not None, "open() comes first"
        return await self._opened[1].arun(flow)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened[1].aclose()
            self._opened = None


_readers: dict[tuple[int, str], Reader] = {}


@contextlib.asynccontextmanager
async def reader(conn_id: str) -> AsyncIterator[Reader]:
    """The shared reader of a connection, closed when the last one who waits has left."""
    key = (id(asyncio.get_running_loop()), conn_id)
    shared = _readers.setdefault(key, Reader(conn_id))
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if not shared.users:
            _readers.pop(key, None)
            await shared.close()
