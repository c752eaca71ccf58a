"""Text of a vendor is data: nothing of it steers a terminal, and no secret comes back through it."""

from __future__ import annotations

import base64
import html
import json
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.wire.gate import DEEPEST, LONGEST_TEXT, admit, is_shallow, plain
from airflow_provider_proxyorders.wire.messages import Response
from tests.contract.replay import VENDORS, named, play
from tests.leaks.scan import Canary, Scanner

SECRET = "s3cr3t/Key+&12345="
ACCOUNT = Account("iproyal", "c", "iproyal:c", "https://vendor.example", SECRET)
#: Forms in which a vendor may echo a key.
ECHOES = [
    SECRET,
    quote(SECRET, safe=""),
    base64.b64encode(SECRET.encode()).decode(),
    base64.urlsafe_b64encode(SECRET.encode()).decode(),
    html.escape(SECRET),
]


def admitted(body: bytes) -> Any:
    return admit(load_json(body), body, ACCOUNT.redact)


@pytest.mark.parametrize(
    "sign", ["\x1b[31m", "\n", "\r", "\t", "\0", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f", "\u2028", "\ufeff"]
)
@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "as it is"])
def test_no_character_steers_a_terminal(sign: str, escaped: bool) -> None:
    data = {"status": f"paid{sign}", "rows": [{f"name{sign}": f"{sign}text"}]}
    body = json.dumps(data, ensure_ascii=escaped).encode()
    assert plain(sign) not in (sign, "")
    text = dump_json(admitted(body))
    assert all(character.isprintable() for character in text), ascii(text)


TEMPLATES = ["{{ conn.iproyal_default.password }}", "{% for x in y %}", "{# c #}", "{{{x}}}", "{{%", "a{" + "{b", "{\0{"]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "as it is"])
def test_no_text_begins_a_template(template: str, escaped: bool) -> None:
    """Airflow renders texts that a mapped task takes over from XCom."""
    body = json.dumps({"id": template, "rows": [{template: [f"x{template}"]}]})
    if escaped:
        body = body.replace("{{", "\\u007b{").replace("{%", "{\\u0025")
    for text in (dump_json(admitted(body.encode())), plain(template)):
        assert not any(sign in text for sign in ("{{", "{%", "{#")), text


@pytest.mark.parametrize("setting", ["whsec_New/1234+", ["whsec_New/1234+", "whsec_Old/5678+"]], ids=["one", "during a change"])
def test_a_webhook_secret_that_a_vendor_echoes_is_hidden(setting: Any) -> None:
    account = Account("voodoo", "c", "voodoo:c", "https://vendor.example", SECRET, settings={"webhook_secret": setting})
    for secret in [setting] if isinstance(setting, str) else setting:
        for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()):
            body = dump_json({"reason": f"signed with {form} until today"}).encode()
            assert admit(load_json(body), body, account.redact) == {"reason": "signed with *** until today"}


def test_a_delivery_keeps_its_texts_to_the_letter() -> None:
    """Another character is another password."""
    code = "a{{b}}{%c\ud83d\ude00\u200b\x1b" + SECRET
    body = json.dumps({"codes": [code], "deep": [[[]]]}).encode()
    read = admit(load_json(body), body, ACCOUNT.redact, delivers=True)
    assert read["codes"] == [load_json(body)["codes"][0].replace(SECRET, "***")]


@pytest.mark.parametrize("user", ["u", "us", "use", "user"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_no_secret_comes_back_inside_of_a_longer_text_in_base64(user: str, encode: Any) -> None:
    echo = encode(f"{user}:{SECRET} and more".encode()).decode()
    scanner = Scanner([Canary("key", SECRET)])
    scanner.text("before", echo)
    assert {hit.form for hit in scanner.hits} == {"base64"}
    scanner = Scanner([Canary("key", SECRET)])
    scanner.text("after", dump_json(admitted(json.dumps({"note": f"Basic {echo}"}).encode())))
    assert scanner.hits == set()


@pytest.mark.parametrize("echo", ECHOES, ids=["as it is", "URL", "base64", "base64 of URLs", "HTML"])
@pytest.mark.parametrize("escape_slash", [True, False])
def test_no_secret_comes_back(echo: str, escape_slash: bool) -> None:
    text = json.dumps({"status": echo, "name": f"order for {echo}!", echo: 1, "rows": [[{"note": echo}]]})
    body = (text.replace("/", "\\/") if escape_slash else text).encode()
    assert echo.rstrip("=") not in dump_json(admitted(body))


def test_an_answer_in_order_is_handed_on_as_it_is() -> None:
    data = {
        "id": 7001,
        "when": "2030-01-01 00:00:00",
        "url": "https://vendor.example/orders",
        "city": "Zürich",
        "rows": [{"a": {}}] * 500,
    }
    for ascii_only in (True, False):
        body = json.dumps(data, ensure_ascii=ascii_only).replace("/", "\\/").encode()
        read = load_json(body)
        assert admit(read, body, ACCOUNT.redact) is read


@pytest.mark.parametrize("levels", [DEEPEST, DEEPEST + 1, 600])
def test_what_lies_too_deep_is_dropped_and_the_rest_is_read(levels: int) -> None:
    body = ('{"id":7001,"odd":' + "[" * (levels - 1) + "7" + "]" * (levels - 1) + "}").encode()
    assert is_shallow(body) is (levels <= DEEPEST)
    read = admitted(body)
    assert read["id"] == 7001
    assert ("7" in dump_json(read["odd"])) is (levels <= DEEPEST)


def test_a_long_text_is_cut() -> None:
    body = json.dumps({"id": 7001, "note": "x" * (3 * LONGEST_TEXT)}).encode()
    assert admitted(body) == {"id": 7001, "note": "x" * LONGEST_TEXT}


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_reads_through_the_gate(vendor: str) -> None:
    """Each text of the golden answer becomes an ESC sequence around it, except the words that are read."""
    exchange = named(f"{vendor}/get.unknown_status")
    word = exchange.data["expect"]["returns"]["vendor_status"]
    bodies = [dump_json(response.data()).replace(f'"{word}"', '"odd \\u001b[31mword"') for response in exchange.responses()]
    played = play(exchange, [Response(200, {}, body.encode()) for body in bodies])
    assert played.result.vendor_status == "odd \ufffd[31mword"
