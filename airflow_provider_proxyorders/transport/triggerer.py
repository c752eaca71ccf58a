"""The HTTP client of the triggerer, on aiohttp. It only reads.

aiohttp is chosen by measurement: it takes a tenth of the CPU of the async alternatives for a request.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

if TYPE_CHECKING:
    import ssl

    import aiohttp
from airflow_provider_proxyorders.transport.endpoint import LARGEST_BODY, READ_TRIES, Endpoint, Unreached
from airflow_provider_proxyorders.transport.flow import T, arun

#: Seconds that an idle connection of the triggerer is kept for the next look; many servers close it about then.
KEPT = 60.0


class AsyncHttp(Endpoint):
    """One kept HTTP client for one account, for the triggerer. It only reads.

    :param connections: how many connections to the vendor may be open at once.
    :param tries: how often a call is tried in all; 1 for a caller that has its own patience.
    :param sleep: waits between tries; tests inject one.
    """

    def __init__(
        self,
        account: Account,
        connections: int = 8,
        tries: int = READ_TRIES,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ):
        super().__init__(account, tries)
        self._connections = connections
        self._sleep = sleep
        self._client: aiohttp.ClientSession | None = None

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a reading flow to its result; see :func:`arun`.

        :raises SpendRefused: when the flow would move money; nothing was sent.
        """
        return await arun(flow, self.asend)

    async def asend(self, request: Request) -> Response:
        """Send one reading request, with a few more tries.

        :raises VendorUnavailable: without an answer.
        """
        try:
            if self._tries == 1:
                return await self._aonce(request)
            import asyncio

            import tenacity

            response: Response = await self.retrying(tenacity.AsyncRetrying, self._sleep or asyncio.sleep)(self._aonce, request)
            return response
        except Unreached as error:
            raise self.unavailable(request, error) from None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _prepared(self) -> ssl.SSLContext | bool:
        """What takes a tenth of a second and needs no loop: importing the library, reading the certificate authorities."""
        import ssl

        import aiohttp  # noqa: F401 - so that it is there when the loop asks for it

        if urlsplit(self.account.base_url).scheme == "http":
            return True
        if os.path.isdir(self.trusted):
            return ssl.create_default_context(capath=self.trusted)
        return ssl.create_default_context(cafile=self.trusted)

    async def _aonce(self, request: Request) -> Response:
        import asyncio

        headers = self.headers(request)
        delay = self._pacer.reserve()
        if delay:
            await (self._sleep or asyncio.sleep)(delay)
        tls = await asyncio.to_thread(self._prepared) if self._client is None else True
        import aiohttp
        from yarl import URL

        if self._client is None:
            part = self.account.timeout
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=tls, keepalive_timeout=KEPT),
                timeout=aiohttp.ClientTimeout(total=2 * part, sock_connect=min(part, 10.0), sock_read=part),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._client.request(
                request.method,
                URL(self.url(request)),
                params=list(request.params) or None,
                data=request.body,
                headers=headers,
                allow_redirects=False,
                proxy=self.proxy,
            ) as answer:
                body = bytearray()
                while chunk := await answer.content.readany():
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise Unreached("the answer did not end", left=True)
                return Response(answer.status, {k.lower(): v for k, v in answer.headers.items()}, bytes(body))
        except aiohttp.InvalidURL as error:
            raise self.misconfigured(f"it cannot be called: {self.clean(str(error))}") from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # an untrusted certificate is a ValueError as well
            whole = not isinstance(error, aiohttp.ClientResponseError)  # else it holds an address, a proxy's with its login
            text = str(error) if whole else f"{error.status} {error.message}"  # type: ignore[union-attr]
            raise Unreached(f"{type(error).__name__}{': ' + text if text else ''}", left=True) from None
        except ValueError as error:
            raise self.misconfigured(f"it cannot be called: {self.clean(str(error))}") from None
