"""One account is one wallet: its limits hold, and its orders are extended once, through however many connections."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, insert, select

from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import (
    CapExceeded,
    ConfigError,
    NotDue,
    OrderKeyConflict,
    OutcomeUnknown,
)
from airflow_provider_proxyorders.domain.model import Step
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.hooks.wallets import look_up_wallet
from airflow_provider_proxyorders.ledger import Ledger, open_ledger, schema
from airflow_provider_proxyorders.ledger.accounts import Accounts, Wallet
from airflow_provider_proxyorders.ledger.engine import engine_for
from airflow_provider_proxyorders.ledger.inbox import Hint, Inbox
from airflow_provider_proxyorders.purchase.attempt import Attempt, PurchaseRequest
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.renewal.extension import extend
from airflow_provider_proxyorders.renewal.keys import default_extension_key, expiry_to_extend
from airflow_provider_proxyorders.transport.worker import Http
from tests import vendors

from .connections import PRICES, REQUESTS, Shops
from .test_extension_key import PLAN, context

REAL_RESOLVE = Accounts.resolve
LEDGER_URL = "AIRFLOW__PROXYORDERS__LEDGER_URL"


@pytest.fixture(params=["sqlite", "postgresql"])
def shops(shops: Shops, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shops:
    """The same with each database."""
    if request.param == "postgresql":
        monkeypatch.setenv(LEDGER_URL, request.getfixturevalue("postgres_url"))
    return shops


def ledger() -> Ledger:
    return open_ledger(os.environ[LEDGER_URL])


def wallet(conn_id: str) -> str:
    return ProxyOrdersHook(conn_id).buyer().account.wallet


def second_key(shops: Shops, vendor: str) -> None:
    """Let the vendor know another key, ``box.token(vendor, "second")``."""
    shops.box.state.vendors[vendor].open_wallet("second", balance="500")


def total(shops: Shops, vendor: str) -> Decimal:
    """What the vendor charged, by its own book."""
    return sum((Decimal(entry.amount) for entry in shops.bought(vendor)), Decimal(0))


# ---------------------------------------------------------------------------------------------- limits


def test_spellings_of_one_connection_share_its_limit(shops: Shops, vendor: str) -> None:
    shops.connect(vendor, "shop_main", extra={"daily_limit": PRICES[vendor], "max_order_price": PRICES[vendor]})
    ProxyOrdersHook("shop_main").create_order(REQUESTS[vendor], order_key="first")
    for number, conn_id in enumerate(("SHOP_MAIN", "Shop_Main")):
        with pytest.raises(CapExceeded, match=f"daily_limit.*'{vendor}:shop_main'"):
            ProxyOrdersHook(conn_id).create_order(REQUESTS[vendor], order_key=f"k{number}")
    assert total(shops, vendor) == Decimal(PRICES[vendor])


def test_connections_with_one_key_share_what_they_read(shops: Shops, vendor: str) -> None:
    """The second one starts from the balance that the first one saw, so a lost answer right after a purchase is decided."""
    for conn_id in ("one", "two"):
        shops.connect(vendor, conn_id)
        ProxyOrdersHook(conn_id).create_order(REQUESTS[vendor], order_key=conn_id)
    second = ledger().find("two")
    assert second is not None and second.evidence["checkpoint"]["certain"] is True


def test_connections_with_one_key_share_limits(shops: Shops, vendor: str) -> None:
    extra = {"daily_limit": PRICES[vendor], "max_order_price": PRICES[vendor]}
    for conn_id in ("one", "two"):
        shops.connect(vendor, conn_id, extra=extra)
    ProxyOrdersHook("one").create_order(REQUESTS[vendor], order_key="first")
    with pytest.raises(CapExceeded, match="daily_limit"):
        ProxyOrdersHook("two").create_order(REQUESTS[vendor], order_key="second")
    assert len(shops.bought(vendor)) == 1
    assert ProxyOrdersHook("two").create_order(REQUESTS[vendor], order_key="first").conn_id == "one"


def test_connections_at_once_share_limits(shops: Shops) -> None:
    for number in range(4):
        shops.connect("iproyal", f"c{number}", extra={"daily_limit": PRICES["iproyal"], "max_order_price": PRICES["iproyal"]})

    def buy(number: int) -> str:
        try:
            return ProxyOrdersHook(f"c{number}").create_order(REQUESTS["iproyal"], order_key=f"k{number}").step.value
        except CapExceeded:
            return "refused"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(buy, range(4)))
    assert outcomes.count("refused") == 3 and len(shops.bought("iproyal")) == 1


def test_a_wallet_named_after_separate_use_counts_all_of_today(shops: Shops, vendor: str) -> None:
    price = Decimal(PRICES[vendor])
    second_key(shops, vendor)
    for name in ("main", "second"):
        shops.connect(vendor, name, password=shops.box.token(vendor, name))
        ProxyOrdersHook(name).create_order(REQUESTS[vendor], order_key=f"before {name}")
    limits = {"daily_limit": f"{2 * price:f}", "max_order_price": f"{price:f}", "wallet": "all"}
    for name in ("main", "second"):
        shops.connect(vendor, name, password=shops.box.token(vendor, name), extra=limits)
        assert wallet(name) == f"{vendor}:all"
    for name in ("main", "second"):
        with pytest.raises(CapExceeded, match="daily_limit"):
            ProxyOrdersHook(name).create_order(REQUESTS[vendor], order_key=f"after {name}")
        again = ProxyOrdersHook(name).create_order(REQUESTS[vendor], order_key=f"before {name}")
        assert again.wallet == f"{vendor}:all", "the key is used up under every name"
    assert len(shops.bought(vendor)) == 2


def test_two_names_for_one_account_buy_nothing(shops: Shops, vendor: str) -> None:
    for conn_id in ("one", "two"):
        shops.connect(vendor, conn_id, extra={"wallet": conn_id})
    assert wallet("one") == f"{vendor}:one"
    with pytest.raises(ConfigError, match="'two' and 'one' pay from one account.*Nothing was bought"):
        ProxyOrdersHook("two").create_order(REQUESTS[vendor], order_key="k")
    assert shops.bought(vendor) == []


# ---------------------------------------------------------------------------------------------- keys and hosts


def test_a_changed_key_keeps_the_wallet(shops: Shops) -> None:
    shops.connect("iproyal", "shop")
    ProxyOrdersHook("shop").create_order(REQUESTS["iproyal"], order_key="k")
    second_key(shops, "iproyal")
    shops.connect("iproyal", "shop", password=shops.box.token("iproyal", "second"), extra={"daily_limit": "6.00"})
    with pytest.raises(CapExceeded, match="'iproyal:shop'"):
        ProxyOrdersHook("shop").create_order(REQUESTS["iproyal"], order_key="another")
    assert ProxyOrdersHook("shop").create_order(REQUESTS["iproyal"], order_key="k").wallet == "iproyal:shop"
    assert len(shops.bought("iproyal")) == 1


@pytest.mark.parametrize("vendor", ["iproyal", "proxyscrape"])
def test_a_purchase_of_another_account_is_not_looked_for_in_this_one(shops: Shops, vendor: str) -> None:
    """Two accounts of one wallet. The answer of the first one's purchase is lost, and the second one sees no trace of it."""
    shops.box.state.vendors[vendor].open_wallet("second", balance="1000")
    for name, settle in (("main", 600), ("second", 0.3)):
        shops.connect(
            vendor, name, password=shops.box.token(vendor, name), extra={"wallet": "all", "settle": settle, "timeout": 1}
        )
    shops.box.fault(vendor, "create", when="after", times=1, action="reset")
    shops.box.fault(vendor, "*", action="lag", seconds=3600)
    with pytest.raises(OutcomeUnknown):
        ProxyOrdersHook("main").create_order(REQUESTS[vendor], order_key="k")
    shops.box.clear_faults()
    lost = ledger().find("k")
    assert lost is not None and lost.unresolved
    with pytest.raises(OutcomeUnknown, match="another account of this wallet; only connection 'main' can look for it"):
        ProxyOrdersHook("second").buyer().settling.evidence.look(lost)
    assert ProxyOrdersHook("main").buyer().settling.evidence.look(lost).has_trace


