"""The receiver's answers and its inbox: forged, altered, replayed, huge, slow and deep webhooks leave no trace."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import logging
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from airflow_provider_proxyorders.ledger.inbox import Hint
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.webhooks.refusals import RefusalLog, Refused
from airflow_provider_proxyorders.wire.signatures import Scheme

from .conftest import SCHEME, SECRET, Running, webhook_body


def test_a_true_webhook_is_stored_before_it_is_answered(running: Running) -> None:
    assert running.post(webhook_body()) == 200
    (hint,) = running.kept()
    assert (hint.order_id, hint.reference, hint.status) == (
        "018f7a20-3c51-7d14-8b0e-5a1f6c2d9e77",
        "af-7c1e9b02",
        "completed",
    )
    assert (hint.conn_id, hint.wallet, hint.times) == ("voodoo_default", "voodoo:voodoo_default", 1)


def test_delivered_codes_stay_out_of_the_database(running: Running) -> None:
    running.post(webhook_body(codes=["VERY-SECRET-CODE"]))
    with running.inbox.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM proxyorders_deliveries").fetchall()
    assert len(rows) == 1 and "VERY-SECRET" not in str(rows)


def test_copies_are_counted_and_not_kept_again(running: Running) -> None:
    """Replayed hundreds of times, twenty at once: one row."""
    body = webhook_body()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: running.post(body), range(400)))
    assert set(answers) == {200}
    (hint,) = running.kept()
    assert hint.times == 400


ATTACKS = {
    "unknown connection": (lambda r: r.post(webhook_body(), conn_id="nobody"), 401),
    "a vendor without webhooks": (lambda r: r.post(webhook_body(), conn_id="iproyal_default"), 401),
    "no connection": (lambda r: r.post(webhook_body(), conn_id=""), 404),
    "a deeper path": (lambda r: r.post(webhook_body(), conn_id="voodoo_default/x"), 404),
    "a line of its own for the log": (lambda r: r.post(webhook_body(), conn_id="nobody%0AWebhook kept"), 404),
    "no signature": (lambda r: r.post(webhook_body(), **{"x-webhook-signature": ""}), 401),
    "malformed signature": (lambda r: r.post(webhook_body(), **{"x-webhook-signature": "sha256=zz"}), 401),
    "right code, no prefix": (
        lambda r: r.post(
            webhook_body(), **{"x-webhook-signature": SCHEME.sign(webhook_body(), SECRET)["x-webhook-signature"][7:]}
        ),
        401,
    ),
    "forged": (lambda r: r.post(webhook_body(), secret="guess"), 401),
    "other connection's secret": (lambda r: r.post(webhook_body(), secret="another-secret"), 401),
    "empty secret": (lambda r: r.post(webhook_body(), secret="", conn_id="voodoo_bare"), 401),
    "connection without a secret": (lambda r: r.post(webhook_body(), conn_id="voodoo_bare"), 401),
    "altered by one byte": (
        lambda r: r.post(
            webhook_body(total_price=5.5), **{"x-webhook-signature": SCHEME.sign(webhook_body(), SECRET)["x-webhook-signature"]}
        ),
        401,
    ),
    "not json": (lambda r: r.post(b"order=1"), 400),
    "truncated": (lambda r: r.post(webhook_body()[:-10]), 400),
    "empty": (lambda r: r.post(b""), 400),
    "no order id": (lambda r: r.post(b'{"status":"completed"}'), 400),
    "order id is a list": (lambda r: r.post(b'{"order_id":[1],"status":"completed"}'), 400),
    "deep json": (lambda r: r.post(webhook_body(fields=json.loads("[" * 600 + "]" * 600))), 400),
    "very deep json": (lambda r: r.post(b"[" * 30_000 + b"]" * 30_000), 400),
    "not utf-8": (lambda r: r.post(b'{"order_id":"\xff\xfe","status":"completed"}'), 400),
    "an id that no database takes": (lambda r: r.post(webhook_body("nul\x00")), 400),
    "half a letter": (lambda r: r.post(b'{"order_id":"\\ud800","status":"completed"}'), 400),
    "long id": (lambda r: r.post(webhook_body("x" * 300)), 400),
    "too large": (lambda r: r.post(b"x" * (64 * 1024 + 1)), 413),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_has_no_effect(running: Running, attack: str) -> None:
    send, status = ATTACKS[attack]
    assert send(running) == status
    assert running.kept() == []
    assert running.post(webhook_body()) == 200, "and the receiver still works"


def test_answers_tell_nothing(running: Running) -> None:
    forged = requests.post(
        f"{running.url}/voodoo_default", data=webhook_body(), headers=SCHEME.sign(webhook_body(), "x"), timeout=10
    )
    true = requests.post(
        f"{running.url}/voodoo_default", data=webhook_body(), headers=SCHEME.sign(webhook_body(), SECRET), timeout=10
    )
    assert (forged.content, true.content) == (b"", b"")
    assert "server" not in forged.headers or "proxyorders" not in forged.headers["server"]


class Said(logging.Handler):
    """The receiver's log, under every earlier setup of the process's logging."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def test_the_log_tells_an_operator_everything_but_secrets(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, log = logging.getLogger("airflow_provider_proxyorders.webhooks.refusals"), Said()
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.setattr(logger, "level", logging.WARNING)
    logger.addHandler(log)
    try:
        body, forged = webhook_body(codes=["VERY-SECRET-CODE"]), SCHEME.sign(webhook_body(), "guessed-secret")
        running.post(body, secret="guess")
        running.post(body, **{"x-webhook-signature": forged["x-webhook-signature"]})
        running.post(body, conn_id="voodoo_bare")
        running.post(body, conn_id="nobody")
        running.post(body[:-1])
    finally:
        logger.removeHandler(log)
    assert log.texts[:-1] == [
        "Webhook refused with 401: voodoo_default: the signature does not fit these bytes and any of the connection's secrets",
        "Webhook refused with 401: voodoo_bare: the connection has no webhook secret",
        "Webhook refused with 401: connection '...' is missing. Nothing was sent. Create it under Admin > Connections, with the "
        "vendor as its type, or correct conn_id. ('nobody')",
    ]
    assert log.texts[-1].startswith("Webhook refused with 400: voodoo_default: its body is unreadable: not JSON")
    hidden = (SECRET, "another-secret", "guessed-secret", "VERY-SECRET", forged["x-webhook-signature"][7:])
    assert not [text for text in hidden if text in "\n".join(log.texts)]


