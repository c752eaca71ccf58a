"""Several reading calls of one account at a time.

Three rules. They share the pace of the account, and its pause after an answer such as 429. One call is made alone before them,
unless the last answer was good and slow: it opens the session and logs in, and a refused key is asked once. Results come in the
order of the flows, with a bounded number in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.transport.flow import T
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.wire.messages import Flow, Request


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
    for make in islice(rest, 0 if http.answers_slowly else 1):
        yield run(make)
    more = [*islice(rest, 2)]
    if len(more) < 2 or http.at_once == 1:
        yield from map(run, chain(more, rest))
        return
    running: deque[Future[T | ProxyOrdersError]] = deque()
    pool = ThreadPoolExecutor(http.at_once, thread_name_prefix="proxyorders-read")
    try:
        with http.together():
            for make in chain(more, rest):
                running.append(pool.submit(run, make))
                if len(running) > 2 * http.at_once:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def sent_ahead(http: Http, flows: Sequence[Flow[Any]]) -> Iterator[None]:
    """Inside the block the first request of each flow is on its way. The same request takes its answer, once.

    A flow with one call after the other then waits for all of them together.

    :param flows: not begun yet; only their first requests are used.
    """
    if len(flows) < 2 or http.at_once == 1 or not http.answers_slowly:
        yield
        return
    pool = ThreadPoolExecutor(http.at_once, thread_name_prefix="proxyorders-read")
    ahead = http.ahead = []
    try:
        with http.together():
            with suppress(RuntimeError):  # without room for a thread, one call follows the other
                ahead += [(request, pool.submit(http.read_once, request)) for flow in flows for request in _first_of(flow)]
            yield
    finally:
        http.ahead = []
        pool.shutdown(wait=False, cancel_futures=True)  # a call without a taker ends by itself, after its one try


def _first_of(flow: Flow[Any]) -> Iterator[Request]:
    """The first request of a flow, if it has one. An error is left out: the flow meets it again in earnest."""
    with suppress(ProxyOrdersError, StopIteration):
        yield next(flow)
    flow.close()
