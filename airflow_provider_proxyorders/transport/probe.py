"""Fetches one page through each of several proxies, to see whether they work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from airflow_provider_proxyorders.transport.endpoint import USER_AGENT


async def aprobe(url: str, through: Sequence[str], *, timeout: float, at_once: int) -> list[tuple[int | None, float]]:
    """Fetch one page through each of several HTTP proxies, without any data of the account.

    The environment's own proxies and exceptions have no effect here, and a redirect counts as the answer.

    :param through: proxy URLs with their logins.
    :param timeout: seconds for one fetch in all.
    :param at_once: how many fetches at a time.
    :returns: for each proxy the status, or None for a failure, and the seconds.
    """
    import aiohttp

    places = asyncio.Semaphore(at_once)

    async def fetch(proxy: str) -> tuple[int | None, float]:
        async with places:
            began = time.monotonic()
            status: int | None = None
            try:
                async with client.get(url, proxy=proxy, allow_redirects=False) as answer:
                    status = answer.status
            except aiohttp.ClientResponseError as error:  # a tunnel that the proxy refused
                status = error.status or None
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
                pass  # its text may hold the login
            return status, time.monotonic() - began

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=at_once, force_close=True),
        timeout=aiohttp.ClientTimeout(total=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
    ) as client:
        return list(await asyncio.gather(*map(fetch, through)))