def test_a_reason_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = RefusalLog(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for number in range(500):
            log.add(Refused(401, "unknown", detail=f" ('made-up-{number}')"))
            log.add(Refused(401, "unknown", "voodoo_default"))
        now[0] = 60.0
        log.add(Refused(401, "unknown", detail=" ('another')"))
    assert caplog.messages == [
        "Webhook refused with 401: unknown ('made-up-0')",
        "Webhook refused with 401: voodoo_default: unknown",
        "Webhook refused with 401: unknown ('another'); 499 more for this reason since the last such line",
    ]


def test_the_time_of_an_answer_does_not_tell_which_connections_exist(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up of the name takes time; a proven connection needs none, and what is refused early reads no body."""
    from airflow.secrets.environment_variables import EnvironmentVariablesBackend

    real = EnvironmentVariablesBackend.get_conn_value

    def slow(self: Any, conn_id: str, *args: Any, **options: Any) -> Any:
        time.sleep(0.2)
        return real(self, conn_id, *args, **options)

    monkeypatch.setattr(EnvironmentVariablesBackend, "get_conn_value", slow)
    monkeypatch.setattr("airflow_provider_proxyorders.webhooks.receiver.REFUSAL_STEP", 1.0)
    assert running.post(webhook_body()) == 200
    for body in (webhook_body(), b"x" * 70_000):
        took = []
        for name in ("voodoo_default", "nobody-at-all", "iproyal_default"):
            began = time.monotonic()
            assert running.post(body, conn_id=name, secret="guess") == (401 if len(body) < 70_000 else 413)
            took.append(time.monotonic() - began)
        assert all(abs(seconds - 1.0) < 0.15 or abs(seconds - 2.0) < 0.15 for seconds in took), took
        assert min(took) >= 1.0, took


def test_a_mistake_of_ours_shows_no_variable(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken(*_: Any) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr("airflow_provider_proxyorders.webhooks.receiver._hint", mistaken)
    with caplog.at_level(logging.DEBUG):
        assert running.post(webhook_body()) == 503
    assert SECRET not in caplog.text and not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods(running: Running, method: str) -> None:
    answer = requests.request(method, f"{running.url}/voodoo_default", timeout=10)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_any_content_type_and_both_secrets_while_one_is_changed(running: Running) -> None:
    assert running.post(webhook_body("a"), **{"content-type": "text/plain"}) == 200
    assert running.post(webhook_body("b"), conn_id="voodoo_rotating", secret="new-secret-1") == 200
    assert running.post(webhook_body("c"), conn_id="voodoo_rotating", secret=SECRET) == 200
    assert [hint.order_id for hint in running.kept()] == ["a", "b", "c"]


def raw(running: Running) -> socket.socket:
    parts = urlsplit(running.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)


def test_a_body_that_is_announced_too_large_is_not_read(running: Running) -> None:
    with raw(running) as sock:
        sock.sendall(b"POST /voodoo_default HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 413")


def test_an_endless_body_ends(running: Running) -> None:
    with raw(running) as sock:
        sock.sendall(b"POST /voodoo_default HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        for _ in range(4):
            sock.sendall(chunk)
        assert sock.recv(100).startswith(b"HTTP/1.1 413")


def test_a_slow_body_is_given_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_proxyorders.webhooks.receiver.BODY_TIMEOUT", 0.5)
    with raw(running) as sock:
        sock.sendall(b"POST /voodoo_default HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert sock.recv(100).startswith(b"HTTP/1.1 408")


def test_a_hundred_slow_bodies_hold_up_no_other_webhook(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_proxyorders.webhooks.receiver.BODY_TIMEOUT", 60.0)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(raw(running)) for _ in range(100)]
        for sock in socks:
            sock.sendall(b"POST /voodoo_default HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        began = time.monotonic()
        assert running.post(webhook_body()) == 200
        assert time.monotonic() - began < 50, "before any of them was given up"


def test_a_sender_that_hangs_up_in_the_middle_leaves_nothing(running: Running) -> None:
    body = webhook_body()
    signed = SCHEME.sign(body, SECRET)["x-webhook-signature"]
    head = f"POST /voodoo_default HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: {signed}\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(20):
        with raw(running) as sock:
            sock.sendall(head.encode() + body[:-1])
    assert running.post(webhook_body("other")) == 200
    assert [hint.order_id for hint in running.kept()] == ["other"]


SCHEMES = {
    "timestamp": {"kind": "timestamp", "header": "X-Signature", "prefix": "v1="},
    "stripe": {"kind": "stripe", "header": "Stripe-Signature"},
    "standard": vars(
        Scheme("standard", header="webhook-signature", timestamp_header="webhook-timestamp", id_header="webhook-id")
    ),
}


@pytest.mark.parametrize("kind", SCHEMES)
def test_old_and_future_timestamps(running: Running, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The connection says how its vendor signs. A right signature with an old or a future time is refused."""
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
    extra = {"webhook_secret": secret, "webhook_scheme": SCHEMES[kind]}
    connection = {"conn_type": "voodoo", "password": "ak_key", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_STAMPED", json.dumps(connection))
    scheme = Scheme(**{**vars(SCHEME), **SCHEMES[kind]})

    def post(age: float, body: bytes = webhook_body(), stated_age: float | None = None) -> int:
        headers = scheme.sign(body, secret, now=time.time() - age, message_id="msg_1")
        if stated_age is not None:  # a captured one, with a fresh timestamp written into it
            stamps = str(int(time.time() - age)), str(int(time.time() - stated_age))
            headers = {name: value.replace(*stamps) for name, value in headers.items()}
        return requests.post(f"{running.url}/stamped", data=body, headers=headers, timeout=10).status_code

    assert [post(age) for age in (310, 3600, 1e6, -310, -3600)] == [401] * 5
    assert post(3600, stated_age=0) == 401
    assert running.post(webhook_body(), conn_id="stamped", secret=secret) == 401, "signed in another way"
    assert running.kept() == []
    assert [post(age) for age in (0, 200, -200)] == [200] * 3
    assert len(running.kept()) == 1


def test_a_webhook_is_answered_without_a_call_to_its_vendor(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox.start() as box:
        connection = {"conn_type": "voodoo", "host": box.url("voodoo"), "password": "ak_key", "extra": {"webhook_secret": SECRET}}
        monkeypatch.setenv("AIRFLOW_CONN_BOXED", json.dumps(connection))
        assert running.post(webhook_body(), conn_id="boxed") == 200
        assert running.post(webhook_body(), conn_id="boxed", secret="guess") == 401
        assert box.book.count("voodoo") == 0


@pytest.mark.parametrize("options", [{"webhook_rate": "1"}])
def test_a_flood_of_true_webhooks_is_slowed(running: Running) -> None:
    answers = [running.post(webhook_body(str(number))) for number in range(10)]
    assert answers[:4] == [200] * 4 and 429 in answers[4:]
    body = webhook_body("more")
    refused = requests.post(f"{running.url}/voodoo_default", data=body, headers=SCHEME.sign(body, SECRET), timeout=10)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert running.post(webhook_body("forged"), secret="guess") == 401, "who cannot sign cannot use up what others may send"
    assert running.post(webhook_body("other"), conn_id="voodoo_other", secret="another-secret") == 200


def test_a_stolen_secret_cannot_fill_the_disk(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_proxyorders.ledger.intake.MOST_A_DAY", 5)
    answers = [running.post(webhook_body(str(number))) for number in range(8)]
    assert answers == [200] * 5 + [429] * 3
    assert running.post(webhook_body("other"), conn_id="voodoo_other", secret="another-secret") == 200
    assert running.post(webhook_body("0")) == 200, "a copy makes no row"
    assert len(running.kept()) == 6 and running.kept()[0].times == 2


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_value_that_the_database_refuses_fails_alone(running: Running) -> None:
    """Without this, one connection's wallet could stop the webhooks of all others that share its commit."""
    bad = {3, 4, 11}
    hints = [Hint(f"d{n}", "c", "w\0" if n in bad else "w", f"o{n}", None, "completed") for n in range(16)]
    errors = running.inbox.keep_each(hints)
    assert {number for number, error in enumerate(errors) if error is not None} == bad
    assert {hint.order_id for hint in running.kept()} == {f"o{number}" for number in set(range(16)) - bad}


def test_when_the_store_is_down_the_vendor_is_asked_to_send_again(running: Running) -> None:
    assert running.post(webhook_body("before")) == 200
    with running.inbox.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE proxyorders_deliveries RENAME TO gone")
    answer = requests.post(
        f"{running.url}/voodoo_default", data=webhook_body(), headers=SCHEME.sign(webhook_body(), SECRET), timeout=30
    )
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    with running.inbox.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO proxyorders_deliveries")
    assert running.post(webhook_body()) == 200
    assert len(running.kept()) == 2


def test_a_webhook_is_kept_under_the_wallet_of_its_account(running: Running) -> None:
    """Both connections have one key, and the ledger knows its wallet by the one that bought first."""
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    ProxyOrdersHook("voodoo_default").buyer()
    assert running.post(webhook_body(), conn_id="voodoo_other", secret="another-secret") == 200
    assert [(hint.conn_id, hint.wallet) for hint in running.kept()] == [("voodoo_other", "voodoo:voodoo_default")]
