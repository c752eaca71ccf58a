"""Workers that share an account, look at one purchase together, lose their ledger or meet surprises, as the smallest scenes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.errors import ConfigError, LedgerError
from airflow_provider_proxyorders.domain.model import Actor, Purchase, Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.purchase import resolving
from airflow_provider_proxyorders.sandbox.vendor_base import Outcome
from airflow_provider_proxyorders.wire.messages import Response
from tests.vendors import EXTENSIONS, NAMES, ROWS

from .books import Books
from .clockwork import Worker
from .market import whole
from .network import Fate
from .people import audit
from .run import Run
from .scenes import LOST, LOST_AFTER, USUAL, create, extend, kept, odd, scene
from .test_second_round import ALONE, own_orders


def answered(status: int, body: bytes, arrives: float | None = None, returns: float = 0.2) -> Fate:
    headers = {"content-type": "application/json", **whole(body)}
    return Fate(arrives, returns, instead=Response(status, headers, body))


# -- one account, several connections ------------------------------------------------------------------------------------

SPELLINGS = {"a": "main", "b": "MAIN", "c": "another"}


@pytest.mark.parametrize("starts", [(0.0, 0.0, 0.0), (0.0, 200.0, 400.0)])
@pytest.mark.parametrize("vendor", NAMES)
def test_connections_of_one_account_share_its_limits(vendor: str, starts: tuple[float, ...]) -> None:
    price = ROWS[vendor].goods[0][1]
    caps = Caps(max_order_price=price, daily_limit=2 * price)
    wishes = [create(name, vendor, at) for name, at in zip(SPELLINGS, starts, strict=True)]
    run, result = scene(vendor, wishes, {}, caps=caps, connections=SPELLINGS)
    assert result.failures == [] and len(run.market.charges) == 2, "\n".join(result.log)


@pytest.mark.parametrize("vendor", sorted(EXTENSIONS))
def test_connections_of_one_account_extend_an_order_once(vendor: str) -> None:
    """The default key holds the wallet, so one wallet is one key."""
    wishes = [extend(name, None, vendor=vendor) for name in SPELLINGS]
    run, result = scene(vendor, wishes, {}, targets=[("7001", "main")], connections=SPELLINGS)
    kept(run, result)
    assert len(run.market.charges) == 1, "\n".join(result.log)


# -- late answers --------------------------------------------------------------------------------------------------------

#: The vendor takes it long after its settle time; the answer comes while the second sending is under way.
LATE = Fate(200.0, 1.0)
UNDER_WAY = {("a1", "while create is under way"): 400.0}


def unfrozen(run: Run, refusals: list[str]) -> None:
    """A person tries to lift the freeze of the wallet."""
    try:
        resolving.unfreeze(ledger_of(run), "iproyal:main")
    except ConfigError as error:
        refusals.append(str(error))


def ledger_of(run: Run) -> Ledger:
    """The ledger as a person sees it, past all workers."""
    return Ledger(run.engine, Worker(run.clockwork, "person").clock)


def test_a_freeze_for_a_late_answer_is_lifted_by_what_the_second_sending_shows() -> None:
    status, body = ROWS["iproyal"].refusals[0]
    refusals: list[str] = []
    wishes = [create("a", "iproyal", key="k"), create("b", "iproyal", 30.0, key="k")]
    events: Any = [(500.0, lambda run: unfrozen(run, refusals)), (510.0, lambda run: run.tasks[0].clear())]
    fates = {"a1": [LATE], "b1": [answered(status, body, returns=600.0)]}
    run, result = scene("iproyal", wishes, fates, kind="late", held=UNDER_WAY, events=events)
    own_orders(run, result)
    assert len(refusals) == 1 and "--foreign" in refusals[0] and run.frozen("iproyal:main") is None, "\n".join(result.log)


def test_a_freeze_for_a_late_answer_is_lifted_after_the_decision_about_its_order() -> None:
    """The second answer is lost as well. Clear buys nothing before the decision, and nothing after it."""
    refusals: list[str] = []
    wishes = [create("a", "iproyal", key="k"), create("b", "iproyal", 30.0, key="k")]

    def decide(run: Run) -> None:
        ledger = ledger_of(run)
        purchase, (question,) = ledger.find("k"), ledger.questions(order_key="k")
        assert purchase is not None and run.market.is_of(question.order_id, run.market.of("k")[0])
        resolving.resolve_as_taken(ledger, purchase, resolving.unread_taken_order(question.order_id), Actor(host="me"))
        resolving.unfreeze(ledger, "iproyal:main")

    events: Any = [
        (420.0, lambda run: unfrozen(run, refusals)),
        (430.0, lambda run: run.tasks[0].clear()),
        (530.0, lambda run: unfrozen(run, refusals)),
        (540.0, decide),
        (545.0, lambda run: [task.clear() for task in run.tasks]),
    ]
    fates = {"a1": [LATE], "b1": [Fate(None, 300.0, "reset")]}
    run, result = scene("iproyal", wishes, fates, kind="late", held=UNDER_WAY, events=events)
    own_orders(run, result)
    assert len(refusals) == 2 and not run.person.asked, "\n".join(result.log)


# -- two helpers look at once --------------------------------------------------------------------------------------------


def test_looks_of_two_helpers_are_judged_together() -> None:
    """One helper's reads are old: absent, and absent again. The other one saw the money go in between."""
    old: list[Fate] = [odd("lag", seconds=3600.0), odd("lag", seconds=3600.0)]
    wishes = [create(name, "iproyal", starts, key="k") for name, starts in (("a", 0.0), ("b", 1.0), ("c", 1.5))]
    fates = {"a1": [LOST_AFTER], "b1 list": old[:], "b1 balance": old[:], "c1 list": [odd("unseen")]}
    held = {("a1", "while create is under way"): None, ("c1", "after add_look"): None}
    events: Any = [(900.0, lambda run: [task.clear() for task in run.tasks])]
    run, result = scene("iproyal", wishes, fates, held=held, events=events)
    assert len(run.market.of("k")) == 1, "\n".join(result.log)
    own_orders(run, result)
    looks = [look.verdict for look in ledger_of(run).looks_at_last_sending("k")]
    assert looks[:3] == ["absent", "inconclusive", "absent"], "\n".join(result.log)


