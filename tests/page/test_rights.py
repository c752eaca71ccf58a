"""Who sees which purchases: rights, forged ids, other sites."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from airflow.api_fastapi.app import get_auth_manager
from airflow.models.log import Log
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.page import spreadsheet
from airflow_provider_proxyorders.page.calls import MISSING

from .conftest import PAGE, Visitor, buy, task

READS = ("start", "attention", "wallets", "purchases", "purchases.csv", "purchase?order_key=a", "webhooks", "guarantees")


@pytest.mark.parametrize("path", READS)
def test_without_a_login_there_is_nothing(client: object, path: str) -> None:
    client.cookies.clear()  # type: ignore[attr-defined]
    assert client.get(f"{PAGE}/{path}").status_code == 401  # type: ignore[attr-defined]


@pytest.mark.parametrize(("role", "sees"), [("admin", True), ("op", True), ("user", False), ("viewer", False)])
def test_a_purchase_is_seen_with_the_right_to_read_its_connection(
    log_in: Callable[[str], Visitor], ledger: Ledger, role: str, sees: bool
) -> None:
    buy(ledger, "a", Step.DELIVERED)
    visitor = log_in(role)
    assert len(visitor.get("purchases").json()["rows"]) == int(sees)
    assert visitor.get("purchase", order_key="a").status_code == (200 if sees else 404)


@pytest.mark.parametrize("path", ["decision", "decision/check", "unfreeze", "unfreeze/check", "doctor"])
def test_a_call_of_another_site_is_refused(log_in: Callable[[str], Visitor], ledger: Ledger, path: str) -> None:
    """A form can send neither JSON nor our header."""
    buy(ledger, "lost", Step.QUARANTINED)
    visitor = log_in("admin")
    fields = {"order_key": "lost", "word": "absent", "wallet": "voodoo:voodoo_default", "conn_id": "voodoo_default"}
    form = visitor.client.post(f"{PAGE}/{path}", data=fields, headers={**visitor.headers, "X-Proxyorders": "1"})
    text = visitor.client.post(
        f"{PAGE}/{path}", content=json.dumps(fields), headers={**visitor.headers, "Content-Type": "text/plain"}
    )
    plain = visitor.client.post(f"{PAGE}/{path}", json=fields, headers=visitor.headers)
    assert [form.status_code >= 400, text.status_code >= 400, plain.status_code] == [True, True, 403]
    purchase = ledger.find("lost")
    assert purchase is not None and purchase.step is Step.QUARANTINED


@pytest.mark.parametrize(("role", "status"), [("viewer", 404), ("user", 404)])
def test_who_may_not_read_decides_nothing(log_in: Callable[[str], Visitor], ledger: Ledger, role: str, status: int) -> None:
    buy(ledger, "lost", Step.QUARANTINED)
    for key in ("lost", "of nobody"):  # a purchase of others and a missing one are told alike
        answer = log_in(role).post("decision", {"order_key": key, "word": "absent"})
        assert (answer.status_code, answer.json()["detail"]) == (status, MISSING)
    assert [entry for entry in audit("proxyorders.decide.refused") if entry.owner == role]
    purchase = ledger.find("lost")
    assert purchase is not None and purchase.step is Step.QUARANTINED


def test_who_may_only_read_decides_nothing(
    log_in: Callable[[str], Visitor], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page asks for the right to edit the connection, and a wallet needs that for each of its connections."""
    buy(ledger, "lost", Step.QUARANTINED)
    ledger.freeze("voodoo:voodoo_default", "a reason")
    monkeypatch.setattr(
        type(get_auth_manager()), "is_authorized_connection", lambda self, *, method, user, details=None: method == "GET"
    )
    reader = log_in("op")
    assert reader.get("purchase", order_key="lost").json()["may_decide"] is False
    assert reader.post("decision", {"order_key": "lost", "word": "absent"}).status_code == 403
    assert reader.post("unfreeze", {"wallet": "voodoo:voodoo_default"}).status_code == 403
    assert ledger.freeze_reason("voodoo:voodoo_default") == "a reason"


