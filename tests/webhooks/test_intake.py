"""The limit of a day for new rows: the ledger counts them for each wallet, over restarts and several receivers."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest
import requests

from airflow_provider_proxyorders.ledger import intake
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, InboxFull, open_inbox
from airflow_provider_proxyorders.wire.signatures import Scheme

from .conftest import SECRET, Running, webhook_body

NOON = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def ten_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_A_DAY", 10)


def hints(*numbers: int, wallet: str = "voodoo:w", conn_id: str = "c") -> list[Hint]:
    return [Hint(f"{wallet} {number}", conn_id, wallet, f"o{number}", None, "completed") for number in numbers]


def receiver_at(database: str, moment: datetime) -> Inbox:
    """The inbox of a receiver that has begun just now."""
    return Inbox(open_inbox(database).engine, lambda: moment)


def left_out(inbox: Inbox, *numbers: int, **more: str) -> list[int]:
    errors = inbox.keep_each(hints(*numbers, **more))
    assert all(error is None or isinstance(error, InboxFull) for error in errors)
    return [number for number, error in zip(numbers, errors, strict=True) if error is not None]


def test_a_restart_and_a_second_receiver_change_nothing(database: str) -> None:
    assert left_out(receiver_at(database, NOON), *range(6)) == []
    assert left_out(receiver_at(database, NOON), *range(6, 12)) == [10, 11]
    assert left_out(receiver_at(database, NOON + timedelta(hours=11)), 13, 14) == [13, 14]
    assert len(receiver_at(database, NOON).since(0)) == 10


def test_copies_use_up_nothing(database: str) -> None:
    inbox = receiver_at(database, NOON)
    for _ in range(20):
        assert left_out(inbox, 1, 1, 2) == []
    assert left_out(inbox, *range(20), 3) == list(range(10, 20))
    assert left_out(inbox, 1, 2, 3, 99) == [99], "a full day still counts copies"
    assert {hint.order_id: hint.times for hint in inbox.since(0)}["o1"] == 42


def test_each_wallet_and_each_day_has_its_own(database: str) -> None:
    inbox = receiver_at(database, NOON)
    assert left_out(inbox, *range(12)) == [10, 11]
    assert left_out(inbox, *range(3), wallet="voodoo:other") == []
    assert left_out(inbox, 50, conn_id="another connection of the wallet") == [50]
    assert left_out(receiver_at(database, NOON + timedelta(hours=12)), 50, 51) == []


def test_one_group_of_two_wallets(database: str) -> None:
    inbox = receiver_at(database, NOON)
    group = hints(*range(11), wallet="voodoo:a") + hints(*range(2), wallet="voodoo:b")
    errors = inbox.keep_each(group)
    assert [hint.digest for hint, error in zip(group, errors, strict=True) if error is not None] == ["voodoo:a 10"]


def test_receivers_at_the_same_moment_share_one_count(database: str) -> None:
    ready, over = threading.Barrier(4), list[int]()

    def work(first: int) -> None:
        inbox = receiver_at(database, NOON)
        ready.wait(10)
        for number in range(first, first + 5):
            over.extend(left_out(inbox, number))

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(over), len(receiver_at(database, NOON).since(0))) == (10, 10)


def test_the_sender_hears_when_to_come_back(running: Running) -> None:
    for number in range(10):
        assert running.post(webhook_body(str(number))) == 200
    body = webhook_body("eleventh")
    answer = requests.post(f"{running.url}/voodoo_default", data=body, headers=Scheme().sign(body, SECRET), timeout=20)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")
