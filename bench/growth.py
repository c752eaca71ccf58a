"""The speed of the ledger with a million purchases: times and query plans.

A small ledger holds the newest four hundred purchases, a large one those and all before them. The statements of a purchase, its
limits and of the command line's lists are timed on both in turns. On the large one they may take at most twice as long. The
database then explains every statement: none may read a whole table. Ledger steps are timed without HTTP, since the size of the
ledger leaves a vendor's calls alone.
"""

from __future__ import annotations

import itertools
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import measuring
from measuring import Verdicts
from sqlalchemy import event, text

from airflow_provider_proxyorders.domain.account import Caps
from airflow_provider_proxyorders.domain.model import Actor, Money, OrderStatus, Step, VendorOrder
from airflow_provider_proxyorders.ledger import Intent, Ledger, open_ledger
from airflow_provider_proxyorders.ledger.bulk import owned_among
from airflow_provider_proxyorders.ledger.evidence import Floor, Shown

SMALL = 400
LIMIT = 2.0
#: Most purchases are of one wallet; the others share the rest.
BIG, RARE = "voodoo:big", "voodoo:w7"
#: Tables that grow with every purchase; wallets do not.
GROWING = ("proxyorders_purchases", "proxyorders_steps", "proxyorders_spending", "proxyorders_facts")
#: A walk through one index in its order, ended by a limit, is no scan of the table.
WALKS = ("the newest, any wallet",)

_numbers = itertools.count(1)
_who = Actor(dag_id="bench", run_id="manual", task_id="buy", host="bench")


# ---------------------------------------------------------------------------------------------- filling


def fill(ledger: Ledger, first: int, last: int) -> None:
    """Put purchases ``first`` to ``last`` of one long history into a ledger: one a minute until now, two steps each."""
    lite = ledger.engine.dialect.name == "sqlite"
    newest = int(datetime.now(timezone.utc).timestamp())
    moment = f"{newest} - ({last} - i) * 60"
    stamp = f"strftime('%Y-%m-%dT%H:%M:%S', {moment}, 'unixepoch')"
    if not lite:
        stamp = f"to_char(to_timestamp({moment}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')"
    stamp += " || '.000000+00:00'"
    numbers = f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
    wallet = f"CASE WHEN i % 10 < 7 THEN '{BIG}' ELSE 'voodoo:w' || (i % 20) END"
    # the newest are still under way; now and then one of another wallet waits for a person
    step = (
        f"CASE WHEN i % 2000 = 9 THEN 'quarantined' WHEN {last} - i < 60 THEN 'placed' WHEN i % 50 = 0 THEN 'failed'"
        " WHEN i % 60 = 0 THEN 'refunded' ELSE 'delivered' END"
    )
    columns: Mapping[str, str] = {
        "order_key": "'history-' || i",
        "kind": "CASE WHEN i % 5 = 0 THEN 'extend' ELSE 'create' END",
        "vendor": "'voodoo'",
        "conn_id": "'bench'",
        "wallet": wallet,
        "step": step,
        "fingerprint": "'" + "f" * 64 + "'",
        "request": """'{"item_id":5120,"quantity":2}'""",
        "order_id": "'order-' || i",
        "vendor_status": "'completed'",
        "currency": "'USD'",
        "reserved": "'50.00'",
        "price": "'9.00'",
        "counted": "9000000",
        "counted_on": f"substr({stamp}, 1, 10)",
        "reason": "''",
        "evidence": """'{"balance":"100.00"}'""",
        "maybe_sent": "0" if lite else "false",
        "fence": "3",
        "created_at": stamp,
        "updated_at": stamp,
    }
    history = {
        "order_key": "'history-' || i",
        "step": "'placed'",
        "fence": "3",
        "at": stamp,
        "why": "'the vendor says pending'",
        "map_index": "-1",
        "try_number": "1",
        "host": "'bench'",
    }
    with ledger.engine.begin() as connection:
        for table, values, times in (("proxyorders_purchases", columns, 1), ("proxyorders_steps", history, 2)):
            for _ in range(times):
                picked = ", ".join(values.values())
                connection.execute(
                    text(f"INSERT INTO {table} ({', '.join(values)}) {numbers} SELECT {picked} FROM n".replace(":", "\\:"))
                )
        connection.execute(
            text(
                "INSERT INTO proxyorders_spending (wallet, day, counted) "
                "SELECT wallet, counted_on, sum(counted) FROM proxyorders_purchases GROUP BY wallet, counted_on"
            )
        )
    if not lite:
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for command in ("VACUUM ANALYZE", "CHECKPOINT"):  # as the server itself does from time to time, unlike SQLite
                connection.execute(text(command))


