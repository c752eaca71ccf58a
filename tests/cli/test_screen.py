"""What a command prints: nothing but the answer on stdout, in every form, wherever it goes. Reading changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from sqlalchemy import text

from airflow_provider_proxyorders.cli.main import _parser, main
from airflow_provider_proxyorders.cli.options import confirmed
from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Purchase, Step, VendorOrder, decimal
from airflow_provider_proxyorders.ledger import Intent, Ledger
from tests.hooks.connections import Shops

from .conftest import Command

ask = input
PROGRAM = Path(sys.executable).parent / "proxyorders"


def bought(
    ledger: Ledger, key: str, price: str, *, dag_id: str | None = None, vendor: str = "iproyal", currency: str = "USD"
) -> Purchase:
    money, actor = Money(decimal(price), currency), Actor(dag_id=dag_id, task_id="buy" if dag_id else None)
    intent = Intent(key, "create", vendor, f"{vendor}_default", f"{vendor}:main", "a" * 64, {}, money, takes_turn=False)
    purchase = ledger.claim(ledger.intend(intent, actor), actor, evidence={}, sent_seconds=0)
    order = VendorOrder(f"order-{key}", OrderStatus.DELIVERED, "completed", price=money)
    return ledger.record(purchase, Step.DELIVERED, "it landed", actor, vendor_order=order)


class TestReading:
    """P12: a false calm about money is worse than an error."""

    WORDS = (
        ("ledger", "list"), ("ledger", "list", "--unresolved"), ("ledger", "show", "k"), ("ledger", "spending"),
        ("webhooks", "list"), ("ledger", "reconcile", "iproyal_default"),
        ("ledger", "resolve", "k", "--absent", "--yes"), ("ledger", "unfreeze", "w", "--yes"), ("ledger", "backup", "/nowhere/x"),
    )  # fmt: skip

    @pytest.mark.parametrize("words", WORDS, ids=" ".join)
    def test_no_command_makes_a_ledger(
        self, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
    ) -> None:
        monkeypatch.delenv("AIRFLOW__PROXYORDERS__LEDGER_URL", raising=False)
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
        said = command(*words)
        assert (said.status, said.out) == (1, "")
        assert f"{tmp_path}/proxyorders.db is missing. Nothing was changed." in said.err and "AIRFLOW_HOME" in said.err
        assert list(tmp_path.glob("proxyorders.db*")) == []

    @pytest.mark.parametrize("words", WORDS[:6], ids=" ".join)
    def test_none_upgrades_one(self, shops: Shops, command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
        ledger = Ledger(shops.hook("iproyal").ledger.engine)
        with ledger.engine.begin() as connection:
            connection.execute(text("UPDATE proxyorders_schema SET version_num = '0004'"))
        said = command(*words)
        assert (said.status, said.out) == (1, "") and "version 0004" in said.err and "Nothing was changed" in said.err
        with ledger.engine.begin() as connection:
            assert connection.execute(text("SELECT version_num FROM proxyorders_schema")).scalar() == "0004"

    @pytest.mark.parametrize("words", WORDS[:5], ids=" ".join)
    def test_each_names_its_ledger_beside_the_answer(
        self, shops: Shops, command: Command, ledger: Ledger, words: tuple[str, ...]
    ) -> None:
        bought(ledger, "k", "3")
        said = command(*words)
        assert said.status == 0 and f"ledger: {ledger.engine.url}" in said.err and "ledger: " not in said.out

    @pytest.mark.parametrize(
        "words",
        [
            ("ledger", "resolve", "k", "--give-up", "--yes"),
            ("ledger", "unfreeze", "iproyal:main", "--yes"),
            ("ledger", "restored"),
        ],
        ids=" ".join,
    )
    def test_a_decision_names_its_ledger_too(
        self, shops: Shops, command: Command, ledger: Ledger, words: tuple[str, ...]
    ) -> None:
        bought(ledger, "k", "3")
        said = command(*words)
        assert f"ledger: {ledger.engine.url}" in said.err and "ledger: " not in said.out

    def test_the_password_of_a_ledger_is_not_shown(self, command: Command) -> None:
        said = command("ledger", "list", "--ledger-url", "postgresql://me:db-password@127.0.0.1:1/x")
        assert said.status == 1 and "db-password" not in said.err


class TestForms:
    @pytest.fixture(autouse=True)
    def purchases(self, ledger: Ledger) -> None:
        bought(ledger, "one", "3", dag_id="scrape")
        bought(ledger, "two", "4.5", dag_id="scrape")
        bought(ledger, "three", "10", vendor="voodoo", currency="EUR")

    def test_json_and_yaml_are_the_same(self, command: Command) -> None:
        for words in (
            ("ledger", "list"),
            ("ledger", "show", "one"),
            ("ledger", "spending"),
            ("guarantees",),
            ("webhooks", "list"),
        ):
            one, other = command(*words, "-o", "json"), command(*words, "-o", "yaml")
            assert json.loads(one.out) == yaml.safe_load(other.out), words
        rows = json.loads(command("ledger", "list", "-o", "json").out)
        assert {row["order_key"]: row["price"] for row in rows} == {"one": "3.00", "two": "4.50", "three": "10.00"}

    def test_plain_has_every_column_in_each_line(self, command: Command) -> None:
        lines = command("ledger", "list", "-o", "plain").out.splitlines()
        assert len(lines) == 4 and lines[0].startswith("changed")

    @pytest.mark.parametrize(
        ("words", "keys"),
        [
            (("--vendor", "voodoo"), ("three",)),
            (("--wallet", "iproyal:main"), ("one", "two")),
            (("--conn-id", "iproyal_default"), ("one", "two")),
            (("--dag", "scrape"), ("one", "two")),
            (("--state", "delivered"), ("one", "three", "two")),
            (("--state", "failed"), ()),
            (("--kind", "extend"), ()),
            (("--text", "order-tw"), ("two",)),
            (("--since", "2000-01-01"), ("one", "three", "two")),
            (("--until", "2000-01-01"), ()),
        ],
        ids=" ".join,
    )
    def test_filters(self, command: Command, words: tuple[str, ...], keys: tuple[str, ...]) -> None:
        rows = json.loads(command("ledger", "list", "-o", "json", *words).out)
        assert sorted(row["order_key"] for row in rows) == [*keys]

    @pytest.mark.parametrize("words", [("--since", "yesterday"), ("--state", "lost"), ("-o", "xml"), ("--wallet", "none:such")])
    def test_mistakes(self, command: Command, words: tuple[str, ...]) -> None:
        said = command("ledger", "list", *words)
        assert said.status in (1, 2) and said.out == "" and "Traceback" not in said.err

    def test_sums(self, command: Command) -> None:
        lines = command("ledger", "list").out.splitlines()
        assert "Sum of 3 purchases: 7.50 USD" in lines and "Sum of 3 purchases: 10.00 EUR" in lines

    @pytest.mark.parametrize(
        ("by", "groups"),
        [
            ("wallet", {("iproyal:main", "7.50", "USD", 2), ("voodoo:main", "10.00", "EUR", 1)}),
            ("dag", {("scrape", "7.50", "USD", 2), (None, "10.00", "EUR", 1)}),
        ],
    )
    def test_spending(self, command: Command, by: str, groups: set[tuple[str | None, str, str, int]]) -> None:
        said = json.loads(command("ledger", "spending", "--by", by, "-o", "json").out)
        assert {(row[by], row["spent"], row["currency"], row["purchases"]) for row in said["rows"]} == groups
        assert {(each["currency"], each["spent"]) for each in said["sums"]} == {("USD", "7.50"), ("EUR", "10.00")}

    @pytest.mark.parametrize(("by", "length"), [("day", 10), ("month", 7)])
    def test_spending_by_time(self, command: Command, ledger: Ledger, by: str, length: int) -> None:
        rows = json.loads(command("ledger", "spending", "--by", by, "-o", "json").out)["rows"]
        assert {(len(row[by]), row["wallet"], row["spent"]) for row in rows} == {
            (length, "iproyal:main", "7.50"), (length, "voodoo:main", "10.00"),
        }  # fmt: skip
        table = command("ledger", "spending", "--by", by).out
        assert "SPENT" in table and "7.50 USD spent, 0.00 reserved, 2 purchases" in table

    def test_what_is_reserved_is_told_apart(self, command: Command, ledger: Ledger) -> None:
        price = Money(decimal("5"), "USD")
        intent = Intent("open", "create", "iproyal", "c", "iproyal:main", "a" * 64, {}, price, takes_turn=False)
        ledger.intend(intent, Actor())
        [row] = json.loads(command("ledger", "spending", "--by", "wallet", "--wallet", "iproyal:main", "-o", "json").out)["rows"]
        assert (row["spent"], row["reserved"]) == ("7.50", "5.00")

    def test_a_vendors_text_steers_no_terminal(self, command: Command, ledger: Ledger) -> None:
        """P13."""
        order = VendorOrder("7001", OrderStatus.DELIVERED, "done\x1b[31m[bold]x[/bold]", price=Money(decimal("1"), "USD"))
        intent = Intent(
            "odd", "create", "iproyal", "c", "iproyal:main", "a" * 64, {}, Money(decimal("1"), "USD"), takes_turn=False
        )
        purchase = ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=0)
        ledger.record(purchase, Step.DELIVERED, "found \x1b[2J", Actor(), vendor_order=order)
        for words in (("list",), ("show", "odd")):
            assert "\x1b" not in command("ledger", *words).out
        assert "[bold]x[/bold]" in command("ledger", "show", "odd").out, "no markup either"


def run(words: list[str], shops: Shops, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([PROGRAM, *words], capture_output=True, timeout=120, check=False, **options)  # type: ignore[call-overload, no-any-return]


HELP = (
    (), ("doctor",), ("guarantees",), ("ledger",), ("ledger", "list"), ("ledger", "show"), ("ledger", "resolve"),
    ("ledger", "unfreeze"), ("ledger", "spending"), ("ledger", "backup"), ("webhooks",), ("webhooks", "serve"),
    ("webhooks", "list"), ("webhooks", "send-test"), ("demo",), ("new-vendor",), ("ledger", "restored"), ("ledger", "reconcile"),
    ("sandbox",),
)  # fmt: skip


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_of_every_command(command: Command, words: tuple[str, ...]) -> None:
    said = command(*words, "--help")
    assert said.status == 0 and said.err == "" and "\x1b" not in said.out
    assert " ".join(["proxyorders", *words]) in said.out.splitlines()[0], "its own usage comes first"
    if "--ledger-url" in said.out:
        assert "[proxyorders] ledger_url" in " ".join(said.out.split()), "a section is no markup"


def test_help_at_a_terminal_looks_like_airflows(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for words in HELP:
        if words == ("sandbox",):
            continue  # a program of its own, in plain text
        assert "\x1b[" in command(*words, "--help").out, words
    steps = command("ledger", "backup", "--help").out
    assert "  2. start Airflow" in steps, "each step has its own line"


def test_json_is_alone_on_stdout(shops: Shops) -> None:
    """Airflow's masker warns about ``"currency": "USD"`` on stdout."""
    shops.connect("voodoo", extra={"currency": "USD"})
    done = run(["doctor", "voodoo_default", "-o", "json"], shops)
    assert json.loads(done.stdout)["conn_id"] == "voodoo_default", done.stderr


