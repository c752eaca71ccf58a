"""The sandbox answers as the recorded exchanges do: same status, same fields, same JSON types, same documented texts.

An exchange that can be brought about in the sandbox carries the control commands for it under ``sandbox``. Its requests are
sent as recorded; only what a vendor makes up by itself (tokens, ids of new orders) is replaced by what the sandbox made up.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import airflow_provider_proxyorders.sandbox as package
from airflow_provider_proxyorders.wire.messages import KEY_IN_PATH
from tests.vendors import ROWS

FOLDER = Path(package.__file__).parent / "exchanges"
FILES = [path for path in sorted(FOLDER.glob("*/*.json")) if "sandbox" in json.loads(path.read_text())]

AUTH = {name: (row.key_header.lower(), "authorization") for name, row in ROWS.items()}
#: fields whose value the vendor makes up, and which come back in later requests
MADE_UP = ("id", "order_id", "data", "AccountID", "access_token")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_sandbox_answers_like_the_recorded_exchange(box, plain_send, path):
    assert replay(box, plain_send, json.loads(path.read_text())) == []


def test_there_are_exchanges_of_every_vendor():
    assert {path.parent.name for path in FILES} == set(AUTH)


def replay(box, send, exchange):
    """Bring the exchange about; returns what differs."""
    vendor = exchange["vendor"]
    box.control([{"vendor": vendor, **command} for command in exchange["sandbox"]])
    made_up, wrong = {}, []
    for number, step in enumerate(exchange["steps"], 1):
        request, recorded = step["request"], step["response"]
        params = "&".join(f"{quoted(name)}={quoted(made_up.get(value, value))}" for name, value in request.get("params") or ())
        known = {**made_up, KEY_IN_PATH: box.token(vendor)}
        where = "/".join(str(known.get(part, part)) for part in request["path"].split("/"))
        body, headers = authenticated(box, vendor, request, recorded["status"], made_up)
        answer = send(request["method"], f"{box.url(vendor)}{where}{'?' if params else ''}{params}", body, headers)
        label = f"step {number}"
        if answer.status != recorded["status"]:
            wrong.append(f"{label}: status {answer.status}, recorded {recorded['status']}; {answer.text[:200]}")
        elif "json" in recorded:
            wrong += differences(recorded["json"], answer.data, label)
            if answer.status >= 400:
                wrong += other_texts(vendor, recorded["json"], answer.data, label)
            remember(recorded["json"], answer.data, made_up)
        elif recorded.get("text") is not None:
            if len(answer.text.splitlines()) != len(recorded["text"].splitlines()):
                wrong.append(f"{label}: {len(answer.text.splitlines())} lines of text, recorded {recorded['text']!r}")
    return wrong


def quoted(value):
    from urllib.parse import quote

    return quote(str(value), safe="")


def authenticated(box, vendor, request, status, made_up):
    """Body and headers with the sandbox's own tokens; a request that was refused for its token keeps the wrong one."""
    headers = {name: value for name, value in (request.get("headers") or {}).items() if name.lower() not in AUTH[vendor]}
    body = request.get("json")
    if body is not None:
        headers["Content-Type"] = "application/json"
    key = box.token(vendor) if status != 401 else "not-a-token"
    if ROWS[vendor].key_header:
        headers[ROWS[vendor].key_header] = key
    elif request["path"] == ROWS[vendor].login_path:
        body = {**body, "api_key": key}
    elif ROWS[vendor].login_path and status != 401:
        headers["Authorization"] = "Bearer " + (made_up.get("jwt") or jwt(box))
    return body, headers


def jwt(box):
    shop = box.state.vendors["voodoo"]
    with box.state.lock:
        shop.issued["a.b.c"] = shop.wallet(), box.clock.timestamp() + 7200
    return "a.b.c"


def remember(recorded, actual, made_up):
    """Note what stands for what, for the requests that follow."""
    if isinstance(recorded, dict) and isinstance(actual, dict):
        for name in recorded.keys() & actual.keys():
            if name == "access_token":
                made_up["jwt"] = actual[name]
            elif name in MADE_UP and isinstance(recorded[name], (str, int)):
                made_up[str(recorded[name])] = str(actual[name])
            else:
                remember(recorded[name], actual[name], made_up)
    elif isinstance(recorded, list) and isinstance(actual, list):
        for one, other in zip(recorded, actual, strict=False):
            remember(one, other, made_up)