def test_another_connections_purchases_are_missing(
    log_in: Callable[[str], Visitor], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(ledger, "mine", Step.QUARANTINED)
    buy(ledger, "theirs", Step.QUARANTINED, conn_id="iproyal_team")
    ledger.freeze("iproyal:iproyal_team", "a reason")

    def allowed(self: object, *, method: str, user: object, details: Any = None) -> bool:
        return details is not None and details.conn_id == "voodoo_default"

    monkeypatch.setattr(type(get_auth_manager()), "is_authorized_connection", allowed)
    visitor = log_in("op")
    everything = "".join(visitor.get(path).text for path in READS if "?" not in path)
    assert "mine" in everything and "theirs" not in everything and "iproyal_team" not in everything
    assert [row["order_key"] for row in visitor.get("purchases", conn_id="iproyal_team").json()["rows"]] == []
    assert visitor.get("purchases", text="theirs").json()["exact"] == []
    assert visitor.get("purchase", order_key="theirs").status_code == 404
    for path, body in (
        ("decision", {"order_key": "theirs", "word": "absent"}),
        ("unfreeze", {"wallet": "iproyal:iproyal_team"}),
        ("doctor", {"conn_id": "iproyal_team"}),
    ):
        assert visitor.post(path, body).status_code == 404


def test_with_teams_the_connections_team_counts(log_in: Callable[[str], Visitor], ledger: Ledger, teams: None) -> None:
    for name in ("red", "blue", "outside"):
        buy(ledger, f"of {name}", Step.QUARANTINED, conn_id=f"voodoo_{name}")
        ledger.freeze(f"voodoo:voodoo_{name}", "a reason")
    for user, own, other in (("reds", "red", "blue"), ("blues", "blue", "red")):
        visitor = log_in(user)
        everything = "".join(visitor.get(path).text for path in READS if "?" not in path)
        assert f"of {own}" in everything and f"voodoo_{other}" not in everything and "voodoo_outside" not in everything
        for name, status in ((own, 200), (other, 404), ("outside", 404)):
            assert visitor.get("purchase", order_key=f"of {name}").status_code == status
            assert visitor.post("unfreeze/check", {"wallet": f"voodoo:voodoo_{name}"}).status_code == status
        assert visitor.post("decision", {"order_key": f"of {other}", "word": "absent"}).status_code == 404
    purchase = ledger.find("of red")
    assert purchase is not None and purchase.step is Step.QUARANTINED


@pytest.mark.parametrize("key", ["", "\0", "a\ud800", "x" * 600, "../../etc", "' OR 1=1 --", "{{ 1 }}", "lost%00"])
def test_forged_keys_and_places(log_in: Callable[[str], Visitor], ledger: Ledger, key: str) -> None:
    buy(ledger, "lost", Step.QUARANTINED)
    visitor = log_in("admin")
    sent = quote(key, errors="surrogatepass")
    assert visitor.client.get(f"{PAGE}/purchase?order_key={sent}", headers=visitor.headers).status_code in (404, 422)
    assert visitor.client.get(f"{PAGE}/purchases?after={sent or 'x'}", headers=visitor.headers).status_code == 422
    assert visitor.client.get(f"{PAGE}/purchases?text={sent}", headers=visitor.headers).status_code in (200, 422)


def test_a_decision_is_in_the_audit_log_and_in_the_history(log_in: Callable[[str], Visitor], ledger: Ledger) -> None:
    buy(ledger, "never sent", Step.INTENDED)
    visitor = log_in("op")
    looked = visitor.post("decision/check", {"order_key": "never sent", "word": "give up"})
    assert looked.status_code == 200 and looked.json()["wallet"] == "voodoo:voodoo_default"
    refused = visitor.post("decision", {"order_key": "never sent", "word": "absent"})
    assert refused.status_code == 409 and "Nothing was changed" in refused.json()["detail"]
    assert visitor.post("decision", {"order_key": "never sent", "word": "give up", "note": "not wanted"}).status_code == 200
    assert "op (Airflow user)" in str(ledger.history("never sent")[-1].actor)
    events = [(entry.event, entry.owner) for entry in audit("proxyorders.decide") if "never sent" in (entry.extra or "")]
    assert events[-4:] == [(f"proxyorders.decide{end}", "op") for end in ("", ".refused", "", ".done")]


def test_a_wallet_is_unfrozen_with_a_name(log_in: Callable[[str], Visitor], ledger: Ledger) -> None:
    buy(ledger, "good", Step.DELIVERED)
    ledger.freeze("voodoo:voodoo_default", "12.00 USD are missing")
    visitor = log_in("op")
    assert "12.00 USD" in visitor.post("unfreeze/check", {"wallet": "voodoo:voodoo_default"}).json()["why"]
    assert visitor.post("unfreeze", {"wallet": "voodoo:voodoo_default", "note": "paid by card"}).status_code == 200
    assert ledger.freeze_reason("voodoo:voodoo_default") is None
    last = ledger.wallet_history("voodoo:voodoo_default")[-1]
    assert "op (Airflow user)" in last.host and "paid by card" in last.why


def test_text_of_a_vendor_is_cleaned_and_no_cell_is_a_formula(log_in: Callable[[str], Visitor], ledger: Ledger) -> None:
    evil = "<script>x</script>\x1b[31m\u202e{{ 1 }}"
    buy(ledger, "evil", Step.FAILED, vendor_status=evil, reason="=1+1")
    visitor = log_in("admin")
    shown = visitor.get("purchase", order_key="evil").json()
    assert "\x1b" not in shown["vendor_status"] and "\u202e" not in shown["vendor_status"] and "{{" not in shown["vendor_status"]
    answer = visitor.get("purchases.csv")
    assert answer.headers["content-type"].startswith("text/csv") and "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["order_key"], row["reason"], row["price"]) for row in rows] == [("evil", "'=1+1", "11.00")]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", " =1", "\uff1d1", '"=1', "|x", "%x"])
def test_every_kind_of_formula(text: str) -> None:
    assert spreadsheet.cell(text) == f"'{text}" and spreadsheet.cell(f"a;{text}") == f"a;'{text}"
    assert (spreadsheet.cell("a=1"), spreadsheet.cell(-1)) == ("a=1", "-1")


def test_the_purchases_of_a_task(log_in: Callable[[str], Visitor], ledger: Ledger) -> None:
    """All of one map index, and only those of its run and task; the newest first."""
    for map_index in (-1, 0, 1):
        for number in range(1 + map_index % 3):
            buy(ledger, f"{map_index}/{number}", Step.DELIVERED, actor=task(map_index=map_index))
    buy(ledger, "of another DAG", Step.DELIVERED, actor=task("other", 1))
    of_task = {"dag_id": "buying", "run_id": "manual__2026-11-28", "task_id": "order"}
    visitor = log_in("op")
    for map_index, keys in ((-1, {"-1/0", "-1/1", "-1/2"}), (0, {"0/0"}), (1, {"1/0", "1/1"}), (2, set())):
        query = of_task if map_index == -1 else {**of_task, "map_index": map_index}
        rows = visitor.get("task", **query).json()
        assert {row["order_key"] for row in rows} == keys and len(rows) == len(keys)
        assert all(row["task"] == {**of_task, "map_index": map_index} and row["price"] == "11.00 USD" for row in rows)
    for name in of_task:
        assert visitor.get("task", **{**of_task, name: "x"}).json() == []
    assert log_in("viewer").get("task", **of_task).json() == []


def audit(event: str) -> list[Any]:
    """The rows of Airflow's audit log of an event and its ends, oldest first."""
    with create_session() as session:
        rows = session.scalars(select(Log).where(Log.event.startswith(event)).order_by(Log.id)).all()
        session.expunge_all()
        return list(rows)
