"""Evidence that was read in the line, while another purchase had the turn: it serves as a fresh read does, or is read anew."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from time import monotonic, sleep
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger
from airflow_provider_proxyorders.ledger.evidence import READ_IN_LINE
from airflow_provider_proxyorders.transport.flow import Permit, run
from airflow_provider_proxyorders.transport.many import sent_ahead
from airflow_provider_proxyorders.wire.messages import Request, Response

from .conftest import PRICES, Shop

ShopOf = Callable[[str], Shop]
#: Seconds for which the vendor holds the answer to the first purchase back.
HELD = 1.5
TURNS = ["iproyal", "proxyscrape"]
LIST = {"iproyal": "list", "proxyscrape": "subaccounts"}


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)


@pytest.fixture(params=TURNS)
def shop(request: pytest.FixtureRequest, shop_of: ShopOf) -> Shop:
    return shop_of(request.param)


def eventually(condition: Callable[[], object]) -> None:
    end = monotonic() + 30
    while not condition():
        assert monotonic() < end
        sleep(0.01)


def hold(shop: Shop, **options: Any) -> None:
    """Let the vendor answer the next purchase late."""
    shop.box.fault(shop.name, "create", when="before", action="delay", seconds=HELD, times=1, **options)


def two(shop: Shop, between: Callable[[], object] = lambda: None, **options: Any) -> tuple[Future[Purchase], Purchase]:
    """Two workers: the second one lines up behind the first one, whose answer comes late, and reads the evidence meanwhile.

    :param between: called when the second one has read.
    :returns: the end of the first one, and the second purchase.
    """
    options = {"settle": 30.0, **options}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shop.buyer(settle=options["settle"]).place, shop.request, order_key="first")
        eventually(lambda: (purchase := shop.ledger.find("first")) and purchase.step is Step.SENT)
        reads = shop.box.book.count(shop.name, LIST[shop.name])
        second = pool.submit(shop.buyer(**options).place, shop.request, order_key="second")
        eventually(lambda: shop.box.book.count(shop.name, LIST[shop.name]) > reads or second.done())
        between()
        with suppress(ProxyOrdersError):
            first.result(60)
        return first, second.result(60)


def test_the_next_in_line_reads_while_another_has_the_turn(shop: Shop) -> None:
    hold(shop)
    first, second = two(shop)
    assert READ_IN_LINE in second.evidence and READ_IN_LINE not in first.result().evidence
    assert first.result().order_id != second.order_id and len(shop.bought()) == 2
    assert shop.box.book.count(shop.name, LIST[shop.name]) == 2, "each purchase was read for once"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_is_settled_by_it(shop: Shop, when: str) -> None:
    """The evidence is older than the first purchase, which must explain its own order and money."""
    hold(shop)
    shop.box.fault(shop.name, "create", when=when, action="reset", times=1, nth=2)
    first, second = two(shop, settle=2.5)
    assert READ_IN_LINE in second.evidence or when == "before", "nothing was taken, so it was sent again with a new read"
    assert second.step in (Step.PLACED, Step.DELIVERED) and len(shop.bought()) == 2
    own = {entry.order_id for entry in shop.bought()}
    names = {first.result().order_id, second.order_id}
    assert len(names) == 2 and (names == own or shop.name == "proxyscrape")  # there a sub-account names a found order


def extend(shop: Shop) -> None:
    """An extension, which takes no turn, on the same wallet."""
    wallet, price = f"{shop.name}:main", Money(Decimal(1), "USD")
    intent = Intent("extension", "extend", shop.name, "c", wallet, "e" * 64, {}, price, target="7001", takes_turn=False)
    sent = shop.ledger.claim(shop.ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=60)
    shop.ledger.record(sent, Step.DELIVERED, "it was extended", Actor())


def refuse(shop: Shop) -> None:
    """The first purchase is refused in place of its late answer."""
    body = '{"success": false, "error": "Insufficient wallet balance."}' if shop.name == "proxyscrape" else '{"message": "no"}'
    shop.box.fault(shop.name, "create", when="after", action="status", status=400, body=body, times=1)


def lose(shop: Shop) -> None:
    shop.box.fault(shop.name, "create", when="after", action="reset", times=1)


@pytest.mark.parametrize("unusual", [extend, refuse, lose])
def test_after_anything_unusual_it_is_read_anew(shop: Shop, unusual: Callable[[Shop], None]) -> None:
    hold(shop)
    _, second = two(shop, lambda: unusual(shop), settle=5.0)
    assert second.step in (Step.PLACED, Step.DELIVERED) and READ_IN_LINE not in second.evidence
    assert shop.box.book.count(shop.name, LIST[shop.name]) > 2


def test_what_is_unusual_at_the_last_moment_counts_as_well(shop: Shop) -> None:
    """The claim asks again, in its own transaction. The purchase keeps its key, and is read for anew."""
    done = list[str]()

    def fence(key: str) -> None:
        if not done:
            done.append(key)
            extend(shop)

    hold(shop)
    _, second = two(shop, fence=fence)
    assert second.step is Step.PLACED and READ_IN_LINE not in second.evidence and len(shop.bought()) == 2
    assert any("must be read anew" in entry.why for entry in shop.ledger.history("second"))


def test_where_turns_are_slow_the_next_one_reads_once_more(shop: Shop) -> None:
    """Its first read is too old at its turn; the second one comes after half of that time."""
    hold(shop)
    _, second = two(shop, settle=HELD * 0.8)
    assert READ_IN_LINE in second.evidence and len(shop.bought()) == 2
    assert shop.box.book.count(shop.name, LIST[shop.name]) == 3


def test_it_is_no_older_than_the_settle_time(shop: Shop) -> None:
    hold(shop)
    _, second = two(shop, settle=HELD / 3)
    assert second.step is Step.PLACED and second.sent_at is not None
    assert (second.sent_at - datetime.fromisoformat(second.evidence["read_from"])).total_seconds() < HELD / 2


def test_an_unreadable_vendor_is_asked_again_at_the_turn(shop: Shop) -> None:
    hold(shop)
    shop.box.fault(shop.name, "balance", action="status", status=403, body="{}", times=1, nth=2)
    _, second = two(shop)
    assert second.step is Step.PLACED and READ_IN_LINE not in second.evidence


def test_a_minimum_balance_holds_beside_the_purchase_before(shop: Shop) -> None:
    price = PRICES[shop.name]
    shop.box.control([{"vendor": shop.name, "wallet": {"balance": str(2 * price)}}])
    shop.caps = Caps(max_order_price=price, min_balance=price)
    hold(shop)
    with pytest.raises(CapExceeded, match="min_balance"):
        two(shop, settle=3.0)
    assert len(shop.bought()) == 1


@pytest.mark.parametrize("kind", ["create", "extend"])
def test_the_reads_before_a_purchase_can_be_sent_together(shop: Shop, kind: str) -> None:
    """They are those that the evidence takes, and each is asked once."""
    buyer, target = shop.buyer(), None
    if kind == "extend":
        target = buyer.place(shop.request, order_key="old").order_id
    body: dict[str, Any] = {} if target else dict(buyer.vendor.prepare_create(shop.request, "reference").body)
    buyer.http.run(buyer.vendor.balance())
    needed: list[Request] = []

    def send(request: Request, permit: Permit | None) -> Response:
        needed.append(request)
        return buyer.http.send(request, permit)

    run(buyer.vendor.snapshot(kind, body, target), send)
    assert len(needed) > 1
    assert [next(flow) for flow in buyer.vendor.snapshot_reads(kind, body, target)] == needed
    before = {name: shop.box.book.count(shop.name, name) for name in ("balance", LIST[shop.name])}
    with sent_ahead(buyer.http, buyer.vendor.snapshot_reads(kind, body, target)):
        buyer.http.run(buyer.vendor.snapshot(kind, body, target))
    asked = {name: shop.box.book.count(shop.name, name) - many for name, many in before.items()}
    assert asked == {"balance": 1, LIST[shop.name]: int(kind == "create" or shop.name == "proxyscrape")}
