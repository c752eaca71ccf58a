"""The renewal DAG as a file: it loads without a network or a vendor, and is safe to copy."""

from __future__ import annotations

import re
import runpy
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError
from jinja2 import Template
from markdown_it import MarkdownIt


@pytest.fixture
def dag(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a DAG file must not need a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return runpy.run_path(str(project / "dags" / "scheduled_renewal.py"))


def test_it_is_safe_to_copy(dag: Any) -> None:
    made = dag["scheduled_renewal"]
    assert (made.catchup, made.max_active_runs, made.schedule) == (False, 1, None)
    assert made.owner == "proxies" and "approve_above" in made.doc_md
    assert set(made.params) == {"conn_id", "within", "request", "max_price", "approve_above", "note", "exclude", "limit"}
    assert all(made.params.get_param(name).description for name in made.params)


def test_who_follows_whom(dag: Any) -> None:
    made = dag["scheduled_renewal"]
    assert made.get_task("find").downstream_task_ids == {"approval_needed", "extend"}
    assert made.get_task("extend").upstream_task_ids == {"find", "approval_needed", "approve"}
    assert made.get_task("report").upstream_task_ids == {"extend"}
    assert (made.get_task("extend").retries, made.get_task("find").retries) == (2, 2)


@pytest.mark.parametrize(
    "above, sums, unpriced, expected",
    [
        ("10.00", {"USD": "10.00"}, 0, "extend"),
        ("10.00", {"USD": "10.01"}, 0, "approve"),
        ("10.00", {"USD": "1"}, 1, "approve"),  # nobody knows what it will cost
        ("10.00", {"EUR": "1", "USD": "1"}, 0, "approve"),
        ("", {"USD": "9999"}, 3, "extend"),
        (None, {}, 2, "extend"),
    ],
)
def test_when_a_person_is_asked(
    dag: Any, monkeypatch: pytest.MonkeyPatch, above: Any, sums: dict[str, str], unpriced: int, expected: str
) -> None:
    class Ti:
        def xcom_pull(self, **_: Any) -> Any:
            return {"due": [{"order_id": "1"}], "total": sums, "unpriced": unpriced}

    decide = dag["approval_needed"].function
    monkeypatch.setitem(decide.__globals__, "get_current_context", lambda: {"ti": Ti()})
    assert decide({"approve_above": above}) == expected


@pytest.mark.parametrize("text", ["[x](https://evil.example/)", "<img src=x onerror=alert(1)>", "``` **big** # x", "| a | b |"])
def test_a_vendors_text_stays_text_in_the_question(dag: Any, text: str) -> None:
    """Its line breaks and control characters are gone already: it came through the gate."""
    due = {"order_id": text, "product": text, "expires_at": "2030-01-01", "price": None, "currency": None, "price_from": "none"}
    found = {"due": [due, due]}
    body = Template(dag["BODY"]).render(ti=SimpleNamespace(xcom_pull=lambda **_: found))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert {*re.findall(r"<(\w+)", html)} == {"p", "pre", "code"} and html.count("<pre>") == 1, html


@pytest.mark.parametrize(
    "above, taken", [("50.00", True), ("0", True), ("", True), (None, True), ("50,00", False), ("NaN", False)]
)
def test_an_amount_that_is_none_starts_no_run(dag: Any, above: Any, taken: bool) -> None:
    asked = dag["PARAMS"]["approve_above"]
    if taken:
        assert asked.resolve(above) == above
    else:
        with pytest.raises(ParamValidationError, match="does not match"):
            asked.resolve(above)


def test_the_pages_code(project: Path) -> None:
    code = (project / "docs" / "extend.md").read_text().split("```python")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "extend.md", "exec"), names)
    made = names["find"].dag
    assert made.get_task("extend").upstream_task_ids == {"find"}
    assert (made.get_task("extend").is_mapped, made.get_task("extend").retries) == (True, 2)
