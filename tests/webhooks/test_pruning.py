"""Old webhooks are deleted once a day, by one of many processes, while new webhooks pass."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, open_inbox
from airflow_provider_proxyorders.ledger.pruning import prune_today
from airflow_provider_proxyorders.triggers.inbox_listener import InboxListener

from .conftest import Running, webhook_body

TODAY = datetime(2030, 1, 31, 12, tzinfo=timezone.utc)


def hints(first: int, many: int = 1) -> list[Hint]:
    return [Hint(f"{n:064d}", "c", "v:c", f"order-{n}", None, "completed") for n in range(first, first + many)]


class At:
    """The inbox at a moment."""

    def __init__(self, url: str):
        self.inbox = open_inbox(url)

    def __call__(self, day: float) -> Inbox:
        self.inbox.clock = lambda: TODAY + timedelta(days=day)
        return self.inbox


@pytest.fixture
def at(database: str) -> Iterator[At]:
    at = At(database)
    yield at
    at.inbox.engine.dispose()


def test_the_last_copy_counts(at: At) -> None:
    at(0).keep(hints(1) + hints(2))
    at(20).keep(hints(2))
    assert at(29.9).prune(30) == 0
    assert at(30.1).prune(30) == 1
    assert [hint.order_id for hint in at.inbox.since(0)] == ["order-2"]
    at(30.2).keep(hints(1))
    assert [hint.times for hint in at.inbox.since(0)] == [2, 1], "one that comes again after that is a new one"


def test_more_than_goes_in_one_bite(at: At) -> None:
    at(0).keep(hints(0, 1234))
    at(31).keep(hints(5000, 3))
    assert at(31).prune(30) == 1234
    assert len(at.inbox.since(0)) == 3


def test_once_a_day_by_the_first_process(database: str, at: At) -> None:
    at(0).keep(hints(0, 700))
    at(31)
    others = [Inbox(open_inbox(database).engine, at.inbox.clock) for _ in range(6)]
    ready, results = threading.Barrier(6), []

    def prune(inbox: Inbox) -> None:
        ready.wait()
        results.append(prune_today(inbox, 30))

    threads = [threading.Thread(target=prune, args=(inbox,)) for inbox in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == [700, *[None] * 5]
    at(31).keep(hints(9000))
    assert prune_today(at(31.2), 0.1) is None
    assert prune_today(at(32), 0.1) == 1


def old(at: At) -> None:
    """Store a webhook of 40 days ago."""
    at.inbox.clock = lambda: datetime.now(timezone.utc) - timedelta(days=40)
    at.inbox.keep(hints(77))


def wait_until_gone(inbox: Inbox, order_id: str) -> list[str]:
    deadline = time.monotonic() + 30
    while order_id in (ids := [hint.order_id for hint in inbox.since(0)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return ids


@pytest.mark.parametrize(("options", "left"), [({}, []), ({"webhook_retention": "90"}, ["order-77"])])
def test_a_receiver_prunes_what_is_older_than_configured(running: Running, at: At, left: list[str]) -> None:
    old(at)
    assert running.post(webhook_body("new")) == 200
    if left:
        time.sleep(1.0)
        assert [hint.order_id for hint in running.kept()] == [*left, "new"]
    else:
        assert wait_until_gone(running.inbox, "order-77") == ["new"]


def test_a_triggerer_that_listens_prunes_as_well(database: str, at: At) -> None:
    old(at)

    class Ears:
        def hint(self, hint: Hint) -> None:
            raise AssertionError("nothing new came")

    async def main() -> list[str]:
        watch, ears = InboxListener(lambda: database, lambda: 30.0), Ears()
        watch.join(ears)
        left = await asyncio.to_thread(wait_until_gone, at.inbox, "order-77")
        await watch.leave(ears)
        return left

    assert asyncio.run(main()) == []