def test_spellings_of_a_host_are_one_account_and_another_host_is_another(shops: Shops) -> None:
    url = shops.box.url("iproyal")
    shops.connect("iproyal", "a")
    shops.connect("iproyal", "b", host=f"{url.replace('http', 'HTTP')}/")
    shops.connect("iproyal", "c", host="https://api.example.com")
    shops.connect("iproyal", "d", host="api.example.com", schema="https", port=443)
    names = [wallet(conn_id) for conn_id in "abcd"]
    assert names == ["iproyal:a", "iproyal:a", "iproyal:c", "iproyal:c"]


# ---------------------------------------------------------------------------------------------- extensions


@pytest.fixture
def order(shops: Shops) -> str:
    """An order that is paid for thirty days."""
    shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "confirmed", "expire_date": "2030-02-01 09:15:00"}})
    return "7001"


def test_two_dags_extend_an_order_once(shops: Shops, order: str) -> None:
    """Each through a connection of its own, by the default key, and with the same expiry read before."""
    for conn_id in ("one", "two"):
        shops.connect("iproyal", conn_id)
        expiry_to_extend(ProxyOrdersHook(conn_id).buyer(context(dag_id=conn_id)), order)

    def run(conn_id: str) -> str:
        try:
            return extend(ProxyOrdersHook(conn_id).buyer(context(dag_id=conn_id)), order, PLAN).order_key
        except NotDue:
            return "not due"

    with ThreadPoolExecutor(2) as pool:
        keys = set(pool.map(run, ("one", "two")))
    assert keys <= {"extend:iproyal:one:7001:2030-02-01T09:15:00+00:00", "not due"}
    assert len(shops.bought("iproyal")) == 1


