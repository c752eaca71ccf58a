"""Promise P15 for parameters: nothing means "not given" everywhere, and a native type is read or refused in one sentence.

The cases come from the signatures of the public classes. A new parameter needs a kind in ``KINDS``, else a test fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.context import Context
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidRequest, ProxyOrdersError
from airflow_provider_proxyorders.domain.inputs import body_of
from airflow_provider_proxyorders.domain.model import Money
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator, read_delivery
from airflow_provider_proxyorders.operators.ledger import ReconcileLedgerOperator
from airflow_provider_proxyorders.operators.orders import (
    CreateProxyOrderOperator,
    ExtendProxyOrderOperator,
    FindExpiringOrdersOperator,
)
from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator
from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor, ProxyOrderWebhookSensor
from airflow_provider_proxyorders.sensors.wallet import WalletBalanceSensor
from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger, ProxyOrderTrigger
from airflow_provider_proxyorders.triggers.wallet import WalletBalanceTrigger, WalletLevelTrigger
from tests.hooks.connections import REQUESTS, Shops

from .tasks import context

CONN = "iproyal_default"
LATER = "2099-01-01T00:00:00+00:00"

#: class -> the parameters of a task that succeeds, without one optional parameter.
TASKS: dict[type, dict[str, Any]] = {
    CreateProxyOrderOperator: {"conn_id": CONN, "request": REQUESTS["iproyal"]},
    ExtendProxyOrderOperator: {"conn_id": CONN, "order_id": "7001", "request": {"product_plan_id": 22}},
    FindExpiringOrdersOperator: {"conn_id": CONN, "within": "P90D"},
    DeliverProxiesOperator: {"conn_id": CONN, "order_id": "7001", "path": "proxies.txt"},
    ReconcileLedgerOperator: {"conn_id": CONN},
    CheckWalletOperator: {"conn_ids": [CONN], "low_balance": "5"},
    ProxyOrderSensor: {"conn_id": CONN, "order_id": "7001"},
    ProxyOrderWebhookSensor: {"conn_id": "voodoo_default", "order_id": "set by the fixture"},
    WalletBalanceSensor: {"conn_id": CONN, "at_least": "5", "poke_interval": 0.05, "timeout": 0.2},
}
TRIGGERS: dict[type, dict[str, Any]] = {
    ProxyOrderTrigger: {"conn_id": CONN, "order_id": "7001", "deadline": LATER},
    OrderEventTrigger: {"conn_id": CONN},
    WalletLevelTrigger: {"conn_id": CONN, "at_least": "5", "deadline": LATER},
    WalletBalanceTrigger: {"conn_id": CONN, "low_balance": "5"},
}
#: method of the hook -> its arguments.
METHODS: dict[str, dict[str, Any]] = {
    "create_order": {"request": REQUESTS["iproyal"], "order_key": "k"},
    "extend_order": {"order_id": "7001", "request": {"product_plan_id": 22}, "order_key": "extension"},
    "get_order": {"order_id": "7001"},
    "get_raw_order": {"order_id": "7001"},
    "get_delivery": {"order_id": "7001"},
    "list_orders": {},
    "quote": {"request": REQUESTS["iproyal"]},
    "quote_extension": {"order_id": "7001", "request": {"product_plan_id": 22}},
    "set_auto_extend": {"order_id": "7001", "enabled": False},
    "order_page": {"order_id": "7001"},
}

#: what can buy, and says of a refused parameter that nothing was bought
BUYERS = {CreateProxyOrderOperator, ExtendProxyOrderOperator, "create_order", "extend_order"}

#: required: refused where nothing is given. default: nothing means the parameter was left out. none: nothing means None.
#: cap: None means left out, and a template that rendered to nothing is refused. python: never rendered and never text.
#: own test: see the classes below.
KINDS: dict[str, str] = {
    **dict.fromkeys(("conn_id", "conn_ids", "order_id", "path", "within", "deadline", "enabled"), "required"),
    **dict.fromkeys(
        ("request", "order_key", "on_partial", "wait_for_completion", "deferrable", "poll_interval", "poke_interval"), "default"
    ),
    **dict.fromkeys(("timeout", "paid_through", "expires_at", "only_within", "on_auto_extend", "on_short"), "default"),
    **dict.fromkeys(("if_unsupported", "as_of", "product", "location", "note", "order_ids", "exclude"), "default"),
    **dict.fromkeys(("auto_extending", "term", "limit", "format", "at_least", "check_url", "check_timeout"), "default"),
    **dict.fromkeys(("check_at_once", "fail_on_findings", "recovered_at", "notifiers", "extension", "alert_name"), "default"),
    **dict.fromkeys(("fail_when_low", "end_from_trigger", "backstop", "placed_at", "kind", "evidence", "ends"), "default"),
    **dict.fromkeys(("on", "name", "low_balance", "on_unresolved", "assigned_users", "response_timeout"), "default"),
    "horizon": "none",
    "max_price": "cap",
    **dict.fromkeys(("retries", "retry_delay", "retry_policy"), "python"),
    "CreateProxyOrderOperator.request": "required",
    "ExtendProxyOrderOperator.request": "required",
    "WalletBalanceSensor.at_least": "required",
    "WalletLevelTrigger.at_least": "required",
    "WalletBalanceTrigger.low_balance": "required",
    "create_order.request": "required",
    "create_order.order_key": "required",
    "extend_order.request": "required",
    "extend_order.order_key": "own test",
    "quote.request": "required",
    "quote_extension.request": "required",
    "CheckWalletOperator.low_balance": "none",
}

NOTHINGS = [None, "None", "null", "", "  ", " None\n"]
NATIVE = [20261231, 7001, 1.5, True, [1], {"a": 1}, Decimal(5), timedelta(hours=1), datetime(2026, 12, 31, tzinfo=timezone.utc)]

FIRST, LAST = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)
HUGE = 10**5000
#: Neither a database nor a vendor can take these: half a character, NUL, a number of thousands of digits, the calendar's ends.
UNWRITABLE = ["k\ud800", "k\0", HUGE, Decimal("1E+999999999"), FIRST, LAST, float("nan"), float("inf")]


def own_parameters(kind: type) -> list[str]:
    """The parameters that classes of this package add."""
    names: dict[str, None] = {}
    for base in kind.__mro__:
        if base.__module__.startswith("airflow_provider_proxyorders") and "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names |= {
                p.name: None for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "self"
            }
    return [*names]


def method_parameters(name: str) -> list[str]:
    parameters = inspect.signature(getattr(ProxyOrdersHook, name)).parameters.values()
    return [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "self"]


CASES = [(owner, name) for owner in (*TASKS, *TRIGGERS) for name in own_parameters(owner)]
CASES += [(method, name) for method in METHODS for name in method_parameters(method)]


def kind_of(owner: Any, name: str) -> str | None:
    return KINDS.get(f"{getattr(owner, '__name__', owner)}.{name}", KINDS.get(name))


def label(case: Any) -> str:
    return str(getattr(case, "__name__", case))


@pytest.fixture
def shops(shops: Shops, at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """Order 7001 at IPRoyal is delivered, and so is one at Voodoo, which sends webhooks."""
    monkeypatch.chdir(tmp_path)
    shops.connect("iproyal")
    purchase = ProxyOrdersHook(CONN).create_order(REQUESTS["iproyal"], order_key="before")
    assert purchase.order_id == "7001"
    shops.connect("voodoo", extra={"webhook_secret": "whsec_c2VjcmV0LW9mLXRoZS10ZXN0"})
    order_id = ProxyOrdersHook("voodoo_default").create_order(REQUESTS["voodoo"], order_key="before at Voodoo").order_id
    monkeypatch.setitem(TASKS[ProxyOrderWebhookSensor], "order_id", order_id)
    yield shops


class Caller:
    """Runs a task, a trigger's constructor or a hook's method, and says what came of it."""

    def __init__(self, owner: Any):
        self.owner = owner
        self.base = {**(METHODS if isinstance(owner, str) else TASKS | TRIGGERS)[owner]}

    def __call__(self, **options: Any) -> Any:
        """The result as plain data, or the error."""
        try:
            return self._call({**self.base, **options})
        except (Exception, TaskDeferred) as error:
            return error

    def without(self, name: str) -> Any:
        self.base.pop(name, None)
        return self()

    def _call(self, options: dict[str, Any]) -> Any:
        if isinstance(self.owner, str):
            result = getattr(ProxyOrdersHook(CONN), self.owner)(**options)
            return getattr(result, "order_key", result)
        if self.owner in TRIGGERS:
            return self.owner(**options).serialize()
        given: Context = {**context(), "outlet_events": OutletEventAccessors()}  # type: ignore[assignment,typeddict-item]
        return self.owner(task_id="task", **options).execute(given)


def described(outcome: Any) -> Any:
    """An outcome as something to compare."""
    if isinstance(outcome, TaskDeferred):
        return "deferred", type(outcome.trigger).__name__
    return (type(outcome).__name__, str(outcome)) if isinstance(outcome, BaseException) else outcome


def test_every_parameter_has_a_kind() -> None:
    missing = [f"{label(owner)}.{name}" for owner, name in CASES if kind_of(owner, name) is None]
    assert not missing, "say in KINDS what nothing means for them"


def test_every_public_class_is_here() -> None:
    from airflow_provider_proxyorders.operators import delivery, ledger, orders, wallet
    from airflow_provider_proxyorders.sensors import orders as order_sensors
    from airflow_provider_proxyorders.sensors import wallet as wallet_sensors
    from airflow_provider_proxyorders.triggers import orders as order_triggers
    from airflow_provider_proxyorders.triggers import wallet as wallet_triggers

    modules = (delivery, ledger, orders, wallet, order_sensors, wallet_sensors, order_triggers, wallet_triggers)
    public = {item for module in modules for item in vars(module).values() if inspect.isclass(item)}
    public = {
        item for item in public if item.__name__.endswith(("Operator", "Sensor", "Trigger")) and not inspect.isabstract(item)
    }
    ours = {item for item in public if item.__module__.startswith("airflow_provider_proxyorders")}
    assert {item.__name__ for item in ours} - {"OrderOperator"} == {item.__name__ for item in (*TASKS, *TRIGGERS)}


@pytest.mark.parametrize(("owner", "name"), [case for case in CASES if kind_of(*case) in ("default", "none", "cap")], ids=label)
def test_nothing_means_not_given(shops: Shops, owner: Any, name: str) -> None:
    call = Caller(owner)
    reference: Callable[[], Any] = (
        (lambda: call(**{name: None})) if kind_of(owner, name) == "none" else lambda: call.without(name)
    )
    reference()  # the first run may buy or alert
    expected = described(reference())
    for value in NOTHINGS:
        outcome = call(**{name: value})
        if kind_of(owner, name) == "cap" and value is not None:
            assert isinstance(outcome, InvalidRequest), (value, outcome)
            assert str(outcome).startswith(f"{name} was given but rendered to nothing")
            assert str(outcome).endswith("Nothing was bought.")
        else:
            assert described(outcome) == expected, value


@pytest.mark.parametrize(("owner", "name"), [case for case in CASES if kind_of(*case) == "required"], ids=label)
def test_nothing_is_refused_where_a_value_is_needed(shops: Shops, owner: Any, name: str) -> None:
    for value in NOTHINGS:
        outcome = Caller(owner)(**{name: value})
        assert isinstance(outcome, ProxyOrdersError), (value, outcome)
        assert name in str(outcome)
        assert outcome.money == "untouched"
        assert outcome.retry == "never"
    assert len(shops.bought("iproyal")) == 1


@pytest.mark.parametrize(("owner", "name"), [case for case in CASES if kind_of(*case) != "python"], ids=label)
def test_a_native_type_is_read_or_refused_in_one_sentence(shops: Shops, owner: Any, name: str) -> None:
    options = {"check_timeout": 1} if owner is DeliverProxiesOperator and name != "check_timeout" else {}
    for value in (*NATIVE, *UNWRITABLE):
        outcome = Caller(owner)(**{**options, name: value})
        if isinstance(outcome, Exception) and not isinstance(outcome, AirflowException):
            assert isinstance(outcome, ProxyOrdersError), (type(value), repr(outcome))
            str(outcome).encode()
        if isinstance(outcome, InvalidRequest) and not isinstance(value, (list, dict)):
            assert str(outcome).endswith("Nothing was bought.") == (owner in BUYERS), outcome


class TestBodies:
    """A body that cannot be sent is refused before anything is."""

    @pytest.mark.parametrize(
        "field",
        ["a\ud800", "a\0", {"b\0": 1}, [["\udfff"]], float("nan"), float("-inf"), Decimal("sNaN"), Decimal("1E+31"), HUGE],
        ids=lambda field: type(field).__name__,
    )
    @pytest.mark.parametrize("owner", [CreateProxyOrderOperator, ExtendProxyOrderOperator, "create_order", "quote"], ids=label)
    def test_values(self, shops: Shops, owner: Any, field: Any) -> None:
        call = Caller(owner)
        outcome = call(request={**call.base["request"], "note": field})
        assert isinstance(outcome, InvalidRequest), outcome
        assert str(outcome).startswith("request can hold ")
        assert len(shops.bought("iproyal")) == 1

    def test_a_body_that_contains_itself(self, shops: Shops) -> None:
        body: dict[str, Any] = {"quantity": 1}
        body["twice"] = [body, body]
        for wide in (body, {"many": [[0] * 1000] * 1000}):
            outcome = Caller("create_order")(request=wide)
            assert str(outcome).startswith("request must have at most 50 levels")

    def test_keys_and_numbers_of_a_good_body(self) -> None:
        body = {"a": [1, 2.5, None, True, Decimal("1E-9")], "ä": {"": "😀"}}
        assert body_of(body) == body


class TestMoments:
    """Only ISO text is a moment."""

    @pytest.mark.parametrize("text", ["now", "NOW", "today"])
    def test_a_word_is_refused(self, shops: Shops, text: str) -> None:
        outcome = Caller(ExtendProxyOrderOperator)(paid_through=text)
        assert str(outcome).startswith("paid_through must be a datetime, or ISO text")

    @pytest.mark.parametrize("moment", [FIRST, LAST, FIRST.replace(tzinfo=None), "0001-01-01T00:00:00"])
    def test_the_ends_of_the_calendar(self, shops: Shops, moment: Any) -> None:
        outcome = Caller(FindExpiringOrdersOperator)(as_of=moment)
        assert str(outcome).startswith("as_of must be ")


class TestTimesOfSensors:
    """A sensor's times have the forms of all other durations."""

    @pytest.mark.parametrize("owner", [ProxyOrderSensor, ProxyOrderWebhookSensor, WalletBalanceSensor], ids=label)
    def test_forms(self, owner: Any) -> None:
        for text, seconds in (("P3D", 3 * 86400.0), ("36h", 36 * 3600.0), (Decimal(90), 90.0), (timedelta(hours=1), 3600.0)):
            sensor = owner(task_id="t", **{**TASKS[owner], "timeout": text, "poke_interval": text})
            assert (sensor.timeout, sensor.poke_interval) == (seconds, seconds)
        sensor = owner(task_id="t", **{**TASKS[owner], "timeout": "None", "poke_interval": ""})
        assert (sensor.timeout, sensor.poke_interval) == (7 * 86400.0, 60.0)
        for name in ("timeout", "poke_interval"):
            with pytest.raises(InvalidRequest, match=f"^{name} must be seconds, a number with a unit"):
                owner(task_id="t", **{**TASKS[owner], name: float("inf")})


