"""P2: the answer names the order and the ledger cannot be written. The task's own state keeps the id for its next try."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from airflow_provider_proxyorders.domain.errors import LedgerError, OutcomeUnknown
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.hooks.task import MARK, TaskAnswers
from airflow_provider_proxyorders.ledger import Ledger, engine, open_ledger
from airflow_provider_proxyorders.purchase.kept_answers import KeptAnswer
from airflow_provider_proxyorders.sandbox import Sandbox
from tests.ledgers import sqlite_ledger
from tests.tasks.tasks import StateStore

from .conftest import VENDORS, Shop
from .test_held_ledger import in_between


class Held:
    """A ledger that another process can hold, so that nobody writes it."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger
        self.other: Connection | sqlite3.Connection | None = None

    def hold(self) -> None:
        if self.ledger.engine.dialect.name == "sqlite":
            self.other = sqlite3.connect(str(self.ledger.engine.url.database), check_same_thread=False, isolation_level=None)
            self.other.execute("BEGIN IMMEDIATE")
        else:
            self.other = engine.engine_for(f"{self.ledger.engine.url.render_as_string(False)}&application_name=held").connect()
            self.other.execute(text("LOCK TABLE proxyorders_wallets IN ACCESS EXCLUSIVE MODE"))

    def release(self) -> None:
        if self.other is not None:
            self.other.rollback()
            self.other.close()
            self.other = None