def test_an_extension_that_began_under_a_former_name_is_the_same(shops: Shops, order: str) -> None:
    """Its answer was lost, the wallet got a name, and the task tries again: default key and expiry are those of before."""
    shops.connect("iproyal", "one")
    buyer = buyer_of("one")
    key = default_extension_key(buyer, order, expiry_to_extend(buyer, order))
    prepared = buyer.vendor.prepare_extend(order, PLAN)
    send_and_lose_the_answer(buyer, buyer.request_for("extend", key, prepared, order))
    shops.connect("iproyal", "one", extra={"wallet": "main"})
    again = extend(buyer_of("one"), order, PLAN)
    assert (again.wallet, again.order_key, again.step) == ("iproyal:main", key, Step.DELIVERED)
    assert len(shops.bought("iproyal")) == 1


@pytest.mark.parametrize("removed", [False, True], ids=["guarded", "without"])
def test_a_retry_needs_the_names_of_before(shops: Shops, order: str, monkeypatch: pytest.MonkeyPatch, removed: bool) -> None:
    """Fingerprint and default key of a purchase have the name in them that the wallet had then."""
    shops.connect("iproyal", "one")
    ProxyOrdersHook("one").create_order(REQUESTS["iproyal"], order_key="k")
    first = extend(buyer_of("one"), order, PLAN)
    shops.connect("iproyal", "one", extra={"wallet": "main"})
    if not removed:
        assert ProxyOrdersHook("one").create_order(REQUESTS["iproyal"], order_key="k").wallet == "iproyal:main"
        assert extend(buyer_of("one"), order, PLAN).order_key == first.order_key
    else:
        monkeypatch.setattr(Accounts, "resolve", lambda accounts, account: Wallet(REAL_RESOLVE(accounts, account).name))
        with pytest.raises(OrderKeyConflict, match="already stands for another purchase"):
            ProxyOrdersHook("one").create_order(REQUESTS["iproyal"], order_key="k")
        with pytest.raises(NotDue):
            extend(buyer_of("one"), order, PLAN)
    assert len(shops.bought("iproyal")) == 2


