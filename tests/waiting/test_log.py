"""A trigger's lines go through a pipe with a slow reader; the loop of all triggers goes on meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import Any

import pytest
import structlog

from airflow_provider_proxyorders.triggers import subscribers, telling
from airflow_provider_proxyorders.triggers.subscription import Subscription, Update
from tests.hooks.connections import Shops

from .room import Room, finish, seed, until, waiting_room

MANY = 20


class Pipe:
    """A full pipe with a reader that begins on demand, as the pipe to a busy triggerer's supervisor."""

    def __init__(self) -> None:
        self._out, end = os.pipe()
        os.set_blocking(end, False)
        with suppress(BlockingIOError):
            while True:
                os.write(end, b"." * 4096)
        os.set_blocking(end, True)
        self._in = os.fdopen(end, "wb", buffering=0)
        self.writing, self.read, self.late = threading.Event(), threading.Event(), False
        self.text = b""
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def write(self, line: bytes) -> None:
        self.writing.set()
        self._in.write(line)

    def flush(self) -> None:
        pass

    def _drain(self) -> None:
        self.late = not self.read.wait(15.0)  # or a loop that is held would hold this test for ever
        while some := os.read(self._out, 65536):
            self.text += some

    @property
    def log(self) -> Any:
        """A logger that writes into it, as a trigger's does."""
        return structlog.wrap_logger(
            structlog.BytesLogger(self),  # type: ignore[arg-type]
            processors=[lambda logger, method, event: event["event"].encode()],
            wrapper_class=structlog.make_filtering_bound_logger(20),
        )

    def close(self) -> None:
        self._in.close()
        self._reader.join(10.0)
        os.close(self._out)


def test_a_log_that_nobody_reads_for_a_while_holds_nobody(shops: Shops) -> None:
    conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", MANY)
    pipe = Pipe()

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids)
        for trigger in room.triggers:
            trigger._log = pipe.log
        await until(pipe.writing.is_set)
        for _ in range(20):
            await asyncio.sleep(0.01)
        finish(shops, "iproyal", order_ids)
        pipe.read.set()
        await room.all_end()
        assert room.outcomes == {("final", None)}

    try:
        waiting_room(story)
    finally:
        pipe.read.set()
        pipe.close()
    assert not pipe.late
    for order_id in order_ids:
        assert f"Order {order_id} is in-progress".encode() in pipe.text
        assert f"Order {order_id} is confirmed".encode() in pipe.text


@pytest.mark.parametrize("ends", ["final", "unreadable", "deadline"])
def test_where_many_wait_no_end_waits_for_the_log(shops: Shops, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "QUIET_ABOVE", 2)
    conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", MANY)
    pipe = Pipe()

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids, deadline=3.0 if ends == "deadline" else 60.0)
        for trigger in room.triggers:
            trigger._log = pipe.log
        await until(lambda: shops.box.book.count("iproyal") >= 3)
        finish(shops, "iproyal", order_ids, "unpaid")  # a line for each of them
        await until(pipe.writing.is_set)
        if ends == "final":
            finish(shops, "iproyal", order_ids)
        elif ends == "unreadable":
            shops.box.fault("iproyal", status=401)
        await until(lambda: len(room.events) >= MANY - 2)  # of the last two one may say that not many wait
        pipe.read.set()
        await room.all_end()
        assert {outcome for outcome, _ in room.outcomes} == {ends}

    try:
        waiting_room(story)
    finally:
        pipe.read.set()
        pipe.close()
    assert not pipe.late
    assert 1 <= pipe.text.count(b"is unpaid") <= 2 * telling.WRITING


@pytest.mark.parametrize("many", [False, True])
def test_what_is_usual_is_left_out_where_many_wait(
    shops: Shops, many: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subscribers, "QUIET_ABOVE", 2 if many else 5)
    conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 5)

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids)
        await until(lambda: shops.box.book.count("iproyal") >= 3)
        finish(shops, "iproyal", order_ids)
        await room.all_end()
        assert room.outcomes == {("final", None)}

    waiting_room(story)
    shown = "".join(capfd.readouterr())
    assert ("is in-progress" in shown, f"Order {order_ids[0]} is confirmed" in shown) == (not many, not many)


@pytest.mark.parametrize("many", [False, True])
def test_trouble_is_said_once_where_many_wait(
    shops: Shops, many: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscribers, "QUIET_ABOVE", 2 if many else 5)
    conn_id, order_ids = shops.connect("iproyal"), seed(shops, "iproyal", 5)
    rules = [shops.box.fault("iproyal", status=503, times=1), shops.box.fault("iproyal", "list", status=401, nth=4)]

    async def story(room: Room) -> None:
        room.enter(conn_id, order_ids)
        await room.all_end()
        assert room.outcomes == {("unreadable", "AuthenticationFailed")}

    waiting_room(story)
    assert [rule.hits for rule in rules] == [1, 1]
    shown = "".join(capfd.readouterr())
    said = [record.getMessage() for record in caplog.records if record.name == telling.__name__]
    for text in ("Reading from IPRoyal failed (VendorUnavailable)", "IPRoyal does not accept the key"):
        assert shown.count(text) - sum(text in line for line in said if line in shown) == (0 if many else 5)
        assert [line.startswith(f"Connection {conn_id}: {text}") for line in said if text in line] == [True] * many


def test_the_end_does_not_wait_for_lines_that_nobody_has_picked_up() -> None:
    async def story() -> list[Update]:
        subscription = Subscription("7", deadline=0.0, ceiling=None, age=0.0)
        subscription.tell(Update(None, "one"))
        subscription.tell(Update(None, "two"))
        heard = [await subscription.next_update()]
        subscription.tell(Update(None, "three"))
        subscription.tell(Update("final", ""))
        subscription.tell(Update("deadline", "too late"))
        return [*heard, await subscription.next_update(), await subscription.next_update()]

    assert asyncio.run(story()) == [Update(None, "one"), Update("final", ""), Update("deadline", "too late")]