def test_a_reader_that_closes_early(shops: Shops, ledger: Ledger) -> None:
    for number in range(300):
        bought(ledger, f"{'k' * 300}{number}", "1")
    words = [PROGRAM, "ledger", "list", "--limit", "300"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None and listing.stderr is not None
        assert listing.stdout.readline().startswith(b"CHANGED")
        listing.stdout.close()
        errors = listing.stderr.read().decode()
    assert listing.returncode == 0 and "Traceback" not in errors and "BrokenPipe" not in errors


def test_ascii_without_a_terminal(shops: Shops, ledger: Ledger) -> None:
    bought(ledger, "schlüssel-日本", "1")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "TERM": "dumb"}
    done = run(["ledger", "list"], shops, env=environment)
    assert done.returncode == 0 and done.stdout.isascii() and b"schl?ssel" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_a_closed_stream(command: Command, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As with ``<&-`` and ``>&-``."""
    assert main(["ledger", "list"]) == 0
    monkeypatch.setattr(sys, name, None)
    monkeypatch.setattr("builtins.input", ask)
    assert main(["ledger", "list"]) == 0
    assert confirmed("Sure?", False) is False, "without an answer, nothing is decided"


def test_a_full_disk_behind_stdout(shops: Shops, ledger: Ledger) -> None:
    bought(ledger, "k", "1")
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, "ledger", "list"], stdout=full, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 1 and b"No space left" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "talks"), [("doctor demo", False), ("doctor serve", False), ("demo", True), ("webhooks serve", True)]
)
def test_only_commands_that_talk_keep_stdout(words: str, talks: bool) -> None:
    """A connection may have the name of one of them."""
    assert _parser("proxyorders").parse_args(words.split()).talks is talks


def test_the_same_as_a_command_of_airflow(shops: Shops, ledger: Ledger) -> None:
    bought(ledger, "k", "1")
    program = Path(sys.executable).parent / "airflow"
    done = subprocess.run([program, "proxyorders", "ledger", "list", "-o", "json"], capture_output=True, timeout=120, check=False)
    rows = json.loads(done.stdout[done.stdout.index(b"[\n") :])  # on Python 3.14 Airflow warns of itself before
    assert [row["order_key"] for row in rows] == ["k"], done.stderr
    assert f"ledger: {ledger.engine.url}".encode() in done.stderr
