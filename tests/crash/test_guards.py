"""Every guard is load-bearing: with it one order is bought for one intent, without it the same scene goes wrong.

Each scene is played twice, with our code as it is and with exactly one guard removed (see ``guards.py``). Time is moved by
hand where a scene is about time, so nothing waits for it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import (
    CapExceeded,
    LedgerError,
    OutcomeUnknown,
    ProxyOrdersError,
    Quarantined,
    SpendRefused,
    WalletHeld,
)
from airflow_provider_proxyorders.domain.model import Purchase, Step
from tests.vendors import ROWS

from ..purchase.conftest import PRICES, Shop
from .guards import GUARDS

ShopOf = Callable[[str], Shop]


class Killed(BaseException):
    """Ends a worker as SIGKILL does: nothing of ours catches it, nothing is written after it."""


@dataclass
class Guard:
    """The guard of a scene, in place or removed."""

    removed: bool
    patch: pytest.MonkeyPatch = field(repr=False)

    def __call__(self, name: str) -> bool:
        """Remove the named guard where this run is to do without it; returns whether it is in place."""
        if self.removed:
            GUARDS[name](self.patch.setattr)
        return not self.removed


@pytest.fixture(params=[False, True], ids=["guarded", "without"])
def guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Guard:
    return Guard(request.param, monkeypatch)


class Time:
    """The ledger's clock and a worker's patience, moved by hand."""

    def __init__(self, shop: Shop):
        self.ahead = 0.0
        shop.box.control({"processing": 0.0, "vendor": shop.name})
        shop.ledger.clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=self.ahead)

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds


def killed_after_sending(buyer: Any) -> Any:
    """Let this worker die when the vendor has answered its purchase."""
    send = buyer.http.send

    def dying(request: Any) -> Any:
        answer = send(request)
        if request.spends:
            raise Killed
        return answer

    buyer.http.send = dying
    return buyer


def attempt(buy: Callable[[], Purchase]) -> Purchase | ProxyOrdersError:
    try:
        return buy()
    except ProxyOrdersError as error:
        return error


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_intent_before_sending(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """A worker is killed after the vendor took its order. Nobody would know of it."""
    guarded = guard("intent")
    shop = shop_of(vendor)
    time = Time(shop)
    with pytest.raises(Killed):
        killed_after_sending(shop.buyer()).place(shop.request, order_key="k")
    shop.buyer(sleep=time.sleep).place(shop.request, order_key="k")
    assert len(shop.bought()) == (1 if guarded else 2)


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_looking_before_sending_again(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """The answer is lost after the vendor took the order."""
    guarded = guard("evidence")
    shop = shop_of(vendor)
    shop.box.fault(vendor=vendor, operation="create", when="after", times=1, action="reset")
    shop.buyer().place(shop.request, order_key="k")
    assert len(shop.bought()) == (1 if guarded else 2)


def test_fence_of_the_ledger(shop: Shop, guard: Guard) -> None:
    """A worker is held up right before it writes SENT; another one buys and is done; then the first goes on."""
    guarded = guard("fence")
    done: list[Purchase] = []

    def held_up(order_key: str) -> None:
        if not done:
            done.append(shop.buyer().place(shop.request, order_key=order_key))

    attempt(lambda: shop.buyer(fence=held_up).place(shop.request, order_key="k"))
    purchase = shop.ledger.find("k")
    assert purchase is not None
    if guarded:
        assert [entry.order_id for entry in shop.bought()] == [purchase.order_id]
    elif ROWS[shop.name].vendor.capabilities.repeats_safely("create"):
        # its reference stops the second order, but the ledger now says that nothing was bought
        assert len(shop.bought()) == 1 and purchase.step is Step.REJECTED
    else:
        assert len(shop.bought()) == 2


def test_fence_of_airflow(shop_of: ShopOf, guard: Guard, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A person mends the order key and clears the task while its old try is still about to buy: for the ledger those are two."""
    guarded = guard("airflow_fence")
    from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator

    shop = shop_of("iproyal")
    extra = {"max_order_price": "25.00", "currency": "USD"}
    connection = {"conn_type": "iproyal", "host": shop.box.url("iproyal"), "password": shop.box.token("iproyal")}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({**connection, "extra": json.dumps(extra)}))
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", f"sqlite:///{tmp_path / 'shared.db'}")

    class Store:
        """As Airflow's in a try that it has replaced by another: reading finds nothing, writing is refused."""

        def __init__(self, replaced: bool):
            self.replaced = replaced

        def set(self, key: str, value: str) -> None:
            if self.replaced:
                raise RuntimeError("task instance not found")

    def run(order_key: str, *, replaced: bool) -> Any:
        task = CreateProxyOrderOperator(
            task_id="order", conn_id="shop", request=shop.request, order_key=order_key, wait_for_completion=False
        )
        ti = SimpleNamespace(dag_id="d", task_id="order", run_id="r", map_index=-1, try_number=1, xcom_push=lambda **_: None)
        return task.execute({"ti": ti, "dag_run": SimpleNamespace(run_id="r"), "task_state_store": Store(replaced)})  # type: ignore[typeddict-item]

    assert run("right", replaced=False)["order_id"] == shop.bought()[0].order_id
    if guarded:
        with pytest.raises(LedgerError, match="this one buys nothing"):
            run("wrong", replaced=True)
    else:
        run("wrong", replaced=True)
    assert len(shop.bought()) == (1 if guarded else 2)


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_try_that_may_still_be_sending(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """The vendor takes its time over the purchase of one worker, and another worker comes for the same key."""
    guarded = guard("running")
    shop = shop_of(vendor)
    rule = shop.box.fault(vendor=vendor, operation="create", when="before", times=1, action="pause")
    first = threading.Thread(target=lambda: attempt(lambda: shop.buyer(timeout=10).place(shop.request, order_key="k")))
    first.start()
    assert rule.wait(10)
    second = attempt(lambda: shop.buyer(patience=0.1).place(shop.request, order_key="k"))
    rule.release()
    first.join(30)
    assert isinstance(second, OutcomeUnknown) is guarded
    assert len(shop.bought()) == (1 if guarded else 2)


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_worker_held_up_after_it_wrote_sent(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """Its machine is busy for a minute between SENT and the purchase; another worker finds nothing at the vendor and buys."""
    guarded = guard("held_up")
    shop = shop_of(vendor)
    time = Time(shop)
    claim = shop.ledger.claim

    def held_up_afterwards(*args: Any, **kwargs: Any) -> Purchase:
        shop.ledger.claim = claim  # type: ignore[method-assign]
        claimed = claim(*args, **kwargs)
        time.sleep(60)
        shop.buyer(sleep=time.sleep).place(shop.request, order_key="k")
        return claimed

    buyer = shop.buyer(ticks=lambda: time.ahead)
    shop.ledger.claim = held_up_afterwards  # type: ignore[method-assign]
    said = attempt(lambda: buyer.place(shop.request, order_key="k"))
    assert isinstance(said, OutcomeUnknown), "it says nothing about an order that it knows nothing of"
    assert len(shop.bought()) == (1 if guarded else 2)


def test_wallet_turn(shop_of: ShopOf, guard: Guard) -> None:
    """One purchase is lost on its way; another one of the same kind lands, its answer still out: they look the same."""
    guarded = guard("turn")
    shop = shop_of("iproyal")
    shop.box.fault(vendor="iproyal", operation="create", when="before", times=1, action="reset")
    landed = shop.box.fault(vendor="iproyal", operation="create", when="after", nth=1, action="pause")
    others: list[Purchase | ProxyOrdersError] = []
    neighbour = threading.Thread(
        target=lambda: others.append(attempt(lambda: shop.buyer(timeout=10, patience=0.2).place(shop.request, order_key="b")))
    )
    buyer = shop.buyer()
    look = buyer.settling.evidence.look

    def another_buys_first(purchase: Purchase) -> Any:
        if not neighbour.ident:
            neighbour.start()
            while neighbour.is_alive() and not landed.wait(0.05):
                pass
        if guarded:
            landed.release()
        return look(purchase)

    buyer.settling.evidence.look = another_buys_first  # type: ignore[method-assign]
    mine = attempt(lambda: buyer.place(shop.request, order_key="a"))
    landed.release()
    neighbour.join(30)
    assert isinstance(mine, Purchase)
    if guarded:
        assert isinstance(others[0], WalletHeld)
        others = [shop.buyer().place(shop.request, order_key="b")]
    orders = {mine.order_id, others[0].order_id if isinstance(others[0], Purchase) else None}
    assert (len(orders), len(shop.bought())) == ((2, 2) if guarded else (1, 1)), "two keys, two orders"


def test_reservation_of_the_cap(shop_of: ShopOf, guard: Guard) -> None:
    """Two purchases at the same time under a limit that allows one."""
    guarded = guard("reservation")
    shop = shop_of("voodoo")
    price = PRICES["voodoo"]
    shop.caps = Caps(max_order_price=price, daily_limit=price + 1)
    rule = shop.box.fault(vendor="voodoo", operation="create", when="before", times=1, action="pause")
    first = threading.Thread(target=lambda: shop.buyer(timeout=10).place(shop.request, order_key="a"))
    first.start()
    assert rule.wait(10)
    second = attempt(lambda: shop.buyer().place(shop.request, order_key="b"))
    rule.release()
    first.join(30)
    assert isinstance(second, CapExceeded) is guarded
    spent = sum(Decimal(entry.amount) for entry in shop.bought())
    assert (spent <= price + 1) is guarded


def test_fingerprint(shop_of: ShopOf, guard: Guard) -> None:
    """The answer is lost, somebody edits the request, and the task is tried again under its key."""
    guarded = guard("fingerprint")
    shop = shop_of("voodoo")
    shop.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    with pytest.raises(Quarantined):
        shop.buyer().place({**shop.request, "merchant_order_id": "one"}, order_key="k")
    with shop.ledger.engine.begin() as connection:  # the try before was killed before it could ask a person
        connection.exec_driver_sql("UPDATE proxyorders_purchases SET step = 'unknown'")
    said = attempt(lambda: shop.buyer().place({**shop.request, "merchant_order_id": "two"}, order_key="k"))
    assert ("already stands for another purchase" in str(said)) is guarded
    assert len(shop.bought()) == (1 if guarded else 2)


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_settle_time_between_two_looks(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """The vendor takes the order after the buyer has hung up."""
    guarded = guard("settle")
    shop = shop_of(vendor)
    rule = shop.box.fault(vendor=vendor, operation="create", when="before", times=1, action="pause")
    buyer = shop.buyer(timeout=0.4, settle=1.5)
    look = buyer.settling.evidence.look

    def taken_after_the_second_look(purchase: Purchase) -> Any:
        looks = len(purchase.evidence.get("looks", []))
        result = look(purchase)
        if looks == (1 if not guarded else 0):
            rule.release()
            wait_until(lambda: bool(shop.bought()))
        return result

    buyer.settling.evidence.look = taken_after_the_second_look  # type: ignore[method-assign]
    buyer.place(shop.request, order_key="k")
    assert len(shop.bought()) == (1 if guarded else 2)


def test_ids_that_belong_to_another_purchase(shop_of: ShopOf, guard: Guard) -> None:
    """The vendor's list is a moment behind when it is read before a purchase that is then lost."""
    guarded = guard("owned")
    shop = shop_of("iproyal")
    neighbour = shop.delivered("b")
    page = {
        "data": [],
        "meta": {"current_page": 1, "last_page": 1, "per_page": 20, "total": 0, "from": None, "to": None, "path": ""},
    }
    shop.box.fault(vendor="iproyal", operation="list", when="before", times=1, action="body", body=json.dumps(page))
    shop.box.fault(vendor="iproyal", operation="create", when="before", times=1, action="reset")
    mine = shop.buyer().place(shop.request, order_key="a")
    assert (mine.order_id == neighbour.order_id) is not guarded
    assert len(shop.bought()) == (2 if guarded else 1), "two keys, two orders"


def test_a_refusal_after_doubt_proves_nothing(shop_of: ShopOf, guard: Guard) -> None:
    """The repeat with the same reference is refused because the first one landed."""
    guarded = guard("doubt")
    shop = shop_of("voodoo")
    shop.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    said = attempt(lambda: shop.buyer().place(shop.request, order_key="k"))
    purchase = shop.ledger.find("k")
    assert len(shop.bought()) == 1 and purchase is not None
    if guarded:
        assert isinstance(said, Quarantined) and purchase.step is Step.QUARANTINED
    else:
        assert purchase.step is Step.REJECTED, "bought, and the ledger says that it was refused"


def test_only_a_permitted_purchase_leaves(shop: Shop, guard: Guard) -> None:
    """Somebody who was meant to read runs a flow that buys."""
    guarded = guard("permit")
    buyer = shop.buyer()
    body = buyer.vendor.prepare_create(shop.request, "r").body

    def read() -> Any:
        return buyer.http.run(buyer.vendor.create(body))

    if guarded:
        with pytest.raises(SpendRefused):
            read()
        assert shop.bought() == []
    else:
        read()
        assert len(shop.bought()) == 1 and shop.ledger.purchases() == [], "bought, and nobody knows"


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_the_transport_never_repeats_a_purchase(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """The vendor takes the order and its load balancer answers 502."""
    guarded = guard("once")
    shop = shop_of(vendor)
    shop.box.fault(vendor=vendor, operation="create", when="after", times=1, action="status", status=502)
    shop.buyer().place(shop.request, order_key="k")
    assert len(shop.bought()) == (1 if guarded else 2)


def test_every_guard_has_its_scene() -> None:
    source = Path(__file__).read_text()
    assert [name for name in GUARDS if f'guard("{name}")' not in source] == []


def wait_until(true: Callable[[], bool]) -> None:
    ready = threading.Event()
    for _ in range(200):
        if true():
            return
        ready.wait(0.05)
    raise AssertionError("it did not happen in time")
