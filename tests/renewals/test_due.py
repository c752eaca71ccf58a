"""The one rule "is a renewal still due", as a table: what is known of an order, and the first obstacle."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidRequest, NotDue, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
from airflow_provider_proxyorders.renewal.due import DueRule, Obstacle

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
ENDS = NOW + 5 * DAY


def obstacle(
    ends: datetime | None = ENDS, *, status: OrderStatus = OrderStatus.DELIVERED, lapsed_too: bool = False, **asked: Any
) -> str | None:
    rule = DueRule("Acme", lapsed_too=lapsed_too, **asked)
    answer = rule.obstacle(VendorOrder("7001", status, "odd word"), ends, NOW)
    return answer.reason if answer else None


@pytest.mark.parametrize(
    ("ends", "asked", "reason"),
    [
        (ENDS, {}, None),
        (None, {}, None),
        (NOW, {}, "lapsed"),
        (NOW + SECOND, {}, None),
        (NOW - DAY, {"lapsed_too": True}, None),
        (ENDS, {"paid_through": ENDS}, "reached"),
        (ENDS, {"paid_through": ENDS + SECOND}, None),
        (ENDS, {"expiry": ENDS}, None),
        (ENDS, {"expiry": ENDS - SECOND}, "extended"),
        (ENDS, {"expiry": ENDS + SECOND}, "mismatch"),
        (ENDS, {"due_until": ENDS}, None),
        (ENDS, {"due_until": ENDS - SECOND}, "later"),
        (None, {"paid_through": ENDS}, "no_expiry"),
        (None, {"expiry": ENDS}, "no_expiry"),
        (None, {"due_until": ENDS}, "no_expiry"),
        # the order of the questions: paid comes before a wrong expiry, and that before "too early"
        (ENDS, {"paid_through": ENDS, "expiry": ENDS + DAY, "due_until": NOW}, "reached"),
        (ENDS, {"paid_through": ENDS + DAY, "expiry": ENDS - DAY, "due_until": NOW}, "extended"),
        (ENDS, {"expiry": ENDS + DAY, "due_until": NOW}, "mismatch"),
    ],
)
def test_the_dates(ends: datetime | None, asked: dict[str, Any], reason: str | None) -> None:
    assert obstacle(ends, **asked) == reason


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("lapsed_too", [False, True])
def test_the_vendors_status_comes_first(status: OrderStatus, lapsed_too: bool) -> None:
    over = {OrderStatus.FAILED: "ended", OrderStatus.REFUNDED: "ended", OrderStatus.EXPIRED: "expired"}
    assert obstacle(status=status, lapsed_too=lapsed_too) == over.get(status)
    assert obstacle(None, status=status, due_until=NOW) == over.get(status, "no_expiry")


@pytest.mark.parametrize(
    ("reason", "error", "says"),
    [
        ("reached", NotDue, "order 7001 is so. Nothing was bought."),
        ("extended", NotDue, "order 7001 is so. Nothing was bought."),
        ("later", NotDue, "order 7001 is so. Nothing was bought."),
        ("ended", InvalidRequest, "'order_id' must name a running order; 7001 is so. Nothing was bought."),
        ("expired", InvalidRequest, "'order_id' must name a running order; 7001 is so. Nothing was bought."),
        ("lapsed", InvalidRequest, "correct the connection's time zone for this vendor. Nothing was bought."),
        ("mismatch", InvalidRequest, "'expires_at' must be the end of order 7001; it is so. Nothing was bought."),
        ("no_expiry", ConfigError, "order 7001 is so, so its paid term is unknown. Nothing was sent."),
    ],
)
def test_each_obstacle_says_what_happened_to_the_money(reason: Any, error: type[ProxyOrdersError], says: str) -> None:
    answer = Obstacle(reason, "is so").error("7001")
    assert type(answer) is error and answer.money == "untouched"
    assert str(answer).endswith(says)


def test_the_last_read_before_sending_asks_only_whether_it_is_paid_by_now() -> None:
    check = DueRule("Acme", paid_through=ENDS + DAY, expiry=ENDS, due_until=NOW).last_check("7001")
    for evidence in ({}, {"expires_at": None}, {"expires_at": ENDS.isoformat()}, {"expires_at": (ENDS - DAY).isoformat()}):
        check(evidence)
    with pytest.raises(NotDue, match=r"order 7001 runs until .* was to be extended from"):
        check({"expires_at": (ENDS + SECOND).isoformat()})
    with pytest.raises(NotDue, match="reaches paid_through"):
        check({"expires_at": (ENDS + DAY).isoformat()})
