"""An order key belongs to a wallet: what one tenant does under a key neither stops nor shows itself to another tenant."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import OrderKeyConflict, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step
from airflow_provider_proxyorders.ledger import Intent, KeyTaken, StaleClaim
from airflow_provider_proxyorders.ledger.looks import NotedLook
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from tests.hooks.connections import REQUESTS
from tests.tasks.tasks import Run, context

from .conftest import MINE, MY_WALLET, THEIR_WALLET, THEIRS, VENDOR, Tenants

REQUEST = REQUESTS[VENDOR]
OTHER_REQUEST = {**REQUEST, "quantity": 7}
#: The default key of the task in ``context()``.
KEY = "create:shop:buy:2026-03-01T00:00:00+00:00/2026-03-02T00:00:00+00:00"


def buy(tenants: Tenants, conn_id: str, key: str = "k", request: Any = REQUEST) -> Purchase:
    return tenants.hook(conn_id).create_order(request, order_key=key)


def run_task(conn_id: str, given: Any | None = None, **options: Any) -> dict[str, Any]:
    """One try of a task; without a key of its own it has the default key."""
    task = CreateProxyOrderOperator(task_id="buy", conn_id=conn_id, request=REQUEST, **options)
    result: dict[str, Any] = task.execute(given or context())
    return result


def intend(tenants: Tenants, conn_id: str, key: str = "k", actor: Actor | None = None, **changes: Any) -> Purchase:
    """An intent that nobody sends."""
    amount = Money(Decimal(9), "USD")
    intent = Intent(key, "create", VENDOR, conn_id, f"{VENDOR}:{conn_id}", "a" * 64, {"item_id": 1}, amount, takes_turn=False)
    return tenants.ledger.intend(replace(intent, **changes), actor or Actor())


# ---------------------------------------------------------------------------------------------- two wallets


def test_each_wallet_buys_under_the_key(tenants: Tenants) -> None:
    theirs, mine = buy(tenants, THEIRS), buy(tenants, MINE)
    assert (theirs.wallet, theirs.order_key, theirs.task_key) == (THEIR_WALLET, "k", None)
    assert (mine.wallet, mine.task_key) == (MY_WALLET, "k") and mine.order_key.startswith("k@")
    assert tenants.wallets_charged() == ["second", "main"]
    assert buy(tenants, MINE) == mine and buy(tenants, THEIRS) == theirs, "each key is its own purchase for ever"
    assert buy(tenants, MINE, mine.order_key) == mine, "also by the key that the ledger shows"
    assert len(tenants.wallets_charged()) == 2


@pytest.mark.parametrize("step", [Step.INTENDED, Step.SENT, Step.UNKNOWN, Step.QUARANTINED, Step.REJECTED])
def test_a_predictable_default_key_blocks_nobody(tenants: Tenants, step: Step) -> None:
    """Whatever became of another tenant's purchase under it."""
    purchase = intend(tenants, THEIRS, KEY)
    if step is not Step.INTENDED:
        purchase = tenants.ledger.claim(purchase, Actor(), evidence={}, sent_seconds=60)
    if step in (Step.UNKNOWN, Step.QUARANTINED):
        purchase = tenants.ledger.record(purchase, Step.UNKNOWN, "no answer", Actor())
    if step in (Step.QUARANTINED, Step.REJECTED):
        purchase = tenants.ledger.record(purchase, step, "", Actor())
    result = run_task(MINE)
    assert (result["order_id"] is not None, tenants.wallets_charged()) == (True, ["main"])
    assert tenants.ledger.find(KEY) == purchase, "theirs is as it was"


