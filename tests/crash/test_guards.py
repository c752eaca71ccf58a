"""Every guard is load-bearing: with it one order is bought for one intent, without it the same scene goes wrong.

Each scene is played twice, with our code as it is and with exactly one guard removed (see ``guards.py``). Time is moved by
hand where a scene is about time, so nothing waits for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
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
    ConfigError,
    LedgerError,
    OutcomeUnknown,
    ProxyOrdersError,
    Quarantined,
    RequestRefused,
    SpendRefused,
    WalletHeld,
)
from airflow_provider_proxyorders.domain.model import TAKEN, Actor, Money, Purchase, Step
from airflow_provider_proxyorders.hooks.task import answers_of, fence_of
from airflow_provider_proxyorders.ledger import open_ledger
from airflow_provider_proxyorders.purchase import resolving
from airflow_provider_proxyorders.transport import worker
from airflow_provider_proxyorders.transport.worker import Http
from tests.counted import counted
from tests.tasks.tasks import StateStore
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

    def dying(request: Any, permit: Any = None) -> Any:
        answer = send(request, permit)
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
    """A worker is killed after the vendor took its order. Nobody would know of it, since the balance does not show it yet."""
    guarded = guard("intent")
    shop = shop_of(vendor)
    time = Time(shop)
    shop.box.fault(vendor=vendor, operation="balance", action="lag", seconds=3600, times=2)
    with pytest.raises(Killed):
        killed_after_sending(shop.buyer()).place(shop.request, order_key="k")
    shop.buyer(sleep=time.sleep).place(shop.request, order_key="k")
    assert len(shop.bought()) == (1 if guarded else 2)


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_looking_before_sending_again(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """The answer is lost after the vendor took the order, and the balance does not show it yet."""
    guarded = guard("evidence")
    shop = shop_of(vendor)
    shop.box.fault(vendor=vendor, operation="balance", action="lag", seconds=3600, times=2)
    shop.box.fault(vendor=vendor, operation="create", when="after", times=1, action="reset")
    shop.buyer().place(shop.request, order_key="k")
    assert len(shop.bought()) == (1 if guarded else 2)


def test_the_same_ledger(shop_of: ShopOf, guard: Guard, tmp_path: Any) -> None:
    """The worker of an order is gone, and its next try runs in another container with a file of its own there."""
    guarded = guard("same_ledger")
    shop, store = shop_of("iproyal"), StateStore()

    def buy() -> Purchase:
        given = {"task_state_store": store}
        fence, answers = fence_of(given, shop.ledger), answers_of(given)
        return shop.buyer(fence=fence, answers=answers).place(shop.request, order_key="k")

    buy()
    shop.ledger = open_ledger(f"sqlite:///{tmp_path}/another.db")
    second = attempt(buy)
    assert isinstance(second, LedgerError) == guarded
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
        # its reference stops the second order, but the ledger no longer knows the first one
        assert len(shop.bought()) == 1 and purchase.step is Step.QUARANTINED
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

        def get(self, key: str) -> None:
            return None

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
    assert rule.wait(60)
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
    assert len(shop.bought()) == (1 if guarded else 2)
    if guarded:
        assert isinstance(said, Purchase) and said.order_id == shop.bought()[0].order_id
    else:
        assert isinstance(said, OutcomeUnknown), "it says nothing about an order that it knows nothing of"


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_slow_way_to_the_vendor(shop_of: ShopOf, guard: Guard, vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the vendor is looked up for minutes, right before the purchase leaves; another worker buys meanwhile."""
    guarded = guard("connected")
    shop = shop_of(vendor)
    time = Time(shop)
    monkeypatch.setattr(worker, "STALE_AFTER", -1.0)
    find, send, spending = socket.getaddrinfo, Http.send, threading.Event()

    def note(http: Http, request: Any, permit: Any = None) -> Any:
        if request.spends and http is buyer.http:
            spending.set()
        return send(http, request, permit)

    def slow(*args: Any, **kwargs: Any) -> Any:
        if spending.is_set():
            spending.clear()
            monkeypatch.setattr(socket, "getaddrinfo", find)
            time.sleep(600)
            shop.buyer(sleep=time.sleep).place(shop.request, order_key="k")
        return find(*args, **kwargs)

    buyer = shop.buyer()  # its own clock stands still, so only the order of things protects
    monkeypatch.setattr(Http, "send", note)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    attempt(lambda: buyer.place(shop.request, order_key="k"))
    assert not spending.is_set()
    assert len(shop.bought()) == (1 if guarded else 2)