# ---------------------------------------------------------------------------------------------- what is asked


def questions(ledger: Ledger, last: int) -> dict[str, Callable[[], object]]:
    """The questions of purchases and lists to a ledger.

    :param last: number of its newest purchase.
    """
    caps = Caps(Decimal("50.00"), daily_limit=Decimal("900000000"), monthly_limit=Decimal("900000000"))
    price, dear = Money(Decimal("9.00"), "USD"), Money(Decimal("50.00"), "USD")

    def purchase() -> None:
        key = f"new-{next(_numbers)}"
        assert ledger.find(key) is None
        body = {"item_id": 5120, "quantity": 2}
        intent = Intent(key, "create", "voodoo", "bench", BIG, "f" * 64, body, dear, caps=caps, takes_turn=True)
        row = ledger.intend(intent, _who)
        floor = Floor(Money(Decimal("1000000"), "USD"), Decimal(1), Shown(ledger.last_step(), ledger.clock()))
        row = ledger.claim(row, _who, evidence={}, sent_seconds=90, floor=floor, alone=True)
        placed = VendorOrder(order_id=key, status=OrderStatus.DELIVERED, vendor_status="completed", price=price)
        ledger.record(row, Step.DELIVERED, "the vendor says completed", _who, vendor_order=placed)

    def rows(many: int, answer: Any) -> None:
        assert len(answer) == many, len(answer)

    sample = ledger.find(f"history-{last - 9}")
    assert sample is not None
    return {
        "a purchase's ledger steps, limits included": purchase,
        "one sample by its key": lambda: ledger.find(sample.order_key),
        "its history": lambda: rows(2, ledger.history(sample.order_key)),
        "orders by the vendor's id": lambda: ledger.by_order_id(BIG, sample.order_id or ""),
        "what was sent since a moment ago": lambda: ledger.sent_after(BIG, 0, ledger.clock()),
        "whose an order is": lambda: ledger.owned_by_another(sample, sample.order_id or ""),
        "which ids a wallet owns": lambda: owned_among(ledger, BIG, [f"order-{number}" for number in range(last - 100, last)]),
        "the newest, any wallet": lambda: rows(100, ledger.purchases()),
        "the newest of the big wallet": lambda: rows(100, ledger.purchases(wallet=BIG)),
        "the newest of a rare wallet": lambda: ledger.purchases(wallet=RARE, limit=4),
        "a wallet's open ones": lambda: ledger.unresolved(wallet=BIG),
        "a wallet's placed ones": lambda: ledger.purchases(wallet=BIG, in_steps=(Step.PLACED,), limit=1000),
        "what a webhook told of a reference": lambda: ledger.order_ids_of_reference(BIG, "af-unknown"),
        "the newest that failed": lambda: rows(4, ledger.purchases(in_steps=(Step.FAILED,), limit=4)),
    }


#: The answer grows with the ledger, and no task waits for it: explained, not timed.
def slow_questions(ledger: Ledger) -> dict[str, Callable[[], object]]:
    return {
        "all that wait for a person": lambda: ledger.unresolved(),
    }


