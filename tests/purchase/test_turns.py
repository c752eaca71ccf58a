"""Turns are fair: first come, first served, and a long line that moves fails nobody."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from time import monotonic, sleep

import pytest

from airflow_provider_proxyorders.domain.errors import WalletHeld
from airflow_provider_proxyorders.domain.model import Actor, Money, Step
from airflow_provider_proxyorders.ledger import Intent, Ledger, leases, open_ledger
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.purchase.turns import READ_EARLY

from .conftest import Shop

ShopOf = Callable[[str], Shop]
WALLET = "proxyscrape:main"


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


@pytest.fixture
def shop(shop_of: ShopOf) -> Shop:
    return shop_of("proxyscrape")


def intent(key: str) -> Intent:
    return Intent(key, "create", "proxyscrape", "c", WALLET, "a" * 64, {}, Money(Decimal(1), "USD"))


def eventually(condition: Callable[[], bool]) -> None:
    end = monotonic() + 30
    while not condition():
        assert monotonic() < end
        sleep(0.02)


def test_eight_workers_a_killed_holder_and_a_killed_waiter(shop: Shop) -> None:
    """The vendor's book has the orders in the order in which their tasks came. Nobody fails, and nobody overtakes."""
    shop.ledger.intend(intent("killed holder"), Actor(), turn_seconds=3600.0)
    keys = [f"k{number}" for number in range(8)]

    def buy(key: str) -> str | None:
        return shop.buyer().place(shop.request, order_key=key).order_id

    def has_ticket(key: str) -> bool:
        return shop.ledger.place_in_line(WALLET, key).left is not None

    with ThreadPoolExecutor(len(keys)) as pool:
        tasks = []
        for key in keys:
            tasks.append(pool.submit(buy, key))
            eventually(partial(has_ticket, key))
            if key == "k3":
                shop.ledger.line_up(WALLET, "killed waiter")
        with shop.ledger.engine.begin() as connection:  # the leases of the dead end
            connection.exec_driver_sql("UPDATE proxyorders_tickets SET until = '' WHERE order_key = 'killed waiter'")
            connection.exec_driver_sql("UPDATE proxyorders_wallets SET turn_until = ''")
        placed = [task.result(60) for task in tasks]
    assert placed == [entry.order_id for entry in shop.bought()]


class Scene:
    """A line of others before one worker, in a time that its pauses move. The others live, and go on when told to.

    :param others: order keys, the first in the line first.
    :param every: seconds after which the line moves.
    """

    def __init__(self, shop: Shop, others: list[str], every: float):
        self.shop, self.ledger, self.others, self.every = shop, shop.ledger, others, every
        self.ahead, self.moves_at = 0.0, every
        self.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=self.ahead)
        for key in others:
            self.ledger.line_up(WALLET, key)

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds
        for key in self.others:
            self.ledger.renew_ticket(WALLET, key, leases.TICKET)
        if self.ahead >= self.moves_at and self.others:
            self.moves_at += self.every
            purchase = self.ledger.intend(intent(self.others.pop(0)), Actor())
            self.ledger.release(purchase, "it ended", Actor())

    def buyer(self, patience: float) -> Buyer:
        return self.shop.buyer(sleep=self.sleep, ticks=lambda: self.ahead, patience=patience)


def test_a_long_line_that_moves_fails_nobody(shop: Shop) -> None:
    scene = Scene(shop, ["a", "b", "c", "d", "e"], every=8.0)
    placed = scene.buyer(patience=10.0).place(shop.request, order_key="k")
    assert placed.step is Step.PLACED and scene.ahead > 39
    lines = [line for line in shop.said if line.startswith(f"Waiting for the turn on wallet '{WALLET}'")]
    assert ": 5 ahead of this one. It gives up" in lines[0]
    estimate = re.search(r": 1 ahead of this one, about (\d+) s", lines[1])
    assert estimate is not None and 14 <= int(estimate[1]) <= 18


def test_a_waiter_looks_by_its_way_to_where_it_reads(shop: Shop) -> None:
    """Its reads begin with three ahead. It must not sleep past that place, for its turn waits for the reads then."""
    scene = Scene(shop, ["a", "b", "c", "d", "e", "f"], every=1e9)
    pauses: list[float] = []
    buyer = shop.buyer(
        sleep=lambda seconds: pauses.append(seconds) or scene.sleep(seconds), ticks=lambda: scene.ahead, patience=2.0
    )
    with pytest.raises(WalletHeld):
        buyer.place(shop.request, order_key="k")
    assert READ_EARLY == 4 and pauses[0] == pytest.approx(0.3), "six ahead, three of them before it reads"


def test_a_line_that_stands_ends_the_wait(shop: Shop) -> None:
    scene = Scene(shop, ["a", "b"], every=1e9)
    with pytest.raises(WalletHeld, match=r"other purchases wait for wallet .*'a' first\. Nothing was bought"):
        scene.buyer(patience=10.0).place(shop.request, order_key="k")
    assert 9 < scene.ahead < 12
    assert shop.ledger.place_in_line(WALLET, "k").left is None, "it gave its place back"


def test_the_first_in_the_line_keeps_its_place_while_it_settles_a_lost_purchase(shop: Shop) -> None:
    lost = shop.ledger.claim(shop.ledger.intend(intent("lost"), Actor()), Actor(), evidence={}, sent_seconds=1)
    shop.ledger.record(lost, Step.UNKNOWN, "no answer", Actor())
    scene = Scene(shop, [], every=1e9)
    ahead: list[int] = []

    def sleep(seconds: float) -> None:
        scene.ahead += seconds
        if scene.ahead > leases.TICKET:
            shop.ledger.line_up(WALLET, "behind")
            ahead.append(shop.ledger.place_in_line(WALLET, "behind").ahead)

    buyer = shop.buyer(sleep=sleep, ticks=lambda: scene.ahead, settle=160.0)
    with pytest.raises(WalletHeld):
        buyer.place(shop.request, order_key="k")
    assert ahead and set(ahead) == {1}


def test_threads_of_one_process(shop: Shop) -> None:
    """Without a line before: whoever is second lines up, and all are served."""
    ready = threading.Barrier(3)

    def buy(key: str) -> Step:
        ready.wait()
        return shop.buyer().place(shop.request, order_key=key).step

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(buy, ("a", "b", "c"))) == {Step.PLACED}
    with shop.ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM proxyorders_tickets").scalar() == 0