def test_wallet_turn(shop_of: ShopOf, guard: Guard) -> None:
    """One purchase is lost on its way; another one of the same kind lands, its answer still out: they look the same."""
    guarded = guard("turn")
    shop = shop_of("iproyal")
    # a settle time that passes between the two would tell them apart
    slow: dict[str, Any] = {} if guarded else {"settle": 30, "sleep": Time(shop).sleep}
    shop.box.fault(vendor="iproyal", operation="create", when="before", times=1, action="reset")
    landed = shop.box.fault(vendor="iproyal", operation="create", when="after", nth=1, action="pause")
    others: list[Purchase | ProxyOrdersError] = []
    neighbour = threading.Thread(
        target=lambda: others.append(
            attempt(lambda: shop.buyer(timeout=10, patience=0.2, **slow).place(shop.request, order_key="b"))
        )
    )
    buyer = shop.buyer(**slow)
    look = buyer.settling.evidence.look

    def another_buys_first(purchase: Purchase, *others: Any) -> Any:
        if not neighbour.ident:
            neighbour.start()
            while neighbour.is_alive() and not landed.wait(0.05):
                pass
        if guarded:
            landed.release()
        return look(purchase, *others)

    buyer.settling.evidence.look = another_buys_first  # type: ignore[method-assign]
    mine = attempt(lambda: buyer.place(shop.request, order_key="a"))
    landed.release()
    neighbour.join(30)
    assert isinstance(mine, Purchase)
    if guarded and isinstance(others[0], WalletHeld):  # otherwise it settled the first one, and then had its turn
        others = [shop.buyer().place(shop.request, order_key="b")]
    orders = {mine.order_id, others[0].order_id if isinstance(others[0], Purchase) else None}
    if guarded:
        assert (len(orders), len(shop.bought())) == (2, 2), "two keys, two orders"
    else:  # no order is given twice, but the order that was bought for one key went to the other one
        assert any("belongs to order key 'a' already" in step.why for step in shop.ledger.history("b"))


def test_reservation_of_the_cap(shop_of: ShopOf, guard: Guard) -> None:
    """Two purchases at the same time under a limit that allows one."""
    guarded = guard("reservation")
    shop = shop_of("voodoo")
    price = PRICES["voodoo"]
    shop.caps = Caps(max_order_price=price, daily_limit=price + 1)
    rule = shop.box.fault(vendor="voodoo", operation="create", when="before", times=1, action="pause")
    first = threading.Thread(target=lambda: shop.buyer(timeout=10).place(shop.request, order_key="a"))
    first.start()
    assert rule.wait(60)
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
    """The vendor takes the order after the buyer has hung up, and the next read of the balance does not show it yet."""
    guarded = guard("settle")
    shop = shop_of(vendor)
    rule = shop.box.fault(vendor=vendor, operation="create", when="before", times=1, action="pause")
    buyer = shop.buyer(timeout=1.5, settle=1.5)
    look = buyer.settling.evidence.look

    def taken_after_the_second_look(purchase: Purchase, *others: Any) -> Any:
        looks = len(shop.ledger.looks("k"))
        result = look(purchase, *others)
        if looks == (1 if not guarded else 0):
            rule.release()
            wait_until(lambda: bool(shop.bought()))
            shop.box.fault(vendor=vendor, operation="balance", action="lag", seconds=3600, times=1)
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