# -- a ledger that cannot be written -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [60.0, 600.0])
@pytest.mark.parametrize("vendor", NAMES)
def test_an_answer_survives_a_ledger_that_cannot_be_written(vendor: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the worker's end: the task's state keeps the order, and the next try records it."""
    real: Callable[..., Purchase] = Books.record
    began: list[float] = []

    def record(self: Books, purchase: Purchase, step: Step, *arguments: Any, **options: Any) -> Purchase:
        if self.worker.name == "a1":
            began.append(self.worker.clockwork.now)
            if began[-1] - began[0] < seconds:
                raise LedgerError("the ledger cannot be used: gone for a moment")
        return real(self, purchase, step, *arguments, **options)

    monkeypatch.setattr(Books, "record", record)
    run, result = scene(vendor, [create("a", vendor)], {})
    kept(run, result)
    own_orders(run, result)
    assert len(began) > 2 and result.stats["tries"] == (1 if seconds < 126 else 2), "\n".join(result.log)


# -- surprises -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surprise", ["suspended", "fewer"])
@pytest.mark.parametrize("vendor", NAMES)
def test_a_surprise_after_the_delivery_stops_nothing(vendor: str, surprise: str) -> None:
    said: list[str] = []

    def changed(run: Run) -> None:
        shop, order_id = run.market.state.vendors[vendor], run.market.charges[0].entry.order_id
        if surprise == "fewer":
            shop.deliver_less(order_id, 1)
        else:
            shop.set_status(order_id, Outcome(surprise))

    def read(run: Run) -> None:
        worker = Worker(run.clockwork, "sensor1")

        def look() -> None:
            buyer = run.buyer(worker, vendor, "main")
            purchase = buyer.ledger.find("order-a")
            assert purchase is not None
            said.append(buyer.refresh(purchase).step.value)

        worker.begin(look)

    events: Any = [(300.0, changed), (310.0, read), (320.0, audit), (900.0, read)]
    wishes = [create("a", vendor), create("b", vendor, 600.0)]
    run, result = scene(vendor, wishes, {}, events=events, audits=[0.0])
    own_orders(run, result)
    assert said == ["delivered", "delivered"] and not run.frozen(f"{vendor}:main"), "\n".join(result.log)


@pytest.mark.parametrize("vendor", NAMES)
def test_one_read_that_does_not_find_a_paid_order_fails_no_task(vendor: str) -> None:
    """Long after the settle time, too."""
    missing = answered(404, b'{"message": "not found"}')
    fates = {f"a{number} get": [USUAL, missing] for number in range(1, 9)}
    run, result = scene(vendor, [create("a", vendor)], fates, settle=10.0, processing=400.0)
    kept(run, result)
    own_orders(run, result)
    failed = [line for line in result.log if "retry" in line and "OrderPending (charged, retry later)" not in line]
    assert failed == [] and any("Looking again" in line for line in result.log), "\n".join(result.log)


# -- the settle time by default ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [LOST, LOST_AFTER, Fate(90.0, 1.0, "reset"), Fate(90.0, 60.0, "timeout")])
@pytest.mark.parametrize("vendor", NAMES)
def test_a_purchase_that_is_taken_after_90_seconds_is_not_sent_twice(vendor: str, lost: Fate) -> None:
    run, result = scene(vendor, [create("a", vendor)], {"a1": [lost]}, settle=None)
    own_orders(run, result)
    assert len(run.market.charges) == 1 and (vendor not in ALONE or not run.person.asked), "\n".join(result.log)