class TestConditionsOfWallets:
    """A level that rendered to nothing is refused, since the check would see less."""

    @pytest.mark.parametrize(
        ("level", "rendered"),
        [
            ("{{ x }}", "None"),
            ({CONN: "{{ x }}"}, {CONN: None}),
            ("{{ x }}", {CONN: ""}),
        ],
    )
    def test_refused(self, shops: Shops, level: Any, rendered: Any) -> None:
        operator = CheckWalletOperator(task_id="t", conn_ids=CONN, low_balance=level)
        vars(operator).update(low_balance=rendered)
        with pytest.raises(ProxyOrdersError, match="low_balance was set to a template and rendered to nothing") as refusal:
            operator.execute(context())
        assert refusal.value.retry == "never"

    def test_a_mapping_may_leave_a_wallet_out(self, shops: Shops) -> None:
        operator = CheckWalletOperator(task_id="t", conn_ids=CONN, low_balance={"other": "{{ x }}"})
        vars(operator).update(low_balance={"other": "5"})
        assert operator.execute(context())[CONN]["state"] == "ok"


class TestFiles:
    """The reader of a delivery reads its parameters like every task."""

    def test_path_and_format(self, shops: Shops, tmp_path: Path) -> None:
        Caller(DeliverProxiesOperator)()
        for nothing in NOTHINGS:
            assert read_delivery("proxies.txt", nothing).count >= 1  # type: ignore[arg-type]
        path: Any
        for path in (*NOTHINGS, "a\0", 1.5, ["a"]):
            with pytest.raises(InvalidRequest, match="^path "):
                read_delivery(path)
        form: Any
        for form in (1.5, ["url"], "xml", HUGE):
            with pytest.raises(InvalidRequest, match="^format must be one of"):
                read_delivery("proxies.txt", form)
        (tmp_path / "bytes").write_bytes(b"\xff")
        with pytest.raises(ConfigError, match="other bytes than UTF-8"):
            read_delivery("bytes")


