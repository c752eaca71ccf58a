"""Answers that are known: who asks the same thing again and again need not read the same answer again and again.

One rule: an answer is known only where it was the only one that its flow asked for; then nothing else decides what it means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from airflow_provider_proxyorders.transport.flow import arun
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Known(Exception):
    """The answer is the one that came the last time."""


async def arun_cached(flow: Flow[T], send: Callable[[Request], Awaitable[Response]], known: dict[K, tuple[int, T]], key: K) -> T:
    """Drive a flow that only reads, like :func:`~airflow_provider_proxyorders.transport.flow.arun`, whose result is not changed
    by anybody; an answer that is the same to the letter as the last one is not read again.

    :param known: by what was asked, the hash of the last answer and what it meant; belongs to one account with its settings, and
        may be emptied at any time.
    """
    answers: list[int] = []

    async def sent(request: Request) -> Response:
        response = await send(request)
        answers.append(hash((response.status, response.body)))
        if len(answers) == 1 and key in known and known[key][0] == answers[0]:
            raise _Known
        return response

    try:
        result = await arun(flow, sent)
    except _Known:
        return known[key][1]
    if len(answers) == 1:
        known[key] = (answers[0], result)
    else:
        known.pop(key, None)
    return result
