"""What tasks report to Airflow's metrics. Trouble with them changes nothing for a purchase."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import OrderPending, ProxyOrdersError
from airflow_provider_proxyorders.hooks import deciding
from airflow_provider_proxyorders.hooks.waking import WAS_TAKEN
from airflow_provider_proxyorders.operators.ledger import ReconcileLedgerOperator
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.operators.wallet import CheckWalletOperator
from airflow_provider_proxyorders.purchase.decision import Answer
from tests.hooks.connections import PRICES, REQUESTS, Shops

from .required_actions import TIME_IS_OVER, RequiredActions, answer
from .tasks import context
from .test_question import KEY, ledger, only_order, task_context, worker


class Metrics:
    """In the place of Airflow's own."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, Any]] = []
        self.gauges: dict[str, tuple[float, Any]] = {}
        self.up = True

    def incr(self, name: str, count: int = 1, *, tags: Any) -> None:
        self._require_up()
        self.counts.append((name, tags))

    def gauge(self, name: str, value: float, *, tags: Any) -> None:
        self._require_up()
        self.gauges[name.removeprefix("proxyorders.")] = value, tags

    def _require_up(self) -> None:
        if not self.up:
            raise OSError("no route to the metrics host")


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    from airflow.sdk.observability import stats

    made = Metrics()
    for name in ("incr", "gauge"):
        monkeypatch.setattr(stats, name, getattr(made, name))
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    return made


def buy(shops: Shops, **options: Any) -> Any:
    given = {"request": dict(REQUESTS["voodoo"]), "order_key": "k", "poll_interval": 0.1, "deferrable": False, **options}
    return CreateProxyOrderOperator(task_id="buy", conn_id=shops.connect("voodoo", extra={"timeout": 30}), **given).execute(
        task_context()
    )


def test_a_purchase(shops: Shops, metrics: Metrics) -> None:
    for _ in range(2):  # the second run is a Clear: money is a gauge of the ledger, so it counts once
        buy(shops)
    tags = {"vendor": "voodoo", "conn_id": "voodoo_default"}
    assert metrics.counts == [("proxyorders.purchases", {**tags, "outcome": "usable"})] * 2
    price = float(PRICES["voodoo"])
    values = {name: value for name, (value, _) in metrics.gauges.items()}
    assert values == {"unresolved": 0, "quarantined": 0, "spent_today": price, "spent_this_month": price}
    assert {str(tags) for _, tags in metrics.gauges.values()} == {str({**tags, "wallet": "voodoo:voodoo_default"})}


def test_a_purchase_that_waits_for_a_person(shops: Shops, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alert about a decision fires for a task that asks, too, and ends with the decision."""
    RequiredActions(monkeypatch)
    waiting = worker(shops)
    assert metrics.gauges["unresolved"][0] == metrics.gauges["quarantined"][0] == 1
    tags = {"vendor": "voodoo", "conn_id": "voodoo_default", "wallet": "voodoo:voodoo_default"}
    assert metrics.gauges["quarantined"][1] == tags and metrics.counts == [], "it waits, so it has not ended"
    metrics.gauges.clear()
    assert waiting.go_on(dict(TIME_IS_OVER)), "it looks for itself, and waits on"
    assert metrics.gauges["quarantined"][0] == 1
    assert not waiting.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))
    assert metrics.gauges["unresolved"][0] == metrics.gauges["quarantined"][0] == 0
    assert [tags["outcome"] for _, tags in metrics.counts] == ["usable"]


def test_trouble_does_not_end_the_waiting(shops: Shops, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    RequiredActions(monkeypatch)
    metrics.up = False
    assert worker(shops).waits


@pytest.mark.parametrize("away", [False, True])
def test_other_tasks_tell_of_the_ledger(shops: Shops, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, away: bool) -> None:
    """A person decided elsewhere, so no task that buys runs. A check and a comparison tell, also while the vendor is away."""
    RequiredActions(monkeypatch)
    worker(shops)
    deciding.decide(ledger(), KEY, Answer("adopt", only_order(shops), unchecked=True), deciding.person())
    tasks = (
        CheckWalletOperator(task_id="check", conn_ids=["voodoo_default"], low_balance="1"),
        ReconcileLedgerOperator(task_id="compare", conn_id="voodoo_default"),
    )
    if away:
        shops.box.fault("voodoo", "balance", action="status", status=500)
    for task in tasks:
        metrics.gauges.clear()
        with pytest.raises(ProxyOrdersError) if away else nullcontext():
            task.execute(context())
        assert metrics.gauges["unresolved"][0] == metrics.gauges["quarantined"][0] == 0
        assert metrics.gauges["spent_today"][0] > 0
        assert ("balance" in metrics.gauges) is (not away and task is tasks[0])


def test_other_ends(shops: Shops, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    RequiredActions(monkeypatch)
    shops.box.fault("voodoo", "create", when="after", action="reset", times=1)
    with pytest.raises(ProxyOrdersError):
        buy(shops)
    assert metrics.gauges["unresolved"][0] == metrics.gauges["quarantined"][0] == 1
    with pytest.raises(TaskAwaitingInput):  # it waits, so it has not ended, and no end is counted
        buy(shops, on_unresolved="ask")
    shops.box.fault("voodoo", "create", action="refuse", reason="balance", times=1)
    with pytest.raises(ProxyOrdersError):
        buy(shops, order_key="refused")
    shops.box.fault("voodoo", "get", action="lag", seconds=3600)
    with pytest.raises(OrderPending):
        buy(shops, order_key="pending", timeout=0.2)
    assert [tags["outcome"] for _, tags in metrics.counts] == ["quarantined", "refused", "pending"]


@pytest.mark.parametrize("trouble", ["metrics", "ledger", "off"])
def test_trouble_changes_nothing(shops: Shops, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    metrics.up = trouble != "metrics"
    if trouble == "off":
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    if trouble == "ledger":
        monkeypatch.setattr("airflow_provider_proxyorders.ledger.spending.by_day", None)
    assert buy(shops)["status"] == "delivered"
    assert len(shops.bought("voodoo")) == 1
    assert len(metrics.counts) == (trouble == "ledger")


def test_a_wallet(shops: Shops, metrics: Metrics) -> None:
    shops.connect("iproyal")
    task = CheckWalletOperator(task_id="check", conn_ids=["iproyal_default"], low_balance="5000", horizon="P7D")
    task.execute(context())
    values = {name: value for name, (value, _) in metrics.gauges.items()}
    of_ledger = dict.fromkeys(("unresolved", "quarantined", "spent_today", "spent_this_month"), 0)
    assert values == {"wallet_low": 1, "balance": 1000, "spendable": 1000, "renewals_due": 0, "renewals_short": 0, **of_ledger}
    metrics.up = False
    assert task.execute(context())["iproyal_default"]["state"] == "low"


def test_the_server_processes_have_metrics_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggerer and API server set up ``airflow._shared``, and a task ``airflow.sdk._shared``: two copies of one module."""
    from airflow._shared.observability.metrics import stats as server

    metrics = Metrics()
    monkeypatch.setattr(server, "_factory", object())
    monkeypatch.setattr(server, "incr", metrics.incr)
    assert sys.modules["airflow._shared.observability.metrics.stats"] is server
    _compat.incr("webhooks", {"result": "accepted"})
    assert metrics.counts == [("proxyorders.webhooks", {"result": "accepted"})]
