"""Every refused decision of a logged-in user is in Airflow's audit log, also one that ends before the purchase is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger

from .conftest import PAGE, Visitor, buy
from .test_rights import audit

OWN = {"X-Proxyorders": "1", "Content-Type": "application/json"}
CALLS = {
    "decision": ("proxyorders.decide", {"order_key": "lost", "word": "absent"}),
    "unfreeze": ("proxyorders.unfreeze", {"wallet": "voodoo:voodoo_default"}),
}


def rows_of(event: str, call: Callable[[], Any], status: int) -> list[tuple[str, str, str]]:
    """The rows that a call adds to the log: event, user, reason."""
    before = len(audit(event))
    answer = call()
    assert answer.status_code == status, answer.text
    return [(row.event, row.owner, json.loads(row.extra).get("refused", "")) for row in audit(event)[before:]]


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    ("headers", "broken", "status", "why"),
    [
        ({"Content-Type": "text/plain", "X-Proxyorders": "1"}, "", 415, "This call needs JSON. Nothing was changed."),
        ({"Content-Type": "application/json"}, "", 403, "This call needs the header X-Proxyorders. Nothing was changed."),
        (OWN, "}", 422, "Invalid JSON"),
        (OWN, "[]", 422, "Input should be an object"),
        (OWN, "{}", 422, "Field required"),
    ],
)
def test_a_call_that_breaks_a_rule(
    log_in: Callable[[str], Visitor],
    ledger: Ledger,
    path: str,
    headers: dict[str, str],
    broken: str,
    status: int,
    why: str,
) -> None:
    buy(ledger, "lost", Step.QUARANTINED)
    event, body = CALLS[path]
    visitor, content = log_in("op"), broken or json.dumps(body)

    def call(more: dict[str, str]) -> Any:
        return visitor.client.post(f"{PAGE}/{path}", content=content, headers={**headers, **more})

    (row,) = rows_of(event, lambda: call(visitor.headers), status)
    assert row[:2] == (f"{event}.refused", "op") and why in row[2]
    assert rows_of(event, lambda: call({}), 401) == [], "without a log-in there is no user to log"


@pytest.mark.parametrize("path", CALLS)
def test_a_ledger_out_of_reach(
    log_in: Callable[[str], Visitor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 300)
    monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", f"sqlite:///{tmp_path / 'broken.db'}")
    event, body = CALLS[path]
    rows = rows_of(event, lambda: log_in("op").post(path, body), 503)
    assert rows == [(f"{event}.refused", "op", "the ledger cannot be used")]


def test_a_decision_has_one_row_of_its_end(log_in: Callable[[str], Visitor], ledger: Ledger) -> None:
    buy(ledger, "lost", Step.QUARANTINED)
    body = {"order_key": "missing", "word": "absent"}
    rows = rows_of("proxyorders.decide", lambda: log_in("op").post("decision", body), 404)
    assert [row[0] for row in rows] == ["proxyorders.decide", "proxyorders.decide.refused"]
