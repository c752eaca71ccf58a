"""An upgrade keeps every row: a ledger of each older version, filled, on SQLite and on PostgreSQL."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, inspect, text

from airflow_provider_proxyorders.domain.errors import WalletHeld
from airflow_provider_proxyorders.domain.model import Actor, Money, Step
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger, schema
from airflow_provider_proxyorders.ledger.alarms import Alarms
from airflow_provider_proxyorders.ledger.engine import engine_for
from airflow_provider_proxyorders.ledger.inbox import Inbox
from airflow_provider_proxyorders.ledger.schema import HEAD, VERSION_TABLE, VERSIONS

MOMENT = "2026-11-20T12:00:00.000000+00:00"
LATER = "2999-01-01T00:00:00.000000+00:00"
PURCHASE = {
    "kind": "create",
    "vendor": "iproyal",
    "conn_id": "c",
    "wallet": "iproyal:c",
    "fingerprint": "f" * 64,
    "request": '{"quantity":1}',
    "currency": "USD",
    "reserved": "6.00",
    "counted": 6_000_000,
    "counted_on": "2026-11-20",
    "reason": "a reason",
    "evidence": '{"balance":"10.00"}',
    "fence": 3,
    "created_at": MOMENT,
    "updated_at": MOMENT,
}
#: The looks of an unresolved purchase, as versions before 0005 kept them.
OLD_LOOKS = (
    '{"balance":"10.00","looks":[{"at":"2026-11-20T12:00:00+00:00","seen":"a","verdict":"blind"},'
    '{"at":"2026-11-20T12:01:00+00:00","seen":"b","verdict":"undecided"},'
    '{"at":"2026-11-20T12:02:00+00:00","seen":"c","verdict":"absent"}]}'
)
PURCHASES = "proxyorders_purchases"
STEP = {"step": "intended", "fence": 1, "at": MOMENT, "why": "intended", "map_index": -1, "try_number": 1, "host": "h"}
#: Rows of version 0001, table by table, with the names of then.
ROWS: dict[str, list[dict[str, Any]]] = {
    "proxyorders_purchases": [
        {**PURCHASE, "order_key": "maybe sent", "step": "intended", "ambiguous": True, "order_id": None},
        {**PURCHASE, "order_key": "delivered", "step": "delivered", "ambiguous": False, "order_id": "7001"},
    ],
    "proxyorders_steps": [{**STEP, "order_key": "maybe sent"}, {**STEP, "order_key": "delivered"}],
    "proxyorders_wallets": [
        {"wallet": "iproyal:c", "frozen": None, "lane_key": "maybe sent", "lane_until": LATER},
        {"wallet": "iproyal:d", "frozen": "a reason", "lane_key": None, "lane_until": None},
    ],
    "proxyorders_spending": [{"wallet": "iproyal:c", "day": "2026-11-20", "counted": 12_000_000}],
    "proxyorders_anchors": [{"name": "period of iproyal:c:7001", "value": "until tomorrow", "at": MOMENT}],
}
#: Rows of the tables that a later version added.
ADDED: dict[str, dict[str, list[dict[str, Any]]]] = {
    "0002": {
        "proxyorders_deliveries": [
            {"digest": "d", "conn_id": "c", "wallet": "iproyal:c", "order_id": "7001", "reference": "af-1", "status": "completed"}
            | {"received_at": MOMENT, "last_at": MOMENT, "times": 2}
        ]
    },
    "0003": {
        "proxyorders_alarms": [
            {"wallet": "iproyal:c", "name": "low", "state": "low", "since": MOMENT, "crossing": 1, "told": 1, "attempt": 1}
        ]
    },
}
#: Names that a later version changed.
RENAMED = {
    "proxyorders_anchors": "proxyorders_facts",
    "ambiguous": "maybe_sent",
    "lane_key": "turn_key",
    "lane_until": "turn_until",
}


#: Marks a test of what the upgrade to 0005 does.
to_0005 = pytest.mark.parametrize("rows", [version for version in VERSIONS if version < "0005"], indirect=True)


@pytest.fixture(params=[version for version in VERSIONS if version != HEAD])
def rows(request: pytest.FixtureRequest, empty_url: str) -> dict[str, list[dict[str, Any]]]:
    """A ledger of an older version at the address; returns its rows by table."""
    engine = engine_for(empty_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "HEAD", request.param)
        schema.ensure(engine)
    tables = dict(ROWS)
    for version, added in ADDED.items():
        if version <= request.param:
            tables |= added
    renamed = RENAMED if request.param >= "0004" else {}
    with engine.begin() as connection:
        assert schema.version_of(connection) == request.param
        for table, lines in tables.items():
            for old_names in lines:
                line = {renamed.get(name, name): value for name, value in old_names.items()}
                insert(connection, renamed.get(table, table), line)
    return tables


def insert(connection: Connection, table: str, line: dict[str, Any]) -> None:
    values = ", ".join(f":{name}" for name in line)
    connection.execute(text(f"INSERT INTO {table} ({', '.join(line)}) VALUES ({values})"), line)


def lines_of(connection: Connection, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]


def test_every_row_and_every_value_stays(rows: dict[str, list[dict[str, Any]]], empty_url: str) -> None:
    with open_ledger(empty_url).engine.connect() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all() == [HEAD]
        for table, before in rows.items():
            after = lines_of(connection, RENAMED.get(table, table))
            wanted = [{RENAMED.get(name, name): value for name, value in line.items()} for line in before]
            kept = [{name: line[name] for name in wanted[0]} for line in after]
            assert sorted(kept, key=str) == sorted(wanted, key=str), table


def test_the_old_names_are_gone_and_the_indexes_stay(rows: dict[str, Any], empty_url: str) -> None:
    inspector = inspect(open_ledger(empty_url).engine)
    assert "proxyorders_anchors" not in inspector.get_table_names()
    columns = {column["name"] for table in ("purchases", "wallets") for column in inspector.get_columns(f"proxyorders_{table}")}
    assert not columns & {"ambiguous", "lane_key", "lane_until"}
    indexes = {str(index["name"]) for index in inspector.get_indexes("proxyorders_purchases")}
    of_lists = ("open", "order", "wallet", "step", "updated", "conn", "dag", "created", "expires", "task_key")
    of_some_rows = ("undated", "doubtful")
    assert indexes == {f"proxyorders_purchases_{name}" for name in (*of_lists, *of_some_rows)}


@to_0005
def test_each_purchase_gets_the_task_that_intended_it(rows: dict[str, Any], empty_url: str) -> None:
    engine = engine_for(empty_url)
    by_hand = {"dag_id": None, "run_id": None, "task_id": None}
    with engine.begin() as connection:
        for task in (by_hand, {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 3}, {"task_id": "later"}):
            insert(connection, "proxyorders_steps", {**STEP, "order_key": "maybe sent", **task})
    with open_ledger(empty_url).engine.connect() as connection:
        purchases = {line["order_key"]: line for line in lines_of(connection, "proxyorders_purchases")}
    named = {name: purchases["maybe sent"][name] for name in ("dag_id", "run_id", "task_id", "map_index")}
    assert named == {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 3}


@to_0005
def test_the_rules_hold_for_the_rows_from_before(rows: dict[str, Any], empty_url: str) -> None:
    """The flag still marks the purchase as unresolved, the turn is still taken, the fact is still decided."""
    ledger = open_ledger(empty_url)
    assert [purchase.order_key for purchase in ledger.unresolved()] == ["maybe sent"]
    delivered = ledger.find("delivered")
    assert delivered is not None and (delivered.step, delivered.order_id, delivered.maybe_sent) == (Step.DELIVERED, "7001", False)
    assert ledger.decide_once("period of iproyal:c:7001", "until yesterday") == "until tomorrow"
    assert ledger.freeze_reason("iproyal:d") == "a reason"
    with pytest.raises(WalletHeld, match="'maybe sent'"):
        ledger.intend(intent(), Actor())
    assert ledger.history("delivered")[0].why == "intended"
    with ledger.engine.connect() as connection:
        assert lines_of(connection, "proxyorders_owned_ids") == [
            {"wallet": "iproyal:c", "vendor_id": "7001", "order_key": "delivered"}
        ]
        assert {line["order_key"]: bool(line["confirmed"]) for line in lines_of(connection, "proxyorders_purchases")} == {
            "delivered": True,
            "maybe sent": False,
        }
    check_added_tables(ledger, rows)


@to_0005
def test_looks_move_out_of_the_evidence_and_still_prove(rows: dict[str, Any], empty_url: str) -> None:
    """A purchase may be unresolved while the package is upgraded."""
    engine = engine_for(empty_url)
    maybe_sent = name_of_flag(engine)
    with engine.begin() as connection:
        unknown = {**PURCHASE, "order_key": "looked at", "step": "unknown", maybe_sent: True, "evidence": OLD_LOOKS}
        insert(connection, "proxyorders_purchases", unknown)
        for step, fence in (("intended", 1), ("sent", 2), ("unknown", 3)):
            insert(connection, "proxyorders_steps", {**STEP, "order_key": "looked at", "step": step, "fence": fence})
    ledger = open_ledger(empty_url)
    purchase = ledger.find("looked at")
    assert purchase is not None and purchase.evidence == {"balance": "10.00"}
    for looks in (ledger.looks("looked at"), ledger.looks_at_last_sending("looked at")):
        assert [(look.verdict, look.detail) for look in looks] == [("not visible", "a"), ("inconclusive", "b"), ("absent", "c")]
    with ledger.engine.connect() as connection:
        assert {line["sending"] for line in lines_of(connection, "proxyorders_looks")} == {2}


@to_0005
def test_a_masked_secret_cannot_be_guessed_from_an_older_row(rows: dict[str, Any], empty_url: str) -> None:
    """The same request is the same purchase as before, under a keyed fingerprint."""
    engine = engine_for(empty_url)
    maybe_sent = name_of_flag(engine)
    with engine.begin() as connection:
        request = {"request": '{"quantity":1,"pin":"***"}', "order_key": "with a pin", "step": "delivered", maybe_sent: False}
        insert(connection, PURCHASES, {**PURCHASE, **request})
    ledger = open_ledger(empty_url)
    purchase, without_secret = ledger.find("with a pin"), ledger.find("delivered")
    assert purchase is not None and without_secret is not None
    assert purchase.fingerprint != "f" * 64 == without_secret.fingerprint
    for each in (purchase, without_secret):
        assert ledger.is_same_request(each, "f" * 64) and not ledger.is_same_request(each, "e" * 64)


def name_of_flag(engine: Engine) -> str:
    """What the flag of a purchase that may have been sent is called in this ledger."""
    columns = {column["name"] for column in inspect(engine).get_columns(PURCHASES)}
    return "maybe_sent" if "maybe_sent" in columns else "ambiguous"


def check_added_tables(ledger: Ledger, rows: dict[str, Any]) -> None:
    webhooks = Inbox(ledger.engine).since(0)
    assert [hint.order_id for hint in webhooks] == (["7001"] if "proxyorders_deliveries" in rows else [])
    alarm = Alarms(ledger.engine).find("iproyal:c", "low")
    assert (alarm is not None) == ("proxyorders_alarms" in rows)


def intent() -> Intent:
    return Intent("new", "create", "iproyal", "c", "iproyal:c", "a" * 64, {}, Money(Decimal(1), "USD"))
