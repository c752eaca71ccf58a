"""Fetches one page through each of several proxies, to see whether they work."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence

from airflow_provider_proxyorders.transport.endpoint import USER_AGENT
from airflow_provider_proxyorders.transport.socks import fetch_status

#: The part of a fetch's time in which a living proxy takes the connection.
TO_CONNECT = 0.3


async def aprobe(url: str, through: Sequence[str], *, timeout: float, at_once: int) -> list[tuple[int | None, float]]:
    """Fetch one page through each of several HTTP and SOCKS5 proxies, without any data of the account.

    The environment's own proxies and exceptions have no effect here, and a redirect counts as the answer.

    :param through: proxy URLs with their logins.
    :param timeout: seconds for one fetch in all. The proxy has to take the connection within three tenths of it.
    :param at_once: how many fetches at a time.
    :returns: for each proxy the status, or None for a failure, and the seconds.
    """
    import aiohttp

    places = asyncio.Semaphore(at_once)
    context = ssl.create_default_context() if url.lower().startswith("https:") else None

    async def status_through(proxy: str) -> int:
        if proxy.startswith("socks5:"):
            return await asyncio.wait_for(fetch_status(url, proxy, context, timeout * TO_CONNECT), timeout)
        async with client.get(url, proxy=proxy, allow_redirects=False) as answer:
            return answer.status

    async def fetch(proxy: str) -> tuple[int | None, float]:
        async with places:
            began = time.monotonic()
            status: int | None = None
            try:
                status = await status_through(proxy)
            except aiohttp.ClientResponseError as error:  # a tunnel that the proxy refused
                status = error.status or None
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                pass  # its text may hold the login
            return status, time.monotonic() - began

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=at_once, force_close=True),
        timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=timeout * TO_CONNECT),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
    ) as client:
        return list(await asyncio.gather(*map(fetch, through)))
