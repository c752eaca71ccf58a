"""``proxyorders ledger``: a person sees purchases, and decides about them once and for good."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Purchase, Step, VendorOrder, decimal
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Intent, Ledger
from tests.counted import counted
from tests.hooks.connections import REQUESTS, Shops

from .conftest import Command

PLAN = {"product_plan_id": 22}


@pytest.fixture
def lost(shops: Shops, ledger: Ledger) -> str:
    """Key ``k`` was taken by Voodoo, its answer was lost, and only a person can name the order. Returns the order's id."""
    shops.box.fault("voodoo", "create", when="after", times=1, action="reset")
    with pytest.raises(OutcomeUnknown):
        shops.hook("voodoo", extra={"settle": 0}).create_order(REQUESTS["voodoo"], order_key="k")
    assert step(ledger) is Step.QUARANTINED
    return shops.bought("voodoo")[0].order_id


class Killed(BaseException):
    """The worker is gone at this instruction."""


@pytest.fixture
def left(shops: Shops, ledger: Ledger) -> str:
    """Key ``k`` was taken by Voodoo, its answer was lost, and its last try was killed before it sent the reference again."""

    def say(line: str) -> None:
        purchase = ledger.find("k")
        if purchase is not None and purchase.maybe_sent and purchase.step is Step.INTENDED:
            raise Killed

    shops.box.fault("voodoo", "create", when="after", times=1, action="reset")
    hook = shops.hook("voodoo", extra={"settle": 0})
    with pytest.raises(Killed):
        hook.buyer(say=say).place(REQUESTS["voodoo"], order_key="k")
    assert step(ledger) is Step.INTENDED
    return shops.bought("voodoo")[0].order_id


def step(ledger: Ledger, key: str = "k") -> Step:
    purchase = ledger.find(key)
    assert purchase is not None
    return purchase.step


def purchase_of(ledger: Ledger, key: str) -> Purchase:
    purchase = ledger.find(key)
    assert purchase is not None
    return purchase


def unknown(ledger: Ledger, key: str, *, kind: str = "create", target: str | None = None, **fields: str) -> Purchase:
    """An unresolved purchase, written by hand."""
    names = {"vendor": "iproyal", "conn_id": "iproyal_default", "wallet": "iproyal:iproyal_default", **fields}
    intent = Intent(key, kind, fingerprint="a" * 64, request=PLAN, amount=Money(decimal("3"), "USD"), target=target, **names)
    evidence = {"expires_at": "2030-02-01T09:15:00+00:00", "extensions": 0}
    purchase = ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence=evidence, sent_seconds=0)
    return ledger.record(purchase, Step.UNKNOWN, "no answer", Actor())


