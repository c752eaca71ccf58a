"""Drives a vendor's flow: ``run`` in workers, ``arun`` in the triggerer.

Two rules. A request that moves money needs a permit. ``arun`` has no place for one, so the triggerer only reads. A large answer
is read in a thread, so the triggerer's loop goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from airflow_provider_proxyorders.domain.errors import SpendRefused, VendorUnavailable
from airflow_provider_proxyorders.transport.answer_cache import CachedAnswer
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

T = TypeVar("T")

#: Bytes of an answer that is read in a thread. A smaller one takes a few milliseconds.
LARGE = 128 * 1024

#: Called right before the first byte of a request that moves money; raises to stop it.
Permit = Callable[[Request], None]
#: Sends one request; one that moves money at most once, and after its permit is asked.
Send = Callable[[Request, Permit | None], Response]


def run(flow: Flow[T], send: Send, permit: Permit | None = None) -> T:
    """Drive a flow to its result.

    :param send: opens the connection for a request that moves money, then asks the permit, then sends at once.
    :param permit: allows a request to move money. Without a permit it stays here.
    :raises SpendRefused: when the flow would move money without a permit. Nothing was sent.
    """
    try:
        request = next(flow)
        while True:
            try:
                response = _send_with_permit(request, permit, send)
            except VendorUnavailable as error:
                request = flow.throw(error)
            else:
                request = flow.send(response)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()


async def arun(flow: Flow[T], send: Callable[[Request], Awaitable[Response]], answer: CachedAnswer[T] | None = None) -> T:
    """Drive a reading flow to its result.

    :param answer: the last answer to the same question; a repetition of it ends the flow with the last result.
    :raises SpendRefused: when the flow would move money. Nothing was sent.
    """
    try:
        request = next(flow)
        while True:
            if request.spends:
                raise refused(request)
            try:
                response = await send(request)
            except VendorUnavailable as error:
                request = flow.throw(error)
            else:
                if answer is not None and answer.repeats(response):
                    return answer.result
                request = await _advance(flow, response)
    except (StopIteration, _Ended) as end:
        result: T = end.value
        if answer is not None:
            answer.keep(result)
        return result
    finally:
        with suppress(ValueError):  # cancelled while a thread reads: the flow ends there
            flow.close()


class _Ended(Exception):
    """The end of a flow, for a thread: a future cannot hold the StopIteration itself."""

    def __init__(self, value: Any):
        self.value = value


async def _advance(flow: Flow[T], response: Response) -> Request:
    """The flow's next request.

    :raises _Ended: after its last one, with the result.
    """

    def send() -> Request:
        try:
            return flow.send(response)
        except StopIteration as stop:
            raise _Ended(stop.value) from None

    return await asyncio.to_thread(send) if len(response.body) > LARGE else send()


def _send_with_permit(request: Request, permit: Permit | None, send: Send) -> Response:
    if request.spends and permit is None:
        raise refused(request)
    return send(request, permit)


def refused(request: Request) -> SpendRefused:
    operation = request.name or request.path
    return SpendRefused(f"{operation} would move money. Only operators in a worker may do so. Nothing was sent.")
