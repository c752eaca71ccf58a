"""``proxyorders doctor``: each part is broken once, and the report names it with its consequence and with advice."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.cli import doctor as cli_doctor
from airflow_provider_proxyorders.domain.errors import LedgerError, OutcomeUnknown
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.inspect import examine
from airflow_provider_proxyorders.ledger.schema import HEAD, VERSION_TABLE
from tests.hooks.connections import REQUESTS, VENDORS, Shops
from tests.ledgers import sqlite_ledger

from .conftest import Command

LEDGER_URL = "AIRFLOW__PROXYORDERS__LEDGER_URL"
LIMITS = {"max_order_price": "25.00", "daily_limit": "100.00", "webhook_secret": "whsec-of-a-test"}
NAMES = ["connection", "auth", "ordering", "balance", "list", "webhook", "caps", "clock", "ledger"]


class Doctor:
    """The command: its JSON and its text must agree."""

    def __init__(self, command: Command, shops: Shops):
        self.command, self.shops = command, shops

    def __call__(self, conn_id: str) -> tuple[int, dict[str, Any], str]:
        before = [self.shops.bought(vendor) for vendor in VENDORS]
        text, as_json = self.command("doctor", conn_id), self.command("doctor", conn_id, "--json")
        assert [self.shops.bought(vendor) for vendor in VENDORS] == before
        report = json.loads(as_json.out)
        assert (text.err, as_json.err, text.status) == ("", "", as_json.status)
        assert [check["name"] for check in report["checks"]] == NAMES
        broken = [check for check in report["checks"] if check["state"] == "broken"]
        assert report["good"] == (not broken) == (as_json.status == 0)
        assert all(check["text"] and check["advice"] for check in broken), "its consequence, and advice"
        for check in report["checks"]:
            assert check["text"].split()[0] in text.out
        return as_json.status, {check["name"]: check for check in report["checks"]}, text.out + as_json.out


@pytest.fixture
def doctor(command: Command, shops: Shops, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    from airflow_provider_proxyorders.transport import worker

    monkeypatch.setattr(worker, "reading_tries", quick(worker.reading_tries))
    return Doctor(command, shops)


def quick(real: Callable[..., Any]) -> Callable[..., Any]:
    """Retries without their pauses."""
    return lambda sleep: real(lambda seconds: None)


def states(checks: dict[str, Any]) -> dict[str, str]:
    """The states of all parts with a fault or a note."""
    return {name: check["state"] for name, check in checks.items() if check["state"] != "ok"}


@pytest.mark.parametrize("vendor", VENDORS)
def test_all_is_well(doctor: Doctor, vendor: str) -> None:
    limits = LIMITS if vendor == "voodoo" else {**LIMITS, "webhook_secret": None}
    status, checks, shown = doctor(doctor.shops.connect(vendor, extra=limits))
    assert (status, states(checks)) == (0, {})
    assert "nothing is broken" in shown
    assert checks["balance"]["text"].endswith("holds 1000.00 USD")
    assert "cannot prove that the key may place orders" in checks["ordering"]["text"]
    assert doctor.shops.box.token(vendor) not in shown and LIMITS["webhook_secret"] not in shown


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_wrong_key(doctor: Doctor, vendor: str) -> None:
    status, checks, shown = doctor(doctor.shops.connect(vendor, password="wrong-key-of-a-test", extra=LIMITS))
    by_name = states(checks)
    assert (status, by_name["auth"], by_name["ordering"], by_name["balance"], by_name["list"]) == (1, "broken", *["skipped"] * 3)
    assert "into the password of connection" in checks["auth"]["advice"]
    assert "wrong-key-of-a-test" not in shown
    assert checks["ledger"]["state"] == "ok", "one part hides no other"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_key_that_may_not_order(doctor: Doctor, vendor: str) -> None:
    doctor.shops.box.control({"vendor": vendor, "permission": "none"})
    status, checks, _ = doctor(doctor.shops.connect(vendor, extra=LIMITS))
    assert (status, checks["auth"]["state"], checks["ordering"]["state"]) == (1, "ok", "broken")
    assert "grant the ordering API" in checks["ordering"]["advice"]


def test_a_dead_vendor(doctor: Doctor) -> None:
    status, checks, _ = doctor(doctor.shops.connect("iproyal", host="http://127.0.0.1:1", extra=LIMITS))
    assert status == 1
    assert states(checks) == {
        "auth": "broken",
        "ordering": "skipped",
        "balance": "skipped",
        "list": "skipped",
        "clock": "skipped",
    }
    assert "http://127.0.0.1:1 cannot be reached" in checks["auth"]["text"]


def test_a_vendor_that_answers_nonsense(doctor: Doctor) -> None:
    doctor.shops.box.fault("iproyal", "balance", action="body", body="<html>maintenance</html>")
    status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
    assert (status, checks["auth"]["state"]) == (1, "broken")


def test_no_caps(doctor: Doctor) -> None:
    status, checks, _ = doctor(doctor.shops.connect("iproyal", extra={"max_order_price": None}))
    assert (status, states(checks)) == (0, {"caps": "note"})
    assert "only tasks with a max_price of their own can buy" in checks["caps"]["text"]
    assert "max_order_price" in checks["caps"]["advice"]


def test_no_limit_in_time(doctor: Doctor) -> None:
    _, checks, _ = doctor(doctor.shops.connect("iproyal"))
    assert (states(checks), checks["caps"]["text"][:23]) == ({"caps": "note"}, "max_order_price 25.00; ")


def test_no_webhook_secret(doctor: Doctor) -> None:
    status, checks, _ = doctor(doctor.shops.connect("voodoo", extra={**LIMITS, "webhook_secret": None}))
    assert (status, states(checks)) == (0, {"webhook": "note"})
    assert "every webhook is refused" in checks["webhook"]["text"]
    assert "'webhook_secret'" in checks["webhook"]["advice"]


@pytest.mark.parametrize(("balance", "min_balance"), [("0", None), ("-1.00", None), ("5.00", "5.00")])
def test_an_empty_wallet(doctor: Doctor, balance: str, min_balance: str | None) -> None:
    doctor.shops.box.control({"vendor": "iproyal", "wallet": {"balance": balance}})
    status, checks, _ = doctor(doctor.shops.connect("iproyal", extra={**LIMITS, "min_balance": min_balance}))
    assert (status, states(checks), checks["balance"]["advice"]) == (0, {"balance": "note"}, "Top it up.")


def test_another_currency(doctor: Doctor) -> None:
    status, checks, _ = doctor(doctor.shops.connect("proxyscrape", extra={**LIMITS, "currency": "EUR"}))
    assert (status, states(checks)) == (1, {"balance": "broken"})


def test_a_list_that_cannot_be_read(doctor: Doctor) -> None:
    doctor.shops.box.fault("iproyal", "list", action="status", status=500)
    status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
    assert (status, states(checks)) == (1, {"list": "broken"})


class TestClock:
    @pytest.mark.parametrize(
        ("off", "state", "says"),
        [
            (3600, "broken", "s behind IPRoyal: expiries are misjudged, and signed webhooks are refused"),
            (-3600, "broken", "s ahead of IPRoyal"),
            (120, "note", "s behind"),
            (5, "ok", "within"),
        ],
    )
    def test_off(self, shops: Shops, capsys: pytest.CaptureFixture[str], off: float, state: str, says: str) -> None:
        """The vendor's clock is the sandbox's web server's; ours is put wrong."""
        arguments = argparse.Namespace(conn_id=shops.connect("iproyal", extra=LIMITS), json=True)
        status = cli_doctor.run(arguments, clock=lambda: time.time() - off)
        (clock,) = (check for check in json.loads(capsys.readouterr().out)["checks"] if check["name"] == "clock")
        assert (clock["state"], status) == (state, int(state == "broken"))
        assert says in clock["text"]

    def test_a_vendor_an_hour_ahead(self, doctor: Doctor) -> None:
        from email.utils import formatdate

        header = {"Date": formatdate(time.time() + 3600, usegmt=True)}
        doctor.shops.box.fault("iproyal", "balance", action="body", body="1000", headers=header)
        doctor.shops.box.fault("iproyal", "list", action="body", body='{"data": []}', headers=header)
        status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, checks["clock"]["state"]) == (1, "broken")
        assert "NTP" in checks["clock"]["advice"]