# ---------------------------------------------------------------------------------------------- plans


@contextmanager
def listening(ledger: Ledger) -> Iterator[list[tuple[str, Any]]]:
    """The statements that run inside the block, with their values."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool) -> None:
        for part in statement.split(";"):  # PostgreSQL takes several in one trip
            if re.match(r"\s*(SELECT|UPDATE|INSERT|DELETE)", part):
                statements.append((part, values))

    event.listen(ledger.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(ledger.engine, "before_cursor_execute", note)


def explain(ledger: Ledger, statement: str, values: Any) -> list[str]:
    """The database's own plan of a statement, its lines about tables only."""
    lite = ledger.engine.dialect.name == "sqlite"
    with ledger.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if lite else '(COSTS OFF) '}{statement}", values)
        lines = [str(row[3] if lite else row[0]).strip().removeprefix("->").strip() for row in plan]
        connection.rollback()
    return [line for line in lines if re.match(r"SCAN|SEARCH|USE TEMP|.*Scan|Sort", line)]


def scans(plan: list[str], name: str) -> bool:
    """Whether a plan reads a whole growing table."""
    whole = re.compile(rf"(SCAN|Seq Scan on) ({'|'.join(GROWING)})")
    return any(whole.match(line) and not (name in WALKS and "USING INDEX" in line) for line in plan)


def plans(ledger: Ledger, asked: Mapping[str, Callable[[], object]], verdicts: Verdicts, name: str) -> None:
    printed: set[str] = set()
    print(f"\nQuery plans, {name}:\n")
    for what, ask in asked.items():
        with listening(ledger) as statements:
            ask()
        for statement, values in statements:
            plan = explain(ledger, statement, values)
            line = f"{' '.join(statement.split()[:1])}: {'; '.join(plan)}"
            if plan and line not in printed:
                printed.add(line)
                print(f"- {what}: {line}")
            if scans(plan, what):
                verdicts.true(f"{name}: {what} reads no whole table ({'; '.join(plan)})", False)


# ---------------------------------------------------------------------------------------------- both


def measure(name: str, small: Ledger, large: Ledger, many: int, turns: Mapping[str, int], verdicts: Verdicts) -> None:
    fill(small, many - SMALL + 1, many)
    fill(large, 1, many)
    ours, theirs = questions(large, many), questions(small, many)
    rows = []
    for what in ours:
        for _ in range(2):  # a miss is measured once more, since the machine may have been busy
            series = measuring.in_turns({"large": ours[what], "small": theirs[what]}, **turns)
            share = measuring.ratio_by_round(series["large"], series["small"])
            if statistics.median(share) <= LIMIT:
                break
        middle = statistics.median(share)
        rows.append([what, f"{series['small'].median * 1e3:.2f}", f"{series['large'].median * 1e3:.2f}", f"{middle:.2f}"])
        verdicts.at_most(f"{name}: {what}, large ÷ small", middle, LIMIT, "", share)
    print(f"\n{name}:\n")
    print(measuring.table([f"{many:,} purchases beside {SMALL}", "small, ms", "large, ms", "ratio"], rows))
    plans(large, {**ours, **slow_questions(large)}, verdicts, name)


def main() -> int:
    full = measuring.options(__doc__ or "").full
    many, turns = (1_000_000, {"rounds": 7, "calls": 60}) if full else (100_000, {"rounds": 5, "calls": 20})
    print(measuring.machine())
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory(prefix="proxyorders-bench-") as folder, measuring.postgres() as database:
        lite = [open_ledger(f"sqlite:///{Path(folder) / size}.db") for size in ("small", "large")]
        measure("SQLite", *lite, many, turns, verdicts)
        if database is not None:
            measure("PostgreSQL", open_ledger(database()), open_ledger(database()), many, turns, verdicts)
    return verdicts.finish()


if __name__ == "__main__":
    sys.exit(main())
