"""A person's decision: checked against ledger, vendor and inbox, and kept with who, when and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.errors import ConfigError, OrderKeyConflict, OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step, decimal
from airflow_provider_proxyorders.hooks import deciding
from airflow_provider_proxyorders.ledger import Intent, Ledger
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from airflow_provider_proxyorders.purchase.decision import Answer
from tests.counted import counted
from tests.hooks.connections import REQUESTS, Shops

from .conftest import Command

WALLET = "voodoo:voodoo_default"


@pytest.fixture
def lost(shops: Shops, ledger: Ledger) -> str:
    """Voodoo took key ``k``, its answer was lost, and the evidence cannot decide. Returns the order's id."""
    shops.box.fault("voodoo", "create", when="after", times=1, action="reset")
    with pytest.raises(OutcomeUnknown):
        shops.hook("voodoo", extra={"settle": 0}).create_order(REQUESTS["voodoo"], order_key="k")
    return shops.bought("voodoo")[0].order_id


def find(ledger: Ledger, key: str = "k") -> Purchase:
    purchase = ledger.find(key)
    assert purchase is not None
    return purchase


def intended(ledger: Ledger, key: str = "k", fingerprint: str = "a" * 64) -> Purchase:
    price = Money(decimal("3"), "USD")
    return ledger.intend(Intent(key, "create", "voodoo", "voodoo_default", WALLET, fingerprint, {"item_id": 1}, price), Actor())