class TestKeys:
    """A key that rendered to nothing is no key; a key of digits is read as its digits."""

    def test_a_later_run_of_another_dag_buys_its_own_order(self, shops: Shops) -> None:
        def buy(dag_id: str) -> Any:
            operator = CreateProxyOrderOperator(task_id="buy", **{**TASKS[CreateProxyOrderOperator], "order_key": "None"})
            return operator.execute(context(dag_id=dag_id))

        first, second = buy("a"), buy("b")
        assert first["order_id"] != second["order_id"]
        assert "None" not in (first["order_key"], second["order_key"])

    def test_an_int_and_its_text_are_one_purchase(self, shops: Shops) -> None:
        call = Caller(CreateProxyOrderOperator)
        assert call(order_key=20261231) == call(order_key="20261231")
        assert call(order_key=20261231)["order_key"] == "20261231"

    @pytest.mark.parametrize("key", NOTHINGS)
    def test_the_hook_extends_by_the_default_key(self, shops: Shops, key: Any) -> None:
        purchase = ProxyOrdersHook(CONN).extend_order("7001", {"product_plan_id": 22}, order_key=key)
        assert purchase.order_key.startswith("extend:iproyal:iproyal_default:7001:20")

    @pytest.mark.parametrize("key", [True, 1.5, float("inf"), ["k"], {"k": 1}])
    def test_another_type_is_refused(self, shops: Shops, key: Any) -> None:
        outcome = Caller(CreateProxyOrderOperator)(order_key=key)
        assert isinstance(outcome, InvalidRequest)
        assert str(outcome).startswith("order_key must be text")


