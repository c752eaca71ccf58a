"""P1 never twice, P2 never lost, P3 finishes by itself: every vendor, every way to lose an answer, before and after."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import (
    NeverSent,
    OrderKeyConflict,
    OutcomeUnknown,
    ProxyOrdersError,
    Quarantined,
    WalletHeld,
)
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step
from airflow_provider_proxyorders.ledger import Intent
from airflow_provider_proxyorders.purchase.attempt import Attempt
from tests.vendors import VENDORS

from .conftest import Shop

#: whether the vendor takes one order per reference
REPEATS = {name: vendor.capabilities.repeats_safely("create") for name, vendor in VENDORS.items()}

FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"action": "hang"},
    "reset": {"action": "reset"},
    "close": {"action": "close"},
    "truncated": {"action": "truncate"},
    "empty": {"action": "empty"},
    "not json": {"action": "body", "body": "order taken, thank you"},
    "html": {"action": "body", "body": "<html>hello</html>", "headers": {"Content-Type": "text/html"}},
    "wrong type": {"action": "body", "body": "[1, 2, 3]"},
    **{str(status): {"action": "status", "status": status} for status in (408, 409, 429, 500, 502, 503, 504)},
}


def patience(fault: str) -> float:
    """Seconds to wait for an answer: few where none will come, else so many that a busy machine is not taken for a fault."""
    return 1.5 if fault == "hang" else 10.0


def tries(shop: Shop, key: str, *, timeout: float = 10.0, most: int = 4) -> tuple[Purchase | None, list[ProxyOrdersError]]:
    """Place as Airflow would: again after every error that a retry can help with. Every try is a new worker."""
    errors: list[ProxyOrdersError] = []
    for _ in range(most):
        try:
            return shop.buyer(timeout=timeout).place(shop.request, order_key=key), errors
        except ProxyOrdersError as error:
            errors.append(error)
            if error.retry == "never":
                break
    return None, errors


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_buys_one_order(shop: Shop, when: str, fault: str) -> None:
    shop.box.fault(vendor=shop.name, operation="create", when=when, times=1, **FAULTS[fault])
    order, errors = tries(shop, "k", timeout=patience(fault))
    bought = shop.bought()
    assert len(bought) == 1, "one intended order, one bought"
    purchase = shop.ledger.find("k")
    assert purchase is not None
    if REPEATS[shop.name] and when == "after":
        # The vendor has it and says so, but no call tells its id: a person (or its webhook) does.
        assert order is None and isinstance(errors[-1], Quarantined)
        assert purchase.step is Step.QUARANTINED
        reference = shop.buyer().vendor.reference_in(purchase.request)
        assert "proxyorders ledger resolve" in str(errors[-1]) and str(reference) in str(errors[-1])
        return
    assert order is not None and errors == [], "finishes by itself, in the same try"
    if VENDORS[shop.name].capabilities.create_evidence == "wallet" and when == "after":
        assert order.order_id is not None and order.order_id.startswith("subaccount:")
    else:
        assert order.order_id == bought[0].order_id


@pytest.mark.parametrize("fault", ["hang", "reset", "truncated", "500"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_to_an_extension_extends_once(shop_of: Callable[[str], Shop], when: str, fault: str) -> None:
    shop = shop_of("iproyal")
    order = shop.delivered("k")
    assert order.order_id is not None and order.expires_at is not None
    shop.box.fault(vendor="iproyal", operation="extend", when=when, times=1, **FAULTS[fault])
    extension = shop.buyer(timeout=patience(fault)).extend(order.order_id, {"product_plan_id": 22}, order_key="e")
    assert extension.step is Step.DELIVERED
    assert extension.expires_at == order.expires_at + timedelta(days=30)
    assert [entry.kind for entry in shop.bought()] == ["create", "extend"]


def test_a_vendor_that_cannot_be_asked_proves_nothing(shop: Shop) -> None:
    """Reads that fail leave the purchase unknown, whatever they answer; it is resolved when they work again."""
    buyer = shop.buyer(timeout=1.5)
    shop.box.fault(vendor=shop.name, operation="create", when="after", times=1, action="reset")
    for operation in ("balance", "list", "get", "subaccounts"):
        shop.box.fault(vendor=shop.name, operation=operation, action="status", status=404, nth=None, when="before")
    if REPEATS[shop.name]:
        pytest.skip("its purchase is settled by sending the reference again, not by reading")
    with pytest.raises(ProxyOrdersError):
        buyer.place(shop.request, order_key="k")
    purchase = shop.ledger.find("k")
    assert purchase is None or purchase.step is Step.INTENDED  # the evidence could not be read, so nothing was sent at all
    assert shop.bought() == []


def test_reads_that_fail_after_the_purchase_leave_it_unknown(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("iproyal")
    rule = shop.box.fault(vendor="iproyal", operation="create", when="after", times=1, action="pause")
    failed: list[BaseException] = []

    def buy() -> None:
        try:
            shop.buyer(timeout=1.0).place(shop.request, order_key="k")
        except ProxyOrdersError as error:
            failed.append(error)

    worker = threading.Thread(target=buy)
    worker.start()
    assert rule.wait(60)
    shop.box.fault(vendor="iproyal", operation="list", action="status", status=500)
    worker.join(30)
    rule.release()
    assert isinstance(failed[0], OutcomeUnknown) and failed[0].retry == "later"
    purchase = shop.ledger.find("k")
    assert purchase is not None and purchase.step is Step.UNKNOWN
    shop.box.clear_faults()
    order, errors = tries(shop, "k")
    assert order is not None and errors == [] and len(shop.bought()) == 1


def test_a_purchase_that_arrives_late_is_still_one_where_the_vendor_settles_in_time(shop: Shop) -> None:
    """The vendor takes the order after the buyer has hung up, but within its settle time."""
    shop.box.fault(vendor=shop.name, operation="create", when="before", times=1, action="delay", seconds=2.0)
    buyer = shop.buyer(timeout=1.5, settle=1.5)
    try:
        buyer.place(shop.request, order_key="k")
    except Quarantined:
        assert REPEATS[shop.name]
    assert len(shop.bought()) == 1


def test_no_connection_means_nothing_was_sent_and_the_next_try_buys(shop: Shop) -> None:
    with pytest.raises(ProxyOrdersError) as error:
        shop.buyer(base_url="http://127.0.0.1:1").place(shop.request, order_key="k")
    assert error.value.money == "untouched" and error.value.retry == "soon"
    assert shop.bought() == []
    assert shop.delivered("k").order_id == shop.bought()[0].order_id


def test_a_connection_refused_at_the_moment_of_sending_goes_back_to_intended(shop: Shop) -> None:
    """The evidence was read, then the vendor went away: the purchase provably never left."""
    buyer = shop.buyer()
    real, gone = buyer.http.send, shop.buyer(base_url="http://127.0.0.1:1").http.send

    def vanish(request: Any, permit: Any = None) -> Any:
        return (gone if request.spends else real)(request, permit)

    buyer.http.send = vanish  # type: ignore[method-assign]
    with pytest.raises(NeverSent, match="This try bought nothing.$"):
        buyer.place(shop.request, order_key="k")
    purchase = shop.ledger.find("k")
    assert purchase is not None and purchase.step is Step.INTENDED and shop.bought() == []
    assert {entry.step for entry in shop.ledger.history("k")} == {Step.INTENDED}, "without a connection nothing is claimed"
    assert shop.delivered("k") and len(shop.bought()) == 1


def test_a_worker_that_stood_since_it_read_the_balance_sends_nothing(shop: Shop) -> None:
    """Meanwhile another purchase may have been charged more than it was to cost; the next try reads the balance anew."""
    buyer = shop.buyer(timeout=5.0, settle=30.0)
    real, clock = buyer.http.send, shop.ledger.clock

    def stand(request: Any, permit: Any = None) -> Any:
        if request.spends:
            buyer.ledger.clock = lambda: clock() + timedelta(seconds=41)
        return real(request, permit)

    buyer.http.send = stand  # type: ignore[method-assign]
    with pytest.raises(NeverSent, match="held up since it read the balance"):
        buyer.place(shop.request, order_key="k")
    shop.ledger.clock = clock
    purchase = shop.ledger.find("k")
    assert purchase is not None and purchase.step is Step.INTENDED and shop.bought() == []
    assert shop.delivered("k") and len(shop.bought()) == 1


def test_two_workers_at_once_buy_one_order(shop: Shop) -> None:
    got: list[str | None] = []
    errors: list[ProxyOrdersError] = []
    ready = threading.Barrier(4)

    def worker() -> None:
        buyer = shop.buyer()
        ready.wait()
        try:
            got.append(buyer.place(shop.request, order_key="k").order_id)
        except ProxyOrdersError as error:
            errors.append(error)

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(shop.bought()) == 1
    assert got and set(got) == {shop.bought()[0].order_id}
    assert all(error.retry == "soon" for error in errors)


def test_two_purchases_on_one_wallet_take_turns(shop: Shop) -> None:
    shop.box.fault(vendor=shop.name, operation="create", when="before", action="delay", seconds=0.2)
    buyers = [shop.buyer() for _ in range(3)]
    threads = [
        threading.Thread(target=buyer.place, args=(shop.request,), kwargs={"order_key": f"k{i}"})
        for i, buyer in enumerate(buyers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({entry.order_id for entry in shop.bought()}) == 3
    owners = {shop.ledger.find(f"k{i}").order_id for i in range(3)}  # type: ignore[union-attr]
    assert owners == {entry.order_id for entry in shop.bought()}


def leave_behind(shop: Shop, key: str) -> None:
    """What a worker leaves that was killed right after its purchase was taken: SENT, and an order at the vendor."""
    buyer = shop.buyer()
    prepared = buyer.vendor.prepare_create(shop.request, buyer.reference(key))
    order = buyer.intend(Attempt(buyer.request_for("create", key, prepared)))
    evidence = buyer.http.run(buyer.vendor.snapshot("create", prepared.body, None))
    claimed = shop.ledger.claim(order, Actor(), evidence=evidence, sent_seconds=0.0)
    assert claimed.step is Step.SENT
    buyer.http.run(buyer.vendor.create(prepared.body), lambda request: None)


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_a_worker_killed_after_the_vendor_took_its_order(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    leave_behind(shop, "k")
    order, errors = tries(shop, "k")
    assert order is not None and errors == []
    assert len(shop.bought()) == 1


@pytest.mark.parametrize("vendor", ["proxyscrape", "iproyal"])
def test_another_purchase_settles_what_a_lost_worker_left_on_the_wallet(shop_of: Callable[[str], Shop], vendor: str) -> None:
    shop = shop_of(vendor)
    leave_behind(shop, "lost")
    other = shop.buyer().place(shop.request, order_key="other")
    lost = shop.ledger.find("lost")
    assert lost is not None and lost.order_id is not None and lost.order_id != other.order_id
    assert len(shop.bought()) == 2


def test_a_try_that_may_still_be_sending_is_waited_for(shop: Shop) -> None:
    buyer = shop.buyer()
    prepared = buyer.vendor.prepare_create(shop.request, buyer.reference("k"))
    order = buyer.intend(Attempt(buyer.request_for("create", "k", prepared)))
    shop.ledger.claim(order, Actor(), evidence={}, sent_seconds=3600)
    with pytest.raises(OutcomeUnknown, match="not sent twice") as error:
        shop.buyer(patience=0.1).place(shop.request, order_key="k")
    assert (error.value.money, error.value.retry) == ("unknown", "soon"), "the other try may have bought it"
    assert "Nothing was bought" not in str(error.value)
    assert shop.bought() == []


def test_another_request_under_the_key_of_a_purchase_under_way_is_a_conflict(shop: Shop) -> None:
    """It was never sent, whatever becomes of the purchase that the key stands for."""
    buyer = shop.buyer()
    prepared = buyer.vendor.prepare_create(shop.request, buyer.reference("k"))
    order = buyer.intend(Attempt(buyer.request_for("create", "k", prepared)))
    shop.ledger.claim(order, Actor(), evidence={}, sent_seconds=3600)
    other = {**shop.request, ("proxies[us]" if "proxies[us]" in shop.request else "quantity"): 7}
    with pytest.raises(OrderKeyConflict, match="Nothing was sent"):
        shop.buyer().place(other, order_key="k")


def test_a_quarantined_purchase_holds_the_wallet_and_says_so_at_once(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("proxyscrape")
    order = shop.ledger.intend(
        Intent("q", "create", "proxyscrape", "c", "proxyscrape:main", "a" * 64, {}, Money(shop.caps.max_order_price or 0)),  # type: ignore[arg-type]
        Actor(),
    )
    order = shop.ledger.claim(order, Actor(), evidence={}, sent_seconds=0)
    order = shop.ledger.record(order, Step.UNKNOWN, "", Actor())
    shop.ledger.record(order, Step.QUARANTINED, "", Actor())
    with pytest.raises(WalletHeld, match=r"'q' .* is quarantined.*proxyorders ledger show"):
        shop.buyer().place(shop.request, order_key="k")


def test_the_same_key_with_another_request_is_refused_and_shown(shop: Shop) -> None:
    shop.delivered("k")
    other = {**shop.request, ("proxies[us]" if "proxies[us]" in shop.request else "quantity"): 7}
    with pytest.raises(OrderKeyConflict, match=r"different now: .* -> 7.*Nothing was sent.*another order_key"):
        shop.buyer().place(other, order_key="k")
    assert len(shop.bought()) == 1


def test_a_superseded_try_is_stopped_by_its_fence(shop: Shop) -> None:
    def replaced(order_key: str) -> None:
        raise RuntimeError("this try was replaced")

    with pytest.raises(RuntimeError, match="replaced"):
        shop.buyer(fence=replaced).place(shop.request, order_key="k")
    assert shop.bought() == []
    purchase = shop.ledger.find("k")
    assert purchase is not None and purchase.step is Step.INTENDED
    assert shop.delivered("k")


def test_an_order_that_was_taken_while_the_ledger_went_away_is_found_again(shop: Shop, tmp_path: Any) -> None:
    """The answer says "taken", and the ledger cannot be written: the error must not say that nothing was bought."""
    import os

    path = shop.ledger.engine.url.database
    assert path is not None
    rule = shop.box.fault(vendor=shop.name, operation="create", when="after", times=1, action="pause")
    failed: list[ProxyOrdersError] = []

    def buy() -> None:
        try:
            shop.buyer(timeout=20.0, sleep=lambda seconds: None).place(shop.request, order_key="k")
        except ProxyOrdersError as error:
            failed.append(error)

    worker = threading.Thread(target=buy)
    worker.start()
    assert rule.wait(60)
    with shop.ledger.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE proxyorders_steps RENAME TO gone")
        connection.commit()
    rule.release()
    worker.join(30)
    assert os.path.exists(path)
    with shop.ledger.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO proxyorders_steps")
        connection.exec_driver_sql("UPDATE proxyorders_purchases SET sent_until = sent_at")
        connection.commit()
    assert isinstance(failed[0], OutcomeUnknown)
    assert shop.bought()[0].order_id in str(failed[0]) and "Nothing was bought" not in str(failed[0])
    if not REPEATS[shop.name]:
        order, errors = tries(shop, "k")
        assert order is not None and errors == []
    assert len(shop.bought()) == 1


def test_a_doubtful_purchase_is_never_said_to_be_untouched(shop_of: Callable[[str], Shop]) -> None:
    """Its repeat could not even be prepared: what the first sending did is still not known."""
    shop = shop_of("voodoo")
    shop.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
    buyer = shop.buyer(
        sleep=lambda seconds: shop.box.fault(vendor="voodoo", operation="balance", action="status", status=400) and None
    )
    with pytest.raises(OutcomeUnknown) as error:
        buyer.place(shop.request, order_key="k")
    assert error.value.money == "unknown" and "Nothing was bought" not in str(error.value).replace("Nothing is sent", "")
    shop.box.clear_faults()
    with pytest.raises(Quarantined):
        shop.buyer().place(shop.request, order_key="k")
    assert len(shop.bought()) == 1