class TestList:
    def test_an_empty_one(self, shops: Shops, command: Command) -> None:
        said = command("ledger", "list")
        assert (said.status, said.out) == (0, "the ledger is empty\n")
        assert command("ledger", "list", "--unresolved").out == "every purchase is resolved\n"

    def test_purchases_with_price_and_step(self, shops: Shops, command: Command, lost: str) -> None:
        purchase = shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="other")
        said = command("ledger", "list")
        headings, newest, older, total = said.out.splitlines()
        assert headings.split()[:2] == ["CHANGED", "(UTC)"] and total == "Sum of 2 purchases: 31.00 USD"
        assert [word in newest for word in ("placed", "iproyal", "create", str(purchase.order_id), "6", "USD", "other")] == [
            True
        ] * 7
        assert [word in older for word in ("quarantined", "voodoo", "25.00 USD?", "k")] == [True] * 4
        assert said.status == 0

    def test_only_unresolved_purchases(self, shops: Shops, command: Command, lost: str) -> None:
        shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="other")
        lines = command("ledger", "list", "--unresolved").out.splitlines()
        assert len(lines) == 2 and "quarantined" in lines[1]
        assert command("ledger", "list", "--open").out.splitlines() == lines, "the option's former name"

    def test_at_most_so_many(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        for number in range(5):
            unknown(ledger, f"k{number}", wallet=f"w{number}")
        said = command("ledger", "list", "--limit", "3")
        assert len(said.out.splitlines()) == 1 + 3 + 1 + 1, "with headings, the sum, and a word about the others"
        assert "Sum of the 3 shown: 9.00 USD" in said.out and "More purchases match than the 3 shown" in said.out
        assert "--limit" in said.out and "--all" in said.out
        for form in ("json", "yaml", "plain"):
            said = command("ledger", "list", "--limit", "3", "-o", form)
            assert "More purchases match" in said.err and "More purchases match" not in said.out
        for words in (("--all",), ("--limit", "5"), ()):
            said = command("ledger", "list", *words)
            assert "Sum of 5 purchases: 15.00 USD" in said.out and "More purchases" not in said.out + said.err
        assert command("ledger", "list", "--all", "--limit", "5").status == 2

    @pytest.mark.parametrize("words", [("--dag", "other"), ("--vendor", "iproyal"), ("--text", "no such"), ("--sort", "expires")])
    def test_no_false_calm(self, shops: Shops, command: Command, lost: str, words: tuple[str, ...]) -> None:
        said = command("ledger", "list", "--unresolved", *words)
        assert said.out.splitlines()[0] == "no unresolved purchase matches"
        assert "every purchase is resolved" not in said.out

    def test_unresolved_purchases_have_no_other_state(self, shops: Shops, command: Command, lost: str) -> None:
        said = command("ledger", "list", "--unresolved", "--state", "quarantined")
        assert said.status == 2 and said.out == "" and "not allowed with" in said.err

    def test_sorted_by_another_time(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        ends = {"k0": "2030-01-02T00:00:00+00:00", "k1": None, "k2": "2030-01-01T00:00:00+00:00"}
        for key in ends:
            unknown(ledger, key, wallet=f"wallet-{key}")
        for key in ("k1", "k2", "k0"):
            end = datetime.fromisoformat(ends[key]) if ends[key] else None
            order = VendorOrder(f"order-{key}", OrderStatus.DELIVERED, "done", expires_at=end)
            ledger.record(purchase_of(ledger, key), Step.DELIVERED, "found", Actor(), vendor_order=order)

        def listed(*words: str) -> list[str]:
            return [row["order_key"] for row in json.loads(command("ledger", "list", "-o", "json", *words).out)]

        assert listed("--sort", "created") == ["k2", "k1", "k0"] and listed("--sort", "created", "--oldest-first")[0] == "k0"
        assert listed("--sort", "expires") == ["k0", "k2"] and listed("--sort", "expires", "--oldest-first") == ["k2", "k0"]
        assert listed("--sort", "expires", "--since", "2030-01-02") == ["k0"]
        assert listed() == listed("--sort", "updated") == ["k0", "k2", "k1"]
        assert "without a known end are left out" in command("ledger", "list", "--sort", "expires").out

    @pytest.mark.parametrize("limit", ["0", "-1", "some"])
    def test_at_most_none_is_a_mistake(self, shops: Shops, command: Command, limit: str) -> None:
        said = command("ledger", "list", "--limit", limit)
        assert said.status == 2 and "must be a whole number >= 1" in said.err

    def test_another_ledger(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        url = str(ledger.engine.url)
        shops.patch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", "sqlite:////nowhere/ledger.db")
        assert "quarantined" in command("ledger", "list", "--ledger-url", url).out

    @pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "nonsense", "mysql://me:db-password@host/x"])
    def test_one_that_is_not_there(self, shops: Shops, command: Command, url: str) -> None:
        said = command("ledger", "list", "--ledger-url", url)
        assert (said.status, said.out) == (1, "")
        assert said.err.startswith("proxyorders: ") and "Traceback" not in said.err and "db-password" not in said.err

    def test_a_mistyped_name_makes_no_new_one(self, shops: Shops, command: Command, tmp_path: object) -> None:
        said = command("ledger", "list", "--ledger-url", f"sqlite:///{tmp_path}/typo.db")
        assert said.status == 1 and "is missing. Nothing was changed" in said.err
        assert command("ledger", "list", "--ledger-url", f"sqlite:///{tmp_path}/typo.db").status == 1

    def test_one_that_the_workers_do_not_share(self, shops: Shops, command: Command) -> None:
        shops.patch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
        said = command("ledger", "list")
        assert said.status == 1 and "PostgreSQL" in said.err


class TestShow:
    def test_everything_about_one(self, shops: Shops, command: Command, lost: str) -> None:
        said = command("ledger", "show", "k")
        assert said.status == 0
        for part in (
            *("order key:", "quarantined", "connection voodoo_default, wallet voodoo:voodoo_default", "unknown"),
            *('"item_id":5120', "merchant_order_id", "25.00 USD", "evidence:", "history:"),
        ):
            assert part in said.out
        steps = [line.split()[3] for line in said.out.partition("history:\n")[2].splitlines()]
        assert steps[:2] == ["intended", "sent"] and steps[-1] == "quarantined"
        assert shops.box.token("voodoo") not in said.out

    def test_a_delivered_one(self, shops: Shops, command: Command) -> None:
        hook = shops.hook("iproyal")
        purchase = hook.create_order(REQUESTS["iproyal"], order_key="k")
        hook.buyer().refresh(purchase)
        said = command("ledger", "show", "k")
        assert f"order id:      {purchase.order_id}" in said.out and "vendor says:   confirmed" in said.out
        assert purchase.order_id is not None
        for secret in hook.get_delivery(purchase.order_id).secrets():
            assert secret not in said.out

    def test_a_frozen_wallet_is_said(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        ledger.freeze("voodoo:voodoo_default", "a charge above its cap")
        assert "wallet frozen: a charge above its cap" in command("ledger", "show", "k").out

    def test_one_that_is_not_there(self, shops: Shops, command: Command) -> None:
        said = command("ledger", "show", "nothing")
        assert said.status == 1 and "'nothing'" in said.err and "proxyorders ledger list" in said.err


class TestAdopt:
    def adopt(self, command: Command, order_id: str, *more: str, key: str = "k", answers: tuple[str, ...] = ("y",)) -> object:
        return command("ledger", "resolve", key, "--adopt", order_id, *more, answers=answers)

    @pytest.mark.parametrize("word", ["y", "yes", "Y", " YES "])
    def test_after_a_yes(self, shops: Shops, command: Command, ledger: Ledger, lost: str, word: str) -> None:
        said = command("ledger", "resolve", "k", "--adopt", lost, answers=(word,))
        assert said.status == 0 and said.err.startswith("ledger: sqlite:///")
        assert "was taken as order" in command.asked[0] and lost in command.asked[0] and "[y/N]" in command.asked[0]
        purchase = ledger.find("k")
        assert purchase is not None and (purchase.step, purchase.order_id) == (Step.DELIVERED, lost)
        assert "by a person" in ledger.history("k")[-1].why and "@" in ledger.history("k")[-1].actor.host
        result = shops.hook("voodoo").create_order(REQUESTS["voodoo"], order_key="k")
        assert (result.order_id, len(shops.bought("voodoo"))) == (lost, 1)

    @pytest.mark.parametrize("answers", [("n",), ("",), ("no",), ("yep",), ()])
    def test_without_one_nothing_changes(
        self, shops: Shops, command: Command, ledger: Ledger, lost: str, answers: tuple[str, ...]
    ) -> None:
        said = command("ledger", "resolve", "k", "--adopt", lost, answers=answers)
        assert said.status == 1 and "nothing was changed" in said.out
        assert step(ledger) is Step.QUARANTINED

    def test_without_being_asked(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        assert command("ledger", "resolve", "k", "--adopt", lost, "--yes").status == 0
        assert command.asked == []
        assert step(ledger) is Step.DELIVERED

    def test_an_id_that_the_vendor_does_not_know(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        said = command("ledger", "resolve", "k", "--adopt", "no-such-order", "--yes")
        assert said.status == 1 and "Nothing was changed" in said.err and "--unchecked" in said.err
        assert step(ledger) is Step.QUARANTINED

    def test_unchecked(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        before = shops.box.book.count("voodoo")
        assert command("ledger", "resolve", "k", "--adopt", lost, "--unchecked", "--yes").status == 0
        assert shops.box.book.count("voodoo") == before
        assert step(ledger) is Step.PLACED, "its task looks what became of it"

    def test_a_key_that_is_refused(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        shops.connect("voodoo", password="wrong-key")
        said = command("ledger", "resolve", "k", "--adopt", lost, "--yes")
        assert said.status == 1 and "does not accept the key" in said.err and "wrong-key" not in said.err
        assert step(ledger) is Step.QUARANTINED

    def test_a_connection_that_is_gone(self, shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
        shops.patch.delenv("AIRFLOW_CONN_VOODOO_DEFAULT")
        said = command("ledger", "resolve", "k", "--adopt", lost, "--yes")
        assert said.status == 1 and "'voodoo_default'" in said.err and "--unchecked" in said.err
        assert "Traceback" not in said.err

    def test_a_connection_that_pays_from_another_wallet_now(
        self, shops: Shops, command: Command, ledger: Ledger, lost: str
    ) -> None:
        shops.connect("voodoo", "other", password="another key")
        ProxyOrdersHook("other").buyer()
        shops.connect("voodoo", password="another key")
        said = command("ledger", "resolve", "k", "--adopt", lost, "--yes")
        assert said.status == 1 and "pays from wallet 'voodoo:other' now" in said.err
        assert step(ledger) is Step.QUARANTINED

    @pytest.mark.parametrize("unchecked", [(), ("--unchecked",)])
    def test_an_order_is_not_given_to_two_keys(
        self, shops: Shops, command: Command, ledger: Ledger, unchecked: tuple[str, ...]
    ) -> None:
        """P2: else one of the two purchases would be forgotten."""
        taken = shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="mine")
        unknown(ledger, "k")
        said = command("ledger", "resolve", "k", "--adopt", str(taken.order_id), "--yes", *unchecked)
        assert said.status == 1 and "belongs to order key 'mine' already" in said.err
        assert step(ledger) is Step.UNKNOWN

    def test_an_order_that_another_key_got_during_the_question(
        self, shops: Shops, command: Command, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P2: the decision checks anew, since a person may think for a while."""
        unknown(ledger, "k")
        hook = shops.hook("iproyal")
        taken = hook.http.run(hook.vendor.create(REQUESTS["iproyal"]), lambda request: None)

        def answer(question: str = "") -> str:
            names = {"vendor": "iproyal", "conn_id": "iproyal_default", "wallet": "iproyal:iproyal_default"}
            price = Money(decimal("3"), "USD")
            intent = Intent("quicker", "create", fingerprint="b" * 64, request=PLAN, amount=price, takes_turn=False, **names)
            purchase = ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=0)
            ledger.record(purchase, Step.PLACED, "a late answer", Actor(), vendor_order=taken)
            return "y"

        monkeypatch.setattr("builtins.input", answer)
        said = command("ledger", "resolve", "k", "--adopt", taken.order_id)
        assert said.status == 1 and "belongs to order key 'quicker' already" in said.err
        assert step(ledger) is Step.UNKNOWN

    @pytest.mark.parametrize("settled", [Step.INTENDED, Step.PLACED, Step.REJECTED])
    def test_what_is_known_needs_no_person(self, shops: Shops, command: Command, ledger: Ledger, settled: Step) -> None:
        intent = Intent("k", "create", "iproyal", "c", "iproyal:c", "a" * 64, {}, Money(decimal("3"), "USD"))
        purchase = ledger.intend(intent, Actor())
        if settled is not Step.INTENDED:
            purchase = ledger.claim(purchase, Actor(), evidence={}, sent_seconds=0)
            from airflow_provider_proxyorders.domain.model import OrderStatus

            vendor_order = VendorOrder("1", OrderStatus.PENDING, "pending") if settled is Step.PLACED else None
            ledger.record(purchase, settled, "", Actor(), vendor_order=vendor_order)
        for verdict in (("--adopt", "1"), ("--absent",)):
            said = command("ledger", "resolve", "k", *verdict, "--yes")
            assert said.status == 1 and f"'k' is {settled.value}" in said.err and "Nothing was changed" in said.err
        assert step(ledger) is settled

    def test_a_purchase_that_is_being_sent_right_now(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        intent = Intent("k", "create", "iproyal", "c", "iproyal:c", "a" * 64, {}, Money(decimal("3"), "USD"))
        ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=60)
        assert command("ledger", "resolve", "k", "--absent", "--yes").status == 1
        assert step(ledger) is Step.SENT


class TestAdoptExtension:
    @pytest.fixture(autouse=True)
    def extension(self, shops: Shops, ledger: Ledger) -> None:
        fields = {"id": 7001, "product_id": 9, "product_plan_id": 22, "status": "confirmed", "expire_date": "2030-02-01 09:15:00"}
        shops.box.control({"vendor": "iproyal", "order": fields})
        shops.connect("iproyal")
        unknown(ledger, "e", kind="extend", target="7001")

    def test_that_landed(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        hook = shops.hook("iproyal")
        hook.http.run(hook.vendor.extend("7001", PLAN), lambda request: None)
        assert command("ledger", "resolve", "e", "--adopt", "7001", "--yes").status == 0
        assert step(ledger, "e") is Step.DELIVERED

    def test_that_does_not_show_yet(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        """The order itself is usable all the time. The extension shows in a later expiry."""
        assert command("ledger", "resolve", "e", "--adopt", "7001", "--yes").status == 0
        assert step(ledger, "e") is Step.PLACED

    def test_of_another_order(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        said = command("ledger", "resolve", "e", "--adopt", "7002", "--yes", "--unchecked")
        assert said.status == 1 and "extends order 7001, not 7002" in said.err
        assert step(ledger, "e") is Step.UNKNOWN


class TestLeftBehind:
    """P2: a purchase that may have landed and waits to be sent again, after its last try."""

    def test_it_is_seen(self, shops: Shops, command: Command, left: str) -> None:
        line = command("ledger", "list", "--unresolved").out
        assert "intended" in line and "voodoo" in line and line.count("\n") == 2

    def test_the_doctor_tells_of_it(self, shops: Shops, command: Command, left: str) -> None:
        assert "1 purchases of wallet voodoo:voodoo_default are unresolved" in " ".join(
            command("doctor", "voodoo_default").out.split()
        )

    def test_a_person_may_adopt_it(self, shops: Shops, command: Command, ledger: Ledger, left: str) -> None:
        said = command("ledger", "resolve", "k", "--adopt", left, answers=("y",))
        assert said.status == 0 and said.err.startswith("ledger: sqlite:///")
        assert step(ledger) is Step.DELIVERED and ledger.unresolved() == []
        assert shops.hook("voodoo").create_order(REQUESTS["voodoo"], order_key="k").order_id == left
        assert len(shops.bought("voodoo")) == 1

    def test_or_say_that_it_is_not_there(self, shops: Shops, command: Command, ledger: Ledger, left: str) -> None:
        assert command("ledger", "resolve", "k", "--absent", "--yes").status == 0
        purchase = ledger.find("k")
        assert purchase is not None and (purchase.step, purchase.maybe_sent) == (Step.INTENDED, False)
        assert counted(ledger, purchase.wallet) == 0

    def test_without_a_yes_nothing_changes(self, shops: Shops, command: Command, ledger: Ledger, left: str) -> None:
        before = ledger.find("k")
        assert command("ledger", "resolve", "k", "--adopt", left).status == 1
        assert ledger.find("k") == before

    def test_one_that_was_sent_by_a_worker_that_is_gone(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        names = {"vendor": "iproyal", "conn_id": "iproyal_default", "wallet": "iproyal:iproyal_default"}
        intent = Intent("k", "create", fingerprint="a" * 64, request=PLAN, amount=Money(decimal("3"), "USD"), **names)
        ledger.claim(ledger.intend(intent, Actor()), Actor(), evidence={}, sent_seconds=0)
        taken = shops.hook("iproyal").http.run(shops.hook("iproyal").vendor.create(REQUESTS["iproyal"]), lambda request: None)
        assert command("ledger", "resolve", "k", "--adopt", taken.order_id, "--yes").status == 0
        purchase = ledger.find("k")
        assert purchase is not None and purchase.order_id == taken.order_id and purchase.step is not Step.SENT


class TestAbsent:
    def test_its_task_may_send_it_again(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        hook = shops.hook("iproyal")
        shops.box.fault("iproyal", "create", when="before", times=1, action="reset")
        rules: list[object] = []
        buyer = hook.buyer(
            say=lambda line: "unknown" in line and rules.append(shops.box.fault("iproyal", action="status", status=400))
        )
        with pytest.raises(ProxyOrdersError):
            buyer.place(REQUESTS["iproyal"], order_key="k")
        shops.box.clear_faults()
        assert rules
        assert step(ledger) in (Step.UNKNOWN, Step.QUARANTINED)
        said = command("ledger", "resolve", "k", "--absent", answers=("y",))
        assert said.status == 0 and "was NOT taken" in command.asked[0] and "Clear its task" in said.out
        purchase = ledger.find("k")
        assert purchase is not None and (purchase.step, purchase.maybe_sent) == (Step.INTENDED, False)
        assert shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k").order_id
        assert len(shops.bought("iproyal")) == 1

    @pytest.mark.parametrize("answers", [("n",), ()])
    def test_without_a_yes_nothing_changes(
        self, shops: Shops, command: Command, ledger: Ledger, lost: str, answers: tuple[str, ...]
    ) -> None:
        assert command("ledger", "resolve", "k", "--absent", answers=answers).status == 1
        assert step(ledger) is Step.QUARANTINED

    @pytest.mark.parametrize("words", [(), ("--adopt",), ("--adopt", "1", "--absent")])
    def test_exactly_one_verdict(self, shops: Shops, command: Command, words: tuple[str, ...]) -> None:
        assert command("ledger", "resolve", "k", *words).status == 2

    def test_a_key_that_is_not_there(self, shops: Shops, command: Command) -> None:
        said = command("ledger", "resolve", "nothing", "--absent", "--yes")
        assert said.status == 1 and "'nothing'" in said.err


class TestUnfreeze:
    def test_after_a_yes(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        ledger.freeze("iproyal:iproyal_default", "a charge above its cap")
        with pytest.raises(ProxyOrdersError, match="frozen.*proxyorders ledger unfreeze iproyal:iproyal_default"):
            shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k")
        said = command("ledger", "unfreeze", "iproyal:iproyal_default", answers=("y",))
        assert said.status == 0 and "because a charge above its cap" in said.out
        assert shops.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k").order_id

    @pytest.mark.parametrize("answers", [("n",), ()])
    def test_without_one_it_stays(self, shops: Shops, command: Command, ledger: Ledger, answers: tuple[str, ...]) -> None:
        ledger.freeze("w", "why not")
        said = command("ledger", "unfreeze", "w", answers=answers)
        assert said.status == 1 and "nothing was changed" in said.out
        assert ledger.freeze_reason("w") == "why not"

    def test_without_being_asked(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        ledger.freeze("w", "why not")
        assert command("ledger", "unfreeze", "w", "--yes").status == 0
        assert (ledger.freeze_reason("w"), command.asked) == (None, [])

    def test_not_before_a_refused_purchase_that_may_have_landed_is_settled(
        self, shops: Shops, command: Command, ledger: Ledger
    ) -> None:
        """A late answer came during the second sending, which was refused: the task would send a third time."""
        purchase = ledger.record(unknown(ledger, "k"), Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
        purchase = ledger.claim(purchase, Actor(), evidence={}, sent_seconds=0)
        ledger.record(
            ledger.record(purchase, Step.SENT, "a late answer", Actor(), maybe_sent=True), Step.REJECTED, "no money", Actor()
        )
        ledger.freeze(purchase.wallet, "a late answer says that 'k' was taken")
        said = command("ledger", "unfreeze", purchase.wallet, "--yes")
        assert said.status == 1 and "proxyorders ledger resolve 'k'" in said.err and "Nothing was changed" in said.err
        assert ledger.freeze_reason(purchase.wallet)
        taken = shops.hook("iproyal").http.run(shops.hook("iproyal").vendor.create(REQUESTS["iproyal"]), lambda request: None)
        assert command("ledger", "resolve", "k", "--adopt", taken.order_id, "--yes").status == 0
        assert command("ledger", "unfreeze", purchase.wallet, "--yes").status == 0
        assert ledger.freeze_reason(purchase.wallet) is None

    def test_one_that_is_not_frozen(self, shops: Shops, command: Command, ledger: Ledger) -> None:
        ledger.freeze("w", None)
        said = command("ledger", "unfreeze", "w")
        assert said.status == 0 and "is not frozen" in said.out


def test_no_command_here_spends(shops: Shops, command: Command, ledger: Ledger, lost: str) -> None:
    """P5."""
    before = (len(shops.box.book.charges()), shops.box.book.count("voodoo", "create"))
    for words in (("list",), ("show", "k"), ("resolve", "k", "--adopt", lost, "--yes"), ("unfreeze", "w", "--yes")):
        command("ledger", *words)
    assert (len(shops.box.book.charges()), shops.box.book.count("voodoo", "create")) == before


@pytest.fixture
def late(ledger: Ledger) -> str:
    """A late answer named order 7001 for key ``k``, which was sent again and refused. Returns the wallet."""
    sent = ledger.cut_sending(unknown(ledger, "k"))
    sent = ledger.record(sent, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
    sent = ledger.claim(sent, Actor(), evidence={}, sent_seconds=0)
    asked = ledger.ask(sent, "7001", "a late answer says that 'k' was taken as order 7001, after it was given up", Actor())
    ledger.record(asked, Step.REJECTED, "refused", Actor())
    return sent.wallet


def test_an_open_question_is_shown_and_decided_before_the_wallet_is_unfrozen(command: Command, ledger: Ledger, late: str) -> None:
    assert "order 7001" in command("ledger", "list", "--unresolved").out
    assert "open question:" in command("ledger", "show", "k").out
    refused = command("ledger", "unfreeze", late, "--yes")
    assert refused.status != 0 and "--adopt 7001" in refused.err and "--foreign 7001" in refused.err
    absent = command("ledger", "resolve", "k", "--absent", "--yes")
    assert absent.status != 0 and "Decide about that order first" in absent.err
    wrong = command("ledger", "resolve", "k", "--foreign", "4711", "--yes")
    assert wrong.status != 0 and "no open question" in wrong.err and len(ledger.questions()) == 1
    assert command("ledger", "resolve", "k", "--foreign", "7001", "--yes").status == 0
    assert ledger.questions() == [] and ledger.freeze_reason(late) is not None
    assert command("ledger", "unfreeze", late, "--yes").status == 0 and ledger.freeze_reason(late) is None


def test_programs_see_an_open_question_too(command: Command, ledger: Ledger, late: str) -> None:
    unknown(ledger, "other", wallet="w")
    question = {"order_id": "7001", "why": "a late answer says that 'k' was taken as order 7001, after it was given up"}

    def listed(*words: str) -> dict[str, list[dict[str, str]]]:
        rows = json.loads(command("ledger", "list", "-o", "json", *words).out)
        return {row["order_key"]: row["questions"] for row in rows}

    assert step(ledger) is Step.REJECTED
    for words in ((), ("--sort", "created"), ("--all",)):
        assert listed("--unresolved", *words) == {"other": [], "k": [question]}
    assert listed() == {"other": [], "k": [question]}
    assert [*listed("--unresolved")] == ["other", "k"] and [*listed("--unresolved", "--oldest-first")] == ["k", "other"]
    assert listed("--unresolved", "--wallet", late) == {"k": [question]} and listed("--unresolved", "--kind", "extend") == {}
    assert listed("--unresolved", "--text", "no such") == {} and listed("--unresolved", "--dag", "none") == {}
    order = VendorOrder("order-other", OrderStatus.DELIVERED, "done")
    ledger.record(purchase_of(ledger, "other"), Step.DELIVERED, "found", Actor(), vendor_order=order)
    assert "every purchase is resolved" not in command("ledger", "list", "--unresolved").out


def test_the_order_of_a_late_answer_is_adopted(command: Command, ledger: Ledger, late: str) -> None:
    assert command("ledger", "resolve", "k", "--adopt", "7001", "--unchecked", "--yes").status == 0
    assert ledger.questions() == [] and step(ledger) is Step.PLACED
