"""The sandbox's webhooks: as documented, and misbehaving on demand."""

from __future__ import annotations

import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.sandbox.webhook_sender import payload, post
from airflow_provider_proxyorders.wire.signatures import BadSignature, Scheme

SECRET = "s3cret-for-hooks"


class Receiver:
    """Takes deliveries and answers what it is told to."""

    def __init__(self, *answers: int):
        self.got = []
        self.answers = list(answers) or [200]
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                receiver.got.append((time.time(), dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/voodoo_default"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def wait(self, count, timeout=10):
        end = time.time() + timeout
        while len(self.got) < count and time.time() < end:
            time.sleep(0.02)
        time.sleep(0.2)
        assert len(self.got) == count
        return self.got


def verified(headers, body):
    Scheme().verify(body, {name.lower(): value for name, value in headers.items()}, [SECRET], now=0)
    return json.loads(body)


@pytest.fixture
def ended():
    """Let orders end at a sandbox that delivers with these settings."""
    with Sandbox.start(processing=3600) as box:

        def end(receiver, count=1, status="completed", **settings):
            box.control({"vendor": "voodoo", "webhook": {"url": receiver.url, "secret": SECRET, "gap": 0.2, **settings}})
            for number in range(count):
                box.control({"vendor": "voodoo", "order": {"id": f"o{number}", "status": "pending"}})
            for number in range(count):
                box.control({"vendor": "voodoo", "set_status": {"order_id": f"o{number}", "status": status}})
            return box

        yield end


def test_a_delivery_is_the_documented_one(ended):
    with Receiver() as receiver:
        ended(receiver, status="partial")
        ((_, headers, body),) = receiver.wait(1)
    data = verified(headers, body)
    assert (data["order_id"], data["status"]) == ("o0", "partial")
    assert list(data) == sorted(data) and b": " not in body
    assert not {"id", "item", "price", "source", "created_by", "item_product_type"} & set(data)
    assert {"merchant_order_id", "total_price", "item_id", "codes", "refund_amount", "completed_at"} <= set(data)


def test_only_200_counts_and_tries_end(ended):
    with Receiver(204, 500, 302, 200) as receiver:
        box = ended(receiver)
        got = receiver.wait(3)
        assert [later[0] - earlier[0] > 0.15 for earlier, later in itertools.pairwise(got)] == [True, True]
        assert [attempt.status for attempt in box.state.vendors["voodoo"].webhook_sender.attempts] == [204, 500, 302]


@pytest.mark.parametrize(("mode", "count"), [("doubled", 2), ("delayed", 1), ("never", 0)])
def test_misbehaving(ended, mode, count):
    with Receiver() as receiver:
        ended(receiver, modes=[mode], delay=0.3)
        for _, headers, body in receiver.wait(count, timeout=5 if count else 0.5):
            verified(headers, body)


@pytest.mark.parametrize("mode", ["forged", "altered"])
def test_what_is_not_true_does_not_verify(ended, mode):
    with Receiver() as receiver:
        ended(receiver, modes=[mode])
        ((_, headers, body),) = receiver.wait(1)
        with pytest.raises(BadSignature):
            verified(headers, body)


def test_reordered(ended):
    with Receiver() as receiver:
        ended(receiver, count=2, modes=["held", "normal"], delay=0.3)
        assert [verified(headers, body)["order_id"] for _, headers, body in receiver.wait(2)] == ["o1", "o0"]


def test_it_reaches_nobody_else():
    with pytest.raises(ValueError, match="this machine only"):
        post("http://192.0.2.1/x", b"", {})


def test_payload_keeps_amounts_exact():
    from decimal import Decimal

    assert payload({"id": "1", "price": Decimal("13.50"), "refund_amount": Decimal("4.5")}) == (
        b'{"order_id":"1","refund_amount":4.5,"total_price":13.5}'
    )
