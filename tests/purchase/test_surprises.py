"""A vendor may say anything about an order at any time: it is noted, said once, and nothing is stuck."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import OrderNotUsable, OrderPending
from airflow_provider_proxyorders.domain.model import (
    LIFE,
    STEP_OF,
    TAKEN,
    UNRESOLVED,
    Actor,
    Money,
    OrderStatus,
    Purchase,
    Step,
    VendorOrder,
)
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger
from airflow_provider_proxyorders.purchase.tracker import OrderTracker
from airflow_provider_proxyorders.transport.worker import Http
from tests.ledgers import sqlite_ledger
from tests.vendors import VENDORS

EXPIRY = datetime(2030, 2, 1, 9, 15, tzinfo=timezone.utc)
WORDS = {status: f"word-{status.value}" for status in OrderStatus} | {OrderStatus.UNKNOWN: "suspended"}


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def surprised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """One ledger for all pairs: each pair has a key and a wallet of its own."""
    if request.param == "sqlite":
        return open_ledger(sqlite_ledger(tmp_path_factory.mktemp("surprises")))
    return open_ledger(request.getfixturevalue("postgres").new_ledger())


class Story:
    """A purchase at a step, and a tracker that reads its order."""

    def __init__(self, ledger: Ledger, kind: str, step: Step, name: str):
        self.ledger, self.key, self.order_id = ledger, f"{kind} {name}", f"id {kind} {name}"
        self.said: list[str] = []
        account = Account(
            vendor="iproyal",
            conn_id="c",
            wallet=f"iproyal:{kind} {name}",
            base_url="http://127.0.0.1:1",
            secret="k" * 8,
            currency="USD",
        )
        self.tracker = OrderTracker(VENDORS["iproyal"](account), Http(account), ledger, actor=Actor(), say=self.said.append)
        self.purchase = self._at(kind, step)

    def _at(self, kind: str, step: Step) -> Purchase:
        intent = Intent(
            order_key=self.key,
            kind=kind,
            vendor="iproyal",
            conn_id="c",
            wallet=self.tracker.account.wallet,
            fingerprint="a" * 64,
            request={"quantity": 10},
            amount=Money(Decimal("2.50"), "USD"),
            target=self.order_id if kind == "extend" else None,
        )
        purchase = self.ledger.intend(intent, Actor())
        if step is Step.INTENDED:
            return purchase
        evidence = {"expires_at": EXPIRY.isoformat(), "extensions": 0}
        purchase = self.ledger.claim(purchase, Actor(), evidence=evidence, sent_seconds=60)
        if step is Step.QUARANTINED:
            purchase = self.ledger.record(purchase, Step.UNKNOWN, "on the way", Actor())
        if step is Step.SENT:
            return purchase
        order = VendorOrder(self.order_id, OrderStatus.DELIVERED, "confirmed", price=Money(Decimal("2.50"), "USD"), delivered=10)
        for way in ([step], [Step.PLACED, step]):
            if way[0] in LIFE[purchase.step]:
                for each in way:
                    taken = order if each in TAKEN else None
                    purchase = self.ledger.record(purchase, each, "on the way", Actor(), vendor_order=taken)
                break
        assert purchase.step is step
        return purchase

    def order(self, status: OrderStatus, **changes: Any) -> VendorOrder:
        return VendorOrder(self.order_id, status, WORDS[status], **{"delivered": 3, "reason": "an audit", **changes})


PAIRS = [(kind, step, status) for kind in ("create", "extend") for step in Step for status in OrderStatus]


@pytest.mark.parametrize(("kind", "step", "status"), PAIRS, ids=lambda each: getattr(each, "value", each))
def test_any_word_after_any_step(surprised: Ledger, kind: str, step: Step, status: OrderStatus) -> None:
    story = Story(surprised, kind, step, f"{step.value} {status.value}")
    order = story.order(status)
    after = story.tracker.record_reading(story.purchase, order)
    assert surprised.find(story.key) == after, "the ledger holds what the caller was given"
    if step not in TAKEN | UNRESOLVED:
        assert after == story.purchase and not story.said, "it has no order at the vendor"
        return
    meant = story.tracker.step_for(story.purchase, order)
    listed = meant is step or meant in LIFE[step]
    assert after.step is (meant if listed else step)
    assert (after.vendor_status, after.delivered, after.reason) == (WORDS[status], 3, "an audit")
    assert len(story.said) == 1 and WORDS[status] in story.said[0] and story.order_id in story.said[0]
    assert ("nothing is bought for it" in story.said[0]) is not listed
    steps = len(surprised.history(story.key))
    assert story.tracker.record_reading(after, order) == after
    assert (len(surprised.history(story.key)), len(story.said)) == (steps, 1), "it is said once"
    fewer = story.tracker.record_reading(after, replace(order, delivered=2))
    assert (fewer.delivered, fewer.step) == (2, after.step)


@pytest.mark.parametrize("status", list(OrderStatus))
@pytest.mark.parametrize("step", sorted(TAKEN))
def test_a_sensor_judges_by_ledger_and_vendor(surprised: Ledger, step: Step, status: OrderStatus) -> None:
    story = Story(surprised, "create", step, f"judged {step.value} {status.value}")
    meant = STEP_OF[status]
    kept = meant if meant is step or meant in LIFE[step] else step
    if meant is Step.DELIVERED and kept is Step.DELIVERED:
        assert story.tracker.result_for(story.order(status))["status"] == "delivered"
        return
    with pytest.raises(OrderPending if meant is Step.PLACED else OrderNotUsable):
        story.tracker.result_for(story.order(status))
    read_back = surprised.find(story.key)
    assert read_back is not None and read_back.vendor_status == WORDS[status], "it is recorded all the same"


def test_a_refund_after_the_end_gives_the_day_its_money_back(surprised: Ledger) -> None:
    story = Story(surprised, "create", Step.EXPIRED, "refunded late")
    after = story.tracker.record_reading(story.purchase, story.order(OrderStatus.REFUNDED, refund=Money(Decimal("2.50"), "USD")))
    assert after.step is Step.REFUNDED
    assert story.tracker.record_reading(after, story.order(OrderStatus.PENDING)).step is Step.REFUNDED


def test_an_extension_that_no_longer_shows_stays_delivered(surprised: Ledger) -> None:
    """A read that lags behind shows the old expiry once more."""
    story = Story(surprised, "extend", Step.PLACED, "lagging")
    grown = story.order(OrderStatus.DELIVERED, expires_at=EXPIRY + timedelta(days=30), extensions=1)
    after = story.tracker.record_reading(story.purchase, grown)
    assert after.step is Step.DELIVERED
    assert story.tracker.record_reading(after, story.order(OrderStatus.DELIVERED, expires_at=EXPIRY)).step is Step.DELIVERED


def test_a_step_without_a_reading_still_follows_the_table(tmp_path: Path) -> None:
    from airflow_provider_proxyorders.domain.errors import LedgerError

    story = Story(open_ledger(sqlite_ledger(tmp_path)), "create", Step.DELIVERED, "strict")
    with pytest.raises(LedgerError, match="cannot go from"):
        story.ledger.record(story.purchase, Step.PLACED, "a mistake of ours", Actor())
