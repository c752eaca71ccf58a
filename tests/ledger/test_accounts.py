"""Which account is which wallet: one wallet for one account, however its connections are written down."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import CapExceeded, ConfigError
from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Purchase, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, StaleClaim, facts, joining, open_ledger, turns
from airflow_provider_proxyorders.ledger import accounts as accounts_module
from airflow_provider_proxyorders.ledger.accounts import Accounts, Wallet
from airflow_provider_proxyorders.ledger.alarms import Alarms
from airflow_provider_proxyorders.ledger.bulk import owned_among
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox, digest_of
from airflow_provider_proxyorders.ledger.schema import metadata
from tests.ledgers import sqlite_ledger

HOST = "https://api.example.com/v1"


def account(conn_id: str, key: str = "key-1", *, named: str | None = None, host: str = HOST, vendor: str = "iproyal") -> Account:
    return Account(
        vendor=vendor,
        conn_id=conn_id,
        wallet=f"{vendor}:{named or conn_id}",
        named_wallet=f"{vendor}:{named}" if named else None,
        base_url=host,
        secret=key,
    )


def resolve(ledger: Ledger, *args: Any, **fields: Any) -> str:
    return Accounts(ledger.engine).resolve(account(*args, **fields)).name


def intent(wallet: str, key: str, price: str = "6.00", limit: str | None = None, **fields: Any) -> Intent:
    values: dict[str, Any] = {
        "order_key": key,
        "kind": "create",
        "vendor": "iproyal",
        "conn_id": "c",
        "wallet": wallet,
        "fingerprint": "f",
        "request": {},
        "amount": Money(Decimal(price), "USD"),
        "caps": Caps(daily_limit=Decimal(limit) if limit else None),
        "takes_turn": False,
    }
    return Intent(**{**values, **fields})


def bought(ledger: Ledger, wallet: str, key: str, order_id: str, price: str = "6.00") -> Purchase:
    purchase = ledger.intend(intent(wallet, key, price), Actor())
    purchase = ledger.claim(purchase, Actor(), evidence={}, sent_seconds=1)
    return ledger.record(purchase, Step.PLACED, "taken", Actor(), vendor_order=VendorOrder(order_id, OrderStatus.PENDING, "new"))


# ---------------------------------------------------------------------------------------------- which wallet


@pytest.mark.parametrize("other", ["IPROYAL_MAIN", "Iproyal_Main", "iproyal_reports"])
def test_one_account_has_one_wallet(ledger: Ledger, other: str) -> None:
    assert resolve(ledger, "iproyal_main") == "iproyal:iproyal_main"
    assert resolve(ledger, other) == "iproyal:iproyal_main"
    assert resolve(ledger, "iproyal_main") == "iproyal:iproyal_main"


@pytest.mark.parametrize(
    "host",
    [
        f"{HOST}/",
        "HTTPS://API.EXAMPLE.COM/v1",
        "https://api.example.com:443/v1",
        "https://api.example.com./v1//",
        "http://api.example.com:80/v1",
    ],
)
def test_spellings_of_one_host_are_one(ledger: Ledger, host: str) -> None:
    assert resolve(ledger, "a") == resolve(ledger, "b", host=host)


@pytest.mark.parametrize(
    "other",
    [
        {"host": "https://sandbox.example.com/v1"},
        {"host": "https://api.example.com:8443/v1"},
        {"host": "https://api.example.com/v2"},
        {"key": "key-2"},
        {"key": "KEY-1"},
        {"vendor": "voodoo"},
    ],
)
def test_another_account_has_another_wallet(ledger: Ledger, other: dict[str, Any]) -> None:
    assert resolve(ledger, "a") != resolve(ledger, "b", **other)


def test_fields_that_run_into_each_other_are_kept_apart(ledger: Ledger) -> None:
    assert resolve(ledger, "a", "1/key", host="https://h/v") != resolve(ledger, "b", "key", host="https://h/v1")


def test_a_changed_key_keeps_the_wallet(ledger: Ledger) -> None:
    assert resolve(ledger, "main") == resolve(ledger, "main", "key-2") == resolve(ledger, "MAIN", "key-3")
    assert resolve(ledger, "other", "key-3") == "iproyal:main", "the new key leads to the same account"
    assert resolve(ledger, "other", "key-1") == "iproyal:main", "and so does the old one"


def test_an_account_counts_before_the_connection(ledger: Ledger) -> None:
    """Two connections that swap their keys swap their wallets: the money belongs to the account."""
    assert (resolve(ledger, "a", "key-1"), resolve(ledger, "b", "key-2")) == ("iproyal:a", "iproyal:b")
    assert (resolve(ledger, "a", "key-2"), resolve(ledger, "b", "key-1")) == ("iproyal:b", "iproyal:a")


def test_a_named_wallet_joins_accounts(ledger: Ledger) -> None:
    assert resolve(ledger, "a", "key-1", named="main") == resolve(ledger, "b", "key-2", named="main") == "iproyal:main"
    assert resolve(ledger, "c", "key-2") == "iproyal:main", "the account has the name, whichever connection leads to it"
    assert resolve(ledger, "a", "key-1") == "iproyal:main", "also without the setting"


def test_a_wallet_named_later_takes_what_was_counted_before(ledger: Ledger) -> None:
    accounts = Accounts(ledger.engine)
    for name, key in (("a", "key-1"), ("b", "key-2")):
        bought(ledger, resolve(ledger, name, key), f"k{name}", f"o{name}")
    assert accounts.resolve(account("a", "key-1", named="main")) == Wallet("iproyal:main", ("iproyal:a",))
    assert accounts.resolve(account("b", "key-2", named="main")) == Wallet("iproyal:main", ("iproyal:a", "iproyal:b"))
    with pytest.raises(CapExceeded, match="12.00 is spent or reserved"):
        ledger.intend(intent("iproyal:main", "k", limit="17.99"), Actor())
    assert owned_among(ledger, "iproyal:main", ["oa", "OB", "oc"]) == {"oa", "ob"}
    assert accounts.sharing("iproyal:main") == ["a", "b"]


def test_two_names_for_one_account_are_refused(ledger: Ledger) -> None:
    resolve(ledger, "a", named="main")
    for _ in range(2):
        with pytest.raises(ConfigError) as refused:
            resolve(ledger, "b", named="other")
        assert "'b' and 'a'" in str(refused.value) and "'other' and 'main'" in str(refused.value)
        assert "Nothing was bought" in str(refused.value)
    assert resolve(ledger, "a", named="main") == "iproyal:main", "who agrees with the ledger goes on"
    assert resolve(ledger, "b", named="main") == "iproyal:main", "and so does the other, once corrected"


def test_a_wallet_is_renamed_by_all_its_connections(ledger: Ledger) -> None:
    for name in ("a", "b"):
        resolve(ledger, name, named="main")
    bought(ledger, "iproyal:main", "k", "o")
    with pytest.raises(ConfigError, match="'a' and 'b'"):
        resolve(ledger, "a", named="fleet")
    assert resolve(ledger, "b", named="fleet") == "iproyal:fleet"
    assert resolve(ledger, "a", named="fleet") == "iproyal:fleet"
    assert owned_among(ledger, "iproyal:fleet", ["o"]) == {"o"}
    assert resolve(ledger, "c", "key-9", named="main") == "iproyal:fleet", "a former name means the same wallet"


def test_the_key_is_nowhere_in_the_ledger(ledger: Ledger) -> None:
    resolve(ledger, "a", "a-secret-key")
    with ledger.engine.connect() as connection:
        for table in metadata.tables:
            assert "a-secret-key" not in repr(connection.execute(text(f"SELECT * FROM {table}")).all())


def test_each_ledger_has_hashes_of_its_own(ledger: Ledger, tmp_path: Any) -> None:
    other = open_ledger(sqlite_ledger(tmp_path, "other.db"))
    digests = []
    for each in (ledger, other):
        resolve(each, "a")
        with each.engine.connect() as connection:
            digests.append(connection.execute(text("SELECT digest FROM proxyorders_accounts")).scalar_one())
    assert digests[0] != digests[1] and all(len(digest) == 64 for digest in digests)


def test_looking_up_writes_nothing(ledger: Ledger) -> None:
    accounts = Accounts(ledger.engine)
    assert accounts.look_up(account("a")).name == "iproyal:a"
    assert accounts.look_up(account("a", named="main")).name == "iproyal:main"
    with ledger.engine.connect() as connection:
        assert not any(connection.execute(text(f"SELECT * FROM {table}")).all() for table in metadata.tables)
    resolve(ledger, "a")
    assert accounts.look_up(account("B")).name == "iproyal:a"
    assert accounts.look_up(account("b", named="main")).name == "iproyal:a", "a join is for who buys"


def test_workers_at_once_agree(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda number: resolve(ledger, f"c{number}"), range(8)))
        assert len(set(names)) == 1
        joined = list(pool.map(lambda number: resolve(ledger, f"d{number}", f"key-{number % 2}", named="main"), range(8)))
    assert set(joined) == {"iproyal:main"}


def test_a_person_may_name_a_connection(ledger: Ledger) -> None:
    accounts = Accounts(ledger.engine)
    resolve(ledger, "a")
    resolve(ledger, "a", named="main")
    assert [accounts.find(name) for name in ("a", "A", "iproyal:a", "iproyal:main", "unknown")] == [
        *["iproyal:main"] * 4,
        "unknown",
    ]
    resolve(ledger, "a", vendor="voodoo")
    with pytest.raises(ConfigError, match="several wallets: iproyal:main, voodoo:a"):
        accounts.find("a")


# ---------------------------------------------------------------------------------------------- an older ledger


def test_names_of_an_older_ledger_stay(ledger: Ledger) -> None:
    for wallet in ("iproyal:iproyal_main", "iproyal:main"):
        bought(ledger, wallet, f"k {wallet}", f"o {wallet}")
    assert resolve(ledger, "iproyal_main", "key-1") == "iproyal:iproyal_main"
    assert resolve(ledger, "x", "key-2", named="main") == "iproyal:main"


def test_two_spellings_of_an_older_ledger_are_joined_by_the_second(ledger: Ledger) -> None:
    for order_id, name in (("7001", "iproyal_main"), ("7002", "IPROYAL_MAIN")):
        bought(ledger, f"iproyal:{name}", f"k {name}", order_id)
    assert resolve(ledger, "iproyal_main") == "iproyal:iproyal_main"
    assert resolve(ledger, "IPROYAL_MAIN") == "iproyal:iproyal_main"
    assert owned_among(ledger, "iproyal:iproyal_main", ["7001", "7002"]) == {"7001", "7002"}
    with pytest.raises(CapExceeded, match="12.00 is spent"):
        ledger.intend(intent("iproyal:IPROYAL_MAIN", "k", limit="17.00"), Actor())


# ---------------------------------------------------------------------------------------------- joining


@pytest.fixture
def joined(ledger: Ledger) -> Ledger:
    """A ledger with two accounts, a and b, that were used apart; :func:`join` makes them one."""
    assert (resolve(ledger, "a", "key-1"), resolve(ledger, "b", "key-2")) == ("iproyal:a", "iproyal:b")
    return ledger


def join(ledger: Ledger) -> None:
    for name, key in (("a", "key-1"), ("b", "key-2")):
        assert resolve(ledger, name, key, named="a") == "iproyal:a"


def test_a_worker_with_the_former_name_counts_in_the_right_place(joined: Ledger) -> None:
    """It resolved its wallet before the join, and buys after it."""
    intended = joined.intend(intent("iproyal:b", "before"), Actor())
    sent = joined.claim(joined.intend(intent("iproyal:b", "sent"), Actor()), Actor(), evidence={}, sent_seconds=1)
    join(joined)
    with pytest.raises(StaleClaim):
        joined.claim(intended, Actor(), evidence={}, sent_seconds=1)
    placed = joined.record(sent, Step.PLACED, "taken", Actor(), vendor_order=VendorOrder("7", OrderStatus.PENDING, "new"))
    assert placed.wallet == "iproyal:a"
    with pytest.raises(CapExceeded, match=r"wallet 'iproyal:a' would be passed: 12\.00"):
        joined.intend(intent("iproyal:b", "after", limit="17.00"), Actor())
    assert joined.intend(intent("iproyal:b", "after"), Actor()).wallet == "iproyal:a"
    joined.freeze("iproyal:b", "a reason")
    assert joined.freeze_reason("iproyal:a") == joined.freeze_reason("iproyal:b") == "a reason"


@pytest.mark.parametrize("step", [Step.UNKNOWN, Step.QUARANTINED, Step.REJECTED])
def test_conclusions_from_before_a_join_are_taken_back(joined: Ledger, step: Step) -> None:
    purchase = joined.claim(joined.intend(intent("iproyal:b", "k"), Actor()), Actor(), evidence={}, sent_seconds=1)
    for each in (Step.UNKNOWN, step) if step is not Step.REJECTED else (step,):
        purchase = joined.record(purchase, each, "why", Actor())
    join(joined)
    with pytest.raises(StaleClaim):
        joined.record(purchase, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)
    after = joined.find("k")
    assert after is not None and after.wallet == "iproyal:a" and after.step is step


def test_both_freezes_stay(joined: Ledger) -> None:
    joined.freeze("iproyal:a", "this")
    joined.freeze("iproyal:b", "that")
    join(joined)
    assert joined.freeze_reason("iproyal:a") == "this; and that"


def test_a_turn_stays_with_its_purchase(joined: Ledger) -> None:
    joined.intend(intent("iproyal:b", "first", takes_turn=True), Actor())
    join(joined)
    with joined.engine.connect() as connection:
        rows = connection.execute(text("SELECT wallet, turn_key, joined FROM proxyorders_wallets ORDER BY wallet")).all()
    assert [tuple(row) for row in rows] == [("iproyal:a", "first", None), ("iproyal:b", None, "iproyal:a")]


def test_the_lines_become_one(joined: Ledger) -> None:
    """The numbers keep their order over both lines, and a waiter goes on under the former name."""
    for wallet, key in (("b", "1"), ("a", "2"), ("b", "both"), ("a", "both"), ("b", "3")):
        joined.line_up(f"iproyal:{wallet}", key)
    join(joined)
    assert [joined.place_in_line("iproyal:b", key).ahead for key in ("1", "2", "both", "3")] == [0, 1, 2, 3]
    joined.leave_line("iproyal:b", "1")
    assert joined.place_in_line("iproyal:a", "2").ahead == 0


def test_webhooks_move_and_later_ones_follow(joined: Ledger) -> None:
    inbox = Inbox(joined.engine)

    def arrive(order_id: str) -> None:
        inbox.keep([Hint(digest_of("iproyal:b", order_id.encode()), "b", "iproyal:b", order_id, f"ref-{order_id}", "done")])

    arrive("1")
    join(joined)
    arrive("2")  # of a receiver that has not heard of the join
    hints = inbox.since(0)
    assert [(hint.wallet, hint.concerns("iproyal:a"), hint.concerns("iproyal:b")) for hint in hints] == [
        ("iproyal:a", True, True)
    ] * 2
    assert not hints[0].concerns("iproyal:c")
    assert inbox.order_ids_of_reference("iproyal:a", "ref-1") == ["1"]
    assert inbox.order_ids_of_reference("iproyal:a", "ref-2") == ["2"]
    assert [hint.order_id for hint in inbox.newest_of_orders("iproyal:b", 0)] == ["1", "2"]


def test_alarms_move(joined: Ledger) -> None:
    alarms = Alarms(joined.engine)
    assert alarms.observe("iproyal:a", "both", "ok") is None
    crossing = alarms.observe("iproyal:b", "one", "low", balance="1")
    assert crossing is not None and alarms.observe("iproyal:b", "both", "low") is not None
    join(joined)
    alarms.confirm(crossing)
    assert alarms.observe("iproyal:a", "one", "low") is None, "it was reported under the former name"
    both = alarms.find("iproyal:a", "both")
    assert both is not None and both.state == "ok" and alarms.find("iproyal:b", "both") is None


def test_an_order_of_two_purchases_freezes(joined: Ledger) -> None:
    with joined.engine.begin() as connection:
        for wallet, key in (("iproyal:a", "k1"), ("iproyal:b", "k2")):
            connection.execute(
                text("INSERT INTO proxyorders_owned_ids VALUES (:wallet, '7001', :key)"), {"wallet": wallet, "key": key}
            )
    join(joined)
    assert joined.freeze_reason("iproyal:a") == "order 7001 stands in the ledger for two purchases, 'k1' and 'k2'"


def test_questions_move(joined: Ledger) -> None:
    with joined.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO proxyorders_questions (order_key, order_id, wallet, why, at) VALUES ('k','o','iproyal:b','w','t')")
        )
    join(joined)
    with joined.engine.connect() as connection:
        assert connection.execute(text("SELECT wallet FROM proxyorders_questions")).scalar_one() == "iproyal:a"


def _facts_of_wallets() -> list[str]:
    return [
        name
        for name, function in vars(facts).items()
        if inspect.isfunction(function) and not name.startswith("_") and "wallet" in inspect.signature(function).parameters
        if "store" in inspect.signature(function).parameters
    ]


BEGIN_ANEW = {"balance_mark", "unwatched_orders"}


@pytest.mark.parametrize("name", _facts_of_wallets())
def test_decisions_about_a_wallet_stay_after_a_join(joined: Ledger, name: str) -> None:
    """All but those that begin anew: what they say is read again, or was compared with the spending of one name."""
    function = getattr(facts, name)
    actor = Actor(dag_id="d", task_id="t", run_id="r")
    values = {"order_id": "7", "actor": actor, "store": joined, "vendor": "iproyal", "account": "b"}
    others = {each: values[each] for each in inspect.signature(function).parameters if each != "wallet"}
    function(wallet="iproyal:b", **others).put("decided")
    join(joined)
    fact = function(wallet="iproyal:a", **others)
    if name in BEGIN_ANEW:
        assert fact.get() is None
    else:
        assert fact.get() == "decided" and fact.decide_once("another") == "decided"


def test_the_balance_of_the_staying_name_begins_anew_too(joined: Ledger) -> None:
    mark = facts.balance_mark(joined, "iproyal:a", "iproyal", "a")
    mark.put("{}")
    join(joined)
    assert mark.get() is None


def test_a_chain_of_joins_leads_to_the_last_name(joined: Ledger) -> None:
    join(joined)
    for name, key in (("a", "key-1"), ("b", "key-2")):
        with_last = account(name, key, named="last")
        try:
            wallet = Accounts(joined.engine).resolve(with_last)
        except ConfigError:  # until the other one says so as well
            continue
    assert wallet == Wallet("iproyal:last", ("iproyal:a", "iproyal:b"))
    assert joined.intend(intent("iproyal:b", "k"), Actor()).wallet == "iproyal:last"


def test_a_join_and_a_purchase_at_once_take_turns(joined: Ledger) -> None:
    """Whichever comes first, the money counts once, in the wallet that stays."""
    moment = datetime.now(timezone.utc)
    ledger = Ledger(joined.engine, lambda: moment)
    with ThreadPoolExecutor(5) as pool:
        buying = [pool.submit(ledger.intend, intent("iproyal:b", f"k{number}"), Actor()) for number in range(4)]
        joining = pool.submit(join, joined)
        for future in (*buying, joining):
            future.result()
    with pytest.raises(CapExceeded, match=r"24\.00 is spent"):
        ledger.intend(intent("iproyal:a", "k", limit="29.00"), Actor())
    assert {purchase.wallet for purchase in ledger.purchases()} == {"iproyal:a"}


# ---------------------------------------------------------------------------------------------- without a guard


def without_a_hash(patch: pytest.MonkeyPatch) -> None:
    """An account is what its connection is called."""
    patch.setattr(accounts_module, "digest_of", lambda salt, account: account.conn_id)


def without_the_connection(patch: pytest.MonkeyPatch) -> None:
    """Ids of connections differ by the case of their letters."""
    patch.setattr(accounts_module, "folded", lambda conn_id: conn_id)


def without_following(patch: pytest.MonkeyPatch) -> None:
    """A worker goes on with the name of the wallet that it knows."""
    patch.setattr(turns, "in_wallet", lambda what, wallet: what)


def without_fences(patch: pytest.MonkeyPatch) -> None:
    """A join leaves the purchases under way alone."""
    patch.setattr(joining, "_RAISE_FENCES", text("SELECT 1"))


def spend_by_two_connections(ledger: Ledger) -> None:
    for name in ("a", "b"):
        ledger.intend(intent(resolve(ledger, name), f"k{name}", limit="6.00"), Actor())


def spend_by_two_spellings(ledger: Ledger) -> None:
    for name, key in (("shop", "key-1"), ("SHOP", "key-2")):
        ledger.intend(intent(resolve(ledger, name, key), f"k{name}", limit="6.00"), Actor())


def spend_by_a_former_name(ledger: Ledger) -> None:
    ledger.intend(intent(resolve(ledger, "a"), "ka", limit="6.00"), Actor())
    resolve(ledger, "a", named="main")
    ledger.intend(intent("iproyal:a", "kb", limit="6.00"), Actor())


def spend_by_an_old_conclusion(ledger: Ledger) -> None:
    purchase = ledger.claim(ledger.intend(intent(resolve(ledger, "a"), "k"), Actor()), Actor(), evidence={}, sent_seconds=1)
    unknown = ledger.record(purchase, Step.UNKNOWN, "why", Actor())
    resolve(ledger, "a", named="main")
    ledger.record(unknown, Step.INTENDED, "proven absent", Actor(), maybe_sent=False)


@pytest.mark.parametrize("removed", [False, True], ids=["guarded", "without"])
@pytest.mark.parametrize(
    ("guard", "spend"),
    [
        (without_a_hash, spend_by_two_connections),
        (without_the_connection, spend_by_two_spellings),
        (without_following, spend_by_a_former_name),
        (without_fences, spend_by_an_old_conclusion),
    ],
)
def test_each_guard_is_needed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, guard: Any, spend: Any, removed: bool) -> None:
    """With it the second step is refused, without it the same scene goes through."""
    if removed:
        guard(monkeypatch)
        spend(ledger)
    else:
        with pytest.raises((CapExceeded, StaleClaim)):
            spend(ledger)