@pytest.fixture(params=["sqlite", "postgresql"])
def held(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    monkeypatch.setattr(engine, "LONGEST_LOCK_WAIT", 0.2)
    is_file = request.param == "sqlite"
    ledger = open_ledger(sqlite_ledger(tmp_path) if is_file else request.getfixturevalue("postgres_url"))
    if is_file:  # the real lock, and less patience with it
        ledger.engine.dispose()
        event.listen(ledger.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=100"))
    held = Held(ledger)
    yield held
    held.release()


@pytest.fixture(params=sorted(VENDORS))
def shop(request: pytest.FixtureRequest, box: Sandbox, held: Held) -> Shop:
    return Shop(request.param, box, held.ledger)


def lost_to_the_ledger(shop: Shop, held: Held, store: StateStore | None, key: str = "k") -> OutcomeUnknown:
    """A first try that gets its answer and cannot write it down, for longer than all pauses."""
    rule = shop.box.fault(shop.name, "create", when="after", times=1, action="pause")
    answers = TaskAnswers(store) if store is not None else None
    buyer = shop.buyer(sleep=lambda seconds: None, answers=answers)
    with pytest.raises(OutcomeUnknown, match="took 'k' as order .* the ledger could not be written") as error:
        in_between(rule, held.hold, lambda: buyer.place(shop.request, order_key=key))
    held.release()
    purchase = held.ledger.find(key)
    assert purchase is not None and purchase.step is Step.SENT
    return error.value


def next_try(shop: Shop, store: StateStore, key: str = "k") -> Purchase:
    return shop.buyer(answers=TaskAnswers(store)).place(shop.request, order_key=key)


def test_the_next_try_takes_the_order_from_the_tasks_state(shop: Shop, held: Held) -> None:
    store = StateStore()
    error = lost_to_the_ledger(shop, held, store)
    assert "The task's state keeps the order id" in str(error) and error.retry == "soon"
    [bought] = shop.bought()
    before = shop.box.book.count(shop.name, "create")
    purchase = next_try(shop, store)
    assert (purchase.step, purchase.order_id) == (Step.PLACED, bought.order_id)
    assert shop.box.book.count(shop.name, "create") == before == 1, "not even the same reference is sent again"
    assert "Traceback" not in "".join(shop.said) and shop.ledger.freeze_reason(purchase.wallet) is None


def test_it_holds_ids_only(shop: Shop, held: Held) -> None:
    store = StateStore()
    lost_to_the_ledger(shop, held, store)
    [kept] = store.kept.values()
    assert {*kept} == {"order_key", "order_id", "handle", "fence"} and kept["order_key"] == "k"
    assert kept["order_id"] == shop.bought()[0].order_id


def test_it_is_kept_before_the_first_pause(shop: Shop, held: Held) -> None:
    """A worker that is killed while it waits for the ledger has lost nothing."""
    store, kept_at = StateStore(), list[int]()

    def sleep(seconds: float) -> None:
        kept_at.append(len(store.kept))
        held.release()

    rule = shop.box.fault(shop.name, "create", when="after", times=1, action="pause")
    buyer = shop.buyer(sleep=sleep, answers=TaskAnswers(store))
    placed = in_between(rule, held.hold, lambda: buyer.place(shop.request, order_key="k"))
    assert kept_at == [1] and placed.step is Step.PLACED


def test_an_answer_in_hand_survives_a_failover_of_two_minutes(sheet: Shop, held: Held) -> None:
    """Also outside of a task, where no other place keeps it."""
    slept = list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) >= 120:
            held.release()

    rule = sheet.box.fault(sheet.name, "create", when="after", times=1, action="pause")
    buyer = sheet.buyer(sleep=sleep)
    placed = in_between(rule, held.hold, lambda: buyer.place(sheet.request, order_key="k"))
    assert placed.step is Step.PLACED and placed.order_id == sheet.bought()[0].order_id


@pytest.fixture
def sheet(held: Held, box: Sandbox) -> Shop:
    """A vendor whose evidence finds a purchase without the hint."""
    return Shop("iproyal", box, held.ledger)


def test_a_hint_that_names_another_purchases_order_is_not_believed(sheet: Shop) -> None:
    first = sheet.buyer().place(sheet.request, order_key="first")
    assert first.order_id is not None
    store = StateStore()
    sheet.box.fault("iproyal", "create", when="before", times=1, action="reset")
    with pytest.raises(OutcomeUnknown):
        sheet.buyer(settle=3600).place(sheet.request, order_key="second")
    unknown = sheet.ledger.find("second")
    assert unknown is not None
    TaskAnswers(store).keep("second", KeptAnswer(first.order_id, None, unknown.fence))
    second = next_try(sheet, store, "second")
    assert second.order_id != first.order_id
    assert len({entry.order_id for entry in sheet.bought()}) == len(sheet.bought()) == 2


def test_a_hint_that_nobody_finds_leaves_the_evidence(sheet: Shop) -> None:
    sheet.box.fault("iproyal", "create", when="before", times=1, action="reset")
    with pytest.raises(OutcomeUnknown):
        sheet.buyer(settle=3600).place(sheet.request, order_key="k")
    store = StateStore()
    TaskAnswers(store).keep("k", KeptAnswer("404404", None, 2))
    assert next_try(sheet, store).order_id == sheet.bought()[0].order_id and len(sheet.bought()) == 1


def test_a_ledger_without_the_purchase_is_another_ledger(sheet: Shop) -> None:
    store = StateStore()
    store.set(MARK, {"order_key": "k", "ledger": sheet.ledger.identity})
    TaskAnswers(store).keep("k", KeptAnswer("7001", None, 2))
    with pytest.raises(LedgerError, match=r"lacks 'k'.*bought as order 7001.*ledger_url"):
        next_try(sheet, store)
    assert sheet.bought() == []


@pytest.mark.parametrize("broken", ["set", "get", "none"])
def test_without_airflows_store_the_evidence_decides(sheet: Shop, held: Held, broken: str) -> None:
    store = StateStore(replaced=broken == "set")
    error = lost_to_the_ledger(sheet, held, None if broken == "none" else store)
    assert ("task's state keeps" in str(error)) is (broken == "get")
    if broken == "get":
        store.get = _refuse  # type: ignore[method-assign]
    purchase = sheet.ledger.find("k")
    assert purchase is not None
    sheet.ledger.clock = lambda: purchase.sent_until  # type: ignore[assignment, return-value]
    settled = next_try(sheet, store)
    assert settled.order_id == sheet.bought()[0].order_id and len(sheet.bought()) == 1


def _refuse(*args: Any) -> Any:
    raise RuntimeError("the API server is away")
