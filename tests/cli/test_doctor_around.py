"""What the doctor finds around an account: clear text, a second connection with its key, foreign orders, triggerer, backups."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.doctor.around import check_triggerer, in_clear_text
from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.domain.model import Actor, Money, decimal
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Intent, Ledger, facts
from airflow_provider_proxyorders.wallet.reconcile import reconcile
from tests.hooks.connections import REQUESTS, Shops

from .conftest import Command

LIMITS = {"max_order_price": "25.00", "daily_limit": "200.00"}


def examine(command: Command, conn_id: str) -> dict[str, Any]:
    report = json.loads(command("doctor", conn_id, "-o", "json").out)
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("https://api.example.com", False),
        ("http://api.example.com/v1", True),
        ("http://10.1.2.3:8080", True),
        ("http://localhost:8080", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost.example.com", True),
    ],
)
def test_a_key_in_clear_text(url: str, clear: bool) -> None:
    assert in_clear_text(url) is clear


class TestTwoConnections:
    @pytest.fixture
    def two(self, shops: Shops) -> Ledger:
        """One account under two spellings of its host, so under two names for its wallet."""
        hook = shops.hook("iproyal", conn_id="one", extra=LIMITS)
        hook.buyer()
        shops.connect("iproyal", "two", extra=LIMITS, host=shops.box.url("iproyal").replace("127.0.0.1", "localhost"))
        reconcile(ProxyOrdersHook("two").buyer())
        hook.create_order(REQUESTS["iproyal"], order_key="k")
        return hook.ledger

    def test_the_doctor_compares_their_keys(self, shops: Shops, command: Command, two: Ledger) -> None:
        check = examine(command, "two")["connection"]
        assert check["state"] == "note" and "connection 'one' holds the same key" in check["text"]
        assert check["advice"] == "Set the same 'wallet' in 'two' and 'one'."
        assert shops.box.token("iproyal") not in json.dumps(check)

    def test_the_first_use_says_it_once(self, shops: Shops, two: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
        host = f"{shops.box.url('iproyal')}/".replace("127.0.0.1", "127.1")
        shops.connect("iproyal", "three", extra={**LIMITS, "allow_http": True}, host=host)
        ProxyOrdersHook("three").buyer()
        said = capsys.readouterr()
        text = said.out + said.err
        assert "Connection three: connection 'one' holds the same key and pays from wallet 'iproyal:one'" in text
        assert "Set the same 'wallet' in 'three' and 'one'." in text and shops.box.token("iproyal") not in text
        ProxyOrdersHook("three").buyer()
        said = capsys.readouterr()
        assert "same key" not in said.out + said.err, "no later use looks the others up"

    def test_other_keys_are_no_finding(self, shops: Shops, command: Command, two: Ledger) -> None:
        shops.connect("iproyal", "one", password="another key")
        assert examine(command, "two")["connection"]["state"] == "ok"

    def test_reconcile_names_the_connection_and_what_to_set(self, shops: Shops, two: Ledger) -> None:
        report = reconcile(ProxyOrdersHook("two").buyer())
        assert report.foreign and not report.clean
        reason = two.freeze_reason("iproyal:two") or ""
        for part in ("connection 'one'", "wallet 'iproyal:one'", "set the same 'wallet' in 'two' and 'one'"):
            assert part in reason and part in "\n".join(report.lines())
        assert "did not intend" not in reason

    def test_the_doctor_names_the_order(self, shops: Shops, command: Command, two: Ledger) -> None:
        check = examine(command, "two")["list"]
        assert check["state"] == "note" and "1 of them are not in this ledger" in check["text"]
        assert "(bought through 'one')" in check["text"]


def test_an_order_of_a_stranger(shops: Shops, command: Command, ledger: Ledger) -> None:
    hook = shops.hook("iproyal", extra=LIMITS)
    reconcile(hook.buyer())
    assert examine(command, "iproyal_default")["list"]["state"] == "ok"
    stranger = hook.http.run(hook.vendor.create(REQUESTS["iproyal"]), lambda request: None)
    check = examine(command, "iproyal_default")["list"]
    assert check["state"] == "note" and stranger.order_id in check["text"] and "Reconcile" in check["advice"]


def test_a_purchase_that_waits_for_a_person_is_not_nothing(shops: Shops, command: Command) -> None:
    shops.box.fault("voodoo", "create", when="after", times=1, action="reset")
    with pytest.raises(OutcomeUnknown):
        shops.hook("voodoo", extra={"settle": 0, **LIMITS}).create_order(REQUESTS["voodoo"], order_key="k")
    said = " ".join(command("doctor", "voodoo_default").out.split())
    assert "1 of them wait for a person's decision, such as 'k'" in said
    assert "nothing is broken" not in said and "look at: " in said and "ledger" in said.rpartition("look at: ")[2]


class TestWebhook:
    @pytest.mark.parametrize(
        ("settings", "state"),
        [
            ({"webhook_secret": "a-long-enough-secret"}, "ok"),
            ({"webhook_secret": ["new-secret-of-ours", "old-secret-of-ours"]}, "ok"),
            ({"webhook_secret": "a-long-enough-secret", "webhook_scheme": {"kind": "stripe"}}, "ok"),
            ({"webhook_secret": "a-long-enough-secret", "webhook_scheme": {"kid": "body"}}, "skipped"),
        ],
    )
    def test_a_delivery_of_its_own_is_verified(
        self, shops: Shops, command: Command, settings: dict[str, Any], state: str
    ) -> None:
        shops.connect("voodoo", extra={**LIMITS, **settings})
        check = examine(command, "voodoo_default")["webhook"]
        assert check["state"] == state, check
        assert "secret-of-ours" not in check["text"] and "long-enough" not in check["text"]


class TestBackup:
    def test_its_age_is_told(self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path) -> None:
        conn_id = shops.connect("iproyal", extra=LIMITS)
        check = examine(command, conn_id)["ledger"]
        assert "never backed up" in check["text"] and check["state"] == "ok", "it holds no purchase yet"
        price = Money(decimal("1"), "USD")
        ledger.intend(Intent("k", "create", "voodoo", "c", "other", "a" * 64, {}, price, takes_turn=False), Actor())
        check = examine(command, conn_id)["ledger"]
        assert "never backed up" in check["text"] and check["state"] == "note" and "ledger backup" in check["advice"]
        assert examine(command, "no-such")["ledger"]["state"] == "note"
        old = (datetime.now(timezone.utc) - timedelta(days=3, hours=1)).isoformat()
        facts.last_backup(ledger).put(json.dumps({"at": old, "file": "/backups/one.db"}))
        check = examine(command, conn_id)["ledger"]
        assert "last backup 3 days ago, to /backups/one.db" in check["text"] and check["state"] == "ok"


@pytest.mark.parametrize(
    ("seconds", "state"), [(None, None), (5.0, "ok"), (_compat.TRIGGERER_GONE + 1, "broken"), (float("inf"), "broken")]
)
def test_a_triggerer(monkeypatch: pytest.MonkeyPatch, seconds: float | None, state: str | None) -> None:
    monkeypatch.setattr(_compat, "seconds_since_triggerer", lambda: seconds)
    check = check_triggerer()
    assert (check.state if check else None) == state
