"""The HTTP client of the triggerer, on aiohttp. It only reads.

aiohttp is chosen by measurement: a request costs a tenth of the CPU of the async alternatives.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.transport import unreached
from airflow_provider_proxyorders.transport.endpoint import LARGEST_BODY, TOO_LONG, Endpoint, with_key
from airflow_provider_proxyorders.transport.ends import agreed, is_proven_whole
from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.wire.messages import Request, Response

if TYPE_CHECKING:
    import ssl

    import aiohttp

#: Seconds that an idle connection is kept for the next look. Many servers close it about then.
KEEP_ALIVE = 60.0


class AsyncHttp(Endpoint):
    """One kept HTTP client for one account, for reading calls of the triggerer.

    It tries a call once, because the triggerer's backoff decides about the next try.

    :param connections: how many connections to the vendor may be open at once.
    :param sleep: waits for a place in the pace; tests inject one.
    """

    def __init__(self, account: Account, connections: int = 8, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep):
        super().__init__(account)
        self._connections = connections
        self._sleep = sleep
        self._client: aiohttp.ClientSession | None = None

    async def asend(self, request: Request, check: Callable[[], None] | None = None) -> Response:
        """Send one reading request, once. An answer without a proof of its end is asked for a second time.

        :param check: called right before a request leaves; raises to keep it here.
        :raises VendorUnavailable: without an answer that is known to be whole.
        """
        try:
            answer = await self._ask(request, check)
            return answer if is_proven_whole(answer) else agreed(answer, await self._ask(request, check))
        except Unreached as error:
            raise self.unavailable(request, error) from None

    async def _ask(self, request: Request, check: Callable[[], None] | None) -> Response:
        headers, url = self.headers(request), with_key(self.account, self.url(request))
        if check is not None:
            check()
        if self._pacer is not None and (delay := self._pacer.reserve()):
            await self._sleep(delay)
            if check is not None:
                check()
        client = self._client or await self._open()
        import aiohttp
        from yarl import URL

        try:
            async with client.request(
                request.method,
                URL(url),
                params=list(request.params) or None,
                data=None if request.json is None else request.body,
                headers=headers,
                allow_redirects=False,
                proxy=self.proxy,
            ) as answer:
                body = bytearray()
                while chunk := await answer.content.readany():
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise Unreached(TOO_LONG)
                return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, bytes(body))
        except aiohttp.InvalidURL as error:
            raise self.invalid_address(error) from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # before ValueError: some are both
            raise unreached.of_aiohttp(error) from None
        except ValueError as error:
            raise self.invalid_address(error) from None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _open(self) -> aiohttp.ClientSession:
        tls = await asyncio.to_thread(self._prepare_tls)
        import aiohttp

        if self._client is None:  # still: another call may have been quicker
            timeout = self.account.timeout
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=tls, keepalive_timeout=KEEP_ALIVE),
                timeout=aiohttp.ClientTimeout(total=2 * timeout, sock_connect=min(timeout, 10.0), sock_read=timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._client

    def _prepare_tls(self) -> ssl.SSLContext | bool:
        """Read the certificate authorities; runs in a thread, since this takes a tenth of a second."""
        import aiohttp  # noqa: F401 - takes as long, so the loop finds it imported

        if urlsplit(self.account.base_url).scheme == "http":
            return True
        if os.path.isdir(self.certificates):
            return ssl.create_default_context(capath=self.certificates)
        return ssl.create_default_context(cafile=self.certificates)
