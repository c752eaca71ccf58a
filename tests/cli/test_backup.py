"""A copy of a running ledger, and what the restored ledger may buy."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.errors import CapExceeded, ConfigError
from airflow_provider_proxyorders.domain.model import Actor, Money, decimal
from airflow_provider_proxyorders.hooks import deciding
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Intent, Ledger, facts, open_ledger
from tests.hooks.connections import REQUESTS, Shops

from .conftest import Command

WALLET = "iproyal:iproyal_default"


def intend(ledger: Ledger, key: str, wallet: str = WALLET) -> None:
    price = Money(decimal("3"), "USD")
    ledger.intend(Intent(key, "create", "iproyal", "c", wallet, "a" * 64, {}, price, takes_turn=False), Actor())


class TestCopy:
    def test_it_holds_the_commits_in_the_wal(self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path) -> None:
        intend(ledger, "k")
        file = Path(str(ledger.engine.url.database))
        assert file.with_name(file.name + "-wal").stat().st_size > 0, "the newest commits are beside the file"
        said = command("ledger", "backup", str(tmp_path / "copy.db"))
        assert said.status == 0 and "1 purchases" in said.out and "reconcile" in said.out
        copy = open_ledger(f"sqlite:///{tmp_path}/copy.db")
        assert copy.find("k") is not None
        assert oct((tmp_path / "copy.db").stat().st_mode & 0o777) == "0o600"
        assert json.loads(facts.last_backup(ledger).get() or "{}")["file"] == str(tmp_path / "copy.db")

    def test_it_is_whole_while_others_write(self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path) -> None:
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                intend(ledger, f"k{number}")
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(3):
                assert command("ledger", "backup", str(tmp_path / f"copy{number}.db")).status == 0
        finally:
            stop.set()
            writer.join()
        for number in range(3):
            copy = open_ledger(f"sqlite:///{tmp_path}/copy{number}.db")
            for purchase in copy.purchases(limit=1000):
                assert len(copy.history(purchase.order_key)) == 1, "a purchase and its step are one commit"

    def test_it_replaces_nothing(self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path) -> None:
        (tmp_path / "copy.db").write_text("mine")
        said = command("ledger", "backup", str(tmp_path / "copy.db"))
        assert said.status == 1 and "is there already" in said.err
        assert (tmp_path / "copy.db").read_text() == "mine" and not (tmp_path / "copy.db.part").exists()

    def test_a_folder_that_is_missing(self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path) -> None:
        said = command("ledger", "backup", str(tmp_path / "no" / "copy.db"))
        assert said.status == 1 and "cannot be written" in said.err and "Traceback" not in said.err

    def test_no_ledger_at_all(self, shops: Shops, command: Command, tmp_path: Path) -> None:
        said = command("ledger", "backup", str(tmp_path / "copy.db"), "--ledger-url", f"sqlite:///{tmp_path}/typo.db")
        assert said.status == 1 and "is missing" in said.err and not (tmp_path / "typo.db").exists()

    def test_the_ledger_itself_buys_on(self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path) -> None:
        intend(ledger, "k")
        command("ledger", "backup", str(tmp_path / "copy.db"))
        assert ledger.freeze_reason(WALLET) is None
        intend(ledger, "k2")


class TestRestore:
    @pytest.fixture
    def restored(self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path) -> str:
        """The ledger is a restored backup. Order 7001 was bought before it, and another one afterwards, which is returned."""
        hook = shops.hook("iproyal")
        hook.create_order(REQUESTS["iproyal"], order_key="before")
        assert command("ledger", "backup", str(tmp_path / "copy.db")).status == 0
        after = hook.create_order(REQUESTS["iproyal"], order_key="after")
        ledger.engine.dispose()
        file = str(ledger.engine.url.database)
        for suffix in ("-wal", "-shm"):
            Path(file + suffix).unlink(missing_ok=True)
        shutil.copy(tmp_path / "copy.db", file)
        assert ledger.find("before") is not None and ledger.find("after") is None
        return str(after.order_id)

    def test_nothing_is_bought_before_it_was_reconciled(
        self, shops: Shops, command: Command, ledger: Ledger, restored: str
    ) -> None:
        bought = len(shops.bought("iproyal"))
        with pytest.raises(CapExceeded, match="backup of"):
            shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="after")
        said = command("ledger", "unfreeze", WALLET, "--yes")
        assert said.status == 1 and "Reconcile it first" in said.err and ledger.freeze_reason(WALLET)
        reconciled = command("ledger", "reconcile", "iproyal_default")
        assert reconciled.status == 1 and f"FOREIGN, this ledger did not intend it: {restored}" in reconciled.out
        assert len(shops.bought("iproyal")) == bought
        assert command("ledger", "unfreeze", WALLET, "--yes").status == 0
        assert ledger.freeze_reason(WALLET) is None

    def test_a_wallet_from_after_the_backup_waits_too(self, shops: Shops, ledger: Ledger, restored: str) -> None:
        shops.connect("voodoo")
        with pytest.raises(CapExceeded, match="backup of"):
            ProxyOrdersHook("voodoo_default").create_order(REQUESTS["voodoo"], order_key="k")
        assert shops.bought("voodoo") == []

    def test_a_second_restore_asks_again(self, shops: Shops, command: Command, ledger: Ledger, restored: str) -> None:
        command("ledger", "reconcile", "iproyal_default")
        assert command("ledger", "restored", "--yes").status == 0
        with pytest.raises(ConfigError, match="Reconcile it first"):
            deciding.check_unfreeze(ledger, WALLET)

    def test_another_ledger_is_reconciled(self, shops: Shops, command: Command, ledger: Ledger, restored: str) -> None:
        """Neither the one of this Airflow, nor a new one."""
        shops.patch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", "sqlite:////nowhere/ledger.db")
        said = command("ledger", "reconcile", "iproyal_default", "--ledger-url", str(ledger.engine.url))
        assert said.status == 1 and f"FOREIGN, this ledger did not intend it: {restored}" in said.out
        assert f"ledger: {ledger.engine.url}" in said.err and restored in str(ledger.freeze_reason(WALLET))


class TestRestoredByOtherMeans:
    def test_what_was_bought_between_backup_and_restore_is_found(
        self, shops: Shops, command: Command, ledger: Ledger, tmp_path: Path
    ) -> None:
        """The mark is of the newest moment in the ledger, and not of the restore: it is the first comparison of this wallet."""
        hook = shops.hook("iproyal")
        hook.create_order(REQUESTS["iproyal"], order_key="before")
        copied = tmp_path / "plain.db"
        command("ledger", "backup", str(copied))
        after = hook.create_order(REQUESTS["iproyal"], order_key="after")
        ledger.engine.dispose()
        file = str(ledger.engine.url.database)
        for suffix in ("-wal", "-shm"):
            Path(file + suffix).unlink(missing_ok=True)
        shutil.copy(copied, file)
        assert command("ledger", "restored", "--yes").status == 0
        said = command("ledger", "reconcile", "iproyal_default")
        assert f"FOREIGN, this ledger did not intend it: {after.order_id}" in said.out

    def test_each_account_of_the_wallet_is_reconciled(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        other = shops.box.url("iproyal").replace("127.0.0.1", "localhost")
        for conn_id, fields in (("one", {}), ("two", {"host": other})):
            shops.hook("iproyal", conn_id=conn_id, extra={"wallet": "both"}, **fields).buyer()
        command("ledger", "restored", "--yes")
        command("ledger", "reconcile", "one")
        said = command("ledger", "unfreeze", "iproyal:both", "--yes")
        assert said.status == 1 and "first through two" in said.err
        command("ledger", "reconcile", "two")
        assert command("ledger", "unfreeze", "iproyal:both", "--yes").status == 0

    def test_a_connection_is_gone_by_a_persons_word_only(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        """This process may lack a connection that the workers have, and the wallet may have bought since the backup."""
        shops.hook("iproyal").buyer()
        command("ledger", "restored", "--yes")
        there = command("ledger", "unfreeze", WALLET, "--gone", "iproyal_default", "--yes")
        assert there.status == 1 and "'iproyal_default' is there: reconcile" in there.err
        shops.patch.delenv("AIRFLOW_CONN_IPROYAL_DEFAULT")
        guess = command("ledger", "unfreeze", WALLET, "--yes")
        assert guess.status == 1 and "--gone CONN_ID" in guess.err and ledger.freeze_reason(WALLET)
        other = command("ledger", "unfreeze", WALLET, "--gone", "voodoo_default", "--yes")
        assert other.status == 1 and "no account of connection 'voodoo_default' pays" in other.err
        assert command("ledger", "unfreeze", WALLET, "--gone", "iproyal_default", "--yes").status == 0

    def test_the_freeze_is_in_the_wallets_history(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        shops.hook("iproyal").buyer()
        command("ledger", "restored", "--yes")
        assert [(step.what, "backup of" in step.why) for step in ledger.wallet_history(WALLET)] == [("frozen", True)]


def test_a_mount_without_hard_links(
    shops: Shops, command: Command, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    intend(ledger, "k")
    assert command("ledger", "backup", str(tmp_path / "copy.db")).status == 0
    assert open_ledger(f"sqlite:///{tmp_path}/copy.db").find("k") is not None
