"""An upgrade keeps every row: a ledger of each older version, filled, on SQLite and on PostgreSQL."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

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


@pytest.fixture(params=[version for version in VERSIONS if version != HEAD])
def rows(request: pytest.FixtureRequest, ledger_url: str) -> dict[str, list[dict[str, Any]]]:
    """A ledger of an older version at the address; returns its rows by table."""
    engine = engine_for(ledger_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "HEAD", request.param)
        schema.ensure(engine)
    tables = dict(ROWS)
    for version, added in ADDED.items():
        if version <= request.param:
            tables |= added
    with engine.begin() as connection:
        assert schema.version_of(connection) == request.param
        for table, lines in tables.items():
            for line in lines:
                names = ", ".join(line)
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in line)})"), line)
    return tables


def lines_of(connection: Connection, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]


def test_every_row_and_every_value_stays(rows: dict[str, list[dict[str, Any]]], ledger_url: str) -> None:
    with open_ledger(ledger_url).engine.connect() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all() == [HEAD]
        for table, before in rows.items():
            after = lines_of(connection, RENAMED.get(table, table))
            wanted = [{RENAMED.get(name, name): value for name, value in line.items()} for line in before]
            kept = [{name: line[name] for name in wanted[0]} for line in after]
            assert sorted(kept, key=str) == sorted(wanted, key=str), table


def test_the_old_names_are_gone_and_the_indexes_stay(rows: dict[str, Any], ledger_url: str) -> None:
    inspector = inspect(open_ledger(ledger_url).engine)
    assert "proxyorders_anchors" not in inspector.get_table_names()
    columns = {column["name"] for table in ("purchases", "wallets") for column in inspector.get_columns(f"proxyorders_{table}")}
    assert not columns & {"ambiguous", "lane_key", "lane_until"}
    indexes = {str(index["name"]) for index in inspector.get_indexes("proxyorders_purchases")}
    assert indexes == {f"proxyorders_purchases_{name}" for name in ("open", "order", "wallet", "step", "updated")}


def test_the_rules_hold_for_the_rows_from_before(rows: dict[str, Any], ledger_url: str) -> None:
    """The flag still marks the purchase as unresolved, the turn is still taken, the fact is still decided."""
    ledger = open_ledger(ledger_url)
    assert [purchase.order_key for purchase in ledger.unresolved()] == ["maybe sent"]
    delivered = ledger.find("delivered")
    assert delivered is not None and (delivered.step, delivered.order_id, delivered.maybe_sent) == (Step.DELIVERED, "7001", False)
    assert ledger.decide_once("period of iproyal:c:7001", "until yesterday") == "until tomorrow"
    assert ledger.freeze_reason("iproyal:d") == "a reason"
    with pytest.raises(WalletHeld, match="'maybe sent'"):
        ledger.intend(intent(), Actor())
    assert ledger.history("delivered")[0].why == "intended"
    check_added_tables(ledger, rows)


def check_added_tables(ledger: Ledger, rows: dict[str, Any]) -> None:
    webhooks = Inbox(ledger.engine).since(0)
    assert [hint.order_id for hint in webhooks] == (["7001"] if "proxyorders_deliveries" in rows else [])
    alarm = Alarms(ledger.engine).find("iproyal:c", "low")
    assert (alarm is not None) == ("proxyorders_alarms" in rows)


def intent() -> Intent:
    return Intent("new", "create", "iproyal", "c", "iproyal:c", "a" * 64, {}, Money(Decimal(1), "USD"))