def buyer_of(conn_id: str) -> Buyer:
    return ProxyOrdersHook(conn_id).buyer(context())


# ---------------------------------------------------------------------------------------------- an older ledger


def old_buyer(shops: Shops, vendor: str, conn_id: str, url: str) -> Buyer:
    """A buyer of the package before: its wallet was called like its connection."""
    account = Account(
        vendor=vendor,
        conn_id=conn_id,
        wallet=f"{vendor}:{conn_id}",
        base_url=shops.box.url(vendor),
        secret=shops.box.token(vendor),
        settings={"settle": 0.3},
        caps=Caps(max_order_price=Decimal("25.00")),
        currency="USD",
        timeout=5,
    )
    kind = vendors.VENDORS[vendor](account)
    return Buyer(kind, Http(account), open_ledger(url), sleep=lambda seconds: None)


def as_version_0004(source: str, target: str, patch: pytest.MonkeyPatch) -> None:
    """Copy a ledger into one of schema 0004, as the package before left it."""
    with patch.context() as older:
        older.setattr(schema, "HEAD", "0004")
        schema.ensure(engine_for(target))
    old, new = MetaData(), MetaData()
    here, there = create_engine(source), engine_for(target)
    old.reflect(there)
    new.reflect(here)
    with here.connect() as reading, there.begin() as writing:
        for table in old.sorted_tables:
            if table.name == schema.VERSION_TABLE:
                continue
            numbered = table.name == "proxyorders_steps"  # the database goes on counting from its own numbers
            columns = [new.tables[table.name].c[column.name] for column in table.c if not (numbered and column.name == "id")]
            query = select(*columns).order_by(new.tables[table.name].c.id) if numbered else select(*columns)
            rows = [dict(row) for row in reading.execute(query).mappings()]
            if rows:
                writing.execute(insert(table), rows)
    here.dispose()