class TestCaps:
    """A cap that an author set counts, or nothing is bought."""

    @pytest.mark.parametrize("owner", [CreateProxyOrderOperator, ExtendProxyOrderOperator], ids=label)
    def test_a_native_none_is_refused_where_a_template_was_given(self, shops: Shops, owner: type) -> None:
        operator = owner(task_id="task", **{**TASKS[owner], "max_price": "{{ params.cap }}"})
        operator.max_price = None  # as render_template_as_native_obj renders None
        with pytest.raises(InvalidRequest, match="max_price was given but rendered to nothing.*Nothing was bought"):
            operator.execute(context())
        assert len(shops.bought("iproyal")) == 1

    @pytest.mark.parametrize("owner", [CreateProxyOrderOperator, ExtendProxyOrderOperator], ids=label)
    def test_a_none_of_a_mapping_is_refused(self, shops: Shops, owner: Any) -> None:
        with DAG("shop"):
            over_values = owner.partial(task_id="values", **TASKS[owner]).expand(max_price=[None, "25.00"])
            over_kwargs = owner.partial(task_id="kwargs", **TASKS[owner]).expand_kwargs([{"max_price": None}])
        for mapped in (over_values, over_kwargs):
            with pytest.raises(InvalidRequest, match="max_price was given but rendered to nothing.*Nothing was bought"):
                mapped.unmap({"max_price": None}).execute(context())
        assert len(shops.bought("iproyal")) == 1

    def test_a_none_in_the_dag_file_is_no_cap(self, shops: Shops) -> None:
        owner: Any = CreateProxyOrderOperator
        with DAG("shop"):
            mapped = owner.partial(task_id="mapped", conn_id=CONN, max_price=None).expand(request=[REQUESTS["iproyal"]])
        for operator in (owner(task_id="t", **TASKS[owner], max_price=None), mapped.unmap({"request": REQUESTS["iproyal"]})):
            operator.execute(context(task_id=operator.task_id))
        assert len(shops.bought("iproyal")) == 3


class TestCurrencies:
    """A vendor's small letters are the same currency."""

    def test_usd_is_the_wallets_currency(self) -> None:
        account = Account("acme", "c", "acme:c", "https://acme.example", "key", currency=" usd ")
        assert account.currency == Money(Decimal(5), "uSd").currency == "USD"
        assert Money(Decimal(5), "usd").comparable(account.currency)
        assert Money(Decimal(5), "usd").same_currency("USD")

    def test_an_unknown_currency_compares_with_all_and_is_the_same_as_none(self) -> None:
        assert Money(Decimal(5), "").comparable("USD")
        assert Money(Decimal(5), "USD").comparable(None)
        assert not Money(Decimal(5)).same_currency("USD")
        assert not Money(Decimal(5), "EUR").comparable("usd")
