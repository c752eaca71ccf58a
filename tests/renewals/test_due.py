"""The one rule "is a renewal still due", as a table: an order, the question, and the first obstacle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter, NotDue, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
from airflow_provider_proxyorders.renewal.due import DueRule, Obstacle

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
END = NOW + 5 * DAY


def obstacle(
    ends: datetime | None = END, *, status: OrderStatus = OrderStatus.DELIVERED, lapsed_too: bool = False, **asked: Any
) -> str | None:
    rule = DueRule("Acme", lapsed_too=lapsed_too, **asked)
    answer = rule.obstacle(VendorOrder("7001", status, "odd word"), ends, NOW)
    return answer.reason if answer else None


@pytest.mark.parametrize(
    ("ends", "asked", "reason"),
    [
        (END, {}, None),
        (None, {}, None),
        (NOW, {}, "lapsed"),
        (NOW + SECOND, {}, None),
        (NOW - DAY, {"lapsed_too": True}, None),
        (END, {"paid_through": END}, "reached"),
        (END, {"paid_through": END + SECOND}, None),
        (END, {"expiry": END}, None),
        (END, {"expiry": END - SECOND}, "extended"),
        (END, {"expiry": END + SECOND}, "mismatch"),
        (END, {"due_until": END}, None),
        (END, {"due_until": END - SECOND}, "later"),
        (None, {"paid_through": END}, "no_expiry"),
        (None, {"expiry": END}, "no_expiry"),
        (None, {"due_until": END}, "no_expiry"),
        # the order of the questions: paid comes before a wrong expiry, and that before "too early"
        (END, {"paid_through": END, "expiry": END + DAY, "due_until": NOW}, "reached"),
        (END, {"paid_through": END + DAY, "expiry": END - DAY, "due_until": NOW}, "extended"),
        (END, {"expiry": END + DAY, "due_until": NOW}, "mismatch"),
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
        ("ended", InvalidParameter, "order_id must name a running order; 7001 is so."),
        ("expired", InvalidParameter, "order_id must name a running order; 7001 is so."),
        ("lapsed", InvalidParameter, "correct the connection's time zone for this vendor."),
        ("mismatch", InvalidParameter, "expires_at must be the end of order 7001; it is so."),
        ("no_expiry", ConfigError, "order 7001 is so, so its paid term is unknown. Nothing was sent."),
    ],
)
def test_each_obstacle_says_what_happened_to_the_money(reason: Any, error: type[ProxyOrdersError], says: str) -> None:
    answer = Obstacle(reason, "is so").error("7001")
    assert type(answer) is error and answer.money == "untouched"
    assert str(answer).endswith(says)


def test_the_last_read_before_sending_asks_only_whether_it_is_paid_by_now() -> None:
    check = DueRule("Acme", paid_through=END + DAY, expiry=END, due_until=NOW).last_check("7001")
    for evidence in ({}, {"expires_at": None}, {"expires_at": END.isoformat()}, {"expires_at": (END - DAY).isoformat()}):
        check(evidence)
    with pytest.raises(NotDue, match=r"order 7001 runs until .* was to be extended from"):
        check({"expires_at": (END + SECOND).isoformat()})
    with pytest.raises(NotDue, match="reaches paid_through"):
        check({"expires_at": (END + DAY).isoformat()})


#: Names that hold the end of an order, or a date to compare it with.
ENDS = {"ends", "expires_at", "expiry", "paid_through", "due_until"}


def comparisons(tree: ast.AST, function: str = "") -> Iterator[tuple[str, str]]:
    """Each earlier-or-later comparison of an order's end, with the function around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for op in node.ops):
            if {getattr(part, "id", getattr(part, "attr", "")) for part in (node.left, *node.comparators)} & ENDS:
                yield function, ast.unparse(node)
        yield from comparisons(node, node.name if isinstance(node, ast.FunctionDef) else function)


def test_the_rule_has_no_second_copy(project: Path) -> None:
    """Only ``renewal/due.py`` compares the end of an order; the search also asks whether an order is near its horizon."""
    copies = [
        (path.name, function, comparison)
        for room in ("hooks", "operators", "sensors", "tasks", "renewal", "wallet")
        for path in sorted((project / "airflow_provider_proxyorders" / room).glob("*.py"))
        if path.name != "due.py"
        for function, comparison in comparisons(ast.parse(path.read_text()))
    ]
    assert [(name, function) for name, function, _ in copies] == [("search.py", "_is_near")], copies