def kind(value):
    if isinstance(value, bool):
        return "true/false"
    names = {int: "number", float: "number", str: "text", type(None): "null", list: "list", dict: "object"}
    return names[type(value)]


def differences(recorded, actual, where):
    """Fields and types that are not the same, at every level."""
    if kind(recorded) != kind(actual):
        return [f"{where}: {kind(actual)} {actual!r}, recorded {kind(recorded)} {recorded!r}"]
    if isinstance(recorded, dict):
        found = [f"{where}.{name}: missing" for name in recorded.keys() - actual.keys()]
        found += [f"{where}.{name}: not recorded" for name in actual.keys() - recorded.keys()]
        for name in recorded.keys() & actual.keys():
            found += differences(recorded[name], actual[name], f"{where}.{name}")
        return found
    if isinstance(recorded, list):
        if bool(recorded) != bool(actual):
            return [f"{where}: {len(actual)} entries, recorded {len(recorded)}"]
        for number, entry in enumerate(actual):
            each = [differences(one, entry, f"{where}[{number}]") for one in recorded]
            if [] not in each:
                return each[0]
    return []


def other_texts(vendor, recorded, actual, where):
    """Words of a refusal that differ where the vendor documents them."""
    if vendor == "iproyal" or not isinstance(recorded, dict):
        return []  # shapes that public clients report; no text is documented
    exact = {name: text for name, text in recorded.items() if isinstance(text, str)}
    if exact.get("code") == "validation_error":
        del exact["detail"]  # "varies"
    others = [(name, text) for name, text in exact.items() if actual.get(name) != text]
    return [f"{where}.{name}: {actual.get(name)!r}, recorded {text!r}" for name, text in others]


class TestTheComparison:
    """It sees what it is there to see."""

    @pytest.mark.parametrize(
        ("recorded", "actual"),
        [
            ({"a": 1}, {}),
            ({}, {"a": 1}),
            ({"a": 1}, {"a": "1"}),
            ({"a": None}, {"a": 1}),
            ({"a": True}, {"a": 1}),
            ({"a": [{"b": 1}]}, {"a": []}),
            ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"c": 1}]}),
            ([1], {"a": 1}),
        ],
    )
    def test_a_difference_is_seen(self, recorded, actual):
        assert differences(recorded, actual, "answer")

    def test_other_values_of_the_same_shape_are_none(self):
        assert differences({"a": [{"b": 1.5}], "c": None}, {"a": [{"b": 2}, {"b": 3}], "c": None}, "answer") == []

    def test_another_text_or_status_is_seen(self, box, plain_send):
        step = {
            "request": {"method": "GET", "path": "/v4/account/orders/nothing/status"},
            "response": {"status": 404, "json": {"success": False, "error": "Order not found."}},
        }
        exchange = {"vendor": "proxyscrape", "steps": [step], "sandbox": []}
        assert replay(box, plain_send, exchange) == []
        step["response"]["json"]["error"] = "No such order."
        assert replay(box, plain_send, exchange)
        step["response"]["status"] = 400
        assert replay(box, plain_send, exchange)

    def test_made_up_ids_are_followed(self, box, plain_send):
        order = {"item": 5120, "status": "pending", "id": "recorded-id"}
        steps = [
            {
                "request": {"method": "POST", "path": "/api/v1/auth/token/client", "json": {"api_key": "recorded"}},
                "response": {"status": 200, "json": {"access_token": "recorded.j.wt", "token_type": "Bearer"}},
            },
            {
                "request": {"method": "POST", "path": "/api/v1/orders", "json": {"item_id": 5120}},
                "response": {"status": 201, "json": order},
            },
            {"request": {"method": "GET", "path": "/api/v1/orders/recorded-id"}, "response": {"status": 200, "json": order}},
        ]
        found = replay(box, plain_send, {"vendor": "voodoo", "steps": steps, "sandbox": []})
        assert found and all(text.endswith("not recorded") for text in found)
        assert box.book.count("voodoo", "get") == 1 and {text.split(":")[0].split(".")[0] for text in found} == {
            "step 2",
            "step 3",
        }
