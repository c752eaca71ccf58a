"""The inbox watch: told within a second on SQLite and at once on PostgreSQL, in order, each once, by one watcher."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import event

from airflow_provider_proxyorders.core.ledger.inbox import Hint, open_inbox
from airflow_provider_proxyorders.triggers.inbox_watch import InboxWatch


class Ears:
    def __init__(self) -> None:
        self.heard: list[tuple[str, float]] = []

    def hint(self, hint: Hint) -> None:
        self.heard.append((hint.order_id, time.monotonic()))


def hint(number: int) -> Hint:
    return Hint(f"{number:064d}", "c", "v:c", f"order-{number}", f"ref-{number}", "completed")


def test_every_listener_is_told_in_order_and_soon(database: str) -> None:
    inbox = open_inbox(database)
    inbox.keep([hint(0)])

    async def main() -> None:
        watch, one, two = InboxWatch(lambda: database, lambda: 30.0), Ears(), Ears()
        watch.join(one)
        watch.join(two)
        await asyncio.sleep(1.0)
        sent: list[float] = []
        for number in range(1, 6):
            await asyncio.to_thread(inbox.keep, [hint(number)])
            sent.append(time.monotonic())
            await asyncio.sleep(0.05)
        await asyncio.to_thread(inbox.keep, [hint(3)])  # a copy
        await asyncio.sleep(1.5)
        expected = [f"order-{number}" for number in range(1, 6)]
        assert [name for name, _ in one.heard] == [name for name, _ in two.heard] == expected
        late = max(heard - at for (_, heard), at in zip(one.heard, sent, strict=True))
        assert late < 1.5, late
        await watch.leave(one)
        await watch.leave(two)

    asyncio.run(main())


def test_one_watcher_asks_however_many_wait(database: str) -> None:
    inbox = open_inbox(database)
    asked: list[str] = []

    def count(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    async def main() -> None:
        watch, ears = InboxWatch(lambda: database, lambda: 30.0), [Ears() for _ in range(500)]
        for each in ears:
            watch.join(each)
        await asyncio.sleep(1.0)
        event.listen(inbox.engine, "before_cursor_execute", count)
        await asyncio.sleep(2.0)
        event.remove(inbox.engine, "before_cursor_execute", count)
        await asyncio.to_thread(inbox.keep, [hint(1)])
        await asyncio.sleep(1.0)
        assert [len(each.heard) for each in ears] == [1] * 500
        for each in ears:
            await watch.leave(each)

    asyncio.run(main())
    assert len(asked) <= (5 if database.startswith("sqlite") else 0), asked


def test_the_order_of_a_reference_is_known_from_its_delivery(database: str) -> None:
    inbox = open_inbox(database)
    inbox.keep([hint(1), hint(2)])
    assert inbox.order_of("v:c", "ref-2") == "order-2"
    assert inbox.order_of("v:c", "ref-9") is None
    assert inbox.order_of("v:other", "ref-2") is None


def test_many_writers_of_the_same_delivery_make_one_row(database: str) -> None:
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


def test_a_reader_misses_nothing_however_many_write(database: str) -> None:
    """Rows come to light in the order of their numbers: a reader that goes on from the last number sees every one."""
    import threading

    writers, each = 6, 40
    inbox = open_inbox(database)
    done = threading.Event()
    seen: list[str] = []

    def write(writer: int) -> None:
        for number in range(each):
            inbox.keep([hint(writer * 100_000 + number * 100 + part) for part in range(5)])

    def read() -> None:
        last = 0
        while True:
            ended = done.is_set()
            while page := inbox.since(last, limit=50):
                last = page[-1].number
                seen.extend(row.order_id for row in page)
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
    assert len(seen) == len(set(seen)) == writers * each * 5
