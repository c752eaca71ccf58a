"""A large answer is read beside the triggerer's loop, and its memory is bounded."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.account import _forms_of as forms
from airflow_provider_proxyorders.transport.answer_cache import LARGEST_KEPT, MOST_KEPT, Answers, CachedAnswer
from airflow_provider_proxyorders.transport.flow import arun
from airflow_provider_proxyorders.wire import reading
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from airflow_provider_proxyorders.wire.reading import LONGEST_TIME, when

ROW = {"id": "018f7a20", "status": "confirmed", "price": 12.5, "words": ["a", "b"], "at": "2030-01-02 03:04:05"}


def flow() -> Flow[int]:
    response = yield Request("GET", "/orders")
    return len(response.data())


def answer(rows: int) -> Response:
    return Response(200, body=json.dumps([ROW] * rows).encode())


def test_the_loop_goes_on_meanwhile() -> None:
    large = answer(100_000)
    assert len(large.body) > 10_000_000

    async def send(request: Request) -> Response:
        return large

    async def main() -> int:
        turns, reading = 0, asyncio.create_task(arun(flow(), send))
        while not reading.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert reading.result() == 100_000
        return turns

    assert asyncio.run(main()) > 5, "read in the loop, it would be one or two"


def test_a_cancelled_reading_ends_in_peace() -> None:
    large = answer(20_000)

    async def send(request: Request) -> Response:
        return large

    async def main() -> None:
        reading = asyncio.create_task(arun(flow(), send))
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(main())


def test_a_large_answer_is_not_kept() -> None:
    answers: Answers = {}
    for size, kept in ((LARGEST_KEPT, True), (LARGEST_KEPT + 1, False)):
        answers.clear()
        cached: CachedAnswer[int] = CachedAnswer(answers, "question")
        assert not cached.repeats(Response(200, body=b" " * size))
        cached.keep(1)
        assert bool(answers) is kept


def test_many_answers_are_bounded_in_bytes() -> None:
    answers: Answers = {}
    for number in range(50):
        cached: CachedAnswer[int] = CachedAnswer(answers, number)
        cached.repeats(Response(200, body=b" " * LARGEST_KEPT))
        cached.keep(number)
        assert number in answers and len(answers) <= MOST_KEPT // LARGEST_KEPT


def test_a_long_secret_is_hidden_and_not_remembered() -> None:
    secret = "s3cr3t+" * 200
    account = Account("iproyal", "c", "iproyal:c", "https://vendor.example", secret)
    before = forms.cache_info().currsize
    assert account.redact(f"a {secret} b {quote(secret, safe='')} c") == "a *** b *** c"
    assert forms.cache_info().currsize == before


def test_a_text_that_is_no_time_is_not_remembered() -> None:
    reading._written_time.cache_clear()
    assert when("2030-01-02 03:04:05", "UTC") is not None
    for number in range(100):
        assert when(f"2030-01-02 {number} {'x' * LONGEST_TIME}", "UTC") is None
    assert reading._written_time.cache_info().currsize == 1
