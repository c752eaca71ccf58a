"""Mistakes of newcomers: each is answered with what is wrong, what happened to the money, and what to do next.

The table is the list. A row is a mistake, the words that name it, the words about the money, and the words of the next step. The
vendor's own book says that nothing was bought.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.hooks import ProxyOrdersHook, VoodooHook
from airflow_provider_proxyorders.operators import (
    CheckWalletOperator,
    CreateProxyOrderOperator,
    DeliverProxiesOperator,
    ExtendProxyOrderOperator,
    FindExpiringOrdersOperator,
    read_delivery,
)
from airflow_provider_proxyorders.sensors import ProxyOrderSensor, ProxyOrderWebhookSensor
from tests.hooks import connections
from tests.hooks.connections import REQUESTS, Shops

from .tasks import context

CONN, LEDGER = "iproyal_default", "AIRFLOW__PROXYORDERS__LEDGER_URL"
ISP = REQUESTS["iproyal"]
FEW = {name: value for name, value in ISP.items() if name != "quantity"}
NAMED = {**REQUESTS["proxy6"], "country": "Germany"}
NO_JSON = json.dumps({"conn_type": "iproyal", "password": "key", "extra": "{max_order_price: 5}"})
#: What is said about the money. ``READS``: no money is near, such as in a call that reads, or in a DAG file that does not load.
BOUGHT, SENT, PAID, READS = "Nothing was bought.", "Nothing was sent.", "The order is paid", ""
CHANGED = "Nothing was changed."


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    :param make: makes it; raises, or ends as a command does.
    :param wrong: the part of the answer that names it.
    :param money: the part about the money.
    :param advice: the part that tells what to do next.
    :param bought: orders that the mistake needs, such as the first one of a key that is used twice.
    """

    make: Callable[[Shops], Any]
    wrong: str
    money: str
    advice: str
    bought: int


def hook() -> ProxyOrdersHook:
    return ProxyOrdersHook(CONN)


def task(**options: Any) -> CreateProxyOrderOperator:
    return CreateProxyOrderOperator(task_id="buy", **{"conn_id": CONN, "request": ISP, **options})


def create(conn_id: str = CONN, request: Any = ISP, **options: Any) -> Any:
    return task(conn_id=conn_id, request=request, **options).execute(context())


def rendered(operator: Any, **fields: Any) -> Any:
    """A task whose templates rendered to these values."""
    vars(operator).update(fields)
    return operator.execute(context())


def with_connection(**fields: Any) -> Callable[[Shops], Any]:
    """A purchase through a connection with a mistake."""
    return lambda shops: create(shops.connect("iproyal", "mine", **fields))


def with_variable(value: str) -> Callable[[Shops], Any]:
    def make(shops: Shops) -> Any:
        shops.patch.setenv("AIRFLOW_CONN_MINE", value)
        return create("mine")

    return make


def with_setting(name: str, value: str) -> Callable[[Shops], Any]:
    def make(shops: Shops) -> Any:
        shops.patch.setenv(name, value)
        return create()

    return make


def deliver(order_id: str = "", **options: Any) -> Any:
    """Write an order, by default one that was bought before."""
    order_id = order_id or hook().create_order(ISP, order_key="before").order_id or ""
    options = {"conn_id": CONN, "order_id": order_id, "path": "proxies.txt", **options}
    given: Any = {**context(), "outlet_events": OutletEventAccessors()}
    return DeliverProxiesOperator(task_id="deliver", **options).execute(given)


def extend(**options: Any) -> Any:
    options = {"conn_id": CONN, "order_id": "1", "request": {"product_plan_id": 22}, **options}
    return ExtendProxyOrderOperator(task_id="extend", **options).execute(context())


def find(**options: Any) -> Any:
    return FindExpiringOrdersOperator(task_id="find", conn_id=CONN, **options).execute(context())


def check(**options: Any) -> Any:
    return CheckWalletOperator(task_id="check", **{"conn_ids": [CONN], "low_balance": "5", **options}).execute(context())


def wait(kind: Any, **options: Any) -> Any:
    return kind(task_id="wait", **{"conn_id": CONN, "order_id": "1", "timeout": 5, **options}).execute(context())


def same_key_twice(shops: Shops) -> Any:
    hook().create_order(ISP, order_key="stock")
    return create(order_key="stock", request={**ISP, "quantity": 1})


def too_early(shops: Shops) -> Any:
    """Read the delivery right after the order was placed."""
    shops.box.control({"processing": 60})
    return hook().get_delivery(hook().create_order(ISP, order_key="early"))


def empty_wallet(shops: Shops) -> Any:
    shops.box.control({"vendor": "voodoo", "wallet": {"balance": "1.00"}})
    return create("voodoo_default", REQUESTS["voodoo"])


