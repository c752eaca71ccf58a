"""The CPU of HTTP clients that poll: sixteen requests in flight on kept connections, CPU of this process per request.

This decides the clients of ``transport/``. The triggerer uses aiohttp, since every waiting order costs CPU there. Workers use
requests: a task makes few calls, and users expect a ``requests.Session``. The server is another process.
"""

from __future__ import annotations

import asyncio
import http.client
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import measuring
from measuring import Verdicts

IN_FLIGHT = 16
CHOSEN, WORKERS = "aiohttp", "requests.Session"
OUR_TRIGGERER = "our transport in the triggerer"

Burst = Callable[[int], None]
#: closes the kept connections
Ending = Callable[[], Awaitable[None]]


def in_threads(make: Callable[[], Callable[[], object]]) -> Burst:
    """Sixteen threads, each with what ``make`` gives it, kept from burst to burst."""
    calls = [make() for _ in range(IN_FLIGHT)]

    def burst(many: int) -> None:
        def work(call: Callable[[], object]) -> None:
            for _ in range(many // IN_FLIGHT):
                call()

        threads = [threading.Thread(target=work, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return burst


def in_loop(loop: asyncio.AbstractEventLoop, get: Callable[[], object]) -> Burst:
    async def work(many: int) -> None:
        for _ in range(many // IN_FLIGHT):
            await get()  # type: ignore[misc]

    async def all_of_them(many: int) -> None:
        await asyncio.gather(*(work(many) for _ in range(IN_FLIGHT)))

    return lambda many: loop.run_until_complete(all_of_them(many))


def clients(url: str, loop: asyncio.AbstractEventLoop, ending: list[Ending]) -> dict[str, Burst]:
    """Every installed client, and our transport on top of its two."""
    bursts: dict[str, Burst] = {}

    def plain() -> Callable[[], object]:
        parts = urlsplit(url)
        link = http.client.HTTPConnection(parts.netloc, timeout=10)

        def get() -> bytes:
            link.request("GET", parts.path)
            return link.getresponse().read()

        return get

    bursts["http.client, one connection a thread"] = in_threads(plain)
    try:
        import aiohttp

        async def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT), cookie_jar=aiohttp.DummyCookieJar())

        kept = loop.run_until_complete(session())

        async def by_aiohttp() -> bytes:
            async with kept.get(url) as answer:
                return await answer.read()

        bursts[CHOSEN] = in_loop(loop, by_aiohttp)
        ending.append(kept.close)
    except ImportError:
        pass
    try:
        import httpx

        many = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        client, sync = httpx.AsyncClient(limits=many), httpx.Client(limits=many)

        async def by_httpx() -> bytes:
            return (await client.get(url)).content

        bursts["httpx.AsyncClient"] = in_loop(loop, by_httpx)
        ending.append(client.aclose)
        bursts["httpx.Client, shared by threads"] = in_threads(lambda: lambda: sync.get(url).content)
    except ImportError:
        pass
    try:
        import requests
        import urllib3

        pool = urllib3.PoolManager(maxsize=IN_FLIGHT)
        bursts["urllib3, shared by threads"] = in_threads(lambda: lambda: pool.request("GET", url).data)

        def own_session() -> Callable[[], object]:
            session = requests.Session()
            return lambda: session.get(url, timeout=10).content

        bursts[f"{WORKERS}, one a thread"] = in_threads(own_session)
    except ImportError:
        pass
    return bursts


def ours(root: str, path: str, loop: asyncio.AbstractEventLoop, ending: list[Ending]) -> dict[str, Burst]:
    from airflow_provider_proxyorders.domain.account import Account
    from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
    from airflow_provider_proxyorders.transport.worker import Http
    from airflow_provider_proxyorders.wire.messages import Request

    account = Account("iproyal", "bench", "iproyal:bench", root, "token")
    request = Request("GET", path, "bench")
    kept = AsyncHttp(account, connections=IN_FLIGHT)  # as the triggerer has it

    ending.append(kept.aclose)

    def worker() -> Callable[[], object]:
        http = Http(account)
        return lambda: http.send(request)

    return {OUR_TRIGGERER: in_loop(loop, lambda: kept.asend(request)), "our transport in workers": in_threads(worker)}


def main() -> int:
    rounds, many = (9, 3200) if measuring.options(__doc__ or "").full else (5, 800)
    print(f"{measuring.machine()}; {IN_FLIGHT} requests in flight\n")
    verdicts = Verdicts()
    loop = asyncio.new_event_loop()
    cpu: dict[str, list[float]] = {}
    rate: dict[str, list[float]] = {}
    path = "/_sandbox/whoami"
    with measuring.sandbox() as box:
        ending: list[Ending] = []
        contenders = {**clients(box.root + path, loop, ending), **ours(box.root, path, loop, ending)}
        for turn in range(rounds + 1):
            for name, burst in contenders.items():
                began, used = time.perf_counter(), time.process_time()
                burst(many)
                if turn:  # the first turn opens the connections
                    cpu.setdefault(name, []).append((time.process_time() - used) / many)
                    rate.setdefault(name, []).append(many / (time.perf_counter() - began))
        for end in ending:
            loop.run_until_complete(end())  # type: ignore[arg-type]
    base = statistics.median(cpu[CHOSEN])
    rows = [
        [
            name,
            f"{statistics.median(taken) * 1e3:.2f}",
            f"{statistics.median(taken) / base:.1f}",
            f"{statistics.median(rate[name]):.0f}",
        ]
        for name, taken in sorted(cpu.items(), key=lambda item: statistics.median(item[1]))
    ]
    print(measuring.table(["client", "CPU ms per request", "÷ aiohttp", "requests/s"], rows))
    rival = cpu.get("httpx.AsyncClient")
    if rival is None:
        print("\nWithout httpx, aiohttp has no asynchronous rival here.")
    else:
        share = [ours / theirs for ours, theirs in zip(cpu[CHOSEN], rival, strict=True)]
        verdicts.at_most("CPU of aiohttp ÷ httpx.AsyncClient", statistics.median(share), 0.5, "", share)
        share = [a / b for a, b in zip(cpu[OUR_TRIGGERER], rival, strict=True)]
        verdicts.at_most("CPU of our transport in the triggerer ÷ httpx.AsyncClient", statistics.median(share), 0.5, "", share)
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