class TestConnection:
    def test_none_of_that_id(self, doctor: Doctor) -> None:
        status, checks, _ = doctor("nobody")
        assert (status, checks["connection"]["state"]) == (1, "broken")
        assert "'nobody' is missing" in checks["connection"]["text"]
        assert checks["ledger"]["state"] == "ok"

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"password": ""}, "password must hold the access token"),
            ({"extra": {"dayly_limit": "5"}}, "did you mean 'daily_limit'"),
            ({"extra": {"timezone": "Mars/Base"}}, "timezone must be an IANA zone"),
            ({"conn_type": "http"}, "http"),
        ],
    )
    def test_one_that_is_wrong(self, doctor: Doctor, fields: dict[str, Any], says: str) -> None:
        status, checks, _ = doctor(doctor.shops.connect("iproyal", **fields))
        assert (status, checks["connection"]["state"]) == (1, "broken")
        assert says in checks["connection"]["text"]


class TestLedger:
    def test_one_that_is_not_there_yet_is_not_made(self, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(LEDGER_URL, f"sqlite:///{tmp_path}/new.db")
        status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, states(checks)) == (0, {"ledger": "note"})
        assert not (tmp_path / "new.db").exists()

    def test_one_that_cannot_be_made(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(LEDGER_URL, "sqlite:////no/such/folder/l.db")
        status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, states(checks)) == (1, {"ledger": "broken"})
        assert "needs a folder /no/such/folder" in checks["ledger"]["text"]

    def test_one_that_may_only_be_read(self, doctor: Doctor, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        join = "&" if "?" in postgres_url else "?"
        monkeypatch.setenv(LEDGER_URL, f"{postgres_url}{join}options=-c%20default_transaction_read_only%3Don")
        status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, states(checks)) == (1, {"ledger": "broken"})
        assert "read-only transaction" in checks["ledger"]["text"]
        assert "nothing is bought" in checks["ledger"]["advice"]

    def test_a_file_that_may_only_be_read(self, tmp_path: Path) -> None:
        sqlite_ledger(tmp_path, "l.db")
        with pytest.raises(LedgerError, match="readonly database"):
            examine(f"sqlite:///file:{tmp_path}/l.db?mode=ro&uri=true")

    def test_one_that_does_not_answer(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(LEDGER_URL, "postgresql+psycopg://user:hunter2-secret@127.0.0.1:1/none")
        status, checks, shown = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, states(checks)) == (1, {"ledger": "broken"})
        assert "hunter2" not in shown

    def test_one_that_the_workers_do_not_share(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
        status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, states(checks)) == (1, {"ledger": "broken"})
        assert "CeleryExecutor spreads tasks over several hosts" in checks["ledger"]["text"]

    @pytest.mark.parametrize(
        ("version", "state", "says"), [("0001", "note", "its next use upgrades it"), ("9999", "broken", "this package knows")]
    )
    def test_another_version_is_left_alone(self, doctor: Doctor, ledger: Ledger, version: str, state: str, says: str) -> None:
        from sqlalchemy import text

        with ledger.engine.begin() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))
        _, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert checks["ledger"]["state"] == state and says in checks["ledger"]["text"]
        with ledger.engine.connect() as connection:
            assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == version != HEAD

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_looking_changes_nothing(self, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        from sqlalchemy import inspect

        url = f"sqlite:///{tmp_path}/l.db" if kind == "sqlite" else request.getfixturevalue("empty_postgres_url")
        if kind == "sqlite":
            (tmp_path / "l.db").touch()
        assert examine(url).age == "empty"
        ledger = open_ledger(url)
        tables = set(inspect(ledger.engine).get_table_names())
        assert "proxyorders_write_test" not in tables
        assert examine(url).age == "current"
        assert set(inspect(ledger.engine).get_table_names()) == tables

    def test_a_frozen_wallet(self, doctor: Doctor, ledger: Ledger) -> None:
        ledger.freeze("iproyal:iproyal_default", "another buyer uses it")
        status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, states(checks)) == (1, {"ledger": "broken"})
        assert "unfreeze iproyal:iproyal_default" in checks["ledger"]["advice"]

    def test_a_file_that_others_may_read(self, doctor: Doctor, ledger: Ledger, tmp_path: Path) -> None:
        (tmp_path / "ledger.db").chmod(0o644)
        status, checks, _ = doctor(doctor.shops.connect("iproyal", extra=LIMITS))
        assert (status, states(checks)) == (0, {"ledger": "note"})
        assert "mode 0644" in checks["ledger"]["text"] and "0600" in checks["ledger"]["advice"]

    def test_an_unresolved_purchase(self, doctor: Doctor) -> None:
        doctor.shops.box.fault("voodoo", "create", when="after", times=1, action="reset")
        with pytest.raises(OutcomeUnknown):
            doctor.shops.hook("voodoo", extra={"settle": 0}).create_order(REQUESTS["voodoo"], order_key="k")
        doctor.shops.box.clear_faults()
        status, checks, _ = doctor(doctor.shops.connect("voodoo", extra=LIMITS))
        assert (status, states(checks)) == (0, {"ledger": "note"})
        assert "1 purchases of wallet voodoo:voodoo_default are unresolved" in checks["ledger"]["text"]


def test_connections_that_share_a_wallet_are_named(doctor: Doctor, shops: Shops) -> None:
    for conn_id in ("one", "two"):
        ProxyOrdersHook(shops.connect("iproyal", conn_id, extra=LIMITS)).buyer()
    status, checks, said = doctor("two")
    assert status == 0 and "wallet iproyal:one is one for the connections one, two" in checks["ledger"]["text"]
    assert "wallet iproyal:one holds" in said, "every check calls it by that name"
