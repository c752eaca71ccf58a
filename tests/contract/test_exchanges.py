"""All vendors x all golden exchanges: each asks exactly what is recorded and makes of the answers exactly what is expected."""

from __future__ import annotations

import pytest

from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.vendors import Vendor
from tests.contract.replay import SPENDING, VENDORS, Exchange, exchanges, play, verify
from tests.vendors import ROWS

KEYS = {"vendor", "operation", "case", "source", "account", "call", "sandbox", "steps", "expect"}
VERBS = {"wallet", "permission", "order", "subaccount", "card"}

RECOVERY = {"check_access", "snapshot", "resolve"}


def test_exchange(exchange: Exchange) -> None:
    verify(exchange)


def test_file_says_what_it_is(exchange: Exchange) -> None:
    data = exchange.data
    assert set(data) <= KEYS
    assert exchange.path.name == f"{data['operation']}.{data['case']}.json"
    assert exchange.path.parent.name == data["vendor"]
    assert data["source"]
    for command in data.get("sandbox", []):
        assert len(command) == 1 and set(command) <= VERBS


def test_success_and_failure_leave_the_money_where_they_say(exchange: Exchange) -> None:
    """An error of a reading call never claims a charge; an unknown outcome only ever follows a sent purchase."""
    played = play(exchange)
    if isinstance(played.error, OutcomeUnknown):
        assert exchange.operation in SPENDING
        assert played.requests[-1].spends
        assert "unknown" in str(played.error)
    elif played.error is not None:
        assert played.error.money == "untouched"


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_documented_operation_is_there_in_its_good_and_its_bad_case(vendor: str) -> None:
    mine = [exchange for exchange in exchanges() if exchange.vendor == vendor]
    good = {exchange.operation for exchange in mine if "returns" in exchange.data["expect"]}
    bad = {exchange.operation for exchange in mine if "raises" in exchange.data["expect"]}
    made_of_them = {name for name in RECOVERY if getattr(VENDORS[vendor], name) is not getattr(Vendor, name)}
    assert good - {"check_access"} == (ROWS[vendor].operations | made_of_them) - {"check_access"}
    assert "check_access" in good
    assert bad >= ROWS[vendor].operations - {"get_many"}


@pytest.mark.parametrize(
    ("vendor", "operation", "status", "text"),
    [(vendor, *error) for vendor, row in ROWS.items() for error in row.documented_errors],
)
def test_every_documented_error_is_there(vendor: str, operation: str, status: int, text: str) -> None:
    found = [
        exchange
        for exchange in exchanges()
        if (exchange.vendor, exchange.operation) == (vendor, operation)
        and any(response.status == status and text in response.text for response in exchange.responses())
    ]
    assert found


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("operation", ["create", "get", "balance"])
@pytest.mark.parametrize("oddity", ["html", "empty"])
def test_every_vendor_survives_what_no_page_promises(vendor: str, operation: str, oddity: str) -> None:
    name = f"{vendor}/{operation}.{oddity}"
    found = next((exchange for exchange in exchanges() if exchange.name == name), None)
    assert found, f"record the exchange {name}"
    expected = "OutcomeUnknown" if operation == "create" else "UnreadableAnswer"
    assert found.data["expect"]["raises"] == expected


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_has_a_word_nobody_knows_and_fields_nobody_knows(vendor: str) -> None:
    names = {exchange.name for exchange in exchanges()}
    assert {f"{vendor}/get.unknown_status", f"{vendor}/get.extra_fields", f"{vendor}/balance.quoted"} <= names
