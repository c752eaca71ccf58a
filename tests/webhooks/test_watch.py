"""The inbox watch: told within a second on SQLite and at once on PostgreSQL, in order, each once, by one watcher."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import event

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, open_inbox
from airflow_provider_proxyorders.triggers import inbox_listener as inbox_listener
from airflow_provider_proxyorders.triggers.inbox_listener import InboxListener


class Ears:
    def __init__(self) -> None:
        self.heard: list[tuple[str, float]] = []

    def hint(self, hint: Hint) -> None:
        self.heard.append((hint.order_id, time.monotonic()))


def hint(number: int) -> Hint:
    return Hint(f"{number:064d}", "c", "v:c", f"order-{number}", f"ref-{number}", "completed")


async def listening(inbox: Inbox, ears: Ears) -> None:
    """Wait until the listener passes on the stored webhooks, and forget the test webhooks."""
    canaries = iter(range(900, 1000))
    while not ears.heard:
        await asyncio.to_thread(inbox.keep, [hint(next(canaries))])
        await asyncio.sleep(0.3)
    await asyncio.sleep(0.7)  # the last canary is heard as well


async def until(true: Callable[[], bool], within: float = 15.0) -> None:
    end = time.monotonic() + within
    while not true() and time.monotonic() < end:
        await asyncio.sleep(0.02)


def told(ears: Ears) -> list[str]:
    """The orders of its hints, without the test webhooks."""
    return [name for name, _ in ears.heard if not name.startswith("order-9")]


def test_every_listener_is_told_in_order_and_soon(database: str) -> None:
    inbox = open_inbox(database)
    inbox.keep([hint(0)])

    async def main() -> None:
        watch, first, second = InboxListener(lambda: database, lambda: 30.0), Ears(), Ears()
        watch.join(first)
        watch.join(second)
        await listening(inbox, first)
        sent: list[float] = []
        for number in range(1, 6):
            await asyncio.to_thread(inbox.keep, [hint(number)])
            sent.append(time.monotonic())
            await asyncio.sleep(0.05)
        await asyncio.to_thread(inbox.keep, [hint(3)])  # a copy
        await until(lambda: len(told(second)) >= 5)
        await asyncio.sleep(1.0)
        expected = [f"order-{number}" for number in range(1, 6)]
        assert told(first) == told(second) == expected
        late = max(heard - at for (_, heard), at in zip(first.heard[-5:], sent, strict=True))
        assert late < 10, "the back-stop alone takes thirty seconds"
        await watch.leave(first)
        await watch.leave(second)

    asyncio.run(main())


def test_one_watcher_asks_however_many_wait(database: str) -> None:
    inbox = open_inbox(database)
    asked: list[str] = []
    most: list[float] = []

    def count(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    async def main() -> None:
        watch, ears = InboxListener(lambda: database, lambda: 30.0), [Ears() for _ in range(500)]
        for each in ears:
            watch.join(each)
        await listening(inbox, ears[-1])
        began = time.monotonic()
        event.listen(inbox.engine, "before_cursor_execute", count)
        await asyncio.sleep(2.0)
        event.remove(inbox.engine, "before_cursor_execute", count)
        most.append((time.monotonic() - began) / 0.45 + 1 if database.startswith("sqlite") else 0)
        await asyncio.to_thread(inbox.keep, [hint(1)])
        await until(lambda: bool(told(ears[-1])))
        assert [told(each) for each in ears] == [["order-1"]] * 500
        for each in ears:
            await watch.leave(each)

    asyncio.run(main())
    assert len(asked) <= most[0], asked


def test_after_the_ledger_was_away_the_watch_goes_on_where_it_was(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_listener, "AGAIN", 0.2)
    monkeypatch.setattr(inbox_listener, "LOOK_EVERY", 0.2)
    inbox = open_inbox(database)

    def rename(old: str, new: str) -> None:
        with inbox.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    async def main() -> None:
        watch, ears = InboxListener(lambda: database, lambda: 30.0), Ears()
        watch.join(ears)
        await watch.pin_start()
        await asyncio.to_thread(inbox.keep, [hint(1), hint(2)])
        await until(lambda: len(told(ears)) == 2)
        await asyncio.to_thread(rename, "proxyorders_deliveries", "gone")
        await asyncio.sleep(1.5)
        await asyncio.to_thread(rename, "gone", "proxyorders_deliveries")
        await asyncio.to_thread(inbox.keep, [hint(3)])
        await until(lambda: "order-3" in told(ears))
        assert told(ears) == ["order-1", "order-2", "order-3"]
        await watch.leave(ears)
        watch.join(ears)
        await watch.pin_start()
        await asyncio.sleep(1.0)
        assert len(told(ears)) == 3, "a new watch begins at its own beginning"
        await watch.leave(ears)

    asyncio.run(main())


def test_where_the_watch_begins_cannot_be_known_without_the_ledger() -> None:
    async def main() -> None:
        watch, ears = InboxListener(lambda: "sqlite:////nowhere/at/all/ledger.db", lambda: 30.0), Ears()
        watch.join(ears)
        with pytest.raises(LedgerError):
            await watch.pin_start()
        await watch.leave(ears)

    asyncio.run(main())


def test_the_order_of_a_reference_is_known_from_its_webhook(database: str) -> None:
    inbox = open_inbox(database)
    inbox.keep([hint(1), hint(2)])
    assert inbox.order_ids_of_reference("v:c", "ref-2") == ["order-2"]
    assert inbox.order_ids_of_reference("v:c", "ref-9") == []
    assert inbox.order_ids_of_reference("v:other", "ref-2") == []


def test_the_newest_of_each_order_is_read_page_by_page(database: str) -> None:
    inbox = open_inbox(database)
    for wallet in ("v:c", "v:other", "v:C"):
        inbox.keep([replace(hint(number), wallet=wallet, digest=f"{wallet}/{number}") for number in range(7)])
    inbox.keep([replace(hint(2), digest="2 again"), replace(hint(4), digest="4 again"), replace(hint(2), digest="2 once more")])
    order_ids: list[str] = []
    last = 1  # order-0's own is not after it
    while page := inbox.newest_of_orders("v:c", last, 2):
        assert len(page) <= 2 and {row.wallet for row in page} == {"v:c"}
        last = page[-1].number
        order_ids += [row.order_id for row in page]
    assert order_ids == [f"order-{number}" for number in (1, 3, 5, 6, 4, 2)]


def test_many_writers_of_the_same_webhook_make_one_row(database: str) -> None:
    import threading

    inboxes = [open_inbox(database) for _ in range(8)]
    ready = threading.Barrier(8)

    def keep(inbox: object) -> None:
        ready.wait()
        for _ in range(5):
            inbox.keep([hint(2), hint(1)])  # type: ignore[attr-defined]

    threads = [threading.Thread(target=keep, args=(inbox,)) for inbox in inboxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((row.order_id, row.times) for row in inboxes[0].since(0)) == [("order-1", 40), ("order-2", 40)]


def test_endless_replays_of_a_webhook_harm_no_other(database: str) -> None:
    """Its count stops at PostgreSQL's greatest integer, and the other webhooks of its group are stored."""
    inbox, most = open_inbox(database), 2**31 - 1
    inbox.keep([hint(1)])
    with inbox.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE proxyorders_deliveries SET times = {most - 2}")
    counted = []
    for number in range(2, 6):
        inbox.keep([hint(1), hint(number), hint(1)] if number > 2 else [hint(1), hint(number)])
        counted.append(inbox.since(0)[0].times)
    assert counted == [most - 1, most, most, most]
    assert [row.order_id for row in inbox.since(0)] == [f"order-{number}" for number in range(1, 6)]


def test_a_reader_misses_nothing_however_many_write(database: str) -> None:
    """Rows become visible in the order of their numbers: a reader that goes on from the last number gets them all."""
    import threading

    writers, each = 6, 40
    inbox = open_inbox(database)
    done = threading.Event()
    order_ids: list[str] = []

    def write(writer: int) -> None:
        for number in range(each):
            inbox.keep([hint(writer * 100_000 + number * 100 + part) for part in range(5)])

    def read() -> None:
        last = 0
        while True:
            ended = done.is_set()
            while page := inbox.since(last, limit=50):
                last = page[-1].number
                order_ids.extend(row.order_id for row in page)
            if ended:
                return

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    reader = threading.Thread(target=read)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert len(order_ids) == len(set(order_ids)) == writers * each * 5