@pytest.fixture
def old_ledger(
    shops: Shops, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Call it as soon as the file ``filled.db`` is filled: from then on it is this Airflow's, in schema 0004."""

    def upgrade_begins() -> None:
        is_file = os.environ[LEDGER_URL].startswith("sqlite")
        empty = f"sqlite:///{tmp_path / 'older.db'}" if is_file else request.getfixturevalue("empty_postgres_url")
        monkeypatch.setenv(LEDGER_URL, empty)
        as_version_0004(f"sqlite:///{tmp_path / 'filled.db'}", os.environ[LEDGER_URL], monkeypatch)

    return upgrade_begins


@pytest.mark.parametrize("first", ["shop_main", "SHOP_MAIN"])
def test_purchases_of_an_older_ledger_go_on(
    shops: Shops, vendor: str, tmp_path: Path, old_ledger: Callable[[], None], first: str
) -> None:
    """Under both spellings of its connection: one that landed without an answer, one intended, one placed."""
    filled, request = f"sqlite:///{tmp_path / 'filled.db'}", REQUESTS[vendor]
    for conn_id in ("shop_main", "SHOP_MAIN"):
        old_buyer(shops, vendor, conn_id, filled).place(request, order_key=f"placed {conn_id}")
    for conn_id in ("shop_main", "SHOP_MAIN"):
        buyer = old_buyer(shops, vendor, conn_id, filled)
        prepared = buyer.vendor.prepare_create(request, buyer.reference(f"intended {conn_id}"))
        attempt = Attempt(buyer.request_for("create", f"intended {conn_id}", prepared))
        buyer.turns.give_back(buyer.intend(attempt), RuntimeError("its worker ended"))
    buyer = old_buyer(shops, vendor, "SHOP_MAIN", filled)
    prepared = buyer.vendor.prepare_create(request, buyer.reference("unknown SHOP_MAIN"))
    send_and_lose_the_answer(buyer, buyer.request_for("create", "unknown SHOP_MAIN", prepared))
    landed = shops.bought(vendor)[-1].order_id
    if vendor == "voodoo":  # it names its order in a webhook only, which came in yesterday
        hint = Hint("d", "SHOP_MAIN", "voodoo:SHOP_MAIN", landed, buyer.reference("unknown SHOP_MAIN"), "completed")
        Inbox(buyer.ledger.engine).keep([hint])
    placed = len(shops.bought(vendor))
    assert placed == 3
    old_ledger()
    shops.connect(vendor, "shop_main")
    second = "SHOP_MAIN" if first == "shop_main" else "shop_main"
    assert wallet(first) == wallet(second) == f"{vendor}:{first}"
    for conn_id in ("shop_main", "SHOP_MAIN"):  # each task tries again, through its own spelling
        again = ProxyOrdersHook(conn_id).create_order(request, order_key=f"placed {conn_id}")
        assert again.step is not Step.INTENDED and again.wallet == f"{vendor}:{first}"
    settled = ProxyOrdersHook("SHOP_MAIN").create_order(request, order_key="unknown SHOP_MAIN")
    assert settled.order_id is not None and len(shops.bought(vendor)) == placed
    assert settled.order_id == landed or vendor == "proxyscrape", "ProxyScrape shows it under the id of its sub-account"
    for conn_id in ("shop_main", "SHOP_MAIN"):
        ProxyOrdersHook(conn_id).create_order(request, order_key=f"intended {conn_id}")
    assert len(shops.bought(vendor)) == placed + 2
    assert len({entry.order_id for entry in shops.bought(vendor)}) == placed + 2


def send_and_lose_the_answer(buyer: Buyer, request: PurchaseRequest) -> None:
    """Leave a purchase behind that the vendor took, and whose worker ended before it had the answer."""
    body, vendor = request.prepared.body, buyer.vendor
    purchase = buyer.intend(Attempt(request))
    evidence = buyer.http.run(vendor.snapshot(request.kind, body, request.target))
    sent = buyer.ledger.claim(purchase, buyer.actor, evidence=evidence, sent_seconds=0.0)
    buyer.http.run(vendor.create(body) if request.target is None else vendor.extend(request.target, body), lambda request: None)
    assert buyer.ledger.record(sent, Step.UNKNOWN, "the answer is lost", buyer.actor).step is Step.UNKNOWN


# ---------------------------------------------------------------------------------------------- who only reads


def test_reading_makes_and_upgrades_no_ledger(shops: Shops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing.db"
    account = shops.hook("iproyal").vendor.account
    look_up_wallet(account, f"sqlite:///{missing}")
    assert account.wallet == "iproyal:iproyal_default" and not missing.exists()
    with monkeypatch.context() as older:
        older.setattr(schema, "HEAD", "0004")
        schema.ensure(engine_for(f"sqlite:///{missing}"))
    look_up_wallet(account, f"sqlite:///{missing}")
    with engine_for(f"sqlite:///{missing}").connect() as connection:
        assert schema.version_of(connection) == "0004"


def test_reading_names_the_wallet_that_buying_decided(shops: Shops) -> None:
    for conn_id in ("one", "two"):
        shops.connect("iproyal", conn_id)
    assert wallet("one") == "iproyal:one"
    account = ProxyOrdersHook("two").vendor.account
    look_up_wallet(account)
    assert account.wallet == "iproyal:one"
    assert Accounts(ledger().engine).sharing("iproyal:one") == ["one"], "only who buys is written down"
