"""Attacks on the page's calls: no log-in, a forged one, a viewer, another team, forms, forged ids, hostile text."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from airflow_provider_proxyorders.page.app import app

from .conftest import PAGE, Visitor, buy, task

#: Each call of the page, with what it needs.
READS: dict[str, dict[str, str]] = {
    "start": {},
    "attention": {},
    "wallets": {},
    "purchases": {},
    "purchases.csv": {},
    "purchase": {"order_key": "lost"},
    "task": {"dag_id": "buying", "run_id": "manual__2026-11-28", "task_id": "order"},
    "webhooks": {},
    "guarantees": {},
}
POSTS: dict[str, dict[str, str]] = {
    "decision": {"order_key": "lost", "word": "absent"},
    "decision/check": {"order_key": "lost", "word": "absent"},
    "unfreeze": {"wallet": "voodoo:voodoo_default"},
    "unfreeze/check": {"wallet": "voodoo:voodoo_default"},
    "doctor": {"conn_id": "voodoo_default"},
}
OWN = {"X-Proxyorders": "1"}
#: Texts that a browser, a template, a terminal, a spreadsheet or a database would take for more.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ conn.voodoo_default.password }}",
    "{% for each in [1] %}{{ each }}{% endfor %}",
    "\x1b[31mred\x1b[0m\r\n\u202eesrever",
    "=HYPERLINK(1)",
    "a\0b",
)


def lost(ledger: Ledger) -> None:
    """A purchase that waits for a person, in a wallet that stands still, with a webhook."""
    buy(ledger, "lost", Step.QUARANTINED)
    ledger.freeze("voodoo:voodoo_default", "a reason")
    Inbox(ledger.engine).keep([Hint("d" * 64, "voodoo_default", "voodoo:voodoo_default", "o-1", None, "completed")])


def is_untouched(ledger: Ledger) -> bool:
    purchase = ledger.find("lost")
    return purchase is not None and purchase.step is Step.QUARANTINED and bool(ledger.freeze_reason("voodoo:voodoo_default"))


def token_of(claims: dict[str, Any], header: dict[str, str]) -> str:
    """A token that nobody signed."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (header, claims)]
    return ".".join([*parts, ""])


def test_the_table_has_every_call() -> None:
    calls = {
        (method, route.path.removeprefix("/api/"))  # type: ignore[attr-defined]
        for route in app().routes
        for method in getattr(route, "methods", None) or ()
    }
    assert calls - {("HEAD", path) for _, path in calls} == {
        *(("GET", path) for path in READS),
        *(("POST", path) for path in POSTS),
    }


FORGED = {
    "nothing": {},
    "an empty token": {"Authorization": "Bearer "},
    "a word": {"Authorization": "Bearer admin"},
    "an unsigned token": {
        "Authorization": f"Bearer {token_of({'sub': 'admin', 'role': 'admin', 'exp': 9999999999}, {'alg': 'none'})}"
    },
    "a token with no true signature": {"Authorization": f"Bearer {token_of({'sub': 'admin'}, {'alg': 'HS512'})}x"},
    "a name and a password": {"Authorization": f"Basic {base64.b64encode(b'admin:admin').decode()}"},
    "a header of a proxy": {"X-Forwarded-User": "admin", "Remote-User": "admin"},
    "a cookie": {"Cookie": "_token=admin; session=admin"},
}


@pytest.mark.parametrize("how", FORGED)
def test_without_a_true_login_no_call_answers(client: Any, ledger: Ledger, how: str) -> None:
    lost(ledger)
    client.cookies.clear()
    statuses = [client.get(f"{PAGE}/{path}", params=query, headers=FORGED[how]).status_code for path, query in READS.items()]
    statuses += [
        client.post(f"{PAGE}/{path}", json=body, headers={**OWN, **FORGED[how]}).status_code for path, body in POSTS.items()
    ]
    assert set(statuses) <= {401, 403}, statuses
    assert is_untouched(ledger)


@pytest.mark.parametrize("role", ["viewer", "user"])
def test_a_viewer_sees_and_changes_nothing(log_in: Callable[[str], Visitor], ledger: Ledger, role: str) -> None:
    lost(ledger)
    visitor = log_in(role)
    shown = {path: visitor.get(path, **query) for path, query in READS.items()}
    assert not [path for path, answer in shown.items() if "voodoo_default" in answer.text or "manual__" in answer.text]
    assert [visitor.post(path, body).status_code for path, body in POSTS.items()] == [404] * len(POSTS)
    assert is_untouched(ledger)