class TestWho:
    def test_the_uid_counts_whatever_the_environment_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import pwd

        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.setenv(name, "the-boss")
        name = pwd.getpwuid(os.getuid()).pw_name
        assert deciding.person().host.startswith(f"{name}@") and "the-boss" not in deciding.person().host

    def test_a_uid_without_a_name(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        """Kubernetes ``runAsUser``."""
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            shops.patch.delenv(name, raising=False)
        shops.patch.setattr(os, "getuid", lambda: 54321)
        assert command("ledger", "resolve", "k", "--adopt", lost, "--yes").status == 0
        assert ledger.history("k")[-1].actor.host.startswith("uid 54321@")

    @pytest.mark.parametrize("name", ["ada", "ada\n\x00lovelace", "a" * 900])
    def test_an_airflow_user(self, shops: Shops, ledger: Ledger, lost: str, name: str) -> None:
        purchase = deciding.decide(ledger, "k", Answer("adopt", lost, note="saw it in the dashboard"), deciding.person(name))
        assert purchase.order_id == lost
        step = ledger.history("k")[-1]
        assert "(Airflow user)@" in step.actor.host and step.actor.host.startswith("a") and len(step.actor.host) <= 250
        assert "saw it in the dashboard" in step.why and lost in step.why


class TestAdopt:
    def test_an_order_with_another_reference(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        shops.box.control({"vendor": "voodoo", "order": {"id": "order-9", "status": "completed", "merchant_order_id": "theirs"}})
        said = command("ledger", "resolve", "k", "--adopt", "order-9", "--yes")
        assert said.status == 1 and "another purchase's" in said.err and "theirs" in said.err
        assert said.err.count("Nothing was changed.") == 1 and "--unchecked" not in said.err
        assert find(ledger).step is Step.QUARANTINED

    def test_the_order_of_another_purchase(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        assert command("ledger", "resolve", "k", "--adopt", lost, "--yes").status == 0
        shops.box.fault("voodoo", "create", when="after", times=1, action="reset")
        with pytest.raises(OutcomeUnknown):
            shops.hook("voodoo", extra={"settle": 0}).create_order(REQUESTS["voodoo"], order_key="second")
        for more in ((), ("--unchecked",)):
            said = command("ledger", "resolve", "second", "--adopt", lost, "--yes", *more)
            assert said.status == 1 and "belongs to order key 'k' already" in said.err
        assert find(ledger, "second").step is Step.QUARANTINED

    def test_the_reason_is_kept(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        command("ledger", "resolve", "k", "--adopt", lost, "--yes", "--because", "support says so")
        assert "support says so" in ledger.history("k")[-1].why
        assert "support says so" in command("ledger", "show", "k").out


class TestAbsent:
    def test_what_was_seen_is_said_and_kept(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        hint = Hint("d" * 64, "voodoo_default", WALLET, "order-77", None, "completed")
        Inbox(ledger.engine).keep([hint])
        said = command("ledger", "resolve", "k", "--absent", answers=("y",))
        assert said.status == 0
        for part in ("Voodoo now: ", "No webhook names an order for reference af-", "order-77 (completed)"):
            assert part in said.out, said.out
            assert part in ledger.history("k")[-1].why

    def test_one_that_a_webhook_names_is_refused(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        reference = str(find(ledger).request["merchant_order_id"])
        Inbox(ledger.engine).keep([Hint("d" * 64, "voodoo_default", WALLET, lost, reference, "completed")])
        said = command("ledger", "resolve", "k", "--absent", "--yes")
        assert said.status == 1 and f"--adopt {lost}" in said.err and "Nothing was changed" in said.err
        assert find(ledger).step is Step.QUARANTINED

    def test_one_that_the_vendor_shows_is_refused(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        shops.box.fault("iproyal", "create", when="after", times=1, action="reset")
        rules: list[object] = []
        buyer = shops.hook("iproyal").buyer(
            say=lambda line: "unknown" in line and rules.append(shops.box.fault("iproyal", action="status", status=400))
        )
        with pytest.raises(ProxyOrdersError):
            buyer.place(REQUESTS["iproyal"], order_key="k")
        shops.box.clear_faults()
        order_id = shops.bought("iproyal")[0].order_id
        said = command("ledger", "resolve", "k", "--absent", "--yes")
        assert rules and said.status == 1 and f"--adopt {order_id}" in said.err
        assert find(ledger).unresolved

    def test_without_the_vendor_it_needs_more_than_a_yes(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        shops.connect("voodoo", password="wrong-key")
        said = command("ledger", "resolve", "k", "--absent", "--yes")
        assert said.status == 1 and "--absent --unchecked" in said.err and "wrong-key" not in said.err
        assert find(ledger).step is Step.QUARANTINED
        assert command("ledger", "resolve", "k", "--absent", "--unchecked", "--yes").status == 0
        assert find(ledger).step is Step.INTENDED and "on the person's word" in ledger.history("k")[-1].why

    def test_another_wallet_cannot_show_an_absence(self, shops: Shops, ledger: Ledger, lost: str) -> None:
        other = shops.hook("voodoo", conn_id="other", password="another key")
        with pytest.raises(ConfigError, match="pays from wallet 'voodoo:other' now.*Nothing was changed"):
            deciding.check(ledger, "k", Answer("absent"), hook=other)


class TestGiveUp:
    def test_a_key_that_nobody_sent(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        intended(ledger)
        assert counted(ledger, WALLET) == 3
        said = command("ledger", "resolve", "k", "--give-up", answers=("y",))
        assert said.status == 0 and "still buys" in command.asked[0] and "Mark its task as failed" in said.out
        assert (find(ledger).step, counted(ledger, WALLET)) == (Step.REJECTED, 0)
        assert "given up by a person" in ledger.history("k")[-1].why
        assert intended(ledger, fingerprint="b" * 64).step is Step.INTENDED, "the key may stand for another request"

    def test_another_request_is_a_conflict_while_it_may_be_sent(self, shops: Shops, ledger: Ledger) -> None:
        ledger.claim(intended(ledger), Actor(), evidence={}, sent_seconds=60)
        with pytest.raises(OrderKeyConflict):
            intended(ledger, fingerprint="b" * 64)

    def test_a_worker_that_had_it_sends_nothing(self, shops: Shops, ledger: Ledger) -> None:
        from airflow_provider_proxyorders.ledger import StaleClaim

        before = intended(ledger)
        deciding.decide(ledger, "k", Answer("give up"), deciding.person())
        with pytest.raises(StaleClaim):
            ledger.claim(before, Actor(), evidence={}, sent_seconds=1)

    def test_not_one_that_may_have_been_sent(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        said = command("ledger", "resolve", "k", "--give-up", "--yes")
        assert said.status == 1 and "may have been sent" in said.err
        assert find(ledger).step is Step.QUARANTINED

    def test_the_way_is_named(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        intended(ledger)
        assert "--give-up" in command("ledger", "resolve", "k", "--absent", "--yes").err


class TestUnfreeze:
    def test_the_reason_outlives_the_freeze(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        ledger.freeze("w", "a charge above its cap")
        said = command("ledger", "unfreeze", "w", "--yes", "--because", "the price list changed")
        assert said.status == 0
        frozen, unfrozen = ledger.wallet_history("w")
        assert (frozen.what, frozen.why) == ("frozen", "a charge above its cap")
        assert unfrozen.what == "unfrozen" and "@" in unfrozen.host
        assert "the price list changed" in unfrozen.why and "a charge above its cap" in unfrozen.why

    @pytest.mark.parametrize("name", ["voodo:voodoo_default", "nothing", ""])
    def test_a_wallet_that_is_not_there(self, shops: Shops, command: Command, ledger: Ledger, name: str) -> None:
        shops.hook("voodoo").buyer()
        said = command("ledger", "unfreeze", name, "--yes")
        assert said.status == 1 and WALLET in said.err and repr(name) in said.err

    @pytest.mark.parametrize("name", ["voodoo_default", "VOODOO_DEFAULT", WALLET])
    def test_by_the_id_of_a_connection(self, shops: Shops, command: Command, ledger: Ledger, name: str) -> None:
        shops.hook("voodoo").buyer()
        ledger.freeze(WALLET, "why not")
        assert command("ledger", "unfreeze", name, "--yes").status == 0
        assert ledger.freeze_reason(WALLET) is None

    def test_a_freeze_for_another_reason_meanwhile_stays(self, shops: Shops, ledger: Ledger) -> None:
        from airflow_provider_proxyorders.ledger import StaleClaim

        ledger.freeze("w", "first")
        shown = deciding.check_unfreeze(ledger, "w")
        ledger.freeze("w", "second")
        with pytest.raises(StaleClaim, match="look again. Nothing was changed"):
            deciding.unfreeze(ledger, "w", deciding.person(), why=shown.why)
        assert ledger.freeze_reason("w") == "second" and ledger.wallet_history("w")[-1].what == "frozen"

    def test_the_history_follows_a_joined_wallet(self, shops: Shops, ledger: Ledger) -> None:
        ledger.freeze("voodoo:one", "first")
        shops.hook("voodoo", conn_id="one").buyer()
        shops.hook("voodoo", conn_id="two", extra={"wallet": "both"}).buyer()
        assert [step.why for step in ledger.wallet_history("voodoo:both")] == ["first"]
        assert ledger.freeze_reason("voodoo:both") == "first"


def test_a_check_changes_nothing(shops: Shops, ledger: Ledger, lost: str, tmp_path: Path) -> None:
    before = (find(ledger), ledger.history("k"), ledger.looks("k"))
    for answer in (Answer("adopt", lost), Answer("absent")):
        assert deciding.check(ledger, "k", answer).outcome
    with pytest.raises(ConfigError):
        deciding.check(ledger, "k", Answer("give up"))
    assert (find(ledger), ledger.history("k"), ledger.looks("k")) == before


class TestKeyOfTwoWallets:
    """The command asks which purchase is meant, and takes each name that it shows."""

    @pytest.fixture
    def other(self, ledger: Ledger) -> Purchase:
        intended(ledger)
        price = Money(decimal("3"), "USD")
        intent = Intent("k@1f", "create", "voodoo", "second", "voodoo:second", "b" * 64, {}, price, task_key="k")
        return ledger.intend(intent, Actor())

    @pytest.mark.parametrize("words", [("show", "k"), ("resolve", "k", "--give-up", "--yes")], ids=["show", "resolve"])
    def test_it_asks_for_the_wallet(
        self, shops: Shops, command: Command, ledger: Ledger, other: Purchase, words: tuple[str]
    ) -> None:
        said = command("ledger", *words)
        assert said.status != 0
        assert f"'k' of wallet {WALLET!r}; 'k@1f' of wallet 'voodoo:second'" in said.err and "--wallet" in said.err
        assert [find(ledger, key).step for key in ("k", "k@1f")] == [Step.INTENDED] * 2

    @pytest.mark.parametrize("named", [("k", "--wallet", "voodoo:second"), ("k@1f",)], ids=["wallet", "ending"])
    def test_it_takes_both_names(
        self, shops: Shops, command: Command, ledger: Ledger, other: Purchase, named: tuple[str]
    ) -> None:
        said = command("ledger", "show", *named)
        assert said.status == 0 and "voodoo:second" in said.out and WALLET not in said.out
        assert command("ledger", "resolve", *named, "--give-up", "--yes").status == 0
        assert [find(ledger, key).step for key in ("k", "k@1f")] == [Step.INTENDED, Step.REJECTED]

    def test_the_first_one_needs_the_wallet(self, shops: Shops, command: Command, ledger: Ledger, other: Purchase) -> None:
        assert command("ledger", "resolve", "k", "--wallet", WALLET, "--give-up", "--yes").status == 0
        assert [find(ledger, key).step for key in ("k", "k@1f")] == [Step.REJECTED, Step.INTENDED]