@pytest.mark.parametrize("vendor", ["proxyscrape", "voodoo"])
def test_an_answer_that_names_the_previous_order(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """The vendor takes the second order and names the first one: the second would be in no row."""
    guarded = guard("owned")
    shop = shop_of(vendor)
    first = shop.delivered("a")
    shop.box.fault(vendor=shop.name, operation="create", action="another_id", order="previous", times=1)
    with contextlib.suppress(OutcomeUnknown):
        shop.buyer().place(shop.request, order_key="b")
    second = shop.ledger.find("b")
    assert second is not None and len(shop.bought()) == 2
    assert (second.order_id != first.order_id) is guarded


def test_an_answer_that_names_a_foreign_order(shop_of: ShopOf, guard: Guard) -> None:
    """An order from before, bought elsewhere: the purchase is told by its mark, and found."""
    guarded = guard("contradiction")
    shop = shop_of("iproyal")
    [foreign] = shop.box.control([{"vendor": "iproyal", "order": {"product_id": 9, "product_plan_id": 22, "quantity": 2}}])
    shop.box.fault(vendor="iproyal", operation="create", action="another_id", order=str(foreign), times=1)
    purchase = shop.buyer().place(shop.request, order_key="k")
    assert (purchase.order_id == shop.bought()[0].order_id) is guarded


def test_an_answer_with_an_id_that_does_not_exist(shop_of: ShopOf, guard: Guard) -> None:
    """Nobody finds the order of the answer: the evidence finds the one that was bought."""
    guarded = guard("missing")
    shop = shop_of("iproyal")
    time = Time(shop)
    shop.box.fault(vendor="iproyal", operation="create", action="another_id", order="missing", times=1)
    buyer = shop.buyer(sleep=time.sleep)
    placed = buyer.place(shop.request, order_key="k")
    for _ in range(2):
        attempt(lambda: buyer.refresh(placed))
        time.sleep(1.0)
    purchase = buyer.place(shop.request, order_key="k")
    assert (purchase.order_id == shop.bought()[0].order_id) is guarded


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


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_look_after_a_refusal(shop_of: ShopOf, guard: Guard, vendor: str) -> None:
    """An inner proxy repeats the purchase, and only the refusal of the copy comes back."""
    guarded = guard("refusal")
    shop = shop_of(vendor)
    shop.box.fault(vendor=vendor, operation="create", action="repeat", times=1)
    said = attempt(lambda: shop.buyer().place(shop.request, order_key="k"))
    assert isinstance(said, Purchase) is guarded, "bought, and the ledger says that it was refused"
    assert len(shop.bought()) == 1


def test_a_last_look_before_a_refused_purchase_is_sent_again(shop_of: ShopOf, guard: Guard) -> None:
    """The same, and the vendor's reads lag: the look after the refusal sees nothing."""
    guarded = guard("last_look")
    shop = shop_of("iproyal")
    shop.box.fault(vendor="iproyal", operation="create", action="repeat", times=1)
    lag = shop.box.fault(vendor="iproyal", operation="*", action="lag", seconds=3600)
    attempt(lambda: shop.buyer().place(shop.request, order_key="k"))
    lag.release()
    said = attempt(lambda: shop.buyer().place(shop.request, order_key="k"))
    assert isinstance(said, Purchase) is guarded, "else only the balance keeps it from being bought twice"
    assert len(shop.bought()) == 1


def test_our_own_reference_refused_as_taken(shop_of: ShopOf, guard: Guard) -> None:
    """The copy is refused since the first one landed, and the balance lags."""
    guarded = guard("reference_taken")
    shop = shop_of("voodoo")
    shop.box.fault(vendor="voodoo", operation="create", action="repeat", times=1)
    shop.box.fault(vendor="voodoo", operation="balance", action="lag", seconds=3600)
    said = attempt(lambda: shop.buyer().place(shop.request, order_key="k"))
    assert len(shop.bought()) == 1 and isinstance(said, Quarantined) is guarded
    assert ("Nothing was bought" in str(said)) is not guarded


def test_the_order_of_a_late_answer(shop_of: ShopOf, guard: Guard) -> None:
    """A late answer comes while the purchase is sent again; that is refused; a person unfreezes, and the task is cleared."""
    from ..purchase.test_late_answers import answered_late, late_answer_of

    guarded = guard("question")
    shop = shop_of("iproyal")
    late_answer_of(shop, "k", answered_late)
    shop.ledger.record(shop.ledger.find("k"), Step.REJECTED, "refused", Actor())  # type: ignore[arg-type]
    wallet = shop.buyer().account.wallet
    if guarded:
        with pytest.raises(ConfigError, match=r"--adopt|--foreign"):
            resolving.unfreeze(shop.ledger, wallet)
    else:
        resolving.unfreeze(shop.ledger, wallet)
    assert (counted(shop.ledger, wallet) > 0) is guarded, "what was charged counts for the limits"
    said = attempt(lambda: shop.buyer().place(shop.request, order_key="k"))
    if guarded:
        assert isinstance(said, Purchase) and said.order_id == shop.bought()[0].order_id
        assert shop.ledger.freeze_reason(wallet) is None
    assert len(shop.bought()) == 1 or not guarded


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


def test_looks_of_all_workers_count_together(shop_of: ShopOf, guard: Guard) -> None:
    """Between two looks that see nothing, another worker sees that money is gone."""
    guarded = guard("looks")
    shop = shop_of("iproyal")
    time = Time(shop)
    shop.box.fault(vendor="iproyal", operation="create", when="after", times=1, action="reset")
    buyer, helper = shop.buyer(settle=60), shop.buyer(settle=60)

    def seen_by(worker: Any, verdict: str) -> None:
        look = worker.settling.evidence.look
        worker.settling.evidence.look = lambda purchase, *others: dataclasses.replace(
            look(purchase, *others), verdict=verdict, order=None
        )

    def helped(seconds: float) -> None:
        time.sleep(seconds)
        purchase = shop.ledger.find("k")
        if purchase is not None and len(shop.ledger.looks("k")) == 1:
            helper.settling.look_once(purchase, set())

    seen_by(buyer, "absent")
    seen_by(helper, "inconclusive")
    buyer.sleep = helped
    said = attempt(lambda: buyer.place(shop.request, order_key="k"))
    assert isinstance(said, Quarantined) is guarded
    # it was bought: only the balance, which is compared before each purchase, can still stop the second one then
    assert any("proven absent" in entry.why for entry in shop.ledger.history("k")) is not guarded


def test_a_sending_that_would_last_for_hours(shop_of: ShopOf, guard: Guard) -> None:
    """A worker dies while it sends. Its clock was six hours ahead."""
    guarded = guard("cut")
    shop = shop_of("iproyal")
    time = Time(shop)
    time.ahead = 6 * 3600.0
    with pytest.raises(Killed):
        killed_after_sending(shop.buyer()).place(shop.request, order_key="k")
    time.ahead = 0.0
    said = attempt(lambda: shop.buyer(sleep=time.sleep).place(shop.request, order_key="k"))
    assert isinstance(said, Purchase) is guarded
    assert len(shop.bought()) == 1


def test_one_clock_for_workers_on_many_hosts(guard: Guard, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock is ten minutes behind is sending right now. By the clocks of others it gave up long ago."""
    guarded = guard("one_clock")
    from airflow_provider_proxyorders.ledger import Intent, clock, engine, open_ledger
    from airflow_provider_proxyorders.purchase.attempt import may_be_running

    behind = timedelta(minutes=10)
    monkeypatch.setattr(clock, "host_clock", lambda: datetime.now(timezone.utc) - behind)
    ledger, actor = open_ledger(postgres_url), Actor()
    intent = Intent("k", "create", "iproyal", "c", "iproyal:c", "a" * 64, {}, Money(Decimal(6), "USD"))
    sent = ledger.claim(ledger.intend(intent, actor), actor, evidence={}, sent_seconds=95)
    engine.close()
    behind = timedelta(0)
    assert may_be_running(sent, open_ledger(postgres_url).clock()) is guarded


def test_a_vendor_that_works_on_after_its_edge_gave_up(shop_of: ShopOf, guard: Guard) -> None:
    """The vendor takes the order 90 seconds after the buyer has hung up. The connection sets no ``settle``."""
    guarded = guard("edge")
    shop = shop_of("iproyal")
    time = Time(shop)
    rule = shop.box.fault(vendor="iproyal", operation="create", when="before", times=1, action="pause")
    buyer = shop.buyer(timeout=1.5, sleep=time.sleep)
    buyer.account.settings = {}
    look = buyer.settling.evidence.look

    def taken_after_90_seconds(purchase: Purchase, *others: Any) -> Any:
        if time.ahead >= 90 and not shop.bought():
            rule.release()
            wait_until(lambda: bool(shop.bought()))
        return look(purchase, *others)

    buyer.settling.evidence.look = taken_after_90_seconds  # type: ignore[method-assign]
    buyer.place(shop.request, order_key="k")
    if not guarded:
        rule.release()
        wait_until(lambda: len(shop.bought()) == 2)
    assert len(shop.bought()) == (1 if guarded else 2)


def test_the_pause_that_a_vendor_asks_for(shop_of: ShopOf, guard: Guard) -> None:
    """It answers 429 to the purchase of one worker. Another worker asks a moment later."""
    guarded = guard("rest")
    shop = shop_of("iproyal")
    Time(shop)
    headers = {"Retry-After": "600"}
    shop.box.fault(vendor="iproyal", operation="create", when="before", times=1, action="status", status=429, headers=headers)
    first = shop.buyer(settle=1000)
    first.http._sleep = lambda seconds: None
    assert isinstance(attempt(lambda: first.place(shop.request, order_key="k")), OutcomeUnknown)
    asked = shop.box.book.count("iproyal")
    attempt(lambda: shop.buyer(settle=1000, patience=0.0).place(shop.request, order_key="other"))
    assert (shop.box.book.count("iproyal") == asked) is guarded


def test_the_reservation_of_another_task(shop_of: ShopOf, guard: Guard) -> None:
    """A task is about to send; another task comes with its key and a higher cap, and is refused."""
    guarded = guard("own_intent")
    shop = shop_of("proxyscrape")
    shop.caps = Caps(max_order_price=Decimal("60.00"), daily_limit=Decimal("40.00"))
    one, other = Actor("one", "r", "t"), Actor("other", "r", "t")
    said: list[Any] = []

    def beside(order_key: str) -> None:
        second = shop.buyer(actor=other)
        said.append(attempt(lambda: second.place(shop.request, order_key=order_key, max_price=Decimal("50.00"))))

    first = attempt(
        lambda: shop.buyer(actor=one, fence=beside, patience=0.0).place(shop.request, order_key="k", max_price=Decimal("35.00"))
    )
    assert isinstance(said[0], CapExceeded)
    assert (isinstance(first, Purchase) and first.step in TAKEN) is guarded


def refuse_one_extension(shop: Shop) -> tuple[str, Any]:
    """Reads lag while a copy of an extension is refused. Returns the extended order, and the lag."""
    order_id = str(shop.delivered("one").order_id)
    shop.box.advance(7200)
    lag = shop.box.fault(vendor="iproyal", operation="*", action="lag", seconds=3600)
    shop.box.fault(vendor="iproyal", operation="extend", action="refuse", reason="invalid", when="after", times=1)
    said = attempt(lambda: shop.buyer(settle=30).extend(order_id, {"product_plan_id": 22}, order_key="refused"))
    assert isinstance(said, RequestRefused)
    return order_id, lag


def test_a_refused_purchase_may_be_what_a_look_finds(shop_of: ShopOf, guard: Guard) -> None:
    """The next extension of the order, for another term, never arrives, and its look sees the refused one."""
    guarded = guard("suspects")
    shop = shop_of("iproyal")
    time = Time(shop)
    order_id, lag = refuse_one_extension(shop)
    shop.box.fault(vendor="iproyal", operation="extend", action="reset", when="before", times=1)
    buyer = shop.buyer(sleep=lambda seconds: (lag.release(), time.sleep(seconds)), settle=30)
    said = attempt(lambda: buyer.extend(order_id, {"product_plan_id": 21}, order_key="k"))
    assert [entry.kind for entry in shop.bought()] == ["create", "extend"]
    assert isinstance(said, Quarantined) is guarded, "else the task has an extension that another one bought"


def test_a_refused_purchase_is_looked_for_beside_another(shop_of: ShopOf, guard: Guard) -> None:
    """The answer to the next purchase is lost, and the refused one explains what is missing."""
    guarded = guard("look_beside")
    shop = shop_of("iproyal")
    time = Time(shop)
    _, lag = refuse_one_extension(shop)
    shop.box.fault(vendor="iproyal", operation="create", action="reset", when="before", times=1)
    buyer = shop.buyer(sleep=lambda seconds: (lag.release(), time.sleep(seconds)), settle=30)
    assert isinstance(attempt(lambda: buyer.place(shop.request, order_key="k")), Purchase)
    proofs = [entry.why for entry in shop.ledger.history("k") if entry.why.startswith("proven absent")]
    neutral = [why for why in proofs if "which may be another purchase's" in why]
    assert proofs and (not neutral) is guarded, "else only the list decides, after five settle times"


def test_an_order_that_came_after_all_of_a_purchase_was_shown(shop_of: ShopOf, guard: Guard) -> None:
    """The first purchase took nothing. A settle time later the second one lands, and its worker dies."""
    from ..purchase.test_whose_order import Ahead, land_after_another

    guarded = guard("shown_before")
    shop = shop_of("iproyal")
    land_after_another(shop, Ahead(shop), 35)
    first = shop.ledger.find("first")
    assert first is not None
    look = shop.buyer(settle=30).settling.evidence.look(first)
    assert (look.verdict != "found") is guarded, "else the first one gets the order of the second"


def test_equal_purchases_with_several_orders(shop_of: ShopOf, guard: Guard) -> None:
    """Reads lag, and two purchases of the same land. One answer names no order, the other one is lost."""
    from ..purchase.test_whose_order import Behind, answer_with_no_order, settled

    guarded = guard("alike")
    shop = shop_of("iproyal")
    time = Behind(shop)
    answer_with_no_order(shop, taken=True)
    shop.buyer(settle=30).place(shop.request, order_key="first")
    shop.box.fault(vendor="iproyal", operation="create", action="reset", when="after", times=1)
    said = settled(shop, "second", sleep=time.sleep, settle=30)
    assert isinstance(said, Purchase) is guarded, "else a person is asked"
    assert len(shop.bought()) == 2


def test_an_order_of_another_account(shop_of: ShopOf, guard: Guard) -> None:
    """Two accounts share a wallet. Only one of them shows the order, and the other one gets 404 for it, however often."""
    guarded = guard("elsewhere")
    shop = shop_of("iproyal")
    time = Time(shop)
    shop.box.fault(vendor="iproyal", operation="create", action="another_id", order="missing", times=1)
    mine, other = shop.buyer(settle=30), shop.buyer(settle=30)
    mine.account = dataclasses.replace(mine.account, digest="mine")
    placed = mine.place(shop.request, order_key="k")
    other.account = dataclasses.replace(other.account, conn_id="another", digest="another")
    for _ in range(2):
        attempt(lambda: other.refresh(placed))
        time.sleep(60)
    purchase = shop.ledger.find("k")
    assert purchase is not None and (purchase.step is Step.PLACED) is guarded, "else its own order is taken away"


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
