"""``proxyorders webhooks list``: all webhooks, and the webhooks about orders outside of the ledger."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.model import Actor, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from tests.hooks.connections import Shops

from .conftest import Command
from .test_ledger import unknown


def came(ledger: Ledger, order_id: str, *, wallet: str = "voodoo:mine", reference: str | None = None) -> None:
    Inbox(ledger.engine).keep([Hint(f"{wallet}/{order_id}", "mine", wallet, order_id, reference, "completed")])


def test_nothing_came(shops: Shops, command: Command) -> None:
    said = command("webhooks", "list")
    assert (said.status, said.out) == (0, "no webhook came\n")


def test_the_newest_first_with_all_that_is_known(shops: Shops, command: Command, ledger: Ledger) -> None:
    came(ledger, "order-1", reference="af-1")
    came(ledger, "order-2")
    came(ledger, "order-1", reference="af-1")
    headings, newest, older = command("webhooks", "list").out.splitlines()
    assert headings.split()[2:] == ["TIMES", "CONNECTION", "STATUS", "ORDER", "REFERENCE"]
    assert newest.split()[2:] == ["x1", "mine", "completed", "order-2", "-"]
    assert older.split()[2:] == ["x2", "mine", "completed", "order-1", "af-1"]
    assert command("webhooks", "list", "--limit", "1").out.splitlines()[1:] == [newest]


def test_only_webhooks_about_orders_outside_of_the_ledger(shops: Shops, command: Command, ledger: Ledger) -> None:
    purchase = unknown(ledger, "k", vendor="voodoo", conn_id="mine", wallet="voodoo:mine")
    ledger.record(purchase, Step.PLACED, "found", Actor(), vendor_order=VendorOrder("known", OrderStatus.PENDING, "pending"))
    came(ledger, "known")
    said = command("webhooks", "list", "--unmatched")
    assert (said.status, said.out) == (0, "every webhook is about an order of the ledger\n")
    came(ledger, "stranger")
    came(ledger, "known", wallet="voodoo:other")  # the same id in another wallet is another order
    lines = command("webhooks", "list", "--unmatched").out.splitlines()[1:]
    assert [line.split()[5] for line in lines] == ["known", "stranger"]
    assert len(command("webhooks", "list").out.splitlines()) == 1 + 3


class TestSendTest:
    @pytest.fixture
    def receiver(self, shops: Shops, ledger: Ledger) -> Iterator[str]:
        """Our receiver as a program; returns its address for the connection."""
        shops.connect("voodoo", extra={"webhook_secret": "a-long-enough-secret"})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program = [Path(sys.executable).parent / "proxyorders", "webhooks", "serve", "--port", str(port)]
        environment = {**os.environ, "_AIRFLOW_PROCESS_CONTEXT": "client"}
        with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as serving:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/voodoo_default"
            serving.terminate()

    def test_from_the_signature_to_the_inbox(self, shops: Shops, command: Command, ledger: Ledger, receiver: str) -> None:
        said = command("webhooks", "send-test", "voodoo_default", "--url", receiver)
        assert said.status == 0 and "accepted and stored" in said.out, said.out
        assert "proxyorders-test-" in command("webhooks", "list", "--unmatched").out
        shops.connect("voodoo", extra={"webhook_secret": "another-long-secret"})
        refused = command("webhooks", "send-test", "voodoo_default", "--url", receiver)
        assert refused.status == 1 and "answered 401" in refused.out and "another-long-secret" not in refused.out

    @pytest.mark.parametrize(
        ("vendor", "extra", "says"), [("iproyal", {}, "lacks webhooks"), ("voodoo", {}, "lacks the webhook_secret")]
    )
    def test_a_connection_without_webhooks(
        self, shops: Shops, command: Command, vendor: str, extra: dict[str, str], says: str
    ) -> None:
        said = command("webhooks", "send-test", shops.connect(vendor, extra=extra), "--url", "http://127.0.0.1:9/x")
        assert said.status == 1 and says in said.err

    def test_nobody_listens(self, shops: Shops, command: Command) -> None:
        conn_id = shops.connect("voodoo", extra={"webhook_secret": "a-long-enough-secret"})
        said = command("webhooks", "send-test", conn_id, "--url", "http://127.0.0.1:9/x")
        assert said.status == 1 and "gives no answer" in said.err and "Traceback" not in said.err