def settled(shops: Shops) -> Any:
    """Decide about a purchase that needs no decision."""
    purchase = hook().create_order(ISP, order_key="settled")
    hook().wait_for_order(purchase)
    return main(["ledger", "resolve", "settled", "--absent"])


def unreadable(shops: Shops) -> Any:
    Path("proxies.csv").write_text("host,port")
    return read_delivery("proxies.csv", "csv")


def no_such_wallet(shops: Shops) -> Any:
    hook().create_order(ISP, order_key="k")
    return main(["ledger", "unfreeze", "none"])


def imported(name: str, room: str = "") -> Callable[[Shops], Any]:
    return lambda shops: exec(f"from airflow_provider_proxyorders{room} import {name}", {})


def command(*words: str) -> Callable[[Shops], Any]:
    return lambda shops: main(words)


def port_in_use(*words: str) -> Callable[[Shops], Any]:
    """A command that shall listen where the sandbox does."""
    return lambda shops: main([*words, "--port", str(shops.box.port)])


def row(name: str, make: Callable[[Shops], Any], wrong: str, money: str, advice: str, bought: int = 0) -> Any:
    return pytest.param(Mistake(make, wrong, money, advice, bought), id=name)


#: name, what is done, and the three parts of the answer.
CONNECTIONS = [
    row("no cap", with_connection(extra={"max_order_price": None}), "no price cap", SENT, 'max_price="..." in the operator'),
    row("a cap of 0", with_connection(extra={"max_order_price": "0"}), "cap must be above 0", SENT, "Raise max_price"),
    row("a cap in words", with_connection(extra={"max_order_price": "fifty"}), "max_order_price must be", SENT, '"50.00"'),
    row(
        "a misspelt limit", with_connection(extra={"max_order_prise": "5"}), "max_order_prise is not", SENT, "'max_order_price'? "
    ),
    row(
        "the task's name for the cap", with_connection(extra={"max_price": "5"}), "max_price is not", SENT, "'max_order_price'? "
    ),
    row("a negative limit", with_connection(extra={"daily_limit": "-5"}), "daily_limit must be", SENT, 'for example "200.00"'),
    row("a sign as the currency", with_connection(extra={"currency": "$"}), "currency must be", SENT, 'for example "USD"'),
    row("a city as the zone", with_connection(extra={"timezone": "Berlin"}), "timezone must be", SENT, '"Europe/Berlin"'),
    row("a user's name as the login", with_connection(login="ada"), "login is the most", SENT, "such as 50.00, or empty"),
    row("no key", with_connection(password=""), "'mine': password", SENT, "must hold the access token"),
    row("a wrong key", with_connection(password="nonsense"), "not accept the key of connection 'mine'", BOUGHT, "Put a valid"),
    row("the type http", with_connection(conn_type="http"), "'mine': no vendor named 'http'", SENT, "Choose one of these types"),
    row("a host in clear text", with_connection(host="http://a.example"), "host must begin with https", SENT, "set allow_http"),
    row(
        "a host that is off", with_connection(host="http://127.0.0.1:1/x"), "127.0.0.1:1", BOUGHT, "Check the host of connection"
    ),
    row("a path in a URI", with_variable("iproyal://:key@127.0.0.1:80/x?max_order_price=5"), "schema must", SENT, "into host"),
    row("Python for JSON", with_variable("{'conn_type': 'iproyal'}"), "AIRFLOW_CONN_MINE must hold", SENT, "Write JSON"),
    row("an extra of no JSON", with_variable(NO_JSON), "the extra must be JSON", SENT, "must be JSON"),
    row("a misspelt conn_id", lambda shops: create("iproyal_defualt"), "'iproyal_defualt' is missing", SENT, "correct conn_id"),
    row(
        "another vendor's hook",
        lambda shops: VoodooHook(CONN).get_balance(),
        "of type 'iproyal'",
        SENT,
        "this hook needs 'voodoo'",
    ),
]
ORDERS = [
    row("no request", lambda shops: create(request=None), "request is needed", BOUGHT, "For example: {'quantity': 1}"),
    row(
        "Python's text of a request",
        lambda shops: rendered(task(request="{{ x }}"), request=str(ISP)),
        "not JSON",
        BOUGHT,
        "`tojson`",
    ),
    row(
        "a misspelt field", lambda shops: create(request={**FEW, "quantiti": 2}), "'quantiti'", BOUGHT, "did you mean 'quantity'?"
    ),
    row("a word for a number", lambda shops: create(request={**FEW, "quantity": "two"}), "got 'two'", BOUGHT, "For example: 2"),
    row("a field is left out", lambda shops: create(request=FEW), "'quantity' is needed", BOUGHT, "For example: 2"),
    row(
        "another vendor's body",
        lambda shops: create(request=REQUESTS["voodoo"]),
        "'product_id' is required",
        BOUGHT,
        "example: 9",
    ),
    row(
        "a place that is not sold", lambda shops: create(request={**ISP, "product_location_id": 9}), "location", BOUGHT, "invalid"
    ),
    row("a country in words", lambda shops: create("proxy6_default", NAMED), "got 'Germany'", BOUGHT, "example: 'nl'"),
    row("a cap with a sign", lambda shops: create(max_price="$10"), "max_price must be", BOUGHT, "For example: '12.50'"),
    row("a cap with a comma", lambda shops: create(max_price="10,00"), "got '10,00'", BOUGHT, "For example: '12.50'"),
    row(
        "a cap of nothing",
        lambda shops: rendered(task(max_price="{{ x }}"), max_price=""),
        "rendered to nothing",
        BOUGHT,
        "'12.50'",
    ),
    row("a cap below the price", lambda shops: create(max_price="1.00"), "quotes 6.00 USD", BOUGHT, "the cap is 1.00"),
    row("an empty wallet", empty_wallet, "less than the price", BOUGHT, "Top the wallet up"),
    row("one key for two requests", same_key_twice, "quantity: 2 -> 1", SENT, "another order_key", 1),
    row("a long key", lambda shops: create(order_key="x" * 501), "order_key must have 1 to 500", SENT, "1 to 500 characters"),
    row(
        "no key from Python",
        lambda shops: hook().create_order(ISP, order_key=None),
        "order_key is needed",
        BOUGHT,
        "For example:",
    ),
    row("a word for a choice", lambda shops: task(on_unresolved="wait"), "on_unresolved", BOUGHT, "one of fail, ask"),
    row("a name for a user", lambda shops: task(assigned_users=["ada"]), "assigned_users must be", BOUGHT, "'id': '1'"),
    row("a name for a notifier", lambda shops: task(notifiers=["slack"]), "notifiers must be", BOUGHT, "SlackNotifier("),
    row("a time in words", lambda shops: task(timeout="an hour"), "timeout must be", BOUGHT, "For example: '3 days'"),
    row(
        "a file for many hosts", with_setting("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor"), "SQLite file", BOUGHT, "ledger_url at"
    ),
    row(
        "a ledger of MySQL",
        with_setting(LEDGER, "mysql://u:p@h/db"),
        "got 'mysql'",
        "This try bought nothing.",
        "postgresql+psycopg://",
    ),
    row("a ledger in a relative file", with_setting(LEDGER, "sqlite:///p.db"), "absolute path", BOUGHT, "with four slashes"),
    row("a delivery that is too early", too_early, "is still", "is paid", "wait_for_order", 1),
]
LATER = [
    row("an id that is none", lambda shops: extend(order_id="None"), "order_id is needed", BOUGHT, "For example: '7001'"),
    row("a result of something else", lambda shops: extend(order_id={"id": 5}), "got {'id': 5}", BOUGHT, "the whole result"),
    row("an unknown order", lambda shops: extend(), "not know order '1'", BOUGHT, "Correct order_id"),
    row("an unknown order to wait for", lambda shops: wait(ProxyOrderSensor), "not know order '1'", BOUGHT, "Correct order_id"),
    row("an unknown order to deliver", lambda shops: deliver("1"), "not know order '1'", BOUGHT, "Correct order_id"),
    row("a vendor without extension", lambda shops: extend(conn_id="voodoo_default"), "cannot extend", SENT, "if_unsupported="),
    row("a day in words", lambda shops: extend(paid_through="tomorrow"), "paid_through must be", BOUGHT, "For example: '20"),
    row("a number without a unit", lambda shops: find(within=3), "within needs a unit", READS, "For example: '3 days'"),
    row("a path with a variable", lambda shops: deliver("1", path="$HOME/x"), "'$HOME/x'", READS, "{{ var.value.folder }}"),
    row("a folder for a file", lambda shops: deliver(path="."), "Is a directory", PAID, "Correct path", 1),
    row("a store without its library", lambda shops: deliver(path="s3://b/x"), "Install s3fs", PAID, "on the workers", 1),
    row("too few proxies", lambda shops: deliver(at_least=9), "at_least=9", PAID, "another try reads", 1),
    row(
        "a page without https",
        lambda shops: deliver("1", check_url="example.com"),
        "check_url must be",
        READS,
        "'https://www.example.com/'",
    ),
    row("a format that is none", lambda shops: deliver("1", format="txt"), "got 'txt'", READS, "one of url,"),
    row("a file of another host", lambda shops: read_delivery("none.txt"), "none.txt", SENT, "a store that all workers reach"),
    row(
        "a format that loses",
        unreadable,
        "'csv' cannot be read back",
        SENT,
        "write url or jsonl",
    ),
    row("a vendor without webhooks", lambda shops: wait(ProxyOrderWebhookSensor), "no webhooks", SENT, "ProxyOrderSensor waits"),
    row(
        "no secret for webhooks",
        lambda shops: wait(ProxyOrderWebhookSensor, conn_id="voodoo_default"),
        "webhook_secret",
        SENT,
        "Add it to the extra",
    ),
    row("a level in words", lambda shops: check(low_balance="low"), "low_balance must be", READS, "For example: '50.00'"),
    row("no wallet to check", lambda shops: check(conn_ids=[]), "conn_ids is empty", SENT, "name one connection"),
    row(
        "a wallet that is not there",
        lambda shops: check(conn_ids=["none"]),
        "connection 'none' is missing",
        SENT,
        "correct conn_id",
    ),
]
IMPORTS = [
    row(
        "from the package itself",
        imported("CreateProxyOrderOperator"),
        "lacks CreateProxyOrderOperator",
        READS,
        "operators import CreateP",
    ),
    row(
        "a sensor of the operators",
        imported("ProxyOrderSensor", ".operators"),
        "lacks ProxyOrderSensor",
        READS,
        ".sensors import ProxyO",
    ),
    row(
        "a misspelt class",
        imported("CreateProxyOrdersOperator", ".operators"),
        "OrdersOperator",
        READS,
        "import CreateProxyOrderOperator",
    ),
]
COMMANDS = [
    row(
        "doctor of a misspelt connection",
        command("doctor", "none"),
        "connection 'none' is missing",
        SENT,
        "Create it under Admin",
    ),
    row(
        "a key that is not there",
        command("ledger", "show", "none"),
        "'none' is missing in the ledger",
        READS,
        "proxyorders ledger list",
    ),
    row("to decide what is settled", settled, "'settled' is delivered", CHANGED, "only an unresolved", 1),
    row(
        "a wallet that is none",
        no_such_wallet,
        "'none' is the name of no wallet",
        CHANGED,
        "Its wallets: iproyal",
        1,
    ),
    row(
        "a ledger that is none",
        command("ledger", "list", "--ledger-url", "x"),
        "must be a database URL",
        READS,
        "sqlite:////absolute",
    ),
    row(
        "a vendor without catalogue",
        command("catalogue", "proxyscrape_default"),
        "no call for listing products",
        SENT,
        "documentation names the fields",
    ),
    row("a test of no webhooks", command("webhooks", "send-test", CONN), "lacks webhooks", SENT, "its orders are polled"),
    row(
        "a test without secret",
        command("webhooks", "send-test", "voodoo_default"),
        "lacks the webhook_secret",
        SENT,
        "Add it to the extra",
    ),
    row("a port in use, sandbox", port_in_use("sandbox"), "cannot listen on", READS, "Try another --port"),
    row("a port in use, receiver", port_in_use("webhooks", "serve"), "cannot listen on", READS, "Try another --port"),
    row("a port that is none", command("webhooks", "serve", "--port", "99999"), "'99999'", READS, "a port from 0 to 65535"),
    row("a misspelt command", command("doktor"), "'doktor'", READS, "'doctor'"),
    row("a name for a package", command("new-vendor", "My Vendor"), "NAME must be", READS, "acme"),
]
MISTAKES = [*CONNECTIONS, *ORDERS, *LATER, *IMPORTS, *COMMANDS]


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """A connection to each vendor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")  # as for the command: connections come from the environment
    for made in connections.shops(tmp_path, monkeypatch):
        for vendor in REQUESTS:
            made.connect(vendor)
        yield made


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_answer_says_what_is_wrong_what_became_of_the_money_and_what_to_do(
    shops: Shops, mistake: Mistake, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = mistake.make(shops)
        said = capsys.readouterr()
        answer = said.out + said.err
        assert status != 0, answer
    except SystemExit as ended:  # the arguments of a command
        assert ended.code == 2
        answer = capsys.readouterr().err
    except Exception as error:
        answer = str(error)
    answer = " ".join(line for line in answer.split("\n") if "[info" not in line)
    answer = " ".join(answer.split())
    assert [part for part in (mistake.wrong, mistake.money, mistake.advice) if part not in answer] == [], answer
    assert len(shops.box.book.charges()) == mistake.bought
    assert len(answer) < 900


def test_there_are_enough_of_them() -> None:
    assert len(MISTAKES) >= 25 and len({mistake.id for mistake in MISTAKES}) == len(MISTAKES)
