"""Rules that hold for every vendor, whatever its documentation: one spending request, no I/O, exact money, no secret shown."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_proxyorders.vendors
from airflow_provider_proxyorders.domain.delivered import Delivery
from airflow_provider_proxyorders.domain.errors import (
    ConfigError,
    InsufficientFunds,
    OutcomeUnknown,
    ProxyOrdersError,
    RequestRefused,
    UnreadableAnswer,
    VendorError,
)
from airflow_provider_proxyorders.domain.exact_json import dump_json, load_json
from airflow_provider_proxyorders.domain.model import Money, OrderStatus, VendorOrder
from airflow_provider_proxyorders.vendors.base import Setting, Vendor
from airflow_provider_proxyorders.vendors.evidence import balance_change
from airflow_provider_proxyorders.wire.messages import Request, Response
from tests.contract.replay import (
    SPENDING,
    VENDORS,
    Exchange,
    Played,
    drive,
    flow_of,
    named,
    play,
    response_of,
    vendor_for,
    view,
)
from tests.vendors import ROWS

FOLDER = Path(airflow_provider_proxyorders.vendors.__file__).parent
SOURCES = sorted(FOLDER.rglob("*.py"))
NO_IO = {"airflow", "requests", "aiohttp", "sqlalchemy", "tenacity", "asyncio", "urllib3", "http", "socket", "httpx"}
DOUBTFUL = {408, 409, 425, 429, 460, 499}
#: A golden purchase of each vendor, and what its session has to hold so that the purchase is the first request.
PURCHASES = {name: row.golden_purchase for name, row in ROWS.items()}


# -- one spending request ------------------------------------------------------------------------------------------


def test_only_create_and_extend_spend_and_only_with_their_last_request(exchange: Exchange) -> None:
    spending = [request.spends for request in play(exchange).requests]
    if exchange.operation not in SPENDING:
        assert not any(spending)
    elif any(spending):
        assert spending.count(True) == 1
        assert spending[-1]
    else:
        assert "raises" in exchange.data["expect"]  # it ended before the purchase left


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("body", [b"", b"<html></html>", b"{}", b'{"message": "no"}', b'{"success": true, "data": "x"}'])
def test_whatever_the_answer_a_purchase_is_asked_for_once(vendor: str, body: bytes) -> None:
    """Also: which answers prove that nothing was bought, over every status there is. A web page proves nothing."""
    for status in range(200, 600):
        played = play(named(PURCHASES[vendor]), [Response(status, {"content-type": "application/json"}, body)])
        assert [request.spends for request in played.requests] == [True]
        claims_success = vendor == "proxyscrape" and b"true" in body
        if claims_success and status < 300:
            assert played.result.order_id == "x"
            continue
        # an error that calls itself a success is neither
        refused = 400 <= status < 500 and status not in DOUBTFUL and not claims_success and body[:1] != b"<"
        refused = refused and ROWS[vendor].refuses_by_status
        assert isinstance(played.error, VendorError if refused else OutcomeUnknown), status
        assert played.error.money == ("untouched" if refused else "unknown")
        assert "Nothing was bought" not in str(played.error), "the buyer says so, after a look at the evidence"


@pytest.mark.parametrize("vendor", VENDORS)
def test_nothing_but_a_request_can_go_wrong_between_purchase_and_answer(vendor: str) -> None:
    """A wrong setting shows before the purchase leaves: after it, the error would look as if nothing had been sent."""
    for setting in VENDORS[vendor].settings:
        for wrong in ("certainly wrong", "Nowhere/Atall", {"a": 1}):
            exchange = named(PURCHASES[vendor])
            account = {**exchange.data.get("account", {}), "settings": {setting.name: wrong}}
            played = Played(vendor_for(vendor).account)
            one = vendor_for(vendor, **account)
            try:
                drive(flow_of(one, exchange), [Response(200, {}, b"null")], played)
            except OutcomeUnknown:
                assert [request.spends for request in played.requests] == [True]
            except ConfigError as error:
                assert played.requests == []
                assert "Nothing was sent" in str(error)


# -- no I/O --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES, ids=[str(source.relative_to(FOLDER)) for source in SOURCES])
def test_a_vendor_imports_nothing_that_talks(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            assert module.split(".")[0] not in NO_IO, f"{source.name} imports {module}"
            if module.startswith("airflow_provider_proxyorders"):
                assert module.split(".")[1] in ("domain", "wire", "vendors")


def test_importing_all_vendors_loads_nothing_that_talks() -> None:
    modules = ", ".join(
        ".".join(("airflow_provider_proxyorders", "vendors", *source.relative_to(FOLDER).with_suffix("").parts))
        for source in SOURCES
        if source.stem != "__init__"
    )
    heavy = sorted(NO_IO - {"http", "socket", "asyncio"})
    code = f"import sys, {modules}; sys.exit(' '.join(name for name in {heavy!r} if name in sys.modules) or None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# -- surprises -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("word", ["", "PAYED", "Confirmed: soon", "queued", "completed!", "ausgeliefert", "0"])
def test_a_status_that_nobody_knows_is_pending_and_kept_word_for_word(vendor: str, word: str) -> None:
    exchange = named(f"{vendor}/get.unknown_status")
    if word == "0" and vendor == "proxy6":
        return  # its word for the end
    known = exchange.data["expect"]["returns"]["vendor_status"]
    answers = [load_json(dump_json(response.data()).replace(f'"{known}"', json.dumps(word))) for response in exchange.responses()]
    played = play(exchange, [Response(200, {}, dump_json(answer).encode()) for answer in answers])
    if not word:
        assert isinstance(played.error, UnreadableAnswer)
        return
    assert played.result.status is OrderStatus.UNKNOWN
    assert not played.result.status.final
    assert played.result.vendor_status == word


def test_any_part_of_an_answer_can_be_of_another_type(exchange: Exchange) -> None:
    """Every value of every recorded answer is replaced in turn: there is a result or one of our errors, and nothing else."""
    responses = exchange.responses()
    if exchange.data["expect"].get("raises") or not responses:
        return
    for place, response in enumerate(responses):
        if not response.ok or response.content_type != "application/json":
            continue
        for odd in odd_versions(response.data()):
            changed = [*responses]
            changed[place] = Response(response.status, response.headers, dump_json(odd).encode())
            # more answers than asked for: a changed one may lead to another page or another look
            outcome = play(exchange, [*changed, *[Response(503)] * 40])
            assert outcome.error is None or isinstance(outcome.error, ProxyOrdersError)
            if outcome.error is not None:
                # a success that cannot be read leaves a purchase open, and nothing else
                spent = outcome.requests[-1].spends if outcome.requests else False
                assert isinstance(outcome.error, OutcomeUnknown) is spent


def odd_versions(data: Any) -> Iterator[Any]:
    """The same JSON with one value at a time replaced by something of another type, or taken out."""
    yield from (None, True, -1, Decimal("0.5"), "", "x", [], [None], {}, {"x": 1})
    if isinstance(data, dict):
        for key, value in data.items():
            yield {name: item for name, item in data.items() if name != key}
            yield from ({**data, key: odd} for odd in odd_versions(value))
    if isinstance(data, list) and data:
        yield from ([odd, *data[1:]] for odd in odd_versions(data[0]))


# -- secrets -------------------------------------------------------------------------------------------------------


def test_no_secret_shows(exchange: Exchange) -> None:
    """Neither in the repr of what is asked and returned, nor in the text of an error."""
    played = play(exchange)
    shown = [repr(request) for request in played.requests] + [repr(played.account)]
    shown += [repr(played.result)] if not isinstance(played.result, (list, dict)) else [dump_json(view(played.result))]
    if played.error is not None:
        shown += [str(played.error), repr(played.error), repr(vars(played.error))]
    for secret in secrets_of(exchange, played):
        for text in shown:
            assert secret not in text


def test_a_secret_that_a_vendor_repeats_is_kept_out_of_the_error(exchange: Exchange) -> None:
    if not exchange.data["steps"]:
        return
    account = play(exchange).account
    token = account.secret if exchange.operation == "login" else str(account.session.get("token", account.secret))
    echo = {"error": f"token {token} / {account.secret} is bad", "detail": f"{token}"}
    for status in (401, 400, 500):
        last = response_of({"status": status, "json": echo})
        played = play(exchange, [*exchange.responses()[:-1], last, *[last] * 3])
        for text in [str(played.error), repr(vars(played.error)) if played.error else "", repr(played.result)]:
            assert token not in text
            assert account.secret not in text


def secrets_of(exchange: Exchange, played: Played) -> set[str]:
    secrets = {played.account.secret, *map(str, _values(played.account.session))}
    for step in exchange.data["steps"]:
        secrets |= set(_secret_values(step["response"].get("json")))
        text = step["response"].get("text") or ""
        secrets |= {line.split(":", 3)[3] for line in text.splitlines() if line.count(":") >= 3}
        secrets |= {word.strip('"') for word in text.replace(",", " ").split() if word.strip('"').startswith(("eyJ", "EXAM"))}
    if isinstance(played.result, Delivery):
        secrets |= set(played.result.secrets())
    return {secret for secret in secrets if len(secret) >= 4 and not secret.isdigit()}


def _secret_values(data: Any) -> Iterator[str]:
    for key, value in data.items() if isinstance(data, dict) else ():
        if key in ("password", "access_token", "codes"):
            yield from (str(item) for item in _values(value) if isinstance(item, str))
        else:
            yield from _secret_values(value)
    for item in data if isinstance(data, list) else ():
        yield from _secret_values(item)


def _values(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return [inner for value in data.values() for inner in _values(value)]
    return [inner for value in data for inner in _values(value)] if isinstance(data, list) else [data]


# -- money ---------------------------------------------------------------------------------------------------------


def test_amounts_are_exact_and_nothing_is_a_float(exchange: Exchange) -> None:
    played = play(exchange)
    for value in parts(played.result):
        assert not isinstance(value, float)
        if isinstance(value, Money):
            assert isinstance(value.amount, Decimal)
            assert value.amount.is_finite()
        if isinstance(value, VendorOrder):
            assert value.quantity is None or isinstance(value.quantity, Decimal)
    for request in played.requests:
        assert not any(isinstance(value, float) for value in parts(request.json))


def test_evidence_survives_the_ledger(exchange: Exchange) -> None:
    """What a snapshot reads is written down as JSON and read again by another process before it is used."""
    played = play(exchange)
    if exchange.operation == "snapshot" and played.error is None:
        assert load_json(dump_json(played.result)) == played.result
        assert not any(isinstance(value, Decimal) for value in parts(played.result))
        assert isinstance(played.result["balance"], str)


def parts(value: Any) -> Iterator[Any]:
    """A value and everything inside it."""
    yield value
    if isinstance(value, dict):
        for item in value.values():
            yield from parts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from parts(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from parts(getattr(value, name))


def test_an_unknown_balance_is_never_an_unchanged_one() -> None:
    now = play(named("proxyscrape/balance.usd")).result
    assert balance_change({"balance": "118.250", "currency": "USD"}, now) == 0
    assert balance_change({"balance": "120", "currency": "USD"}, now) == Decimal("-1.75")
    for evidence in ({}, {"balance": None, "currency": "USD"}, {"balance": "x", "currency": "USD"}, {"balance": "118.25"}):
        assert balance_change(evidence, now) is None


# -- what is declared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_everything_is_declared(vendor: str) -> None:
    kind = VENDORS[vendor]
    assert kind.name == vendor
    assert kind.title and kind.secret_label and kind.secret_help
    assert kind.docs_url.startswith("https://")
    assert kind.base_url.startswith("https://") and not kind.base_url.endswith("/")
    polling, capabilities = kind.capabilities.polling, kind.capabilities
    assert polling.first > 0 and 0 < polling.fastest <= polling.slowest < polling.timeout
    assert capabilities.settle > 0
    assert (kind.__doc__ or "").count("/") >= 2  # names pages of the vendor's documentation


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_declared_is_there_and_what_is_not_is_not(vendor: str) -> None:
    kind, capabilities = VENDORS[vendor], VENDORS[vendor].capabilities

    def overrides(name: str) -> bool:
        return getattr(kind, name) is not getattr(Vendor, name)

    assert overrides("quote") is capabilities.quote_create
    assert overrides("quote_extension") is capabilities.quote_extend
    assert overrides("list") is capabilities.list_orders
    assert overrides("extend") is overrides("prepare_extend") is capabilities.extend
    assert (capabilities.extend_evidence != "none") is capabilities.extend
    assert overrides("is_duplicate") is (capabilities.create_evidence == "reference")
    assert overrides("reference_in") is (capabilities.create_evidence in ("reference", "search"))
    assert overrides("read_webhook") is (kind.webhook is not None)
    assert all(overrides(name) for name in ("create", "prepare_create", "get", "balance", "delivery"))
    if capabilities.create_evidence not in ("reference", "none"):
        assert overrides("snapshot") and overrides("resolve")


@pytest.mark.parametrize(
    ("vendor", "setting"), [(name, setting) for name, kind in VENDORS.items() for setting in kind.settings], ids=str
)
def test_a_setting_shows_in_the_form_with_all_it_needs(vendor: str, setting: Setting) -> None:
    assert setting.label and setting.help.endswith(".") and setting.placeholder
    assert setting.kind in ("string", "integer", "number", "boolean")
    assert vendor_for(vendor).setting(setting.name) == setting.default
    if setting.choices:
        assert setting.default in setting.choices
        for choice in setting.choices:
            assert vendor_for(vendor, settings={setting.name: choice}).setting(setting.name) == choice
        with pytest.raises(ConfigError, match=setting.name):
            vendor_for(vendor, settings={setting.name: "certainly wrong"}).setting(setting.name)


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_setting_that_is_read_is_declared_and_every_declared_one_is_read(vendor: str) -> None:
    read = {
        node.args[0].value
        for source in [*FOLDER.glob(f"{vendor}.py"), *FOLDER.glob(f"{vendor}_*.py"), *FOLDER.glob(f"{vendor}/*.py")]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "setting"
        and isinstance(node.args[0], ast.Constant)
    }
    assert read == {setting.name for setting in VENDORS[vendor].settings}


# -- what one vendor alone has -------------------------------------------------------------------------------------


def test_proxyscrape_tells_a_refusal_by_its_documented_words_only() -> None:
    exchange = named("proxyscrape/create.placed")
    for text in ("Insufficient wallet balance", "insufficient wallet balance.", "Insufficient wallet balance. Order kept.", ""):
        body = {"success": False, "error": text}
        assert isinstance(play(exchange, [response_of({"status": 200, "json": body})]).error, OutcomeUnknown)
    body = {"success": False, "error": "Insufficient wallet balance."}
    assert type(play(exchange, [response_of({"status": 200, "json": body})]).error) is InsufficientFunds
    assert type(play(exchange, [response_of({"status": 400, "json": body})]).error) is InsufficientFunds


@pytest.mark.parametrize(
    ("case", "duplicate"),
    [
        ("duplicate_reference", True),
        ("already_exists", True),
        ("item_not_available", True),  # the same code: only a try before with an unknown outcome makes it a sign
        ("insufficient_balance", False),
        ("token_refused", False),
        ("key_revoked", False),
    ],
)
def test_voodoo_knows_what_can_mean_that_a_reference_was_used(case: str, duplicate: bool) -> None:
    error = play(named(f"voodoo/create.{case}")).error
    assert isinstance(error, VendorError)
    voodoo: Any = vendor_for("voodoo")
    assert voodoo.is_duplicate(error) is duplicate
    assert not voodoo.is_duplicate(RequestRefused("no status, no code"))


def test_an_iproyal_order_is_extended_when_its_expiry_or_its_history_grew() -> None:
    evidence = play(named("iproyal/snapshot.extend")).result
    iproyal = vendor_for("iproyal")
    assert not iproyal.extended(evidence, play(named("iproyal/extend.not_shown_yet")).result)
    assert iproyal.extended(evidence, play(named("iproyal/extend.extended")).result)
    assert iproyal.extended({"extensions": 0}, play(named("iproyal/extend.extended")).result)
    assert not iproyal.extended({}, play(named("iproyal/extend.extended")).result)
    assert not iproyal.extended({"expires_at": None, "extensions": None}, play(named("iproyal/extend.extended")).result)


@pytest.mark.parametrize("odd", ["A" * 201, "A\x00", "A\ud800", "A\nB"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_an_id_that_the_ledger_could_not_keep_leaves_the_outcome_unknown(vendor: str, odd: str) -> None:
    """It is an answer to a purchase: not a failure, and not an order that nothing could be written down about."""
    exchange = named(PURCHASES[vendor])
    flow = flow_of(vendor_for(vendor, **exchange.data.get("account", {})), exchange)
    assert next(flow).spends
    answer = {"data": odd} if vendor == "proxyscrape" else {"id": odd, "status": "unpaid"}
    with pytest.raises(OutcomeUnknown):
        flow.send(Response(201, {}, json.dumps(answer).encode()))


def test_a_request_shows_neither_body_nor_headers() -> None:
    login = next(vendor_for("voodoo").login())
    assert login.json == {"api_key": "test-token"}
    assert "api_key" not in repr(login)
    assert "Authorization" not in repr(Request("GET", "/", headers={"Authorization": "x"}))