def test_two_tenants_at_the_same_moment(tenants: Tenants) -> None:
    """Neither fails because the other one was quicker."""
    ready = threading.Barrier(2)
    bought: list[str] = []

    def work(conn_id: str) -> None:
        hook = tenants.hook(conn_id)
        hook.buyer()
        ready.wait(60)
        bought.append(hook.create_order(REQUEST, order_key="k").wallet)

    threads = [threading.Thread(target=work, args=(conn_id,)) for conn_id in (MINE, THEIRS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(bought) == [MY_WALLET, THEIR_WALLET] and sorted(tenants.wallets_charged()) == ["main", "second"]


def test_a_key_that_another_wallet_takes_just_now_is_begun_anew(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    buyer = tenants.hook(MINE).buyer()
    real = buyer.ledger.under_key

    def too_early(key: str) -> list[Purchase]:
        purchases = real(key)
        if not purchases:
            intend(tenants, THEIRS)
        return purchases

    monkeypatch.setattr(buyer.ledger, "under_key", too_early)
    assert buyer.place(REQUEST, order_key="k").order_key.startswith("k@")


def test_the_ending_cannot_be_taken_beforehand(tenants: Tenants) -> None:
    """A tenant who knows it all the same moves it, and stops nothing."""
    intend(tenants, THEIRS)
    first = tenants.ledger.free_key("k", MY_WALLET)
    intend(tenants, THEIRS, first)
    assert buy(tenants, MINE).order_key not in ("k", first)


def test_long_keys_have_an_ending_too(tenants: Tenants) -> None:
    key = "k" * 500
    assert buy(tenants, THEIRS, key).order_key == key
    mine = buy(tenants, MINE, key)
    assert len(mine.order_key) <= 500 and mine.task_key == key and buy(tenants, MINE, key) == mine


def test_a_key_of_a_renewal_counts_for_its_wallet_only(tenants: Tenants) -> None:
    from airflow_provider_proxyorders.ledger.bulk import taken_keys

    buy(tenants, THEIRS)
    assert taken_keys(tenants.ledger, MY_WALLET, ["k"]) == {}
    mine = buy(tenants, MINE)
    assert taken_keys(tenants.ledger, MY_WALLET, ["k"]) == {"k": (mine.order_id, mine.step)}


# ---------------------------------------------------------------------------------------------- never twice


def test_a_key_of_the_connection_that_changed_finds_its_purchase(tenants: Tenants) -> None:
    given = context()
    first = run_task(MINE, given)
    box = tenants.shops.box
    box.state.vendors[VENDOR].open_wallet("main", token="ak_rotated_rotated_rotated")
    tenants.connect(MINE)
    assert run_task(MINE, given)["order_id"] == first["order_id"] and tenants.wallets_charged() == ["main"]


@pytest.mark.parametrize("how", ["the connection leads to another account", "the task names another connection"])
@pytest.mark.parametrize("run", ["same", "another"])
def test_a_task_with_another_wallet_by_now_buys_nothing(tenants: Tenants, how: str, run: str) -> None:
    """Neither its next try nor another run of the same task under the same key. The other wallet is known to the ledger."""
    buy(tenants, THEIRS, "of the other tenant")
    run_task(MINE, order_key="k")
    if how.startswith("the connection"):
        tenants.connect(MINE, key="second")
    given = context(try_number=2) if run == "same" else context(run=Run("manual__2"))
    with pytest.raises(
        OrderKeyConflict, match=rf"'{MY_WALLET}' \(delivered\), and pays from '{THEIR_WALLET}' now.*another order_key"
    ):
        run_task(MINE if how.startswith("the connection") else THEIRS, given, order_key="k")
    assert tenants.wallets_charged() == ["second", "main"]


def test_a_script_with_another_wallet_by_now_buys_nothing(tenants: Tenants) -> None:
    """Outside of a task, the connection is what stays."""
    buy(tenants, THEIRS, "of the other tenant")
    buy(tenants, MINE)
    tenants.connect(MINE, key="second")
    with pytest.raises(OrderKeyConflict, match="pays from"):
        buy(tenants, MINE)
    assert tenants.wallets_charged() == ["second", "main"]


@pytest.mark.parametrize("step", [Step.SENT, Step.UNKNOWN, Step.QUARANTINED])
def test_nor_where_its_first_purchase_may_have_landed(tenants: Tenants, step: Step) -> None:
    me = Actor("shop", "manual__1", "buy", -1, 1, "worker")
    purchase = tenants.ledger.claim(intend(tenants, THEIRS, KEY, me), me, evidence={}, sent_seconds=60)
    if step is not Step.SENT:
        purchase = tenants.ledger.record(purchase, Step.UNKNOWN, "no answer", me)
    if step is Step.QUARANTINED:
        tenants.ledger.record(purchase, step, "", me)
    with pytest.raises(OrderKeyConflict, match="Nothing was sent"):
        run_task(MINE)
    assert tenants.wallets_charged() == []


def test_what_the_task_never_sent_from_the_other_wallet_is_given_up(tenants: Tenants) -> None:
    me = Actor("shop", "manual__1", "buy", -1, 1, "worker")
    before = intend(tenants, THEIRS, KEY, me)
    assert run_task(MINE)["order_id"] and tenants.wallets_charged() == ["main"]
    after = tenants.ledger.find(KEY)
    assert after is not None and after.step is Step.REJECTED
    assert f"pays from wallet {MY_WALLET!r} now" in tenants.ledger.history(KEY)[-1].why
    with pytest.raises(StaleClaim):  # its first worker was only slow
        tenants.ledger.claim(before, me, evidence={}, sent_seconds=60)
    with pytest.raises(OrderKeyConflict, match="pays from"):
        intend(tenants, THEIRS, KEY, me)


def test_a_refusal_of_the_other_wallet_stops_nothing(tenants: Tenants) -> None:
    me = Actor("shop", "manual__1", "buy", -1, 1, "worker")
    purchase = tenants.ledger.claim(intend(tenants, THEIRS, KEY, me), me, evidence={}, sent_seconds=60)
    tenants.ledger.record(purchase, Step.REJECTED, "the wallet is empty", me)
    assert run_task(MINE)["order_id"]


def test_two_tries_of_a_task_with_two_wallets_at_once(tenants: Tenants) -> None:
    """A slow first try and its successor meet: one of them buys."""
    ready = threading.Barrier(2)
    errors: list[ProxyOrdersError] = []

    def work(conn_id: str, try_number: int) -> None:
        ready.wait(60)
        try:
            run_task(conn_id, context(try_number=try_number))
        except ProxyOrdersError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=each) for each in ((MINE, 1), (THEIRS, 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(tenants.wallets_charged()) == 1 and len(errors) == 1, errors


def test_one_key_of_wallets_that_are_joined(tenants: Tenants) -> None:
    """Each task gets its own purchase back, and nothing is bought anew."""
    given = context()
    mine, theirs = run_task(MINE, given, order_key="k"), run_task(THEIRS, context(task_id="other"), order_key="k")
    tenants.connect(MINE, wallet="main")
    tenants.connect(THEIRS, wallet="main")
    for _ in range(2):
        assert run_task(THEIRS, context(task_id="other", try_number=2), order_key="k")["order_id"] == theirs["order_id"]
        assert run_task(MINE, context(try_number=2), order_key="k")["order_id"] == mine["order_id"]
    assert tenants.wallets_charged() == ["main", "second"]


# ---------------------------------------------------------------------------------------------- another request


def test_what_was_never_sent_reserves_nothing_against_another_request(tenants: Tenants) -> None:
    before = intend(tenants, MINE)
    purchase = buy(tenants, MINE)
    assert purchase.order_id and purchase.request["quantity"] == REQUEST["quantity"]
    assert any("as another request" in entry.why for entry in tenants.ledger.history("k"))
    with pytest.raises(StaleClaim):
        tenants.ledger.claim(before, Actor(), evidence={}, sent_seconds=60)


@pytest.mark.parametrize("proof", ["maybe sent", "looked for"])
def test_what_may_have_reached_the_vendor_keeps_its_key(tenants: Tenants, proof: str) -> None:
    ledger, me = tenants.ledger, Actor()
    purchase = ledger.claim(intend(tenants, MINE), me, evidence={}, sent_seconds=0)
    purchase = ledger.record(purchase, Step.UNKNOWN, "no answer", me)
    if proof == "looked for":
        ledger.add_look(purchase, NotedLook(ledger.clock(), "absent", "not there"), lambda looks: [], me)
    ledger.record(purchase, Step.INTENDED, "absent", me, maybe_sent=proof == "maybe sent")
    with pytest.raises(OrderKeyConflict, match="different now"):
        buy(tenants, MINE, request=OTHER_REQUEST)
    assert tenants.wallets_charged() == []


def test_a_conflict_with_another_connection_of_the_wallet_tells_only_that(tenants: Tenants) -> None:
    tenants.connect(THEIRS, key="main", wallet="main")
    tenants.connect(MINE, wallet="main")
    secret = buy(tenants, THEIRS, request=OTHER_REQUEST)
    with pytest.raises(OrderKeyConflict) as refused:
        buy(tenants, MINE)
    text = str(refused.value)
    assert "stands for a purchase through another connection. Nothing was sent" in text
    assert not [word for word in (THEIRS, str(secret.order_id), "quantity", "7", "main") if word in text], text


def test_the_same_text_of_a_conflict_within_a_connection_shows_the_difference(tenants: Tenants) -> None:
    buy(tenants, MINE)
    with pytest.raises(OrderKeyConflict, match=f"quantity: {REQUEST['quantity']} -> 7"):
        buy(tenants, MINE, request=OTHER_REQUEST)


def test_a_key_in_use_reads_as_nothing_of_its_owner(tenants: Tenants) -> None:
    intend(tenants, THEIRS)
    with pytest.raises(KeyTaken) as refused:
        intend(tenants, MINE)
    assert not [word for word in (THEIRS, THEIR_WALLET) if word in str(refused.value)]
