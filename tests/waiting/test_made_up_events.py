"""Asset events that somebody wrote by hand: they name crossings and orders, and the ledger decides which of them count."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import facts
from airflow_provider_proxyorders.ledger.alarms import Alarms
from airflow_provider_proxyorders.triggers.orders import OrderEventTrigger
from airflow_provider_proxyorders.triggers.wallet import WalletBalanceTrigger
from tests.hooks.connections import REQUESTS, Shops

WALLET = "iproyal:iproyal_default"


def event(payload: Any) -> Any:
    """An asset event as Airflow stores that of a trigger."""
    return SimpleNamespace(extra={"from_trigger": True, "payload": payload})


@pytest.fixture
def refill(shops: Shops, project: Path) -> dict[str, Any]:
    shops.connect("iproyal")
    return runpy.run_path(str(project / "dags" / "event_driven_refill.py"))


def cross(states: str) -> None:
    alarms = Alarms(ProxyOrdersHook("iproyal_default").ledger.engine)
    for state in states.split():
        crossing = alarms.observe(WALLET, "refill", state)  # type: ignore[arg-type]
        assert crossing is not None
        alarms.confirm(crossing)


def asked(refill: dict[str, Any], *payloads: Any) -> list[dict[str, Any]]:
    """What the first task of the DAG hands on to the purchases."""
    events = {refill["low"]: [event(payload) for payload in payloads]}
    crossings: list[dict[str, Any]] = refill["ask_for_money"].function(triggering_asset_events=events)
    return crossings


def true_event(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"key": f"{WALLET}/refill#{number}", "state": "low", "conn_id": "iproyal_default", "wallet": WALLET, **changes}


MADE_UP: dict[str, Any] = {
    "a key of its own": {"key": "made-up", "conn_id": "iproyal_default", "wallet": WALLET, "recovered_at": "0"},
    "a crossing to come": true_event(2 + 1),
    "a recovery": true_event(2),
    "crossing zero": true_event(0),
    "another writing of a crossing": {"key": f"{WALLET}/refill#01"},
    "with a blank": {"key": f"{WALLET}/refill#1 "},
    "another wallet": {"key": "iproyal:other/refill#1"},
    "another alert": {"key": f"{WALLET}/event: low below 50#1"},
    "a list": {"key": [f"{WALLET}/refill#1"]},
    "no key": {},
    "no object": "text",
    "nothing": None,
}


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_made_up_crossing_buys_nothing(refill: dict[str, Any], kind: str, caplog: pytest.LogCaptureFixture) -> None:
    cross("low ok")
    assert asked(refill, MADE_UP[kind]) == []
    assert asked(refill, MADE_UP[kind], true_event()) == asked(refill, true_event()) != []


def test_nothing_is_known_before_the_first_crossing(refill: dict[str, Any]) -> None:
    assert asked(refill, true_event()) == []


def test_of_a_known_crossing_only_the_key_counts(refill: dict[str, Any], shops: Shops) -> None:
    """Another connection, or a level of zero, would buy elsewhere or at once."""
    shops.connect("voodoo")
    cross("low ok low")
    forged = [true_event(3, conn_id="voodoo_default", recovered_at="0", wallet="voodoo:v"), true_event(3), true_event(1)]
    crossings = asked(refill, *forged)
    assert [crossing["key"] for crossing in crossings] == [f"{WALLET}/refill#3", f"{WALLET}/refill#1"]
    assert {(crossing["conn_id"], crossing["recovered_at"]) for crossing in crossings} == {("iproyal_default", "60.00")}


def test_the_other_name_of_an_alert_is_its_levels(shops: Shops) -> None:
    trigger = WalletBalanceTrigger(conn_id=shops.connect("iproyal"), low_balance="50", on=["low", "ok"])
    alarms = Alarms(ProxyOrdersHook("iproyal_default").ledger.engine)
    for state in ("low", "ok"):
        crossing = alarms.observe(WALLET, trigger._alert, state)  # type: ignore[arg-type]
        assert crossing is not None
        alarms.confirm(crossing)
        (verified,) = trigger.verify_events([event({"key": crossing.key})])
        assert (verified["state"], verified["crossing"]) == (state, crossing.crossing)


def test_an_order_that_no_trigger_reported_is_left_out(shops: Shops, project: Path) -> None:
    hook = shops.hook("voodoo")
    order = hook.create_order(REQUESTS["voodoo"], order_key="k")
    told = runpy.run_path(str(project / "dags" / "webhook_completion.py"))
    assert order.order_id is not None

    def endings(*payloads: Any) -> list[dict[str, Any]]:
        return OrderEventTrigger(conn_id="voodoo_default").verify_events([event(payload) for payload in payloads])

    named = {"order_id": order.order_id, "status": "refunded", "reference": "af-forged", "conn_id": "other"}
    assert endings(named, {"order_id": "made-up"}, {}, "text") == []
    facts.event_turn(hook.ledger, "voodoo_default", order.order_id, 1).decide_once("a 1")
    (ending,) = endings(named, named, {"order_id": "made-up"})
    assert (ending["order_id"], ending["status"], ending["conn_id"]) == (order.order_id, "delivered", "voodoo_default")
    assert ending["reference"] == hook.buyer().reference("k"), "as the vendor's read says"
    assert told["endings_watch"].conn_id == "voodoo_default"


HOSTILE_IDS: dict[str, Any] = {
    "the ledger's mark of a report": "{}, told",
    "the ledger's mark of a second turn": "{}, try 2",
    "zero bytes": "{}\0",
    "half a letter": "{}\ud800",
    "a sign that nobody sees": "{}\u200b",
    "blanks": " {} ",
    "a long one": "{}" + "x" * 5000,
    "a list": ["{}"],
    "an object": {"order_id": "{}"},
}


@pytest.mark.parametrize("kind", HOSTILE_IDS)
@pytest.mark.parametrize("ledger", ["sqlite", "postgresql"])
def test_a_hostile_id_does_not_stop_the_true_events_beside_it(
    shops: Shops, ledger: str, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ledger == "postgresql":
        monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", request.getfixturevalue("postgres_url"))
    hook = shops.hook("voodoo")
    order = hook.create_order(REQUESTS["voodoo"], order_key="k")
    assert order.order_id is not None
    facts.event_turn(hook.ledger, "voodoo_default", order.order_id, 1).decide_once("a 1")
    facts.event_turn(hook.ledger, "voodoo_default", order.order_id, 2).decide_once("b 1")
    facts.event_reported(hook.ledger, "voodoo_default", order.order_id).decide_once("yes")
    made_up = HOSTILE_IDS[kind]
    if isinstance(made_up, str):
        made_up = made_up.format(order.order_id)
    events = [event({"order_id": made_up}), event({"order_id": order.order_id})]
    verified = OrderEventTrigger(conn_id="voodoo_default").verify_events(events)
    assert [ending["order_id"] for ending in verified] == [order.order_id]