def test_of_another_team_no_call_tells_a_word(log_in: Callable[[str], Visitor], ledger: Ledger, teams: None) -> None:
    inbox = Inbox(ledger.engine)
    for name in ("red", "blue"):
        conn_id, actor = f"voodoo_{name}", task(f"dag_of_{name}")
        buy(ledger, f"key-{name}", Step.QUARANTINED, conn_id=conn_id, actor=actor)
        buy(ledger, f"done-{name}", Step.DELIVERED, conn_id=conn_id, actor=actor, vendor_status=f"status-{name}")
        ledger.freeze(f"voodoo:{conn_id}", f"frozen-{name}")
        inbox.keep([Hint(name.ljust(64, "0"), conn_id, f"voodoo:{conn_id}", f"webhook-{name}", None, "completed")])
    for user, own, other in (("reds", "red", "blue"), ("blues", "blue", "red")):
        visitor = log_in(user)
        queries = {
            **READS,
            "purchase": {"order_key": f"key-{other}"},
            "task": {"dag_id": f"dag_of_{other}", "run_id": "manual__2026-11-28", "task_id": "order"},
        }
        text = "".join(visitor.get(path, **query).text for path, query in queries.items())
        filters = {"conn_id": "voodoo_", "dag_id": "dag_of_", "wallet": "voodoo:voodoo_", "text": "id-done-"}
        for filtered in ({name: value + other} for name, value in filters.items()):
            text += visitor.get("purchases", **filtered).text + visitor.get("purchases.csv", **filtered).text
        words = [f"{word}{other}" for word in ("key-", "done-", "voodoo_", "dag_of_", "frozen-", "webhook-", "status-")]
        assert not [word for word in words if word in text]
        assert f"key-{own}" in text and f"webhook-{own}" in text
        bodies = {
            "decision": {"order_key": f"key-{other}", "word": "give up"},
            "decision/check": {"order_key": f"key-{other}", "word": "give up"},
            "unfreeze": {"wallet": f"voodoo:voodoo_{other}"},
            "unfreeze/check": {"wallet": f"voodoo:voodoo_{other}"},
            "doctor": {"conn_id": f"voodoo_{other}"},
        }
        refused = [visitor.post(path, body) for path, body in bodies.items()]
        assert [answer.status_code for answer in refused] == [404] * 5
        assert not [word for word in words if word in "".join(answer.text for answer in refused)]
        assert ledger.freeze_reason(f"voodoo:voodoo_{other}") == f"frozen-{other}"


def test_a_form_of_another_site_with_the_users_cookie_changes_nothing(log_in: Callable[[str], Visitor], ledger: Ledger) -> None:
    """The browser adds the cookie by itself. A form can send three types of content, and none of our headers."""
    lost(ledger)
    client, token = log_in("admin").client, log_in("admin").headers["Authorization"].removeprefix("Bearer ")
    client.cookies.set("_token", token)
    try:
        assert client.get(f"{PAGE}/purchases").status_code == 200, "the cookie is a log-in"
        for path, body in POSTS.items():
            answers = [
                client.post(f"{PAGE}/{path}", data=body),
                client.post(f"{PAGE}/{path}", files={name: (None, value) for name, value in body.items()}),
                client.post(f"{PAGE}/{path}", content=json.dumps(body), headers={"Content-Type": "text/plain"}),
                client.post(f"{PAGE}/{path}", content=json.dumps(body), headers={"Content-Type": "application/json"}),
                client.post(
                    f"{PAGE}/{path}", content=json.dumps(body), headers={**OWN, "Content-Type": "text/plain;application/json"}
                ),
                client.get(f"{PAGE}/{path}", params=body),
            ]
            assert min(answer.status_code for answer in answers) >= 400, path
        asked = client.options(
            f"{PAGE}/decision",
            headers={
                "Origin": "https://other.example.com",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-proxyorders,content-type",
            },
        )
        assert "access-control-allow-origin" not in asked.headers, "nor may a script of another site"
    finally:
        client.cookies.clear()
    assert is_untouched(ledger)


@pytest.mark.parametrize(
    "text", [*HOSTILE, "", " ", "\ud800", "x" * 5000, "../voodoo_default", "voodoo_default\n", "%00", "' OR 1=1 --"]
)
def test_a_forged_id_is_refused_and_never_a_failure(log_in: Callable[[str], Visitor], ledger: Ledger, text: str) -> None:
    lost(ledger)
    visitor, headers = log_in("admin"), {**OWN, "Content-Type": "application/json"}
    bodies = {
        "decision": {"order_key": text, "word": "give up"},
        "decision/check": {"order_key": text, "word": "give up"},
        "unfreeze": {"wallet": text},
        "unfreeze/check": {"wallet": text},
    }
    for path, body in bodies.items():
        answer = visitor.client.post(f"{PAGE}/{path}", content=json.dumps(body), headers={**visitor.headers, **headers})
        assert answer.status_code in (404, 422), (path, answer.text)
    for word in (text, "delete", "ADOPT"):
        body = json.dumps({"order_key": "lost", "word": word})
        assert visitor.client.post(f"{PAGE}/decision", content=body, headers={**visitor.headers, **headers}).status_code == 422
    for value in ([], {"a": 1}, 5, None, True):
        assert visitor.post("decision", {"order_key": value, "word": "absent"}).status_code == 422
    assert is_untouched(ledger)


def test_hostile_text_is_data_on_every_call(log_in: Callable[[str], Visitor], ledger: Ledger) -> None:
    """Of a vendor, and in the note of a person. Every answer is JSON or CSV, which no browser takes for a page."""
    for number, text in enumerate(HOSTILE):
        buy(ledger, f"evil-{number}", Step.FAILED, vendor_status=text, reason=text)
        buy(ledger, f"given up {number}", Step.INTENDED)
    visitor = log_in("admin")
    for number, text in enumerate(HOSTILE):
        answer = visitor.post("decision", {"order_key": f"given up {number}", "word": "give up", "note": text})
        assert answer.status_code in (200, 409, 422), answer.text
    answers = [visitor.get(path, **query) for path, query in READS.items() if path not in ("purchase", "task")]
    answers += [
        visitor.get("purchase", order_key=f"{name}{number}") for name in ("evil-", "given up ") for number in range(len(HOSTILE))
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] in ("application/json", "text/csv")
        assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
        shown = json.dumps(answer.json(), ensure_ascii=False) if "json" in answer.headers["content-type"] else answer.text
        assert not [sign for sign in ("{{", "{%", "\x1b", "\u202e", "\0") if sign in shown], shown
