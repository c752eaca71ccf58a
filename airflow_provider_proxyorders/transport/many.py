"""Runs several reading flows of one account at a time.

Three rules. They share the pace of the account, and its pause after an answer such as 429. The first one runs alone: it opens the
session and logs in, and a refused key is asked once. Results come in the order of the flows, with a bounded number in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.transport.flow import T
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Flow


def run_many(http: Http, flows: Iterable[Callable[[], Flow[T]]]) -> Generator[T | ProxyOrdersError, None, None]:
    """The results of reading flows, in their order. The error of a flow stands in the place of its result.

    A caller that closes the generator ends the flows that have not begun.

    :param flows: each makes a flow, in the thread that runs it.
    """

    def run(make: Callable[[], Flow[T]]) -> T | ProxyOrdersError:
        try:
            return http.run(make())
        except ProxyOrdersError as error:
            return error

    rest = iter(flows)
    for make in islice(rest, 1):
        yield run(make)
    second = [*islice(rest, 1)]
    if not second or http.at_once == 1:
        yield from map(run, chain(second, rest))
        return
    running: deque[Future[T | ProxyOrdersError]] = deque()
    pool = ThreadPoolExecutor(http.at_once, thread_name_prefix="proxyorders-read")
    try:
        with http.together():
            for make in chain(second, rest):
                running.append(pool.submit(run, make))
                if len(running) > 2 * http.at_once:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
