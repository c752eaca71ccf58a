"""Fewer trips to PostgreSQL: the messages of its protocol are counted, and a transaction stays whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from airflow_provider_proxyorders.domain.errors import CapExceeded, LedgerError
from airflow_provider_proxyorders.domain.model import OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Ledger, StaleClaim, open_ledger, spending, trips, turns
from airflow_provider_proxyorders.ledger.schema import facts
from tests.counted import counted

from .test_steps import WHO, intent, sent

#: The server's last message of each trip.
_READY = "ReadyForQuery"


@pytest.fixture
def trips_of(postgres_url: str, tmp_path: Path) -> Callable[[Callable[[Ledger], object]], int]:
    """Counts the trips of a call to the ledger, as the protocol's own trace tells them."""

    def number(call: Callable[[Ledger], object]) -> int:
        ledger, trace = open_ledger(postgres_url), tmp_path / "trace"
        assert ledger.salt, "it is read once"
        with ledger.autocommit() as connection:
            server = connection.connection.driver_connection.pgconn
        with trace.open("wb") as file:
            server.trace(file.fileno())
            try:
                call(ledger)
            finally:
                server.untrace()
        return trace.read_text().count(_READY)

    return number


def buy(ledger: Ledger, key: str) -> None:
    purchase = ledger.intend(intent(key), WHO)
    purchase = ledger.claim(purchase, WHO, evidence={}, sent_seconds=60, alone=True)
    ledger.record(
        purchase, Step.PLACED, "the answer", WHO, vendor_order=VendorOrder(f"order of {key}", OrderStatus.PENDING, "paid")
    )


def test_the_three_steps_of_a_purchase_take_so_many_trips(trips_of: Callable[[Callable[[Ledger], object]], int]) -> None:
    trips_of(lambda ledger: buy(ledger, "first of its wallet"))
    assert trips_of(lambda ledger: buy(ledger, "a")) == 3 + 3 + 5
    assert trips_of(lambda ledger: ledger.find("a")) == 1
    assert trips_of(lambda ledger: ledger.last_step_of("v:c")) == 2
    assert trips_of(lambda ledger: ledger.put("name", "value")) == 1


def test_what_travels_later_is_written_with_the_transaction_or_not_at_all(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        spending.add(connection, "v:c", "2026-11-28", 5_000_000)
    assert counted(ledger, "v:c") == 5
    with pytest.raises(CapExceeded), ledger.transaction() as connection:
        spending.add(connection, "v:c", "2026-11-28", 5_000_000)
        turns.lock(connection, "v:c")
        spending.add(connection, "v:c", "2026-11-28", 5_000_000)
        raise CapExceeded("refused")
    assert counted(ledger, "v:c") == 5
    with ledger.transaction() as connection:
        spending.add(connection, "v:c", "2026-11-28", 1_000_000)
        spending.add(connection, "v:c", "2026-11-29", 1_000_000)
        assert connection.execute(text("SELECT sum(counted) FROM proxyorders_spending")).scalar_one() == 7_000_000
    assert counted(ledger, "v:c") == 7


def test_a_lost_claim_takes_back_what_travels_with_it(ledger: Ledger) -> None:
    """The turn was about to be given back, and the amount to be counted anew, when another worker was quicker."""
    purchase = sent(ledger)
    ledger.record(purchase, Step.UNKNOWN, "another worker", WHO)
    before = ledger.history("k"), counted(ledger, "v:c"), ledger.place_in_line("v:c", "k").turn_key
    with pytest.raises(StaleClaim):
        ledger.record(purchase, Step.REJECTED, "too late", WHO)
    assert (ledger.history("k"), counted(ledger, "v:c"), ledger.place_in_line("v:c", "k").turn_key) == before


def test_a_statement_that_fails_takes_back_what_travelled_with_it(ledger: Ledger) -> None:
    with pytest.raises(LedgerError), ledger.transaction() as connection:
        spending.add(connection, "v:c", "2026-11-28", 5_000_000)
        trips.execute_last(connection, facts.insert(), {"name": None, "value": "", "at": ""})
    assert counted(ledger, "v:c") == 0
    ledger.put("name", "value")
    assert ledger.get("name") == "value", "the connection is good for the next one"


def test_nothing_comes_after_the_last_statement(postgres_url: str) -> None:
    ledger = open_ledger(postgres_url)
    with pytest.raises(LedgerError, match="after the last one"), ledger.transaction() as connection:
        trips.execute_last(connection, text("SELECT 1"), {})
        connection.execute(text("SELECT 1"))


def test_reads_together_are_what_they_are_alone(ledger: Ledger) -> None:
    """Percent signs, quotes, backslashes and signs beyond ASCII are text."""
    names = ["100 %", "a 'b'", 'a "b"', r"back\slash; SELECT 1", "%(name)s", "ё", "--", ""]
    for name in names:
        ledger.put(name, f"value of {name}")
    query = facts.select().where(facts.c.name.in_(names)).order_by(facts.c.name)
    with ledger.autocommit() as connection:
        alone = [dict(row) for row in connection.execute(query).mappings()]
        rows, none, again = trips.together(connection, (query, {}), (query.where(facts.c.value == "no"), {}), (query, {}))
    assert list(map(dict, rows)) == list(map(dict, again)) == alone and len(alone) == len(names) and not none


def test_odd_text_travels_as_it_is_written_alone(ledger: Ledger) -> None:
    """A note is no last statement of its transaction: it travels, and what a database refuses is replaced as ever."""
    purchase = ledger.note(ledger.intend(intent(), WHO), "half a pair \ud800 and \0", WHO)
    assert ledger.history("k")[-1].why == "half a pair ? and ?" and purchase.step is Step.INTENDED
